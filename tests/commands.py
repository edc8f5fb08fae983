"""The command line in processes of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

from gevent_dispatcher import Request
from gevent_dispatcher._event import Encoder, merge
from gevent_dispatcher.queues import OpenQueue, SqliteQueue, Status
from tests.events import log_event, visitor
from tests.lifetimes._processes import ROOT, Program
from tests.waiting import wait_until

# How long a command may take, in seconds.
PATIENCE = 60.0

# A worker that notices soon, and gives back what can be received again at once.
QUICK = ("--poll-interval", "0.02", "--backoff-base", "0.01", "--backoff-max", "0.05", "--release-delay", "0")

# Nothing leaves this machine: what goes elsewhere meets a closed port.
_PROXIES = {"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}


def environ() -> dict[str, str]:
    """This process's environment, in which nothing leaves the machine."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return {**kept, **_PROXIES, "PYTHONPATH": str(ROOT)}


def run(*arguments: object, input: str | bytes = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    data = input.encode() if isinstance(input, str) else input
    command = [sys.executable, "-m", "gevent_dispatcher", *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE, cwd=cwd, env=environ())
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(directory: Path, *arguments: object) -> Program:
    """A command as a program, to be entered; its output goes to a file in the directory."""
    directory.mkdir(exist_ok=True)
    return Program(["-m", "gevent_dispatcher", *map(str, arguments)], directory, _PROXIES)


class QueueFile:
    """A queue at a path, opened in the test's process, too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: OpenQueue = SqliteQueue(path, timeout=30).open()

    def __enter__(self) -> QueueFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def put(self, url: str, *visitors: str) -> None:
        """Put a message for each visitor."""
        self.opened.put([request(url, each) for each in visitors])

    def status(self) -> Status:
        """What it holds."""
        return self.opened.status()

    def left(self) -> int:
        """Messages that are neither done nor dead."""
        status = self.status()
        return status.waiting + status.delayed + status.leased

    def bury(self, reason: str) -> None:
        """Bury what can be received now."""
        self.opened.bury([message.receipt for message in self.opened.receive(100, 60)], reason)


def request(url: str, *visitors: str, **envelope: Any) -> Request:
    """One request with an event for each visitor."""
    encoder = Encoder()
    encoded = [encoder.encode(log_event(url, visitor(name), **envelope)) for name in visitors]
    return merge(encoded[0][0], [each[1] for each in encoded])


class Terminal:
    """A terminal of 120 columns that a command writes to."""

    def __init__(self, *command: str) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        os.set_blocking(self._master, False)
        pipes = {"stdin": self._slave, "stdout": self._slave, "stderr": self._slave}
        self.process = subprocess.Popen([sys.executable, *command], env=environ(), **pipes)  # type: ignore[call-overload]
        self._shown = b""

    def write(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def shown(self) -> str:
        """What it has shown so far."""
        self._take()
        return self._shown.decode()

    def read(self) -> str:
        """What it has shown at its end."""
        wait_until(lambda: not self._take() and self.process.poll() is not None, 30)
        self._take()
        os.close(self._master)
        os.close(self._slave)
        return self._shown.decode()

    def _take(self) -> bool:
        """Whether there was anything to read."""
        try:
            chunk = os.read(self._master, 65_536)
        except BlockingIOError:
            return False
        self._shown += chunk
        return True
