"""A hundred thousand events against an endpoint that does anything at random, with a fixed seed."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import gevent
import pytest

from gevent_dispatcher import GeventEventDispatcher, Stats
from tests.dispatchers import assert_balanced
from tests.events import log_event, visitor
from tests.hostile import HostileProcess, Received
from tests.links import Ticking
from tests.test_endpoints import ILL, LONGEST_HOLD, WELL, is_well
from tests.waiting import wait_until

EVENTS = 100_000
SETTINGS: dict[str, Any] = {
    "batch_size": 500,
    "buffer_events": EVENTS,
    "buffer_bytes": 1 << 30,
    "backoff_base": 0.02,
    "backoff_max": 0.2,
    "connect_timeout": 1.0,
    "read_timeout": 1.0,
    "request_timeout": 1.5,
    "delivery_timeout": 600.0,
    "proxy": "",
}
# A whole turn of the hub, sockets included: sleep(0) would starve the exchanges until their time is over.
A_TURN = 0.001
FAILURES = [*ILL, *(f"status/{status}" for status in (408, 425, 429, 500, 502, 503, 504, 507, 599))]
REFUSALS = [*(f"status/{status}" for status in (400, 413, 422, 301, 404)), "redirect/302/http://127.0.0.1:9/"]


def mixture(seed: int, *kinds: list[str]) -> list[str]:
    chance = random.Random(seed)
    return [chance.choice(chance.choice(kinds)) for _ in range(900)]


def run(script: list[str]) -> tuple[Stats, list[Received]]:
    """Dispatch everything, looking at the accounts and at the hub all the while."""
    with HostileProcess(script) as server, GeventEventDispatcher(**SETTINGS) as dispatcher, Ticking() as ticking:
        for number in range(EVENTS):
            dispatcher.dispatch_event(log_event(server.url("v1/events"), visitor(str(number))))
            if number % 250 == 0:
                gevent.sleep(A_TURN)
                assert_balanced(dispatcher.stats())
        wait_until(lambda: settled(dispatcher), 100)
        assert ticking.longest < LONGEST_HOLD
        return dispatcher.stats(), server.received


def settled(dispatcher: GeventEventDispatcher) -> bool:
    stats = dispatcher.stats()
    assert_balanced(stats)
    return stats.pending == 0


def arrived(received: list[Received]) -> Counter[str]:
    """How often each event stood in a request that was answered with a 2xx."""
    names: Counter[str] = Counter()
    for each in received:
        if each.body and is_well(each.behaviour):
            names.update(visitor["visitor_id"] for visitor in json.loads(each.body)["visitors"])
    return names


def doubled(received: list[Received]) -> list[str]:
    """What was done to the requests of an event that came twice, for a message that says where to look."""
    for name, times in arrived(received).items():
        if times > 1:
            mine = [each for each in received if each.body and f'"{name}"'.encode() in each.body]
            return [each.behaviour for each in mine]
    return []


@pytest.mark.slow
def test_nothing_is_lost_that_could_be_delivered_and_nothing_is_doubled_that_was_answered() -> None:
    stats, received = run(mixture(4, WELL, FAILURES))
    assert stats.delivered == EVENTS
    assert not any(stats.dropped.values())
    assert not doubled(received)
    assert arrived(received) == Counter(map(str, range(EVENTS)))


@pytest.mark.slow
def test_among_refusals_each_event_is_either_delivered_once_or_counted() -> None:
    stats, received = run(mixture(5, WELL, FAILURES, REFUSALS))
    names = arrived(received)
    assert not doubled(received)
    assert set(names.values()) == {1}
    assert stats.delivered == len(names)
    assert stats.delivered + stats.dropped["rejected"] + stats.dropped["too_large"] == EVENTS
