"""Who sends the events, inside a process of a row. Importing this imports neither gevent nor urllib3 nor the SDK."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any, Callable

# How long a process waits for its own condition, in seconds.
PATIENCE = 10.0
# How often it looks at it, in seconds.
_INTERVAL = 0.001

EVENT_KEY = "page_view"

DATAFILE = json.dumps(
    {
        "version": "4",
        "accountId": "71000000001",
        "projectId": "71000000002",
        "revision": "1",
        "anonymizeIP": True,
        "botFiltering": False,
        "attributes": [],
        "audiences": [],
        "typedAudiences": [],
        "events": [{"id": "71000000301", "key": EVENT_KEY, "experimentIds": []}],
        "experiments": [],
        "featureFlags": [],
        "groups": [],
        "rollouts": [],
        "variables": [],
    }
)


@dataclass(frozen=True)
class Event:
    """An event as the SDK hands it over."""

    url: str
    params: dict[str, Any]
    http_verb: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Contestant:
    """One way to send events.

    Args:
        dispatch: sends one event under a name that no other event has.
        has_begun: whether a first request is under way; always true for a contestant that does not tell.
        flush: waits until what was dispatched has arrived.
    """

    dispatch: Callable[[str], object]
    has_begun: Callable[[], bool] = lambda: True
    flush: Callable[[], object] = lambda: None


def make() -> Contestant:
    """The contestant that the environment names, ready to send."""
    return _CONTESTANTS[os.environ["LIFETIMES_CONTESTANT"]](os.environ["LIFETIMES_URL"])


def names(stem: str, count: int) -> list[str]:
    """Names of events that were dispatched together."""
    return [f"{stem}-{number}" for number in range(count)]


def note(event_names: list[str]) -> None:
    """Write names to the row's ledger, before the events are dispatched."""
    ledger = os.open(os.environ["LIFETIMES_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(ledger, "".join(f"{name}\n" for name in event_names).encode())
    finally:
        os.close(ledger)


def say(words: str) -> None:
    """Tell the runner something; one line that is not mixed up with those of other processes."""
    os.write(2, f"lifetimes: {words}\n".encode())


def wait_for(condition: Callable[[], object]) -> None:
    """Wait in a row's own process, which may be patched, unpatched, or not know gevent at all."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s")
        time.sleep(_INTERVAL)


def _ours(url: str) -> Contestant:
    dispatcher = _dispatcher()
    return Contestant(
        dispatch=lambda name: dispatcher.dispatch_event(_event(url, name)),
        has_begun=lambda: dispatcher.stats().requests > 0,
        flush=lambda: dispatcher.flush(PATIENCE),
    )


def _client(url: str) -> Contestant:
    from gevent_dispatcher.sdk import create_client

    dispatcher = _dispatcher()
    client = create_client(DATAFILE, event_dispatcher=dispatcher)
    _send_events_to(url)
    return Contestant(
        dispatch=lambda name: client.track(EVENT_KEY, name),
        has_begun=lambda: dispatcher.stats().requests > 0,
        flush=lambda: dispatcher.flush(PATIENCE),
    )


def _sdk(url: str) -> Contestant:
    from optimizely.optimizely import Optimizely

    client = Optimizely(DATAFILE)
    _send_events_to(url)
    return Contestant(dispatch=lambda name: client.track(EVENT_KEY, name))


_CONTESTANTS = {"ours": _ours, "client": _client, "sdk": _sdk}


def _dispatcher() -> Any:
    from gevent_dispatcher import GeventEventDispatcher

    return GeventEventDispatcher(**json.loads(os.environ["LIFETIMES_SETTINGS"]))


def _event(url: str, name: str) -> Event:
    happened = {"entity_id": "1", "uuid": name, "key": EVENT_KEY, "timestamp": 1, "type": EVENT_KEY}
    visitor = {"visitor_id": name, "attributes": [], "snapshots": [{"decisions": [], "events": [happened]}]}
    params = {"account_id": "1", "project_id": "2", "revision": "3", "client_name": "lifetimes", "visitors": [visitor]}
    return Event(url, params)


def _send_events_to(url: str) -> None:
    """The SDK has no setting for where events go: it looks that up by region."""
    from optimizely.event.event_factory import EventFactory

    factory: Any = EventFactory
    factory.EVENT_ENDPOINTS = {"US": url, "EU": url}
    factory.EVENT_ENDPOINT = url  # the name in SDKs that know no regions
