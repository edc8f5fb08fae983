"""urllib3's connections on gevent's own sockets: opened within their time, and known for dead when they are."""

from __future__ import annotations

import errno
import queue
import re
import select
import socket as native_socket
import sys
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Iterator

import gevent
from gevent import monkey
from gevent import socket as gevent_socket
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, NewConnectionError

from gevent_dispatcher._http_response import Answered, Plain, Response, Unanswered
from gevent_dispatcher._http_wire import plain_status, request_head
from gevent_dispatcher._pid import this_process
from gevent_dispatcher._resolver import Resolver
from gevent_dispatcher._tls import CLOSED

_poll = monkey.get_original("select", "poll") if hasattr(select, "poll") else None
# urllib3 1.26.
_IS_FIRST = not hasattr(HTTPConnection, "is_connected")
# Bytes that are read first: more than an answer without a body has.
_FIRST = 8_192
_stranded: list[Any] = []
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d+)")


class _GeventConnection:
    """What both connection classes share: gevent's sockets, the native poll, and whether they were used before."""

    response_class: Any = Response
    resolver: Resolver
    exchanges = 0
    sock: Any
    _asked_by: str
    _deadline: float
    _process = (0, 0)

    def connect(self) -> None:
        """Open within the connect timeout: name look-up, every address, a proxy's tunnel and TLS together."""
        limit: float = self.timeout  # type: ignore[attr-defined]  # a mixin
        self._deadline = monotonic() + limit
        self._process = this_process()
        try:
            with gevent.Timeout(limit, native_socket.timeout("connecting timed out")):
                super().connect()  # type: ignore[misc]  # a mixin
        except native_socket.timeout:
            raise ConnectTimeoutError(self, "connecting timed out") from None

    def _new_conn(self) -> Any:
        try:
            return self._connect()
        except native_socket.timeout:
            raise ConnectTimeoutError(self, "connecting timed out") from None
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]  # a mixin

    def _connect(self) -> Any:
        error: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
        host, port = self._dns_host, self.port  # type: ignore[attr-defined]  # a mixin
        sys.audit("http.client.connect", self, host, port)
        addresses = self.resolver.resolve(host, port, self._deadline - monotonic())
        for seconds, (family, kind, protocol, _, address) in zip(self._shares(len(addresses)), addresses):
            try:
                options = self.socket_options  # type: ignore[attr-defined]  # a mixin
                return _opened(family, kind, protocol, address, seconds, options)
            except OSError as failed:
                error = failed
        raise error

    def _shares(self, count: int) -> Iterator[float]:
        """Half of the time that is left for each address, all of it for the last: one that is silent costs no other."""
        for rest in range(count, 0, -1):
            left = self._deadline - monotonic()
            if left <= 0:
                raise native_socket.timeout("connecting timed out")
            yield left / 2 if rest > 1 else left

    def _tunnel(self) -> None:
        answers: list[Response] = []
        self.response_class = partial(_noted, answers)
        try:
            super()._tunnel()  # type: ignore[misc]  # a mixin
        except OSError as error:
            refused = _TUNNEL_STATUS.match(str(error))
            if refused is None:
                raise
            # The proxy's own words may repeat what it was asked.
            raise OSError(errno.ECONNREFUSED, f"the proxy refused the tunnel with status {refused[1]}") from None
        finally:
            self.response_class = Response
            for answer in answers:
                answer.close()  # an old Python leaves it open, and with it the socket of a refused tunnel

    @property
    def is_connected(self) -> bool:
        """Whether a kept connection is still silent: bytes or an end of file would be nobody's answer."""
        return self.sock is not None and not _is_readable(self.sock)

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **_: Any) -> None:
        """Send head and body in one call: both by themselves would cost the hub and the kernel twice as much.

        Args:
            body: bytes, or None.
        """
        if self.sock is None:
            self.connect()
        # The exchange as a whole is bounded. A socket's timeout would count from the first byte to the last, and a
        # large body would never get through a slow line.
        self.sock.settimeout(None)
        head = request_head(method, url, headers, None if body is None else len(body))
        self._asked_by = method
        data = head + body if body else head
        sys.audit("http.client.send", self, data)  # as http.client does, for those who watch what goes out
        with suppress(*CLOSED):  # an early answer such as 413 may be there all the same; if none is, reading it says so
            self.sock.sendall(data)

    def getresponse(self, buffering: bool = True) -> Any:
        """The answer: its head was read, or all of it.

        Args:
            buffering: urllib3 1.26 asks for it.
        """
        if not _IS_FIRST:  # pragma: no branch  # urllib3 1.26 has done it
            self.sock.settimeout(self.timeout)  # type: ignore[attr-defined]  # a mixin
        first = self._first_bytes()
        status = plain_status(first) if len(first) < _FIRST else None  # else TLS may hold more where poll sees none
        response = Plain(status) if status is not None else self._patiently(first)
        self.exchanges += 1
        return response

    def _first_bytes(self) -> bytes:
        was_kept = self.exchanges > 0
        try:
            first: bytes = self.sock.recv(_FIRST)
        except ConnectionError as error:
            raise Unanswered(reused=was_kept) from error
        if not first:
            raise Unanswered(reused=was_kept)
        return first

    def _patiently(self, first: bytes) -> Response:
        response = Response(self.sock, method=self._asked_by, first=first)
        try:
            response.begin()
        except BaseException:
            response.close()  # it holds the socket, too
            raise
        if response.will_close:
            self.close()
        return response

    def close(self) -> None:
        self.exchanges = 0
        if self.sock is not None:
            with suppress(OSError):  # it is closed already
                self._let_go(getattr(self.sock, "socket", self.sock))  # beneath TLS within TLS
        super().close()  # type: ignore[misc]  # a mixin

    def _let_go(self, raw: Any) -> None:
        """Not to close what can no longer be closed."""
        if self._process != this_process():
            raw.detach()  # inherited: a daemon has closed it already, and may have something else in its place
        elif raw.hub.loop is None:
            _stranded.append(self.sock)  # its hub was destroyed, and gevent cannot close it
            self.sock = None


class _Connection(_GeventConnection, HTTPConnection):
    pass


class _TlsConnection(_GeventConnection, HTTPSConnection):
    pass


class _FirstPool:
    """What pools of urllib3 1.26 need. Those of urllib3 2 ask the connection whether it is dead, and wrap no answer."""

    ResponseCls = Answered

    def _get_conn(self, timeout: float | None = None) -> Any:  # pragma: no cover  # urllib3 1.26
        """Without asking gevent's poll whether a kept connection is dead, which takes a turn of the hub."""
        kept: _Kept | None = self.pool  # type: ignore[attr-defined]  # a mixin
        if kept is None:
            raise ClosedPoolError(self, "the pool is closed")  # type: ignore[arg-type]  # a mixin
        try:
            connection = kept.get()
        except queue.Empty:
            connection = None
        if connection is not None and not connection.is_connected:
            connection.close()
            connection = None
        return connection or self._new_conn()  # type: ignore[attr-defined]  # a mixin


_POOL_MIXINS = (_FirstPool,) if _IS_FIRST else ()


class _Kept:
    """The kept connections of a pool, the last used first.

    Only greenlets of one hub come here and none switches while it does, so there is nothing to lock. The standard
    library's queue would bring locks of before or after a patch, and at the interpreter's end gevent's fails.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._connections: list[Any] = []

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        if not self._connections:
            raise queue.Empty
        return self._connections.pop()

    def put(self, connection: Any, block: bool = False, timeout: float | None = None) -> None:
        if len(self._connections) >= self._maxsize:
            raise queue.Full
        self._connections.append(connection)

    def qsize(self) -> int:
        return len(self._connections)

    def forget(self) -> None:
        """Close them all: one was found dead, and its siblings are as old."""
        connections, self._connections = self._connections, []
        for connection in connections:
            if connection is not None:
                connection.close()


def _opened(family: int, kind: int, protocol: int, address: Any, timeout: float, options: Any) -> Any:
    sock = gevent_socket.socket(family, kind, protocol)
    try:
        for option in options or ():
            sock.setsockopt(*option)
        sock.settimeout(timeout)
        sock.connect(address)
        sock.settimeout(None)  # what follows is bounded by the deadline of connect()
    except BaseException:
        sock.close()
        raise
    return sock


def _noted(answers: list[Response], *args: Any, **options: Any) -> Response:
    answers.append(Response(*args, **options))
    return answers[-1]


def _is_readable(sock: Any) -> bool:
    """Ask the kernel, without a turn of the hub as gevent's own poll takes."""
    if _poll is None:  # pragma: no cover  # where the system has no poll, as Windows
        return bool(monkey.get_original("select", "select")([sock], [], [], 0)[0])
    poll = _poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def pool_classes(resolver: Resolver) -> dict[str, type]:
    """Pools, by scheme, whose connections share one resolver."""
    shared = {"resolver": resolver}
    plain, tls = type("_Plain", (_Connection,), shared), type("_Tls", (_TlsConnection,), shared)
    return {
        "http": type("_PlainPool", (*_POOL_MIXINS, HTTPConnectionPool), {"ConnectionCls": plain, "QueueCls": _Kept}),
        "https": type("_TlsPool", (*_POOL_MIXINS, HTTPSConnectionPool), {"ConnectionCls": tls, "QueueCls": _Kept}),
    }
