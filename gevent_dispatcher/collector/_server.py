"""The collector as a running server, on gevent's own WSGI server."""

from __future__ import annotations

import ipaddress
import itertools
import ssl
from typing import Any

import gevent
import gevent.ssl
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from gevent_dispatcher.collector._app import CONNECTION, EVENTS_PATH, Behaviour, CollectorApp

# How long a client may take over its TLS handshake, in seconds.
_HANDSHAKE = 5.0

_numbers = itertools.count(1)


class Collector:
    """A local Event API: `with Collector() as collector: ...` and events go to `collector.url`.

    Nothing is opened before `start()`. Once started it keeps its port: `stop()` and `start()` act out an outage.
    Counts outlive both.

    Args:
        host: a loopback address, or `localhost`.
        port: 0 takes a free one.
        latency: how long an answer takes, in seconds.
        status: the HTTP status of an answer; events count as received only with a 2xx.
        keyfile: path of a private key (PEM); with `certfile`, the server speaks https.
        certfile: path of the certificate chain (PEM).

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
    ) -> None:
        _check_host(host)
        self._host = host
        self._port = port
        self._tls = _tls_files(certfile, keyfile)
        self._app = CollectorApp(Behaviour(latency, status), gevent.sleep)
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
            self._server, self._port = server, server.server_port

    def stop(self, timeout: float = 0.0) -> None:
        """Stop listening, and close every connection. Does nothing when not started.

        Args:
            timeout: how long connections may stay open to end by themselves, in seconds.
        """
        server, self._server = self._server, None
        if server is not None:
            server.stop(timeout)

    def change(self, **settings: Any) -> None:
        """Change `latency` (seconds), `status` or both, for requests that arrive from now on.

        Raises:
            ValueError: a value is outside its range.
            TypeError: there is no such setting.
        """
        self._app.change(**settings)

    def reset(self) -> None:
        """Forget everything counted so far."""
        self._app.ledger.reset()

    def counts(self) -> dict[str, int]:
        """The totals: requests, connections, events, unique, duplicated, invalid, visitors."""
        return self._app.ledger.counts()

    def uuids(self) -> dict[str, int]:
        """How often each event came."""
        return self._app.ledger.uuids()

    def visitors(self) -> dict[str, dict[str, int]]:
        """How often each visitor's events came, by event key; an impression's key is `campaign_activated`."""
        return self._app.ledger.visitors()

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
    """Handles one connection, and gives it a number."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._number = next(_numbers)

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ[CONNECTION] = self._number
        return environ

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


def _tls_files(certfile: str | None, keyfile: str | None) -> tuple[str, str] | None:
    if certfile and keyfile:
        return certfile, keyfile
    if certfile or keyfile:
        raise ValueError("keyfile and certfile: https takes both, http takes neither")
    return None


def _tls_context(certfile: str, keyfile: str) -> ssl.SSLContext:
    context: ssl.SSLContext = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile, keyfile)
    return context
