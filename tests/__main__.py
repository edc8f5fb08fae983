"""The whole suite, its files shared out among processes: `python -m tests`. Other options than its own go to pytest."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent
# Much of the time is waiting, so that one process more than there are cores keeps them all busy.
_PROCESSES = min((os.cpu_count() or 1) + 1, 6)
# Portions for each of them: enough to end together, few enough to start seldom.
_PORTIONS = 4
# What takes long, in seconds, so that it is begun first and shared out evenly. It need not be exact.
_SECONDS = {
    "test_lifetimes": 80,
    "test_mixtures": 70,
    "test_outcomes": 45,
    "test_page": 40,
    "test_endpoints": 40,
    "test_sdk_forks": 40,
    "test_doctor": 35,
    "test_sqs_delivery": 35,
    "test_examples_servers": 30,
    "test_wheel": 30,
    "test_benchmarks": 25,
    "test_commands_crashes": 25,
    "test_exit": 25,
    "test_queue_sqs": 25,
    "test_aws_lambda": 20,
    "test_commands_sqs": 20,
    "test_commands_demo": 20,
    "test_readme": 25,
    "test_interruptions": 20,
    "test_prometheus_servers": 20,
    "test_spool": 20,
    "test_time": 20,
}
_OTHERS = 5


class Ended(NamedTuple):
    """One portion's files, its exit code, and what it said."""

    names: list[str]
    code: int
    said: str


def portions(names: Sequence[str], count: int) -> list[list[str]]:
    """Share names out: the longest first, each to the portion that has least to do."""
    parts: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(names, key=lambda name: (-_weight(name), name)):
        min(parts, key=lambda part: sum(map(_weight, part))).append(name)
    return [part for part in parts if part]


def _weight(name: str) -> int:
    return _SECONDS.get(name, _OTHERS)


def main(arguments: Sequence[str]) -> int:
    """Run all files, or a part of them, and tell of each portion as it ends.

    Args:
        arguments: of the command line.

    Returns:
        1 when anything failed, else 0.
    """
    parser = argparse.ArgumentParser("python -m tests", description=__doc__, allow_abbrev=False)
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="N/M", help="the Nth of M parts, about as long")
    parser.add_argument("--coverage", action="store_true", help="and which lines and branches of the package were run")
    chosen, options = parser.parse_known_args(arguments)
    if chosen.coverage and find_spec("coverage") is None:
        parser.error("--coverage: coverage is not installed: pip install coverage")
    number, count = chosen.part
    names = portions([path.stem for path in _HERE.glob("test_*.py")], count)[number - 1]
    if not chosen.coverage:
        return run(names, options)
    with measuring(anew=number == 1):
        return run(names, options)


def _part(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not 1 <= int(number) <= int(count):
        raise ValueError(text)
    return int(number), int(count)


@contextmanager
def measuring(anew: bool) -> Iterator[None]:
    """Have coverage follow every interpreter that starts meanwhile, then show the figures.

    Args:
        anew: forget what was measured before.
    """
    if anew:
        _coverage("erase")
    os.environ.update(
        # What is installed with coverage looks for this when an interpreter starts; its plugin is ours.
        COVERAGE_PROCESS_START=str(_ROOT / "pyproject.toml"),
        COVERAGE_FILE=str(_ROOT / ".coverage"),  # also for programs that are started elsewhere
        PYTHONPATH=str(_ROOT),
    )
    yield
    del os.environ["COVERAGE_PROCESS_START"]
    _coverage("combine", "--append", "--quiet")
    for left in _ROOT.glob(".coverage.*"):  # its process was killed as it wrote that
        left.unlink()
    _coverage("report")


def _coverage(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=_ROOT, check=True)


def run(names: Sequence[str], options: Sequence[str]) -> int:
    """Run files, and tell of each portion as it ends.

    Args:
        names: of files, without their endings.
        options: of pytest.

    Returns:
        1 when anything failed, else 0.
    """
    started = time.monotonic()
    parts = portions(names, _PROCESSES * _PORTIONS)
    failed: list[Ended] = []
    running: set[subprocess.Popen[bytes]] = set()
    with ThreadPoolExecutor(_PROCESSES) as pool:
        waiting = [pool.submit(_run, part, options, running) for part in parts]
        try:
            for number, future in enumerate(as_completed(waiting), 1):
                ended = future.result()
                failed += [ended] if ended.code else []
                print(f"[{number}/{len(parts)}] {' '.join(ended.names)}: {ended.said.splitlines()[-1]}", flush=True)
        finally:
            for future in waiting:
                future.cancel()
            for process in list(running):
                process.terminate()
    for ended in failed:
        print(f"\n== {' '.join(ended.names)}\n{ended.said}")
    print(f"{time.monotonic() - started:.0f} s: {f'{len(failed)} portions failed' if failed else 'all passed'}")
    return int(bool(failed))


def _run(part: list[str], options: Sequence[str], running: set[subprocess.Popen[bytes]]) -> Ended:
    files = [str(_HERE / f"{name}.py") for name in part]
    # What failed last is remembered in one place, for which they would compete.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *files]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        running.add(process)
        code = process.wait()
        running.discard(process)
        output.seek(0)
        return Ended(part, code, output.read().decode("utf-8", "replace").rstrip() or "said nothing")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
