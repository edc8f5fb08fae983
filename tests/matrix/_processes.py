"""Steps of a row: processes that end within their time, with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Sequence

# Those that are running, so that all can be ended when the runner is.
_running: set[subprocess.Popen[bytes]] = set()
_lock = Lock()

# What would put other code before the wheel's.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_OUTPUT = 6_000  # characters of a failed step that are kept
_MERCY = 15  # seconds that a step has to end what it started itself


class Failed(Exception):
    """A step that did not pass.

    Args:
        output: what it printed, of which the end is kept.
    """

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output.strip()[-_OUTPUT:]


def run(command: Sequence[str], timeout: float, directory: Path | None = None) -> str:
    """Run a command to its end, and return what it printed.

    Args:
        command: a path and its arguments.
        timeout: seconds.
        directory: where.

    Raises:
        Failed: it said so, or did not end in time.
    """
    with tempfile.TemporaryFile() as output:
        code = _code(_start(command, directory, output), timeout)
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    if code is None:
        raise Failed(f"{said}\nnot within {timeout:.0f} s")
    if code:
        raise Failed(f"{said}\nexit code {code}")
    return said


def end_all() -> None:
    """Ask all that still run to end, and see to it that they do."""
    with _lock:
        running = list(_running)
    for process in running:
        _signal(process, signal.SIGTERM)
    for process in running:
        _end(process)


def _start(command: Sequence[str], directory: Path | None, output: IO[bytes]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=_environ(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a process group, so that all of them can be ended
    )
    with _lock:
        _running.add(process)
    return process


def _environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def _code(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    """The exit code, or None when it did not come in time."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)
        with _lock:
            _running.discard(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what is left of its group."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_MERCY)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the usual case: they have ended by themselves
        os.killpg(process.pid, number)
