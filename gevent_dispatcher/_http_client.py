"""One process's HTTP client over urllib3's pools.

It is imported by the first sender, in a thread: importing urllib3 takes tens of milliseconds, and urllib3 imported
before a late monkey-patch would break the application's own HTTPS. Its sockets and its TLS context are gevent's
whatever was patched, so a request never blocks the hub.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # used by each name look-up; imported then, a fork could come in between
import errno
import http.client
import os
from typing import Any, Mapping

import gevent
import urllib3
from gevent.lock import BoundedSemaphore
from urllib3.exceptions import HTTPError, ProtocolError, ProxyError, ReadTimeoutError

from gevent_dispatcher import __version__, _proxy
from gevent_dispatcher._config import HttpConfig
from gevent_dispatcher._event import Request
from gevent_dispatcher._http_connection import pool_classes
from gevent_dispatcher._http_response import Unanswered
from gevent_dispatcher._http_wire import authority, prefer
from gevent_dispatcher._resolver import Resolver
from gevent_dispatcher._retry import Answer
from gevent_dispatcher._threads import off_hub
from gevent_dispatcher._tls import Context, make_context
from gevent_dispatcher._url import Origin, parse

# Reading a body is not worth a sender's waiting for longer, in seconds.
_BODY_TIMEOUT = 1.0

_FAILURES = (HTTPError, http.client.HTTPException, OSError, ValueError)

# Only a proxy answers so (RFC 9110, section 15.5.8): of the endpoint it says nothing.
_OF_A_PROXY = 407
_NOT_FORWARDED = Answer(error="ProxyError: the proxy refused the request with status 407")

# What goes with each request, unless somebody says otherwise.
_USUAL = {"Accept-Encoding": "identity", "User-Agent": f"gevent-dispatcher/{__version__}"}

# Origins whose connections are kept. An application has one or two; each takes a descriptor at the least, of which a
# process often has no more than 1 024.
_MOST_POOLS = 100

# We decide what is sent again. Made once: urllib3 makes one of `retries=False` for each request.
_NO_RETRIES = urllib3.Retry(False, redirect=False)


class _Timeouts(urllib3.Timeout):
    """Timeouts of parts of an exchange. Without a total there is nothing to remember between them, and nothing to copy.

    urllib3 copies a Timeout twice for each request, so that each has a stopwatch for its total.
    """

    def clone(self) -> _Timeouts:
        return self

    def start_connect(self) -> float:
        return 0.0


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
        self._timeout = _Timeouts(connect=config.connect_timeout, read=config.read_timeout)
        self._headers = config.headers
        self._pool_classes = pool_classes(Resolver())
        self._merged_last: tuple[object, object, dict[str, str]] = (None, None, {})
        self._managers: dict[str, Any] = {}
        self._pools: dict[Origin, Any] = {}
        self._context: Any = None
        self._making = BoundedSemaphore(1)

    def send(self, request: Request, seconds: float) -> Answer:
        """Send one request; a kept connection found closed is replaced at once, once, by a fresh one.

        Args:
            request: what to send.
            seconds: for the whole exchange.
        """
        answer = Answer(error=f"no answer within {self._config.request_timeout:g} s")
        with gevent.Timeout(seconds, False):
            response = self._exchange(request)
            if isinstance(response, Answer):
                return response
            answer = Answer(response.status, response.headers.get("Retry-After"))
            if answer.status == _OF_A_PROXY and _forwards(self._pool(request.origin), request.origin):
                answer = _NOT_FORWARDED
            response.finish(_BODY_TIMEOUT)
        return answer

    def close(self) -> None:
        """Close the kept connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        for manager in self._managers.values():
            manager.clear()

    def _exchange(self, request: Request, is_second: bool = False) -> Any:
        """A response, or the answer where there was none."""
        try:
            return self._post(request)
        except _FAILURES as error:
            is_stale = _is_stale(error)
            if is_stale or isinstance(error, ReadTimeoutError):
                self._forget_kept(request.origin)
            if is_stale and not is_second:
                # Nobody gets a turn before it takes a connection, so there is none but a fresh one.
                return self._exchange(request, is_second=True)
            return Answer(error=_describe(error))

    def _forget_kept(self, origin: Origin) -> None:
        pool = self._pools.get(origin)
        if pool is not None and pool.pool is not None:  # closed meanwhile, at the interpreter's end for one
            pool.pool.forget()

    def _post(self, request: Request) -> Any:
        origin, pool = request.origin, self._pool(request.origin)
        return pool.urlopen(
            request.verb,
            f"{origin}{request.target}" if _forwards(pool, origin) else request.target,
            body=request.body,
            headers=self._merged(origin, request.headers),
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )

    def _merged(self, origin: Origin, headers: Mapping[str, str]) -> dict[str, str]:
        """An event's own headers go before ours. The last answer is kept: an envelope's headers are one object."""
        last, at, merged = self._merged_last
        if headers is not last or origin != at:
            merged = prefer(headers, self._headers, {"Host": authority(origin), **_USUAL})
            self._merged_last = headers, origin, merged
        return merged

    def _pool(self, origin: Origin) -> Any:
        pool = self._open_pool(origin)
        if pool is None:
            with self._making:
                pool = self._open_pool(origin) or self._new_pool(origin)
        return pool

    def _open_pool(self, origin: Origin) -> Any:
        """A manager of urllib3 1.26 closes the pool that was asked for the longest ago, for one too many."""
        pool = self._pools.get(origin)
        return None if pool is None or pool.pool is None else pool

    def _new_pool(self, origin: Origin) -> Any:
        proxy = self._proxy(origin)
        manager = self._manager(proxy)
        # The pool of an http origin behind an https proxy is one of connections to the proxy.
        is_tls = origin.scheme == "https" or proxy.startswith("https:")
        tls = {"ssl_context": self._tls_context(origin.host)} if is_tls else None
        pool = manager.connection_from_host(origin.host, origin.port, origin.scheme, pool_kwargs=tls)
        self._put_one_aside()
        self._pools[origin] = pool
        return pool

    def _put_one_aside(self) -> None:
        """For one too many, that which came first: to look each time for the one used the least would cost more."""
        if len(self._pools) >= _MOST_POOLS:
            origin = next(iter(self._pools))
            self._forget_kept(origin)
            del self._pools[origin]

    def _tls_context(self, host: str) -> Context:
        """Of the one context of this process: urllib3 would make one for each connection, on the hub."""
        if self._context is None:
            given = self._config.ssl_context
            self._context = off_hub(make_context) if given is None else given
        return Context(self._context, host)

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
        options: dict[str, Any] = {"maxsize": self._connections, "block": False, "num_pools": _MOST_POOLS}
        if proxy:
            manager: Any = urllib3.ProxyManager(**self._proxy_options(proxy), **options)
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager

    def _proxy_options(self, proxy: str) -> dict[str, Any]:
        url, authorization = _checked_proxy(proxy)
        options: dict[str, Any] = {"proxy_url": url}
        if authorization:
            options["proxy_headers"] = {"Proxy-Authorization": authorization}
        if url.startswith("https:"):
            options["proxy_ssl_context"] = self._tls_context(parse(url).origin.host)
        return options


def _forwards(pool: Any, origin: Origin) -> bool:
    """Whether a proxy takes the requests of a pool themselves; through a tunnel it carries bytes."""
    return pool.proxy is not None and origin.scheme == "http"


def _checked_proxy(proxy: str) -> tuple[str, str | None]:
    try:
        return _proxy.split_credentials(proxy)
    except ValueError as error:  # its text holds no credential
        raise OSError(errno.EINVAL, str(error)) from None


def _is_stale(error: Exception) -> bool:
    """Whether a kept connection turned out to be closed before the first byte of an answer."""
    cause = error.args[-1] if isinstance(error, ProtocolError) else error
    return isinstance(cause, Unanswered) and cause.reused


def _describe(error: BaseException) -> str:
    """An error in words that hold no url, no payload and no credential, as urllib3's own texts may."""
    of_proxy = "ProxyError: " if isinstance(error, ProxyError) else ""
    cause = _cause(error)
    words = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
    name = type(cause).__name__
    return of_proxy + (f"{name}: {words}" if isinstance(words, str) else name)


def _cause(error: BaseException) -> BaseException:
    """What is behind urllib3's own exceptions."""
    while isinstance(error, HTTPError):
        inner = [each for each in (error.__cause__, *error.args) if isinstance(each, Exception)]
        if not inner:
            break
        error = inner[0]
    return error
