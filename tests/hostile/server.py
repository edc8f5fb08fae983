"""The server: reads requests, and lets behaviours loose on those who sent them."""

from __future__ import annotations

import base64
import json
from collections import Counter, deque
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any, Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer

from tests.hostile.behaviours import BEHAVIOURS, UNREAD
from tests.hostile.certificates import Certificate, server_context
from tests.hostile.doors import DOORS, Doorway
from tests.hostile.exchange import Closed, Exchange, Limits, Received, head
from tests.hostile.ports import family

# gevent closes a socket some turns of the hub after it was told to.
_CLOSING_TURNS = 5
# The target at which the server tells what it has received.
RECEIVED = "/_received"


class _Connection:
    """Reads requests from one client and lets behaviours loose on it."""

    def __init__(self, server: HostileServer, connected: Any, number: int) -> None:
        self.socket = connected
        self.limits = server.limits
        self.stopping = server.stopping
        self.is_doomed = False
        self._server = server
        self._number = number
        self._unread = b""
        self._deadline = monotonic() + server.limits.seconds

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - monotonic())

    def serve(self) -> None:
        while True:
            verb, target, headers = self._read_head()
            if target == RECEIVED:
                self.socket.sendall(_report(self._server.received))
                raise Closed
            self._misbehave(verb, target, headers)
            if ("connection", "close") in ((name.lower(), value.lower()) for name, value in headers):
                raise Closed

    def _misbehave(self, verb: str, target: str, headers: tuple[tuple[str, str], ...]) -> None:
        chosen = self._server.choose(target)
        name, *arguments = chosen.split("/")
        body = b"" if name in UNREAD else self._read_body({name.lower(): value for name, value in headers})
        received = Received(chosen, verb, target, headers, body, self._number)
        self._server.received.append(received)
        BEHAVIOURS[name](Exchange(self, received), *arguments)

    def _read_head(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        lines = self._read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        start = lines[0].split(" ")
        if len(start) != 3:
            raise Closed
        pairs = (line.partition(":") for line in lines[1:])
        return start[0], start[1], tuple((name, value.strip()) for name, _, value in pairs)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("expect", "").lower() == "100-continue":
            self.socket.sendall(head(100))
        if "chunked" in headers.get("transfer-encoding", ""):
            return b"".join(self._read_chunks())
        return self._read_exactly(int(headers.get("content-length", 0)))

    def _read_chunks(self) -> Iterator[bytes]:
        while True:
            size = int(self._read_until(b"\r\n").split(b";")[0], 16)
            yield self._read_exactly(size)
            self._read_until(b"\r\n")
            if not size:
                return

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            self._read_more()
        found, _, self._unread = self._unread.partition(mark)
        return found

    def _read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._read_more()
        found, self._unread = self._unread[:size], self._unread[size:]
        return found

    def read_some(self, size: int) -> bytes:
        """At most so many bytes, at least one."""
        if self._unread:
            found, self._unread = self._unread[:size], self._unread[size:]
            return found
        self.socket.settimeout(self.seconds_left() or 0.001)
        found = self.socket.recv(size)
        if not found:
            raise Closed
        return bytes(found)

    def _read_more(self) -> None:
        self.socket.settimeout(self.seconds_left() or 0.001)
        # A doomed connection leaves bytes unread: its close is a RST, as from a server that has forgotten it.
        data = self.socket.recv(1 if self.is_doomed else 262144)
        if not data or self.is_doomed or len(self._unread) > self.limits.request:
            raise Closed
        self._unread += data


def _report(received: list[Received]) -> bytes:
    rows = [{**asdict(each), "body": base64.b64encode(each.body).decode("ascii")} for each in received]
    body = json.dumps(rows).encode("ascii")
    return head(200, [("Content-Length", str(len(body))), ("Connection", "close")]) + body


class Endpoint:
    """What a test asks of a server, in this process or another."""

    port: int

    def __init__(self, host: str, certificate: Certificate | None) -> None:
        self._host = host
        self._scheme = "https" if certificate else "http"

    @property
    def received(self) -> list[Received]:
        """All requests so far that came whole, in order."""
        raise NotImplementedError

    def url(self, behaviour: str = "", host: str | None = None) -> str:
        """The url of a behaviour; host replaces the server's own name, "localhost" for one."""
        name = host or self._host
        return f"{self._scheme}://{f'[{name}]' if ':' in name else name}:{self.port}/{quote(behaviour)}"

    def bodies(self, behaviour: str | None = None) -> list[bytes]:
        """The bodies that a behaviour ("status/503") received, or all of them, in order."""
        return [each.body for each in self.received if behaviour in (None, each.behaviour)]


class HostileServer(Endpoint):
    """The server in this process's greenlets; a context manager.

    Args:
        script: behaviours for the first requests, one each ("status/503"), before the path decides.
        default: the behaviour of a path that names none, such as /v1/events.
        host: the address to listen on; "::1" is IPv6 loopback.
        port: the port, 0 for any that is free.
        doors: what is done with the first connections, one each ("silence").
        certificate: speak TLS with it.
        clients: a PEM file of the authority whose certificate a client must show.
        limits: where each behaviour ends.
    """

    def __init__(
        self,
        script: Iterable[str] = (),
        *,
        default: str = "status/204",
        host: str = "127.0.0.1",
        port: int = 0,
        doors: Iterable[str] = (),
        certificate: Certificate | None = None,
        clients: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(host, certificate)
        self.script: deque[str] = deque(map(_checked, script))
        self._received: list[Received] = []
        self.connections = 0
        self.limits = limits or Limits()
        self.stopping = Event()
        self._default = _checked(default)
        self._doors: deque[str] = deque(doors)
        self._seen: Counter[str] = Counter()
        self._open: set[_Connection] = set()
        self._tls = None if certificate is None else server_context(certificate, clients)
        listener = _listen(host, port)
        self.port = int(listener.getsockname()[1])
        self._server = StreamServer(listener, self._serve, spawn=Pool())

    def __enter__(self) -> HostileServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def received(self) -> list[Received]:
        """All requests so far that came whole, in order; the list itself."""
        return self._received

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._open)

    def choose(self, target: str) -> str:
        """The behaviour for a request's target: the script's next, else the path's, else the default."""
        if self.script:
            return self.script.popleft()
        # CONNECT has no path: the host's name may be a behaviour's.
        path = unquote(urlsplit(target).path.lstrip("/")) if "/" in target else target.rpartition(":")[0]
        if path.startswith("first/"):
            return self._first(target, *path.split("/", 2)[1:])
        return path if path.partition("/")[0] in BEHAVIOURS else self._default

    def _first(self, target: str, times: str, misbehaviour: str) -> str:
        self._seen[target] += 1
        return misbehaviour if self._seen[target] <= int(times) else self._default

    def doom(self) -> None:
        """Let every connection that is open break as soon as it is used again."""
        for each in self._open:
            each.is_doomed = True

    def stop(self) -> None:
        """End every behaviour and connection, and close the port."""
        self.stopping.set()
        self._server.close()
        _let_others_run()  # who was accepted but has not begun would not close its socket
        self._server.stop(timeout=0)
        _let_others_run()

    def _serve(self, connected: Any, _: object) -> None:
        self.connections += 1
        try:
            connected.settimeout(self.limits.seconds)
            if self._doors:
                DOORS[self._doors.popleft()](Doorway(connected, self._pause))
            connected = connected if self._tls is None else self._tls.wrap_socket(connected, server_side=True)
            self._converse(_Connection(self, connected, self.connections))
        except (Closed, OSError):
            # What a client does to the server is not of interest here.
            pass
        finally:
            connected.close()

    def _converse(self, connection: _Connection) -> None:
        self._open.add(connection)
        try:
            connection.serve()
        finally:
            self._open.remove(connection)

    def _pause(self, seconds: float | None) -> None:
        if self.stopping.wait(self.limits.seconds if seconds is None else seconds) or seconds is None:
            raise Closed


def _let_others_run() -> None:
    for _ in range(_CLOSING_TURNS):
        gevent.sleep(0.000_001)


def _checked(name: str) -> str:
    if name.partition("/")[0] not in BEHAVIOURS:
        raise ValueError(f"{name!r} names no behaviour; there are: {', '.join(BEHAVIOURS)}")
    return name


def _listen(host: str, port: int) -> Any:
    listener = socket.socket(family(host), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(256)
    return listener
