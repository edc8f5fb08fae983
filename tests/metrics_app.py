"""An application whose workers export metrics together; run by tests/test_prometheus_servers.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterable
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.prometheus import instrument
from tests.events import LogEvent, log_event

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_dispatcher = instrument(GeventEventDispatcher(proxy="", batch_size=20, flush_interval=0.05, backoff_max=0.5))


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Say what all workers have counted, or dispatch the events that are asked for and say who did."""
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        body = generate_latest(registry)
    else:
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        for _ in range(int(query.get("good", 0))):
            _dispatcher.dispatch_event(log_event(os.environ["EVENTS_URL"]))
        for _ in range(int(query.get("bad", 0))):
            _dispatcher.dispatch_event(LogEvent("nonsense", {}))
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
