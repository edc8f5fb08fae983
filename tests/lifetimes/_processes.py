"""Processes of a row: started, listened to, ended whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Callable, Mapping, Sequence, TypeVar

from tests.waiting import wait_until

T = TypeVar("T")

# Where `tests` is found, and the library when it is not installed.
ROOT = Path(__file__).resolve().parents[2]

# Where uWSGI is when it was installed for the interpreter that runs this.
UWSGI_BINARY = Path(sys.executable).with_name("uwsgi")

# How long a process may take to start, to say something or to end, in seconds.
PATIENCE = 30.0

# What gunicorn and uWSGI say when they listen.
_LISTENING = re.compile(r"(?:Listening at: \S+|bound to TCP address 127\.0\.0\.1):(\d+) ")

_REDIRECTING = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

# Those that are running, so that all can be ended when the runner is.
_running: set[Program] = set()


class Trouble(Exception):
    """A row could not be run to its end; the text says what failed."""


class Program:
    """A process with its descendants; none of them outlives the `with` block.

    Args:
        arguments: of the Python interpreter that runs this, or a path and its arguments.
        directory: where its output goes.
        environ: added to this process's environment, which is freed of what redirects or trusts.
        cwd: the directory that it runs in.
    """

    def __init__(
        self, arguments: Sequence[str], directory: Path, environ: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self._arguments = [*([] if os.path.isabs(arguments[0]) else [sys.executable]), *arguments]
        self._output = directory / "output.txt"
        self._environ = {**_neutral_environ(), **(environ or {})}
        self._cwd = cwd

    def __enter__(self) -> Program:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._arguments,
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group, so that all of them can be ended
            )
        _running.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait(PATIENCE)
        _running.discard(self)

    @property
    def pid(self) -> int:
        """Of the process that was started, and of the group of its descendants."""
        return self._process.pid

    def kill(self) -> None:
        """End it and its descendants at once, or what is left of them."""
        with suppress(ProcessLookupError, PermissionError):  # the usual case: they have ended by themselves
            os.killpg(self.pid, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the process that was started, and to no other."""
        self._process.send_signal(number)

    def output(self) -> str:
        """What it and its descendants have written so far."""
        return self._output.read_text("utf-8", "replace")

    def wait_for(self, what: str, condition: Callable[[], T], timeout: float = PATIENCE) -> T:
        """Wait for a condition while the process runs.

        Args:
            what: names what is waited for.
            condition: asked again and again.
            timeout: seconds.

        Raises:
            Trouble: the time is over, or the process has ended.
        """

        def ask() -> T:
            has_ended = self._process.poll() is not None  # asked first: its last words are still heard
            answer = condition()
            if not answer and has_ended:
                raise Trouble(f"the process ended with {self._process.returncode} before {what}")
            return answer

        return wait_for(what, ask, timeout)

    def port(self) -> int:
        """Wait until the server that it runs says where it listens, gunicorn or uWSGI, and return the port.

        Raises:
            Trouble: the time is over, or the process has ended.
        """
        found = self.wait_for("the server to listen", lambda: _LISTENING.search(self.output()))
        return int(found.group(1))  # type: ignore[union-attr]  # wait_for returns what is true

    def wait_for_end(self, timeout: float = PATIENCE) -> int:
        """Wait until the process has ended by itself, and return its exit code.

        Raises:
            Trouble: the time is over.
        """
        wait_for("the process to end", lambda: self._process.poll() is not None, timeout)
        return int(self._process.returncode)


def _neutral_environ() -> dict[str, str]:
    """This process's environment, without proxies and without certificates that it would have programs trust."""
    return {name: value for name, value in os.environ.items() if not name.upper().endswith(_REDIRECTING)}


def end_all() -> None:
    """End every program that is still running."""
    for program in list(_running):
        program.kill()


def wait_for(what: str, condition: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Wait for a condition.

    Raises:
        Trouble: the time is over.
    """
    try:
        return wait_until(condition, timeout)
    except AssertionError as error:
        raise Trouble(f"waited {timeout:g} s for {what}") from error
