"""The application of a server's row. What sends its events is made when it is imported, in the master under preload."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterable
from urllib.parse import parse_qsl

from tests.lifetimes import contestants

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# How long a request that must not end may take, in seconds: longer than any row.
FOR_EVER = 120.0

_contestant = contestants.make()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI application; an answer names the process that gave it."""
    _ROUTES[environ["PATH_INFO"]](dict(parse_qsl(environ["QUERY_STRING"])))
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _dispatch(query: dict[str, str]) -> None:
    for name in contestants.names(query["stem"], int(query["events"])):
        _contestant.dispatch(name)


def _block(_: dict[str, str]) -> None:
    """Stop the whole worker, as a computation would."""
    from gevent import monkey

    contestants.say("blocking")
    monkey.get_original("time", "sleep")(FOR_EVER)


def _hold(_: dict[str, str]) -> None:
    """Take longer than a server waits for its requests."""
    from time import sleep

    contestants.say("holding")
    sleep(FOR_EVER)


_ROUTES = {"/dispatch": _dispatch, "/block": _block, "/hold": _hold}


def _dispatch_at_import() -> None:
    count, in_flight = int(os.environ["LIFETIMES_AT_IMPORT"]), "LIFETIMES_IN_FLIGHT" in os.environ
    event_names = contestants.names(f"import-{os.getpid()}", count)
    contestants.note(event_names)
    for name in event_names:
        _contestant.dispatch(name)
    if event_names and in_flight:
        contestants.wait_for(_contestant.has_begun)


_dispatch_at_import()
