"""The application of `tests.benchmarks.where`: the ways that an event may go take turns in one worker."""

# ruff: noqa: E402  # orjson may have to be hidden first
from __future__ import annotations

import json
import os
import time
from typing import Any, Callable

from flask import Flask

from tests.benchmarks.child import hide_orjson

_task = json.loads(os.environ["BENCHMARKS_TASK"])
hide_orjson("ours_orjson" if _task["encoder"] == "orjson" else "ours")

from gevent_dispatcher import Answer, GeventEventDispatcher, Request
from gevent_dispatcher._event import Encoder
from gevent_dispatcher._json import encode
from tests.benchmarks.contestants import ENTRIES, Endpoint
from tests.benchmarks.payloads import Events


class _Instant:
    """A transport that answers at once: what is left is the dispatcher's own."""

    def open(self, connections: int) -> _Instant:
        return self

    def send(self, request: Request) -> Answer:
        return Answer(204)

    def close(self) -> None:
        pass


def _recognising() -> Callable[[Any], object]:
    encoder = Encoder()
    return lambda event: encoder.encode_known(event) or encoder.encode(event)


def _ways() -> dict[str, Callable[[Any], object]]:
    """Each does what the one before it does, and more; the last is the limit."""
    instant, ours = GeventEventDispatcher(transport=_Instant()), GeventEventDispatcher()
    limit = ENTRIES["raw_linger_orjson" if _task["encoder"] == "orjson" else "raw_linger"].make(Endpoint(_task["url"]))
    return {
        "nothing": lambda event: None,
        "encode": lambda event: encode(event.params["visitors"]),
        "recognise": _recognising(),
        "instant": lambda event: instant.dispatch_event(event),
        "http": lambda event: ours.dispatch_event(event),
        "limit": limit.dispatch,
    }


class _Turns:
    """Who is measured now, and what the turns so far have cost.

    Args:
        ways: take turns in this order.
        length: of a turn, in requests.
    """

    def __init__(self, ways: dict[str, Callable[[Any], object]], length: int) -> None:
        self._ways = list(ways.items())
        self._length = length
        self._requests = 0
        self._since = time.process_time()
        self.costs: dict[str, list[float]] = {name: [] for name in ways}

    def take(self, event: Any) -> None:
        """One request's event."""
        turn, place = divmod(self._requests, self._length)
        name, way = self._ways[turn % len(self._ways)]
        way(event)
        self._requests += 1
        if place == self._length - 1:
            now = time.process_time()
            self.costs[name].append((now - self._since) * 1e6 / self._length)
            self._since = now


app = Flask(__name__)
_events = Events(_task["params"], _task["url"])
_turns = _Turns(_ways(), _task["turn"])


@app.route("/")
def index() -> str:
    """An answer, and an event that goes as far as it is its turn."""
    _turns.take(_events.one())
    return "done"


@app.route("/costs")
def costs() -> dict[str, list[float]]:
    """CPU per request of each turn, in µs, by way."""
    return _turns.costs
