"""Poison, outages and bounds on real sockets: each event has one outcome, and a bad one costs only itself."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
from time import monotonic
from typing import Iterator

import gevent
import pytest

from gevent_dispatcher import Delivery, GeventEventDispatcher, Outcome
from gevent_dispatcher.collector import Collector
from tests.dispatchers import Maker, assert_balanced, dispatch, making
from tests.events import names
from tests.hostile import HostileServer, refusing_port
from tests.picky import PickyServer
from tests.waiting import wait_until


@pytest.fixture
def make() -> Iterator[Maker]:
    with making() as maker:
        yield maker


# -- poison ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "rejected"), (413, "too_large"), (422, "rejected"), (451, "rejected")]
)
def test_a_refused_event_costs_only_itself(make: Maker, status: int, reason: str) -> None:
    everyone = names(300)
    poison = set(random.Random(status).sample(everyone, 5))
    records: list[Delivery] = []
    with PickyServer(lambda visitors: status if poison.intersection(visitors) else 204) as server:
        dispatcher = make(on_delivery=records.append)
        dispatch(dispatcher, server.url, everyone)
        assert dispatcher.flush(20)
    assert dict(server.accepted) == {name: 1 for name in everyone if name not in poison}
    stats = dispatcher.stats()
    assert (stats.delivered, stats.dropped[reason], stats.retries) == (295, 5, stats.requests - 3)
    guilty = [record for record in records if record.outcome is Outcome.DROPPED]
    assert {(record.reason, record.events, record.status) for record in guilty} == {(reason, 1, status)}
    bodies = [json.loads(body) for record in guilty for body in record.bodies]
    assert sorted(visitor["visitor_id"] for body in bodies for visitor in body["visitors"]) == sorted(poison)


@pytest.mark.parametrize("answer", [500, None])
def test_an_event_that_breaks_the_endpoint_costs_only_itself(make: Maker, answer: int | None) -> None:
    everyone = names(100)
    with PickyServer(lambda visitors: answer if "v37" in visitors else 204) as server:
        dispatcher = make(delivery_timeout=60)
        dispatch(dispatcher, server.url, everyone)
        for step in range(200):  # others come and go meanwhile
            dispatch(dispatcher, server.url, [f"other{step}"])
            dispatcher.flush(0.05)
            if len(server.accepted) == 99 + step + 1:
                break
        wait_until(lambda: set(everyone) - set(server.accepted) == {"v37"}, 30)
        assert set(server.accepted.values()) == {1}
        assert dispatcher.stats().pending == 1


def test_what_concerns_the_address_splits_nothing_and_is_said_once(
    make: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    with PickyServer(lambda visitors: 404) as server:
        dispatcher = make()
        for _ in range(5):
            dispatch(dispatcher, server.url, names(100))
            assert dispatcher.flush(10)
        stats = dispatcher.stats()
    assert (stats.dropped["rejected"], stats.requests, stats.splits) == (500, 5, 0)
    wait_until(lambda: caplog.records)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "status 404, which concerns the address" in record.getMessage()
    assert PickyServer.__name__ not in record.getMessage()


def test_a_merged_request_that_is_too_large_for_the_endpoint_is_delivered_in_parts(make: Maker) -> None:
    everyone = names(200)
    with PickyServer(lambda visitors: 413 if len(visitors) > 30 else 204) as server:
        dispatcher = make()
        dispatch(dispatcher, server.url, everyone)
        assert dispatcher.flush(10)
    assert dict(server.accepted) == dict.fromkeys(everyone, 1)
    assert dispatcher.stats().splits == 6


# -- outages -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_outage_of_twenty_seconds_loses_nothing_and_ends_without_a_stampede(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    collector = Collector()
    with collector:
        url = collector.url
    with GeventEventDispatcher(buffer_events=50_000, buffer_bytes=64 * 1024 * 1024, proxy="") as dispatcher:
        dispatched = dispatch_steadily(dispatcher, url, seconds=20.0, per_second=500)
        stats = dispatcher.stats()
        assert (stats.delivered, stats.pending) == (0, dispatched)
        assert stats.requests < 100  # a few, and a probe now and then
        with collector:
            wait_until(lambda: dispatcher.stats().delivered == dispatched, 60)
            counts = collector.counts()
        assert_balanced(dispatcher.stats())
    assert (counts["unique"], counts["duplicated"]) == (dispatched, 0)
    assert counts["connections"] <= 10
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def dispatch_steadily(dispatcher: GeventEventDispatcher, url: str, seconds: float, per_second: int) -> int:
    started, dispatched = monotonic(), 0
    while monotonic() < started + seconds:
        due = int((monotonic() - started) * per_second)
        dispatch(dispatcher, url, names(due - dispatched))
        dispatched = due
        gevent.idle()
        gevent.get_hub().wait(gevent.get_hub().loop.timer(0.02))
    return dispatched


def test_an_origin_that_hangs_does_not_delay_another(make: Maker) -> None:
    with HostileServer(default="blackhole") as hanging, Collector() as well:
        dispatcher = make(batch_size=1, flush_interval=0, request_timeout=30, read_timeout=30)
        dispatch(dispatcher, hanging.url("v1/events"), names(100))
        wait_until(lambda: len(hanging.received) == 5)
        dispatch(dispatcher, well.url, names(50))
        wait_until(lambda: dispatcher.stats().delivered == 50)
        assert len(hanging.received) == 5


def test_an_origin_that_begins_to_hang_does_not_delay_another(make: Maker) -> None:
    with HostileServer() as changing, Collector() as well:
        dispatcher = make(batch_size=1, flush_interval=0, request_timeout=30, read_timeout=30)
        dispatch(dispatcher, well.url, ["first"])
        dispatch(dispatcher, changing.url("v1/events"), names(100))
        wait_until(lambda: dispatcher.stats().delivered == 101)
        dispatch(dispatcher, changing.url("blackhole"), names(100))
        wait_until(lambda: sum(each.behaviour == "blackhole" for each in changing.received) == 9)
        dispatch(dispatcher, well.url, names(50))
        wait_until(lambda: dispatcher.stats().delivered == 151)


def test_events_expire_behind_an_open_breaker(make: Maker) -> None:
    with refusing_port() as port:
        dispatcher = make(delivery_timeout=1.0, batch_size=10)
        dispatch(dispatcher, f"http://127.0.0.1:{port}/", names(500))
        wait_until(lambda: dispatcher.stats().dropped["expired"] == 500)
        assert dispatcher.stats().requests < 200


def test_what_expires_while_the_hook_waits_stays_within_the_bounds(make: Maker) -> None:
    go_on = gevent.event.Event()
    heard: list[Delivery] = []

    def hook(delivery: Delivery) -> None:
        heard.append(delivery)
        go_on.wait(60)

    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/"
        dispatcher = make(delivery_timeout=0.1, batch_size=1, pool_size=1, buffer_events=10, on_delivery=hook)

        def flood() -> bool:
            dispatch(dispatcher, url, names(10))
            return len(heard) > most or dispatcher.stats().dropped["buffer_full"] > 2_000

        most = 1 + 1  # of what one look found expired, and what the only sender holds
        wait_until(flood)
        assert len(heard) <= most
        assert dispatcher.stats().pending == 10
        go_on.set()
        wait_until(lambda: dispatcher.stats().pending == 0)
        wait_until(lambda: len(heard) == dispatcher.stats().dropped["expired"])


def test_close_makes_one_last_attempt_behind_an_open_breaker_and_in_spite_of_a_retry_after(make: Maker) -> None:
    with HostileServer(["retry_after/300"] * 5) as server:
        dispatcher = make(batch_size=1, flush_interval=0, backoff_max=30)
        dispatch(dispatcher, server.url("status/204"), names(8))
        wait_until(lambda: len(server.received) == 5)
        assert not dispatcher.flush(0.1)
        assert len(server.received) == 5
        assert dispatcher.close(10)
        assert dispatcher.stats().delivered == 8


# -- bounds ------------------------------------------------------------------------------------------------------------

_A_MILLION = """
from gevent import monkey
monkey.patch_all()
import gc, gevent, re, sys
from gevent_dispatcher import GeventEventDispatcher
from tests.events import LogEvent, params

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1))

event = LogEvent(sys.argv[1], params())
dispatcher = GeventEventDispatcher(proxy="", close_timeout=0)
peaks = []
for part in range(10):
    for number in range(100_000):
        dispatcher.dispatch_event(event)
        if number % 500 == 0:
            gevent.sleep(0)
    peaks.append(peak())
stats = dispatcher.stats()
assert stats.dispatched == 1_000_000 == stats.pending + sum(stats.dropped.values()), stats
assert stats.pending <= 10_000, stats
print(peaks[-1] - peaks[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmHWM is Linux's")
@pytest.mark.parametrize("behaviour", ["refused", "blackhole"])
def test_memory_stays_flat_when_a_million_events_meet_a_dead_endpoint(behaviour: str) -> None:
    with refusing_port() as port, HostileServer(default="blackhole") as hanging:
        url = f"http://127.0.0.1:{port}/" if behaviour == "refused" else hanging.url()
        grown = in_a_process(_A_MILLION, url)
    assert grown < 8_192  # KiB, where 900 000 events more would weigh a hundred times as much


def in_a_process(script: str, *arguments: str) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)
