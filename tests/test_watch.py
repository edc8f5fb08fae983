"""Observers: told soon, of everything, beside the work; and nothing runs while there is nothing to tell."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, Sequence

import gevent
import pytest

from gevent_dispatcher import (
    BreakerState,
    Consumer,
    GeventEventDispatcher,
    Health,
    Outcome,
    Settled,
    SqliteQueue,
    Stats,
)
from gevent_dispatcher._event import Encoder, merge
from gevent_dispatcher.collector import Collector
from tests.events import LogEvent, log_event, visitor
from tests.hostile import refusing_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent


class Recorder:
    """An observer that keeps what it is told, and what it sees then."""

    def __init__(self, dispatcher: GeventEventDispatcher, wait: float = 0.0) -> None:
        self.seen: list[Stats] = []
        self.settled: list[Settled] = []
        self.callers: set[Any] = set()
        self._dispatcher = dispatcher
        self._wait = wait
        dispatcher.observe(self)

    def report(self, settled: Sequence[Settled]) -> None:
        self.seen.append(self._dispatcher.stats())
        self.settled.extend(settled)
        self.callers.add(gevent.getcurrent())
        if self._wait:
            gevent.sleep(self._wait)

    @property
    def last(self) -> Stats:
        return self.seen[-1] if self.seen else Stats()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def away() -> Iterator[str]:
    """Where nobody answers."""
    with refusing_port() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def dispatcher() -> Iterator[GeventEventDispatcher]:
    made = GeventEventDispatcher(proxy="", flush_interval=0.01, backoff_base=0.001, backoff_max=0.01, batch_size=10)
    yield made
    made.close(0.1)


def reporters() -> int:
    """Greenlets that tell observers."""
    living = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead]
    return sum("Watch._report" in repr(each) for each in living)


def test_what_was_delivered_is_told_with_each_settled_request(
    collector: Collector, dispatcher: GeventEventDispatcher
) -> None:
    recorder = Recorder(dispatcher)
    for _ in range(25):
        dispatcher.dispatch_event(log_event(collector.url))
    wait_until(lambda: recorder.last.delivered == 25)
    assert recorder.last == dispatcher.stats()
    assert sorted(each.events for each in recorder.settled) == [5, 10, 10]
    assert {each.outcome for each in recorder.settled} == {Outcome.DELIVERED}
    assert all(0 < each.seconds < 10 for each in recorder.settled)


def test_what_is_pending_is_told_too_and_nothing_runs_once_it_has_ended(
    collector: Collector, dispatcher: GeventEventDispatcher
) -> None:
    wait_until(lambda: reporters() == 0)  # those of other tests
    collector.change(latency=0.1)
    recorder = Recorder(dispatcher)
    dispatcher.dispatch_event(log_event(collector.url))
    assert recorder.seen == []
    wait_until(lambda: recorder.last.pending == 1)
    assert reporters() == 1
    wait_until(lambda: recorder.last.delivered == 1)
    wait_until(lambda: reporters() == 0)


def test_nobody_is_told_in_the_greenlet_that_dispatches(
    collector: Collector, dispatcher: GeventEventDispatcher
) -> None:
    recorder = Recorder(dispatcher)
    for params in ({"visitors": float("nan")}, {}, {"visitors": [visitor()]}):
        dispatcher.dispatch_event(LogEvent(collector.url, params))
    wait_until(lambda: recorder.last.dispatched == 3)
    assert gevent.getcurrent() not in recorder.callers
    assert gevent.get_hub() not in recorder.callers


def test_drops_at_the_door_are_told_though_no_sender_runs(dispatcher: GeventEventDispatcher) -> None:
    recorder = Recorder(dispatcher)
    for number in range(1, 4):
        dispatcher.dispatch_event(LogEvent("nonsense", {}))
        wait_until(lambda number=number: recorder.last.dropped["invalid"] == number)  # type: ignore[misc]
        wait_until(lambda: reporters() == 0)
    assert recorder.settled == []


def test_drops_after_close_are_told(collector: Collector, dispatcher: GeventEventDispatcher) -> None:
    recorder = Recorder(dispatcher)
    dispatcher.dispatch_event(log_event(collector.url))
    dispatcher.close()
    assert recorder.last.delivered == 1
    dispatcher.dispatch_event(log_event(collector.url))
    wait_until(lambda: recorder.last.dropped["closed"] == 1)


def test_what_the_off_switch_stops_is_told_at_the_end(collector: Collector) -> None:
    dispatcher = GeventEventDispatcher(enabled=False)
    recorder = Recorder(dispatcher)
    dispatcher.dispatch_event(log_event(collector.url))
    assert dispatcher.health() == Health()
    dispatcher.close()
    assert recorder.last.dropped["disabled"] == 1


def test_what_is_left_at_the_end_is_told_before_close_returns(away: str) -> None:
    dispatcher = GeventEventDispatcher(proxy="", flush_interval=0, backoff_max=60, backoff_base=60)
    recorder = Recorder(dispatcher)
    for _ in range(3):
        dispatcher.dispatch_event(log_event(away + "/v1/events"))
    assert not dispatcher.close(0.05)
    assert recorder.last.dropped["closed"] == 3
    assert [(each.outcome, each.events) for each in recorder.settled] == [(Outcome.DROPPED, 3)]


def test_news_that_come_while_an_observer_takes_its_time_are_told_afterwards(dispatcher: GeventEventDispatcher) -> None:
    recorder = Recorder(dispatcher, wait=0.05)
    dispatcher.dispatch_event(LogEvent("nonsense", {}))
    wait_until(lambda: recorder.seen)
    dispatcher.dispatch_event(LogEvent("nonsense", {}))
    wait_until(lambda: recorder.last.dropped["invalid"] == 2)


def test_an_observer_that_comes_later_is_told_of_what_was_before(
    collector: Collector, dispatcher: GeventEventDispatcher
) -> None:
    dispatcher.dispatch_event(log_event(collector.url))
    assert dispatcher.flush(5)
    recorder = Recorder(dispatcher)
    wait_until(lambda: recorder.last.delivered == 1)


def test_an_observer_that_raises_is_logged_now_and_then_and_changes_nothing(
    collector: Collector, dispatcher: GeventEventDispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def report(self, settled: Sequence[Settled]) -> None:
            raise RuntimeError(secret)

    secret = "visitor-1".upper()

    dispatcher.observe(Broken())
    recorder = Recorder(dispatcher)
    with caplog.at_level(logging.INFO, "gevent_dispatcher"):
        for number in range(1, 4):
            dispatcher.dispatch_event(log_event(collector.url))
            wait_until(lambda number=number: recorder.last.delivered == number)  # type: ignore[misc]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "an observer raised" in caplog.text
    assert secret not in caplog.text


def test_a_signal_handler_that_closes_in_the_midst_of_a_report_does_not_begin_another(
    collector: Collector, dispatcher: GeventEventDispatcher
) -> None:
    class Interrupted(Recorder):
        depth = deepest = 0

        def report(self, settled: Sequence[Settled]) -> None:
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
            super().report(settled)
            if len(self.seen) == 1:
                os.kill(os.getpid(), signal.SIGUSR1)
                wait_until(lambda: handled)
            self.depth -= 1

    handled: list[bool] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(dispatcher.close(5)))
    try:
        recorder = Interrupted(dispatcher)
        for _ in range(3):
            dispatcher.dispatch_event(log_event(collector.url))
        wait_until(lambda: recorder.last.delivered == 3)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [True]
    assert recorder.deepest == 1


def test_health_is_what_is_pending_and_how_origins_answer(
    collector: Collector, dispatcher: GeventEventDispatcher, away: str
) -> None:
    assert dispatcher.health() == Health()
    dispatcher.dispatch_event(log_event(collector.url))
    event = log_event(away + "/v1/events?secret=1")
    dispatcher.dispatch_event(event)
    wait_until(lambda: dispatcher.stats().requests >= 8)
    health = dispatcher.health()
    origins = {each.origin: each for each in health.origins}
    assert health.pending_events == dispatcher.stats().pending == 1
    assert (health.buffer_events, health.buffer_bytes) == (10_000, 32 * 1024 * 1024)
    assert health.pending_bytes == Encoder().encode(event)[3]
    assert set(origins) == {collector.base_url, away}
    assert (origins[collector.base_url].state, origins[collector.base_url].failures) == (BreakerState.CLOSED, 0)
    assert origins[away].state in (BreakerState.OPEN, BreakerState.HALF_OPEN)
    assert origins[away].failures >= 5


def test_health_can_be_asked_for_in_a_native_thread(collector: Collector, dispatcher: GeventEventDispatcher) -> None:
    collector.change(latency=0.2)
    dispatcher.dispatch_event(log_event(collector.url))
    health = gevent.get_hub().threadpool.apply(dispatcher.health)
    assert health.pending_events == 1


def test_a_consumer_is_observed_to_its_end(collector: Collector, tmp_path: Path) -> None:
    recipe = SqliteQueue(tmp_path / "queue.db")
    opened = recipe.open()
    encoded = [Encoder().encode(log_event(collector.url)) for _ in range(7)]
    opened.put([merge(each[0], [each[1]]) for each in encoded])
    opened.close()
    consumer = Consumer(recipe, destinations=[collector.url], proxy="")
    seen: list[int] = []
    settled: list[Settled] = []

    class Acked:
        def report(self, ended: Sequence[Settled]) -> None:
            seen.append(consumer.stats().acked)
            settled.extend(ended)

    consumer.observe(Acked())
    consumer.run(until_empty=True)
    assert seen[-1] == 7
    assert sum(each.events for each in settled) == 7
    assert [each.state for each in consumer.health().origins] == [BreakerState.CLOSED]
    wait_until(lambda: reporters() == 0)


PROGRAM = """
import sys
if sys.argv[2] == "patched":
    from gevent import monkey
    monkey.patch_all()
import os, atexit
from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event

class Printer:
    last, settled, pid = "", 0, 0
    def report(self, settled):
        self.settled = sum(each.events for each in settled) + (self.settled if self.pid == os.getpid() else 0)
        self.pid, stats = os.getpid(), dispatcher.stats()
        self.last = f"{stats.dispatched} {stats.delivered} {stats.pending} {self.settled}"

printer = Printer()
dispatcher = GeventEventDispatcher(proxy="", flush_interval=0.2)
dispatcher.observe(printer)
atexit.register(lambda: print(name, printer.last, flush=True))
name = "parent"

def dispatch(times):
    for _ in range(times):
        dispatcher.dispatch_event(log_event(sys.argv[1]))
"""


def run(program: str, url: str, patched: str) -> list[str]:
    # Python 3.12 and later warn of any fork beside a thread, which an unpatched process has.
    warnings = ["-W", "ignore:This process:DeprecationWarning"]
    command = [sys.executable, *warnings, "-c", PROGRAM + program, url, patched]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, universal_newlines=True
    ) as child:
        return sorted(child.communicate(timeout=30)[0].splitlines())


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_the_last_report_of_a_process_knows_how_everything_ended(collector: Collector, patched: str) -> None:
    assert run("dispatch(5)", collector.url, patched) == ["parent 5 5 0 5"]


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_each_process_of_a_fork_tells_of_its_own(collector: Collector, patched: str) -> None:
    fork = """
dispatch(3)
dispatcher.flush(10)  # the parent is being told when it forks
dispatch(2)
if os.fork():
    os.wait()
else:
    name = "child"
    dispatch(2)
"""
    assert run(fork, collector.url, patched) == ["child 2 2 0 2", "parent 5 5 0 5"]
    assert collector.counts()["unique"] == 7
    assert collector.counts()["duplicated"] == 0
