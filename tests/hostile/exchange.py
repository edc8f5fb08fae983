"""One request, and the raw connection to do harm on."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Iterable, NoReturn

import gevent
from gevent import socket

# SO_LINGER with a time of 0: close() drops what is unsent and answers with RST instead of FIN.
RESET = struct.pack("ii", 1, 0)
NO_BODY = (204, 304)


@dataclass(frozen=True)
class Received:
    """One request, whole, as it came."""

    behaviour: str
    verb: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True)
class Limits:
    """Where each behaviour ends, whatever the client does.

    Args:
        seconds: for one connection.
        sent: bytes of one endless answer.
        request: bytes of one request's head or body.
    """

    seconds: float = 30.0
    sent: int = 64 * 1024 * 1024
    request: int = 64 * 1024 * 1024


class Closed(Exception):
    """The connection is at its end: there is nothing more to read or to send."""


class Exchange:
    """One request and the raw connection to do harm on."""

    def __init__(self, connection: Any, received: Received) -> None:
        self.received = received
        self._connection = connection
        self._sent = 0

    def send(self, data: bytes) -> None:
        """Send bytes as they are, unless the behaviour's limit of bytes or time is reached."""
        self._sent += len(data)
        if self._sent > self._connection.limits.sent or not self._connection.seconds_left():
            self.close()
        self._connection.socket.sendall(data)

    def answer(self, status: int = 204, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """Send a well-formed answer and keep the connection."""
        sized = [] if status in NO_BODY else [("Content-Length", str(len(body)))]
        self.send(head(status, [*sized, *headers]) + (b"" if status in NO_BODY else body))

    def pause(self, seconds: float | None = None) -> None:
        """Wait, at most until the connection's limit or the server's end. None: until then."""
        left = self._connection.seconds_left()
        wanted = left if seconds is None else min(seconds, left)
        if self._connection.stopping.wait(wanted) or not self._connection.seconds_left():
            self.close()

    def close(self) -> NoReturn:
        """End the connection with a FIN."""
        raise Closed

    def reset(self) -> NoReturn:
        """End the connection with a RST."""
        self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        raise Closed

    def read(self, size: int) -> bytes:
        """Read at most so many bytes of what a behaviour in UNREAD has left unread."""
        return bytes(self._connection.read_some(size))

    def relay(self, far: Any) -> NoReturn:
        """Carry bytes both ways until one side has none left."""
        near = self._connection.socket
        sides = [gevent.spawn(_carry, near, far), gevent.spawn(_carry, far, near)]
        try:
            gevent.wait(sides, timeout=self._connection.seconds_left(), count=1)
        finally:
            gevent.killall(sides, block=False)
            far.close()
        self.close()

    def doom(self) -> None:
        """Let the connection break as soon as it is used again."""
        self._connection.is_doomed = True


def _carry(source: Any, sink: Any) -> None:
    try:
        for data in iter(lambda: source.recv(65536), b""):
            sink.sendall(data)
    except OSError:
        # Either side may be gone at any time.
        return


def head(status: int, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The bytes of a status line and headers, with the empty line."""
    lines = [f"HTTP/1.1 {status} Hostile", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
