"""One process's HTTP client: urllib3 on gevent's own sockets. The only file that knows urllib3.

It is imported by the first sender, in a thread: importing urllib3 takes tens of milliseconds, and urllib3 imported
before a late monkey-patch would break the application's own HTTPS. Its sockets and its TLS context are gevent's
whatever was patched, so a request never blocks the hub.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # used by each name look-up; imported then, a fork could come in between
import errno
import http.client
import os
import queue
import select
import socket as native_socket
from typing import Any, Mapping

import gevent
import gevent.ssl
import urllib3
from gevent import monkey
from gevent import socket as gevent_socket
from gevent.lock import BoundedSemaphore
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError

from gevent_dispatcher import __version__, _proxy
from gevent_dispatcher._config import HttpConfig
from gevent_dispatcher._event import Request
from gevent_dispatcher._resolver import Resolver
from gevent_dispatcher._retry import Answer
from gevent_dispatcher._threads import off_hub
from gevent_dispatcher._url import Origin

# An answer's body says nothing that we need: this much is read so that the connection can be kept, then it is closed.
_MOST_BODY = 65_536
# Interim answers before the final one. A server that sends more never comes to the point, and a stream of them would
# hold the hub: their bytes are always there, so no read ever waits.
_MOST_INTERIM = 8
# Likewise of the header lines behind a chunked body.
_MOST_TRAILERS = 100

_poll = monkey.get_original("select", "poll") if hasattr(select, "poll") else None


class _Unanswered(http.client.RemoteDisconnected):
    """The connection was closed before the first byte of an answer."""

    reused = False


class _Response(http.client.HTTPResponse):
    """Skips interim answers of every kind, and only so many."""

    def _read_status(self) -> tuple[str, int, str]:
        for earlier in range(_MOST_INTERIM + 1):
            version, status, reason = self._read_one_status(earlier)
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"more than {_MOST_INTERIM} interim answers")

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if self.fp.readline(_MOST_BODY) in (b"\r\n", b"\n", b""):
                return
        raise http.client.HTTPException(f"more than {_MOST_TRAILERS} trailers")

    def _read_one_status(self, earlier: int) -> tuple[str, int, str]:
        try:
            return super()._read_status()  # type: ignore[misc,no-any-return]  # typeshed leaves it out
        except ConnectionError as error:
            if earlier:
                raise
            raise _Unanswered(_describe(error)) from error


class _GeventConnection:
    """What both connection classes share: gevent's sockets, the native poll, and whether they were used before."""

    response_class: Any = _Response
    resolver: Resolver
    exchanges = 0
    sock: Any

    def _new_conn(self) -> Any:
        try:
            return self._connect()
        except native_socket.timeout:
            raise ConnectTimeoutError(self, "connecting timed out") from None
        except OSError as error:
            raise NewConnectionError(self, _describe(error)) from error  # type: ignore[arg-type]  # a mixin

    def _connect(self) -> Any:
        host, port, timeout = self._dns_host, self.port, self.timeout  # type: ignore[attr-defined]  # a mixin
        error: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in self.resolver.resolve(host, port, timeout):
            try:
                options = self.socket_options  # type: ignore[attr-defined]  # a mixin
                return _opened(family, kind, protocol, address, timeout, options)
            except OSError as failed:
                error = failed
        raise error

    @property
    def is_connected(self) -> bool:
        """Whether a kept connection is still silent: bytes or an end of file would be nobody's answer."""
        return self.sock is not None and not _is_readable(self.sock)

    def getresponse(self) -> Any:
        was_kept = self.exchanges > 0
        try:
            response = super().getresponse()  # type: ignore[misc]  # a mixin
        except _Unanswered as error:
            error.reused = was_kept
            raise
        self.exchanges += 1
        return response

    def close(self) -> None:
        self.exchanges = 0
        super().close()  # type: ignore[misc]  # a mixin


class _Connection(_GeventConnection, HTTPConnection):
    pass


class _TlsConnection(_GeventConnection, HTTPSConnection):
    pass


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


def _opened(family: int, kind: int, protocol: int, address: Any, timeout: float, options: Any) -> Any:
    sock = gevent_socket.socket(family, kind, protocol)
    try:
        for option in options or ():
            sock.setsockopt(*option)
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_readable(sock: Any) -> bool:
    """Ask the kernel, without a turn of the hub as gevent's own poll takes."""
    if _poll is None:
        return bool(monkey.get_original("select", "select")([sock], [], [], 0)[0])
    poll = _poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class Client:
    """One process's connections.

    Args:
        config: timeouts, headers, TLS and proxy.
        connections: most requests under way at once, and so most kept connections per host.
    """

    # Set when urllib3 is imported anew after a late patch: what is under way ends here, what comes goes there.
    is_outdated = False

    def __init__(self, config: HttpConfig, connections: int) -> None:
        self._config = config
        self._connections = connections
        self._timeout = urllib3.Timeout(connect=config.connect_timeout, read=config.read_timeout)
        self._headers = {"User-Agent": f"gevent-dispatcher/{__version__}", **config.headers}
        self._resolver = Resolver()
        self._managers: dict[str, Any] = {}
        self._pools: dict[Origin, Any] = {}
        self._context: Any = None
        self._making = BoundedSemaphore(1)

    def send(self, request: Request) -> Answer:
        """Send one request within `request_timeout`; a kept connection found closed is replaced at once, once."""
        limit = self._config.request_timeout
        answer = Answer(error=f"no answer within {limit:g} s")
        with gevent.Timeout(limit, False):
            response = self._exchange(request) or self._exchange(request)
            if response is None:
                return Answer(error="RemoteDisconnected")
            if isinstance(response, Answer):
                return response
            answer = Answer(response.status, response.headers.get("Retry-After"))
            _finish(response)
        return answer

    def close(self) -> None:
        """Close the kept connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        for manager in self._managers.values():
            manager.clear()

    def _exchange(self, request: Request) -> Any:
        """A response, or the answer where there was none; None when a kept connection turned out to be closed."""
        try:
            return self._post(request)
        except ProtocolError as error:
            cause = error.args[-1]
            if isinstance(cause, _Unanswered) and cause.reused:
                return None
            return Answer(error=_describe(cause))
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            return Answer(error=_describe(error))

    def _post(self, request: Request) -> Any:
        origin, pool = request.origin, self._pool(request.origin)
        forwarded = pool.proxy is not None and origin.scheme == "http"
        return pool.urlopen(
            request.verb,
            f"{origin}{request.target}" if forwarded else request.target,
            body=request.body,
            headers=_merged(self._headers, request.headers),
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )

    def _pool(self, origin: Origin) -> Any:
        pool = self._pools.get(origin)
        if pool is None:
            with self._making:
                pool = self._pools.get(origin) or self._new_pool(origin)
        return pool

    def _new_pool(self, origin: Origin) -> Any:
        manager = self._manager(self._proxy(origin))
        tls = {"ssl_context": self._tls_context()} if origin.scheme == "https" else None
        pool = manager.connection_from_host(origin.host, origin.port, origin.scheme, pool_kwargs=tls)
        self._pools[origin] = pool
        return pool

    def _tls_context(self) -> Any:
        """The one context of this process: urllib3 would make one for each connection, on the hub."""
        if self._context is None:
            given = self._config.ssl_context
            self._context = off_hub(make_context) if given is None else _cooperative(given)
        return self._context

    def _proxy(self, origin: Origin) -> str:
        if self._config.proxy is not None:
            return self._config.proxy
        return _proxy.proxy_for(origin.scheme, origin.host, origin.port, os.environ) or ""

    def _manager(self, proxy: str) -> Any:
        manager = self._managers.get(proxy)
        if manager is None:
            manager = self._managers[proxy] = self._new_manager(proxy)
        return manager

    def _new_manager(self, proxy: str) -> Any:
        # block=False: what urllib3 closes at exit, before our own handler has drained, must not block a sender.
        options: dict[str, Any] = {"maxsize": self._connections, "block": False, "num_pools": 1_000}
        if proxy:
            manager: Any = urllib3.ProxyManager(**self._proxy_options(proxy), **options)
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = self._pool_classes()
        return manager

    def _proxy_options(self, proxy: str) -> dict[str, Any]:
        url, authorization = _checked_proxy(proxy)
        options: dict[str, Any] = {"proxy_url": url}
        if authorization:
            options["proxy_headers"] = {"Proxy-Authorization": authorization}
        if url.startswith("https:"):
            options["proxy_ssl_context"] = self._tls_context()
        return options

    def _pool_classes(self) -> dict[str, type]:
        """Pools whose connections share this process's resolver."""
        shared = {"resolver": self._resolver}
        plain, tls = type("_Plain", (_Connection,), shared), type("_Tls", (_TlsConnection,), shared)
        return {
            "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain, "QueueCls": _Kept}),
            "https": type("_TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls, "QueueCls": _Kept}),
        }


def _checked_proxy(proxy: str) -> tuple[str, str | None]:
    try:
        return _proxy.split_credentials(proxy)
    except ValueError as error:  # its text holds no credential
        raise OSError(errno.EINVAL, str(error)) from None


def _merged(ours: Mapping[str, str], events: Mapping[str, str]) -> dict[str, str]:
    own = {name.lower() for name in events}
    return {**{name: value for name, value in ours.items() if name.lower() not in own}, **events}


def _finish(response: Any) -> None:
    """Read the little that an answer's body has so that the connection can be kept, or close it."""
    try:
        response.read(_MOST_BODY, decode_content=False)
    except (HTTPError, http.client.HTTPException, OSError, ValueError):
        pass  # the status is known, and the body says nothing that we need
    finally:
        response.close()  # a connection whose answer was read whole has been given back by now
        response.release_conn()


def _describe(error: object) -> str:
    """An error in words that hold no url, no payload and no credential, as urllib3's own texts may."""
    for cause in (getattr(error, "__cause__", None), *getattr(error, "args", ())):
        if isinstance(error, HTTPError) and isinstance(cause, OSError):
            return _describe(cause)
    words = getattr(error, "verify_message", None) or getattr(error, "strerror", None)
    name = type(error).__name__.lstrip("_")
    return f"{name}: {words}" if isinstance(words, str) else name


class _Cooperative:
    """A context of the standard library's own class, on gevent's sockets.

    Made before a late patch, or in a process that is not patched, it would wrap native sockets, and setting one of its
    properties after the patch ends in a RecursionError; urllib3 sets them even where they have the value already.
    """

    def __init__(self, native: Any) -> None:
        self.__dict__["_native"] = native

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self._native, name) != value:
            setattr(self._native, name, value)

    def wrap_socket(self, sock: Any, **options: Any) -> Any:
        return gevent.ssl.SSLSocket(sock=sock, _context=self._native, **options)


def _cooperative(context: Any) -> Any:
    return context if isinstance(context, gevent.ssl.SSLContext) else _Cooperative(context)


def make_context() -> Any:
    """A verified TLS context on gevent's sockets, with the certificates that requests would use."""
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
        return context
    context.load_default_certs()
    if not context.cert_store_stats()["x509_ca"] and "SSL_CERT_FILE" not in os.environ:
        _load_certifi(context)
    return context


def _load_certifi(context: Any) -> None:
    """A slim container has no certificates of its own; most applications bring certifi along."""
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(cafile=certifi.where())
