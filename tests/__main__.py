"""The whole suite, its files shared out among processes: `python -m tests`. What follows goes to each pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple, Sequence

_HERE = Path(__file__).resolve().parent
# Much of the time is waiting, so that one process more than there are cores keeps them all busy.
_PROCESSES = min((os.cpu_count() or 1) + 1, 6)
# What takes long, in seconds, so that it is begun first and shared out evenly. It need not be exact.
_SECONDS = {
    "test_lifetimes": 80,
    "test_mixtures": 55,
    "test_outcomes": 40,
    "test_endpoints": 40,
    "test_benchmarks": 25,
    "test_commands_crashes": 25,
    "test_exit": 25,
    "test_sdk_forks": 40,
    "test_doctor": 35,
    "test_examples": 20,
    "test_time": 20,
    "test_spool": 20,
    "test_interruptions": 20,
}
_OTHERS = 5


class Share(NamedTuple):
    """The files of one process, and where its output goes."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    names: list[str]


def shares(names: Sequence[str], count: int) -> list[list[str]]:
    """Share names out: the longest first, each to whoever has least to do."""
    parts: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(names, key=lambda name: (-_weight(name), name)):
        min(parts, key=lambda part: sum(map(_weight, part))).append(name)
    return [part for part in parts if part]


def _weight(name: str) -> int:
    return _SECONDS.get(name, _OTHERS)


def main(options: Sequence[str]) -> int:
    """Run all files, and print what each process said as it ends.

    Args:
        options: of pytest.

    Returns:
        1 when anything failed, else 0.
    """
    started = time.monotonic()
    parts = shares([path.stem for path in _HERE.glob("test_*.py")], _PROCESSES)
    running = [_start(part, options) for part in parts]
    codes: list[int] = []
    try:
        for share in running:
            codes.append(share.process.wait())
            _tell(share)
    finally:
        for share in running:
            share.process.kill()
            share.process.wait()
            share.output.close()
    print(f"{len(parts)} processes, {time.monotonic() - started:.0f} s: {'failed' if any(codes) else 'all passed'}")
    return int(any(codes))


def _start(part: list[str], options: Sequence[str]) -> Share:
    output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by main
    files = [str(_HERE / f"{name}.py") for name in part]
    # The cache of what failed last is one file.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *files]
    process = subprocess.Popen(command, cwd=_HERE.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    return Share(process, output, part)


def _tell(share: Share) -> None:
    share.output.seek(0)
    print(f"== {', '.join(share.names)}", flush=True)
    sys.stdout.flush()
    print(share.output.read().decode("utf-8", "replace"), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
