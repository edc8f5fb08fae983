"""The spool: what cannot be delivered now is stored, and delivered later by whoever comes."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import gevent
import pytest
from gevent.event import Event

from gevent_dispatcher import (
    Consumer,
    Delivery,
    GeventEventDispatcher,
    Outcome,
    QueueTransport,
    SqliteQueue,
    _spool,
)
from gevent_dispatcher.queues import QueueRefused, QueueUnavailable, QueueUnusable, Refusal
from tests.dispatchers import Maker, assert_balanced, dispatch, making
from tests.events import log_event, names, visitor
from tests.hostile import HostileServer, refusing_port
from tests.picky import PickyServer
from tests.waiting import wait_until


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    with making(1.0, spool=tmp_path / "spool.db") as maker:
        yield maker


class Mood:
    """Whether the endpoint takes events, and whose it refuses."""

    def __init__(self) -> None:
        self.is_well = True
        self.latency = 0.0
        self.refused = ""

    def answer(self, visitors: list[str]) -> int:
        gevent.sleep(self.latency)
        if self.refused in visitors:
            return 400
        return 204 if self.is_well else 503


@pytest.fixture
def mood() -> Mood:
    return Mood()


@pytest.fixture
def server(mood: Mood) -> Iterator[PickyServer]:
    with PickyServer(mood.answer) as running:
        yield running


def test_the_disk_is_not_touched_while_all_is_well(server: PickyServer, make: Maker, tmp_path: Path) -> None:
    dispatcher = make()
    dispatch(dispatcher, server.url, names(500))
    assert dispatcher.flush(10)
    assert dispatcher.close(5)
    assert list(tmp_path.iterdir()) == []


def test_an_outage_longer_than_the_buffer_loses_nothing(server: PickyServer, mood: Mood, make: Maker) -> None:
    mood.is_well = False
    dispatcher = make(buffer_events=400, batch_size=20)
    everyone = names(3_000)
    for start in range(0, 3_000, 100):
        dispatch(dispatcher, server.url, everyone[start : start + 100])
        wait_until(lambda: dispatcher.stats().pending < 300)
        assert_balanced(dispatcher.stats())
    stats = dispatcher.stats()
    assert stats.spooled >= 2_600
    assert not any(stats.dropped.values())
    mood.is_well = True
    wait_until(lambda: len(server.accepted) == 3_000, 30)
    assert set(server.accepted.values()) == {1}
    assert dispatcher.stats().delivered + dispatcher.stats().spooled == 3_000


def test_what_is_left_at_the_end_is_delivered_by_the_next(server: PickyServer, mood: Mood, make: Maker) -> None:
    mood.is_well = False
    first = make()
    dispatch(first, server.url, names(250))
    assert not first.close(1)
    assert (first.stats().spooled, first.stats().dropped["closed"]) == (250, 0)
    mood.is_well = True
    second = make()
    dispatch(second, server.url, ["one more"])
    wait_until(lambda: len(server.accepted) == 251)
    assert set(server.accepted.values()) == {1}


def test_what_expires_is_stored(server: PickyServer, mood: Mood, make: Maker) -> None:
    mood.is_well = False
    records: list[Delivery] = []
    dispatcher = make(delivery_timeout=0.3, on_delivery=records.append)
    dispatch(dispatcher, server.url, names(30))
    wait_until(lambda: dispatcher.stats().spooled == 30)
    assert dispatcher.stats().dropped["expired"] == 0
    wait_until(lambda: sum(each.events for each in records if each.outcome is Outcome.SPOOLED) == 30)


def test_one_bad_event_in_the_spool_buries_no_other(
    server: PickyServer, mood: Mood, make: Maker, tmp_path: Path
) -> None:
    mood.is_well = False
    dispatcher = make()
    dispatch(dispatcher, server.url, names(40))
    dispatcher.close(1)
    mood.is_well, mood.refused = True, "v7"
    second = make()
    dispatch(second, server.url, ["more"])
    wait_until(lambda: len(server.accepted) == 40)
    assert set(server.accepted) == {*names(40), "more"} - {"v7"}
    queue = SqliteQueue(tmp_path / "spool.db").open()
    wait_until(lambda: queue.status().dead == 1)
    queue.close()


@pytest.mark.parametrize("trouble", ["directory", "foreign", "missing"])
def test_a_spool_that_cannot_be_used_costs_what_it_would_have_saved(
    mood: Mood, server: PickyServer, make: Maker, tmp_path: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = {"directory": tmp_path, "foreign": tmp_path / "notes.txt", "missing": tmp_path / "no" / "spool.db"}[trouble]
    if trouble == "foreign":
        place.write_text("these are notes of somebody else's, and there are enough of them to look like a file" * 20)
        before = place.read_bytes()
    mood.is_well = False
    dispatcher = make(spool=place)
    dispatch(dispatcher, server.url, names(50))
    assert not dispatcher.close(2)
    assert dispatcher.stats().dropped["closed"] == 50
    assert "cannot spool 50 events" in caplog.text
    if trouble == "foreign":
        assert place.read_bytes() == before


def test_a_full_spool_is_said_and_what_does_not_fit_is_counted(
    server: PickyServer, mood: Mood, make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mood.is_well = False
    dispatcher = make(spool=SqliteQueue(tmp_path / "spool.db", max_bytes=1_000_000), buffer_events=2_000)
    padded = {"padding": "x" * 1_000}
    for number in range(4_000):
        dispatcher.dispatch_event(log_event(server.url, {**visitor(f"v{number}"), **padded}))
        if number % 100 == 0:
            gevent.sleep(0)
    dispatcher.close(1)
    stats = dispatcher.stats()
    assert stats.spooled > 100
    assert stats.spooled + stats.dropped["buffer_full"] + stats.dropped["closed"] == 4_000
    assert "QueueFull" in caplog.text


def test_two_dispatchers_share_one_spool(server: PickyServer, mood: Mood, make: Maker) -> None:
    mood.is_well = False
    both = [make(), make()]
    for number, dispatcher in enumerate(both):
        dispatch(dispatcher, server.url, names(200, f"d{number}-"))
    for dispatcher in both:
        dispatcher.close(1)
    mood.is_well = True
    again = [make(), make()]
    for dispatcher in again:
        dispatch(dispatcher, server.url, names(1, f"again{id(dispatcher)}-"))
    wait_until(lambda: len(server.accepted) == 402)
    assert set(server.accepted.values()) == {1}


def test_each_batch_on_disk_first(server: PickyServer, make: Maker, tmp_path: Path) -> None:
    recipe = SqliteQueue(tmp_path / "queue.db")
    dispatcher = make(transport=QueueTransport(recipe), spool=None)
    dispatch(dispatcher, server.url, names(500))
    assert dispatcher.flush(10)
    assert dispatcher.stats().delivered == 500
    assert not server.accepted
    consumer = Consumer(recipe, destinations=[server.url], proxy="", poll_interval=0.02)
    with gevent.Timeout(20):
        consumer.run(until_empty=True)
    assert dict(server.accepted) == dict.fromkeys(names(500), 1)
    assert server.requests[0][1] == names(100)


def test_a_queue_that_is_away_is_not_hammered(make: Maker, tmp_path: Path) -> None:
    queue = SqliteQueue(tmp_path / "no" / "queue.db")
    dispatcher = make(transport=QueueTransport(queue), spool=None, backoff_base=0.5, backoff_max=30, batch_size=1)
    dispatch(dispatcher, "http://events.example/", names(100))
    dispatcher.flush(1)
    stats = dispatcher.stats()
    assert (stats.delivered, stats.pending) == (0, 100)
    assert stats.requests < 40


def test_in_flight_at_the_end_is_stored_not_lost(make: Maker) -> None:
    with HostileServer(default="blackhole") as server:
        dispatcher = make(batch_size=1, flush_interval=0)
        dispatch(dispatcher, server.url("v1/events"), names(20))
        wait_until(lambda: len(server.received) == 5)
        dispatcher.close(2)
        assert (dispatcher.stats().spooled, dispatcher.stats().dropped["closed"]) == (20, 0)


def test_what_meets_a_full_buffer_all_the_same_is_counted(make: Maker) -> None:
    with refusing_port() as port:
        dispatcher = make(buffer_events=50)
        dispatch(dispatcher, f"http://127.0.0.1:{port}/", names(200))
        assert dispatcher.stats().dropped["buffer_full"] == 150
        dispatcher.close(1)
        assert dispatcher.stats().spooled == 50


@pytest.mark.parametrize("spool", ["", 3, object(), b"bytes"])
def test_what_is_no_spool_is_said_at_once(spool: Any) -> None:
    with pytest.raises(ValueError, match="spool="):
        GeventEventDispatcher(spool=spool)


def test_making_one_touches_nothing(tmp_path: Path) -> None:
    dispatcher = GeventEventDispatcher(spool=tmp_path / "spool.db")
    assert dispatcher.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_payload_is_said(
    server: PickyServer, mood: Mood, make: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gevent_dispatcher")
    mood.is_well = False
    dispatcher = make()
    dispatch(dispatcher, server.url, ["secret"])
    wait_until(lambda: "does not take events" in caplog.text)
    dispatcher.close(2)
    assert dispatcher.stats().spooled == 1
    assert "secret" not in caplog.text


_FORKS_WHILE_IT_READS = """
from gevent import monkey
monkey.patch_all()
import os, sys
from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event, visitor
from tests.waiting import wait_until

url, spool = sys.argv[1:]
dispatcher = GeventEventDispatcher(proxy="", spool=spool, flush_interval=0)
dispatcher.dispatch_event(log_event(url, visitor("parent")))
wait_until(lambda: dispatcher.stats().delivered == 1)
pid = os.fork()
dispatcher.dispatch_event(log_event(url, visitor("after in the parent" if pid else "in the child")))
assert dispatcher.close(20)
assert dispatcher.stats().delivered == (2 if pid else 1), dispatcher.stats()
if not pid:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_fork_while_the_spool_is_delivered_doubles_nothing(mood: Mood, server: PickyServer, tmp_path: Path) -> None:
    mood.is_well = False
    first = GeventEventDispatcher(proxy="", spool=tmp_path / "spool.db", batch_size=5)
    dispatch(first, server.url, names(100))
    first.close(2)
    mood.is_well = True
    mood.latency = 0.05
    script = [sys.executable, "-c", _FORKS_WHILE_IT_READS, server.url, str(tmp_path / "spool.db")]
    ran = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    everyone = [*names(100), "parent", "after in the parent", "in the child"]
    delivered_later = GeventEventDispatcher(proxy="", spool=tmp_path / "spool.db", batch_size=5)
    dispatch(delivered_later, server.url, ["later"])
    wait_until(lambda: len(server.accepted) == len(everyone) + 1)
    delivered_later.close(5)
    assert dict(server.accepted) == dict.fromkeys([*everyone, "later"], 1)


_FORKS = """
from gevent import monkey
monkey.patch_all()
import os, sys
import gevent
from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event, visitor
from tests.test_spool import Own
from tests.waiting import wait_until

class Opening(Own):
    "Is opened slowly, as a disk that has to wake up is."

    def __init__(self):
        super().__init__()
        self.gate = gevent.event.Event()
        self.is_opening = False

    def open(self):
        self.is_opening, pid = True, os.getpid()
        self.gate.wait()
        assert pid == os.getpid(), "what the parent had begun goes on in its child"
        return self

def dispatch(name):
    dispatcher.dispatch_event(log_event(url, visitor(name)))

url, moment, path = sys.argv[1:]
spool = Opening() if moment == "opening" else path
dispatcher = GeventEventDispatcher(proxy="", spool=spool, flush_interval=0)
dispatch("before")
wait_until(lambda: dispatcher.stats().delivered == 1 and (moment == "idle" or spool.is_opening))
pid = os.fork()
if moment == "opening":
    spool.gate.set()
dispatch("parent" if pid else "child")
assert dispatcher.close(20)
assert dispatcher.stats().delivered == (2 if pid else 1), dispatcher.stats()
if not pid:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.parametrize("moment", ["idle", "opening"])
def test_a_fork_beside_a_spool_costs_neither_process_an_event(server: PickyServer, moment: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FORKS, server.url, moment, str(tmp_path / "spool.db")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert dict(server.accepted) == {"before": 1, "parent": 1, "child": 1}


# -- a spool that is a queue of the user's own -------------------------------------------------------------------------


class Own:
    """Takes everything; a recipe and an opened queue in one."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def open(self) -> Own:
        return self

    def put(self, requests: Sequence[Any]) -> None:
        self.requests += requests

    def receive(self, most: int, lease: float) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class Choosy(Own):
    def put(self, requests: Sequence[Any]) -> None:
        self.requests += requests[1:]
        raise QueueRefused({0: Refusal(413, "it is too large here")})


def test_what_a_spool_refuses_is_counted_with_why(make: Maker) -> None:
    told: list[Delivery] = []
    with refusing_port() as port:
        dispatcher = make(spool=Choosy(), batch_size=1, on_delivery=told.append)
        dispatch(dispatcher, f"http://127.0.0.1:{port}/", names(3))
        dispatcher.close(1)
    stats = dispatcher.stats()
    assert (stats.spooled, stats.dropped["too_large"]) == (2, 1)
    wait_until(lambda: len(told) == 3)
    assert [(each.reason, each.status) for each in told if each.reason] == [("too_large", 413)]


class Away(Own):
    def put(self, requests: Sequence[Any]) -> None:
        raise QueueUnavailable("away")


def test_what_expires_while_the_spool_is_away_is_dropped_without_asking_it(make: Maker) -> None:
    with refusing_port() as port:
        dispatcher = make(spool=Away(), delivery_timeout=0.1)
        for number in (1, 2):
            dispatch(dispatcher, f"http://127.0.0.1:{port}/", ["v"])
            wait_until(lambda number=number: dispatcher.stats().dropped["expired"] == number)  # type: ignore[misc]


class Slow(Own):
    """Takes its time, for as long as the gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()
        self.calls = 0

    def put(self, requests: Sequence[Any]) -> None:
        self.calls += 1
        self.gate.wait()
        super().put(requests)


class LookedAt(Own):
    """Seems empty; a first look takes as long as the gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()
        self.looks = 0

    def receive(self, most: int, lease: float) -> list[Any]:
        self.looks += 1
        self.gate.wait()
        return []


def test_what_is_put_while_a_look_ends_is_looked_for_again(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spool, "_INTERVAL", 0.01)
    spool = LookedAt()
    with refusing_port() as port:
        dispatcher = make(spool=spool, buffer_events=4, batch_size=1)
        dispatch(dispatcher, f"http://127.0.0.1:{port}/", names(1))
        wait_until(lambda: spool.looks)
        dispatch(dispatcher, f"http://127.0.0.1:{port}/", names(3))
        wait_until(lambda: spool.requests)
        assert spool.looks == 1
        spool.gate.set()
        wait_until(lambda: spool.looks > 1)


class Stuck:
    """A transport that sends nothing before the end, and hears of the end then.

    Args:
        at_the_end: called some time after the senders were stopped, for each that sent.
    """

    def __init__(self, at_the_end: Callable[[], object]) -> None:
        self._at_the_end = at_the_end

    def open(self, connections: int) -> Stuck:
        return self

    def send(self, request: Any) -> Any:
        try:
            Event().wait()
        finally:
            gevent.spawn_later(0.05, self._at_the_end)

    def close(self) -> None:
        pass


def test_what_is_being_stored_at_the_end_is_waited_for(make: Maker) -> None:
    slow = Slow()
    dispatcher = make(spool=slow, transport=Stuck(slow.gate.set), buffer_events=10, batch_size=1)
    dispatch(dispatcher, "http://events.example/", names(9))
    dispatcher.close(2)
    assert dispatcher.stats().spooled == len(slow.requests) == 9


class SlowDisk(Own):
    """Writes a megabyte in half a second."""

    def put(self, requests: Sequence[Any]) -> None:
        gevent.sleep(sum(len(each.body) for each in requests) / 2e6)
        super().put(requests)


def test_a_slow_disk_keeps_what_it_was_given_in_time(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    disk = SlowDisk()
    with refusing_port() as port:
        dispatcher = make(spool=disk, batch_size=1)
        for number in range(40):
            dispatcher.dispatch_event(
                log_event(f"http://127.0.0.1:{port}/", {**visitor(f"v{number}"), "padding": "x" * 100_000})
            )
        assert not dispatcher.close(2)
    stats = dispatcher.stats()
    assert len(disk.requests) == stats.spooled >= 5
    assert stats.spooled + stats.dropped["closed"] == 40
    assert f"cannot spool {stats.dropped['closed']} events (QueueUnavailable: the time to close was over" in caplog.text


def test_what_hangs_while_it_is_stored_is_stored_by_another_try_at_the_end(make: Maker) -> None:
    class Hanging(Slow):
        def put(self, requests: Sequence[Any]) -> None:
            if self.calls:
                self.gate.set()
            super().put(requests)

    hanging = Hanging()
    dispatcher = make(spool=hanging, transport=Stuck(lambda: None), buffer_events=10, batch_size=1)
    dispatch(dispatcher, "http://events.example/", names(9))
    wait_until(lambda: hanging.calls)
    dispatcher.close(1)
    assert dispatcher.stats().spooled == len(hanging.requests) == 9


class Unreadable(Own):
    asked = 0

    def receive(self, most: int, lease: float) -> list[Any]:
        self.asked += 1
        raise QueueUnusable("of somebody else")


def test_a_spool_that_cannot_be_read_is_said_once(
    server: PickyServer, make: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_spool, "_INTERVAL", 0.01)
    unreadable = Unreadable()
    dispatcher = make(spool=unreadable, flush_interval=0)

    def asked_again() -> bool:
        dispatch(dispatcher, server.url, ["v"])
        return unreadable.asked >= 3

    wait_until(asked_again)
    assert caplog.text.count("cannot read the spool (QueueUnusable: of somebody else)") == 1
