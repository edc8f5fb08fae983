"""The collector as a running server, on gevent's own WSGI server."""

from __future__ import annotations

import ipaddress
import json
import ssl
from random import Random
from time import time
from typing import Any

import gevent
import gevent.ssl
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from gevent_dispatcher._ranges import whole
from gevent_dispatcher.collector._app import EVENTS_PATH, CollectorApp
from gevent_dispatcher.collector._book import Book, Filter
from gevent_dispatcher.collector._connection import Connection
from gevent_dispatcher.collector._faults import Faults
from gevent_dispatcher.collector._kept import KEEP, KEEP_BYTES
from gevent_dispatcher.collector._ledger import KEEP_UUIDS
from gevent_dispatcher.collector._requests import CONNECTION

# How long a client may take over its TLS handshake, in seconds.
_HANDSHAKE = 5.0

# Each bound of what is kept: its range, and what it counts.
_BOUNDS = {
    "keep": (1, 1_000_000, "events"),
    "keep_bytes": (0, 2**40, "bytes"),
    "keep_uuids": (1, 100_000_000, "events"),
}


class Collector:
    """A local Event API: `with Collector() as collector: ...` and events go to `collector.url`.

    Nothing is opened before `start()`. Once started it keeps its port: `stop()` and `start()` act out an outage.
    What was received outlives both.

    Args:
        host: a loopback address, or `localhost`.
        port: 0 takes a free one.
        latency: how long an answer takes, in seconds.
        status: the HTTP status of an answer; events count as received only with a 2xx.
        keyfile: path of a private key (PEM); with `certfile`, the server speaks https.
        certfile: path of the certificate chain (PEM).
        rate: the share of requests that fail with `status`, `hang` or `reset`, from 0 to 1; the others get a 204.
        hang: whether requests that fail are never answered.
        reset: whether the connections of requests that fail are reset; each of several ways gets an equal share.
        strict: whether payloads that are not as documented are answered with 400, as if each request had the header
            `X-Optimizely-Strict: true`.
        keep: events that can be looked at, from 1 to 1 000 000.
        keep_bytes: of all the bodies that these came in, in bytes.
        keep_uuids: events that are remembered to know repeated ones, from 1 to 100 000 000; an older one that comes
            again counts as a new one.
        seed: makes it the same requests that fail each time.

    Raises:
        ValueError: a value is outside its range, or the host is not a loopback address.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        status: int = 204,
        keyfile: str | None = None,
        certfile: str | None = None,
        *,
        rate: float = 1.0,
        hang: bool = False,
        reset: bool = False,
        strict: bool = False,
        keep: int = KEEP,
        keep_bytes: int = KEEP_BYTES,
        keep_uuids: int = KEEP_UUIDS,
        seed: int | None = None,
    ) -> None:
        _check_host(host)
        _check_port(port)
        _check_bounds(keep=keep, keep_bytes=keep_bytes, keep_uuids=keep_uuids)
        self._host = host
        self._port = port
        self._tls = _tls_files(certfile, keyfile)
        faults = Faults(status, rate, latency, hang, reset, strict)
        self._book = Book(time(), keep, keep_bytes, keep_uuids)
        self._app = CollectorApp(faults, self._book, gevent.sleep, Random(seed))
        self._server: WSGIServer | None = None

    def __enter__(self) -> Collector:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where events go, e.g. `http://127.0.0.1:8080/v1/events`."""
        return self.base_url + EVENTS_PATH

    @property
    def base_url(self) -> str:
        """The url of the server itself, to which `/counts` and the like are appended."""
        if not self._port:
            raise RuntimeError("the collector has no url before it was started: its port is not known yet")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return "{}://{}:{}".format("https" if self._tls else "http", host, self._port)

    def start(self) -> None:
        """Listen. A second call does nothing.

        Raises:
            OSError: the port is taken, or a TLS file cannot be read.
        """
        if self._server is None:
            server = self._make_server()
            server.start()
            self._app.streams.begin()
            self._server, self._port = server, server.server_port

    def stop(self, timeout: float = 0.0) -> None:
        """Stop listening, and close every connection. Does nothing when not started.

        Args:
            timeout: how long connections may stay open to end by themselves, in seconds.
        """
        server, self._server = self._server, None
        if server is not None:
            self._app.streams.end()
            server.stop(timeout)

    @property
    def faults(self) -> Faults:
        """How requests are answered now."""
        return self._app.faults

    def change(self, **settings: Any) -> None:
        """Change `status`, `rate`, `latency` (seconds), `hang`, `reset` or `strict`, for requests from now on.

        Raises:
            ValueError: a value is outside its range.
            TypeError: there is no such setting.
        """
        self._app.change(**settings)

    def reset(self) -> None:
        """Forget everything received so far."""
        self._app.reset()

    def counts(self) -> dict[str, int]:
        """The totals: requests, connections, events, unique, duplicated, invalid, visitors."""
        return self._book.ledger.totals()._asdict()

    def summary(self) -> dict[str, Any]:
        """The totals, and how often each event key and each variation of each experiment came."""
        return self._book.summary()

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """The events that are kept, oldest first, each as the JSON API tells of it.

        Args:
            filters: `valid` (a bool), `key`, `visitor`, `experiment` (a rule's key, an experiment's id or a flag's
                key) and `uuid`; each that is given must agree.

        Raises:
            TypeError: there is no such filter.
        """
        return [kept.item() for kept in self._book.find(Filter(**filters))[0]]

    def uuids(self) -> dict[str, int]:
        """How often each event came."""
        return self._book.ledger.uuids()

    def visitors(self) -> dict[str, dict[str, int]]:
        """How often each visitor's events came, by event key; an impression's key is `campaign_activated`."""
        return self._book.ledger.visitors()

    def _make_server(self) -> WSGIServer:
        tls = {"ssl_context": _tls_context(*self._tls)} if self._tls else {}
        return _Server(
            (self._host, self._port),
            self._app,
            spawn=Pool(),  # keeps hold of the connections, so that stop() can close them
            log=None,
            handler_class=_Handler,
            environ={"SERVER_NAME": self._host},  # spares a look-up of the host's full name
            **tls,
        )


class _Server(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """A WSGI server that takes a client's failed TLS handshake for the client's affair: no traceback."""

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        try:
            with gevent.Timeout(_HANDSHAKE, OSError("TLS handshake timed out")):
                tls_socket = self.wrap_socket(client_socket, **self.ssl_args)
        except OSError:
            return None
        try:
            return self.handle(tls_socket, address)
        finally:
            tls_socket.close()


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """Handles one connection, and tells the application which."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connection = Connection(self.socket)

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ[CONNECTION] = self._connection
        return environ

    def log_error(self, *_: Any) -> None:
        """What a client sent wrong was answered, and a log is no place for it."""

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes]:
        """What cannot be read as HTTP is told so; gevent lets subclasses choose the words."""
        super()._handle_client_error(error)
        body = json.dumps({"error": "the request is no HTTP, or its Content-Length or its chunks are wrong"}).encode()
        head = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\n"
        return "400", f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def handle_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        # stop() ended this greenlet: an outage breaks connections off, it does not answer 500 on them. Or the
        # client broke off, and nobody is left to be answered.
        if issubclass(kind, (gevent.GreenletExit, OSError)):
            self.close_connection = True
        else:
            super().handle_error(kind, error, trace)


def _check_host(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(
            f"host={host!r}: must be a loopback address such as 127.0.0.1 or ::1, or localhost: "
            "the collector knows no passwords and must not be reachable from other machines"
        )


def _check_port(port: int) -> None:
    if not 0 <= port <= 65_535:
        raise ValueError(f"port={port}: must be from 0 to 65535; 0 takes a free one")


def _check_bounds(**bounds: object) -> None:
    for name, value in bounds.items():
        whole(name, value, *_BOUNDS[name])


def _tls_files(certfile: str | None, keyfile: str | None) -> tuple[str, str] | None:
    if certfile and keyfile:
        return certfile, keyfile
    if certfile or keyfile:
        raise ValueError("keyfile and certfile: https takes both, http takes neither")
    return None


def _tls_context(certfile: str, keyfile: str) -> ssl.SSLContext:
    context: ssl.SSLContext = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for path in (certfile, keyfile):
        open(path, "rb").close()  # what ssl says of one that is not there does not name it
    try:
        context.load_cert_chain(certfile, keyfile)
    except ssl.SSLError:
        raise OSError(f"{certfile}, {keyfile}: must be a certificate chain and its private key, in PEM") from None
    return context
