"""An application whose workers share one spool; run by tests/test_spool_servers.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterable
from urllib.parse import parse_qsl

from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event, visitor

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_dispatcher = GeventEventDispatcher(
    spool=os.environ["SPOOL"],
    proxy="",
    buffer_events=500,
    batch_size=20,
    flush_interval=0.05,
    backoff_base=0.05,
    backoff_max=0.2,
)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Dispatch the events that are asked for; the answer says what has become of all so far."""
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    for name in query.get("names", "").split():
        _dispatcher.dispatch_event(log_event(os.environ["EVENTS_URL"], visitor(name)))
    stats = _dispatcher.stats()
    dropped = sum(stats.dropped.values())
    body = f"{os.getpid()} {stats.spooled} {stats.pending} {dropped}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
