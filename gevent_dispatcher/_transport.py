"""How one request is delivered: the `Transport` protocol, and `HttpTransport` over one shared urllib3 pool manager.

A transport is an inert recipe that may be made anywhere, before a fork or a late monkey-patch included. The engine
opens it once per process, in the greenlet of a sender.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, cast

import gevent
from gevent import events, monkey
from gevent.lock import BoundedSemaphore

from gevent_dispatcher._config import Config, HttpConfig
from gevent_dispatcher._event import Request
from gevent_dispatcher._retry import Answer
from gevent_dispatcher._threads import off_hub

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gevent_dispatcher._config import HttpSettings


class Link(Protocol):
    """An opened transport: it belongs to one process, and its greenlets to one hub."""

    def send(self, request: Request) -> Answer:
        """Send one request, waiting cooperatively, and tell what happened as a value.

        Args:
            request: what to send; it is not altered.
        """
        ...

    def close(self) -> None:
        """Give back sockets and files. Must not block and may be called twice."""
        ...


class Transport(Protocol):
    """How requests are delivered. It may have `request_bytes`: a dispatcher cuts its requests at so many bytes then."""

    def open(self, connections: int) -> Link:
        """Make what this process needs; called in a sender's greenlet, once per process.

        Args:
            connections: most requests that will be under way at once.
        """
        ...


class HttpTransport:
    """POSTs requests over one shared urllib3 pool manager, on gevent's own sockets.

    Args:
        connect_timeout: seconds to open a connection, TLS included; default 3.
        read_timeout: seconds of silence while an answer is awaited; default 10.
        request_timeout: seconds for one whole exchange, name look-up and trickling included; default 15.
        headers: added to each request; an event's own header goes before one of the same name here.
        ssl_context: None makes one verified context per process.
        proxy: a proxy's url, "" for none; None reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY as requests does.

    Raises:
        ValueError: a setting is outside its accepted range.
    """

    def __init__(self, **settings: Unpack[HttpSettings]) -> None:
        self._config = HttpConfig(**settings)

    def __repr__(self) -> str:
        return f"HttpTransport({self._config!r})"

    def open(self, connections: int) -> Link:
        """Make this process's client; urllib3 is imported by its first request."""
        return _HttpLink(self._config, connections)


def transport_of(given: object, http: dict[str, Any]) -> Transport:
    """The transport that a user gave, or one over HTTP with the settings that the user gave instead.

    Raises:
        ValueError: it is no transport, or a setting is outside its accepted range.
    """
    if given is None:
        return HttpTransport(**http)
    if not callable(getattr(given, "open", None)):
        raise ValueError(f"transport={given!r}: must have open(connections), as HttpTransport() does")
    return cast(Transport, given)


class _HttpLink:
    """A client that is loaded by the first request, off the hub: importing urllib3 would stop it for long."""

    def __init__(self, config: HttpConfig, connections: int) -> None:
        self._config = config
        self._connections = connections
        self._loading = BoundedSemaphore(1)
        self._client: Any = None

    def send(self, request: Request) -> Answer:
        limit, client = self._config.request_timeout, self._client
        if client is not None and not client.is_outdated:
            return client.send(request, limit)  # type: ignore[no-any-return]  # the client is imported lazily
        client, deadline = None, monotonic() + limit
        # The hub's threadpool is the application's too: all its threads may be stuck.
        with gevent.Timeout(limit, False):
            client = self._loaded()
        if client is None:
            return Answer(error=f"no thread to load the HTTP client within {limit:g} s")
        left = max(deadline - monotonic(), 0.001)
        return client.send(request, left)  # type: ignore[no-any-return]  # the client is imported lazily

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _loaded(self) -> Any:
        with self._loading:
            if self._client is None or self._client.is_outdated:
                self._client = self._load()
        return self._client

    def _load(self) -> Any:
        return off_hub(_import_client).Client(self._config, self._connections)


_CLIENT = "gevent_dispatcher._http_client"
_CONNECTION = "gevent_dispatcher._http_connection"
# The client that has brought in urllib3, while ssl is not patched.
_early: list[Any] = []


def _import_client() -> Any:
    is_first = "urllib3" not in sys.modules
    client = import_module(_CLIENT)
    if is_first and not monkey.is_module_patched("ssl"):
        _early.append(client)
        events.subscribers.append(_forget_urllib3)
    return client


def _forget_urllib3(event: object) -> None:
    """Undo our import of urllib3 when ssl is patched after it: the application's own must be one made after the patch.

    urllib3 keeps the class ssl.SSLContext as it was imported, and each property that is set on one of an earlier class
    ends in a RecursionError. What the application had imported by itself before the patch stays as broken as it is, and
    what it imported after it stays when ssl is patched once more.
    """
    if _early and isinstance(event, events.GeventDidPatchModuleEvent) and event.module_name == "ssl":
        _early.pop().Client.is_outdated = True
        for name in [name for name in sys.modules if name in (_CLIENT, _CONNECTION) or name.split(".")[0] == "urllib3"]:
            del sys.modules[name]


def within(config: Config, transport: Transport) -> Config:
    """The settings, with requests no larger than the transport wants them."""
    wanted: int | None = getattr(transport, "request_bytes", None)
    return config if wanted is None else replace(config, max_request_bytes=min(config.max_request_bytes, wanted))
