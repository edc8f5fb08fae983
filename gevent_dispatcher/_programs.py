"""Programs that a command starts: none outlives its `with` block, whenever a signal comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import gevent

# How long a program may take to start, or to end, in seconds.
PATIENCE = 30.0
# Between two looks at a condition, in seconds.
_INTERVAL = 0.02
# So much of its output is shown when it ends too early, in characters.
_LAST_WORDS = 4_000

_DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


class Problem(Exception):
    """The command cannot go on; the text is for its user."""


def wait_until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Wait for something true, and return it.

    Args:
        condition: asked again and again.
        what: names what is waited for, for the user.
        timeout: seconds.

    Raises:
        Problem: the time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Problem(f"waited {timeout:g} s for {what}")
        gevent.sleep(_INTERVAL)


class Program:
    """A process of Python's with its descendants, to be entered. On this machine it goes past any proxy.

    Args:
        name: for the user.
        arguments: of the interpreter that runs this.
        directory: where its output goes, to files of its name.
        environ: added to this process's environment.
        cwd: the directory that it runs in; this process's when None.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._name = name
        self._arguments = [sys.executable, *arguments]
        self._output = directory / f"{name}.out"
        self._errors = directory / f"{name}.err"
        self._environ = {**os.environ, **_DIRECT, **(environ or {})}
        self._cwd = cwd

    def __enter__(self) -> Program:
        # In a greenlet that no signal ends: between the start of a process and our taking note of it is a wait.
        starting = gevent.spawn(self._start)
        try:
            self._process: subprocess.Popen[bytes] = starting.get()
        except gevent.GreenletExit:
            self._process = starting.get()
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def says(self, pattern: str, times: int = 1) -> str:
        """Wait until its output has a pattern so many times, and return the first one's group.

        Raises:
            Problem: it has not in time, or ended before.
        """
        return str(wait_until(lambda: self._said(pattern, times), f"{self._name} to say {pattern!r}"))

    def stop(self) -> None:
        """Ask it to end, as a deployment would, and wait until it has.

        Raises:
            Problem: it has not in time.
        """
        self._process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end, and return its exit code.

        Raises:
            Problem: it has not ended in time.
        """
        wait_until(lambda: self._process.poll() is not None, f"{self._name} to end", timeout)
        return int(self._process.returncode)

    def output(self) -> str:
        """What it has written to standard output."""
        return self._output.read_text("utf-8", "replace")

    def errors(self) -> str:
        """What it has written to standard error."""
        return self._errors.read_text("utf-8", "replace")

    def _start(self) -> subprocess.Popen[bytes]:
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            return subprocess.Popen(
                self._arguments,
                env=self._environ,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # a process group, so that all of them can be ended
            )

    def _end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the usual case: they have ended by themselves
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    def _said(self, pattern: str, times: int) -> str | None:
        found = re.findall(pattern, self.output() + self.errors())
        if len(found) >= times:
            return str(found[0])
        if self._process.poll() is not None:
            words = self.errors()[-_LAST_WORDS:]
            raise Problem(f"{self._name} ended with exit code {self._process.returncode}:\n{words}")
        return None
