"""An endpoint for scrapes, for processes that serve nothing else; idle it costs nothing."""

from __future__ import annotations

from gevent.pywsgi import WSGIServer
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from gevent_dispatcher.prometheus._instrument import is_multiprocess


def serve(port: int, host: str = "127.0.0.1") -> WSGIServer:
    """Answer scrapes, of any path, with what is exported; in greenlets of the caller's hub.

    Args:
        port: 0 takes a free one.
        host: where to listen. Metrics are no secrets, but let only Prometheus reach them.

    Returns:
        gevent's server, which listens: it has `server_port` and `stop()`.

    Raises:
        ValueError: there is no such port.
        OSError: the port is taken, or there is no such host.
    """
    if not 0 <= port <= 65_535:
        raise ValueError(f"port={port}: must be from 0 to 65535; 0 takes a free one")
    server = WSGIServer((host, port), make_wsgi_app(_registry()), log=None)
    server.start()
    return server


def _registry() -> CollectorRegistry:
    if not is_multiprocess():
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # not typed
    return registry
