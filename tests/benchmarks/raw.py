"""The limit: requests written by hand to gevent's sockets. No retry, no bound, no accounts: only what must be done."""

from __future__ import annotations

from collections import deque
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import socket
from gevent.pool import Pool

from tests.benchmarks import encoders

_READ = 65_536


class Connections:
    """Kept connections to one endpoint.

    Args:
        url: http or https.
        authority: the file of the certificate authority, for https.
    """

    def __init__(self, url: str, authority: str | None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._context = _context(authority) if parts.scheme == "https" else None
        self._idle: list[Any] = []
        self.head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()

    def post(self, body: bytes) -> None:
        """Send one request and read its answer, which has no body."""
        sock = self._idle.pop() if self._idle else self._open()
        sock.sendall(b"%b%d\r\n\r\n%b" % (self.head, len(body), body))
        answer = sock.recv(_READ)
        while answer and not answer.endswith(b"\r\n\r\n"):
            answer += sock.recv(_READ)
        if answer:
            self._idle.append(sock)

    def _open(self) -> Any:
        sock = socket.create_connection(self._address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return sock
        return self._context.wrap_socket(sock, server_hostname=self._address[0])


def _context(authority: str | None) -> Any:
    from gevent.ssl import create_default_context

    return create_default_context(cafile=authority)


class _Senders:
    """Greenlets that send bodies, and live while there is one to send."""

    def __init__(self, connections: Connections, senders: int) -> None:
        self._connections = connections
        self._pool = Pool(senders)
        self._bodies: deque[bytes] = deque()

    def give(self, body: bytes) -> None:
        """Have one body sent."""
        self._bodies.append(body)
        if not self._pool.full():
            self._pool.start(gevent.Greenlet(self._send))

    def _send(self) -> None:
        while self._bodies:
            self._connections.post(self._bodies.popleft())

    def join(self, timeout: float) -> None:
        """Wait until all were sent."""
        self._pool.join(timeout)


class Merged:
    """Events of one envelope joined into requests of `batch_size`.

    Args:
        connections: where they go.
        encode: the JSON encoder.
        batch_size: events in a request.
        senders: most requests under way.
        linger: the longest that an event waits for company, in seconds; None: until `finish`.
    """

    def __init__(
        self, connections: Connections, encode: encoders.Encode, batch_size: int, senders: int, linger: float | None
    ) -> None:
        self._senders = _Senders(connections, senders)
        self._encode = encode
        self._batch_size = batch_size
        self._linger = linger
        self._parts: list[bytes] = []
        self._around: tuple[bytes, bytes] | None = None
        self._timer: Any = None

    def dispatch(self, event: Any) -> None:
        """Take one event."""
        parts = self._parts
        if not parts:
            self._begin(event.params)
        parts.append(self._encode(event.params["visitors"])[1:-1])
        if len(parts) == self._batch_size:
            self._cut()

    def _begin(self, params: dict[str, Any]) -> None:
        if self._around is None:
            names = list(params)
            at = names.index("visitors")
            before = self._encode({name: params[name] for name in names[:at]})[1:-1]
            after = self._encode({name: params[name] for name in names[at + 1 :]})[1:-1]
            self._around = (b"{" + before + b',"visitors":[', b"]," + after + b"}")
        if self._linger is not None and self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self._linger)
            self._timer.start(self._cut)

    def _cut(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if not self._parts:
            return
        before, after = self._around or (b"", b"")
        self._senders.give(before + b",".join(self._parts) + after)
        self._parts.clear()

    def finish(self, timeout: float) -> None:
        """Send the rest and wait."""
        self._cut()
        self._senders.join(timeout)


class Unmerged:
    """One request for each event."""

    def __init__(self, connections: Connections, encode: encoders.Encode, senders: int) -> None:
        self._senders = _Senders(connections, senders)
        self._encode = encode

    def dispatch(self, event: Any) -> None:
        """Take one event."""
        self._senders.give(self._encode(event.params))

    def finish(self, timeout: float) -> None:
        """Wait until all were sent."""
        self._senders.join(timeout)
