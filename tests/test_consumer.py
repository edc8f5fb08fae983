"""A consumer between a real queue and real endpoints: acknowledged after a 2xx and never before."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Callable, Iterator

import gevent
import pytest

from gevent_dispatcher import BreakerState, Consumer, Request
from gevent_dispatcher._event import Encoder, merge
from gevent_dispatcher.queues import OpenQueue, QueueUnavailable, SqliteQueue
from tests.events import log_event, names, visitor
from tests.hostile import HostileServer, refusing_port
from tests.picky import Gate, PickyServer
from tests.waiting import wait_until

Runner = Callable[..., Consumer]


@pytest.fixture
def recipe(tmp_path: Path) -> SqliteQueue:
    return SqliteQueue(tmp_path / "queue.db")


@pytest.fixture
def queue(recipe: SqliteQueue) -> Iterator[OpenQueue]:
    opened = recipe.open()
    yield opened
    opened.close()


@pytest.fixture
def run(recipe: SqliteQueue) -> Iterator[Runner]:
    """Run consumers that retry quickly, and see that the accounts of each are right at the end."""
    running: list[tuple[Consumer, Any]] = []

    def runner(url: str, **settings: Any) -> Consumer:
        quick = {"backoff_base": 0.01, "backoff_max": 0.05, "poll_interval": 0.02, "release_delay": 0, "proxy": ""}
        queue = settings.pop("queue", recipe)
        consumer = Consumer(queue, destinations=[url], **{**quick, **settings})
        running.append((consumer, gevent.spawn(consumer.run)))
        return consumer

    yield runner
    for consumer, greenlet in running:
        consumer.stop(1)
        greenlet.join(5)
        assert greenlet.successful(), greenlet.exception
        assert_balanced(consumer)
        assert consumer.stats().held == 0


def assert_balanced(consumer: Consumer) -> None:
    stats = consumer.stats()
    assert stats.received == stats.acked + stats.released + stats.dead + stats.held


def requests(url: str, *batches: list[str]) -> list[Request]:
    encoder = Encoder()
    encoded = [[encoder.encode(log_event(url, visitor(name))) for name in names] for names in batches]
    return [merge(batch[0][0], [each[1] for each in batch]) for batch in encoded]


def is_empty(queue: OpenQueue) -> bool:
    status = queue.status()
    return (status.waiting, status.delayed, status.leased) == (0, 0, 0)


def is_well(consumer: Consumer) -> bool:
    return all(each.state is BreakerState.CLOSED for each in consumer.health().origins)


def test_what_is_in_the_queue_is_delivered_and_acknowledged(queue: OpenQueue, run: Runner) -> None:
    with PickyServer(lambda visitors: 204) as server:
        batches = [names(5, f"b{number}-") for number in range(40)]
        queue.put(requests(server.url, *batches))
        consumer = run(server.url)
        wait_until(lambda: is_empty(queue))
        assert dict(server.accepted) == {name: 1 for batch in batches for name in batch}
        wait_until(lambda: consumer.stats().acked == 40)
        assert (consumer.stats().delivered_events, queue.status().dead) == (200, 0)


def test_bodies_pass_as_they_are(queue: OpenQueue, run: Runner) -> None:
    with HostileServer() as server:
        (request,) = requests(server.url("status/204"), names(3))
        queue.put([request._replace(body=(request.body or b"") + b" ")])
        run(server.url())
        wait_until(lambda: is_empty(queue))
        assert server.bodies() == [(request.body or b"") + b" "]


@pytest.mark.parametrize(("status", "reason"), [(400, "rejected: status 400"), (413, "too_large: status 413")])
def test_one_bad_event_is_buried_alone_with_its_reason(queue: OpenQueue, run: Runner, status: int, reason: str) -> None:
    with PickyServer(lambda visitors: status if "v7" in visitors else 204) as server:
        queue.put(requests(server.url, names(20), names(10, "w")))
        consumer = run(server.url)
        wait_until(lambda: queue.status().dead == 1 and is_empty(queue))
        assert set(server.accepted) == {*names(20), *names(10, "w")} - {"v7"}
        assert set(server.accepted.values()) == {1}
    (letter,) = queue.dead()
    assert letter.reason == reason
    assert letter.request is not None
    assert b'"v7"' in (letter.request.body or b"")
    wait_until(lambda: consumer.stats().dead == 1)
    assert consumer.stats().dead_events == 1


def test_poison_is_buried_and_its_addresses_are_not_called(queue: OpenQueue, run: Runner) -> None:
    with PickyServer(lambda visitors: 204) as server, HostileServer() as elsewhere:
        good = requests(server.url, *[[name] for name in names(50)])
        (foreign,) = requests(elsewhere.url("v1/events"), ["foreign"])
        (link_local,) = requests("http://169.254.169.254/latest/meta-data", ["metadata"])
        queue.put([*good[:20], foreign, *good[20:], link_local])
        run(server.url)
        wait_until(lambda: queue.status().dead == 2 and is_empty(queue))
        assert len(server.accepted) == 50
        assert elsewhere.received == []
        assert {letter.reason for letter in queue.dead()} == {
            f"not an allowed destination: {foreign.origin}",
            "not an allowed destination: http://169.254.169.254",
        }


def test_an_outage_sends_nothing_to_the_dead_letters(queue: OpenQueue, run: Runner) -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/v1/events"
        queue.put(requests(url, *[[name] for name in names(30)]))
        consumer = run(url)
        wait_until(lambda: consumer.stats().requests >= 10)
        assert consumer.stats().acked == 0
        consumer.stop(2)
        wait_until(lambda: consumer.stats().held == 0)
    status = queue.status()
    assert (status.waiting + status.delayed, status.leased, status.dead) == (30, 0, 0)
    assert consumer.stats().released == 30


def test_a_stop_finishes_what_is_under_way_and_gives_the_rest_back_at_once(queue: OpenQueue, run: Runner) -> None:
    gate = Gate()
    with PickyServer(gate.answer) as server:
        queue.put(requests(server.url, *[[name] for name in names(20)]))
        consumer = run(server.url, pool_size=4, release_delay=600)
        wait_until(lambda: gate.waiting == 2 and consumer.stats().held == 20)  # half, for an origin that is unproven
        consumer.stop(30)
        wait_until(lambda: consumer.stats().held == 2)
        assert queue.status().waiting == 18
        gate.opened.set()
        wait_until(lambda: consumer.stats().held == 0)
        assert (consumer.stats().acked, consumer.stats().released, consumer.stats().requests) == (2, 18, 2)
        assert set(server.accepted.values()) == {1}


def test_a_stop_does_not_wait_for_an_endpoint_that_is_away(queue: OpenQueue, run: Runner) -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/v1/events"
        queue.put(requests(url, *[[name] for name in names(30)]))
        consumer = run(url, backoff_base=20, backoff_max=30, release_delay=600)
        wait_until(lambda: consumer.stats().requests >= 5 and consumer.stats().held == 30)
        consumer.stop(60)
        wait_until(lambda: consumer.stats().held == 0)
        tried = consumer.stats().requests - consumer.stats().retries
        assert consumer.stats().released == 30
        assert (queue.status().waiting, queue.status().delayed) == (30 - tried, tried)


def test_what_is_under_way_is_finished_when_another_origin_rests(queue: OpenQueue, recipe: SqliteQueue) -> None:
    gate = Gate()
    with PickyServer(gate.answer) as server, refusing_port() as port:
        away = f"http://127.0.0.1:{port}/v1/events"
        queue.put(requests(server.url, ["slow"]))
        queue.put(requests(away, *[[name] for name in names(10)]))
        consumer = Consumer(recipe, destinations=[server.url, away], proxy="", backoff_base=0.01, poll_interval=0.02)
        running = gevent.spawn(consumer.run, until_empty=True)
        wait_until(lambda: gate.waiting == 1 and not is_well(consumer))
        gate.opened.set()
        running.get(timeout=10)
        assert dict(server.accepted) == {"slow": 1}
    assert (consumer.stats().acked, consumer.stats().released) == (1, 10)


def test_a_stop_may_be_given_more_time_than_the_setting_says(queue: OpenQueue, run: Runner) -> None:
    with HostileServer() as server:
        queue.put(requests(server.url("delay/0.5"), ["slow"]))
        consumer = run(server.url(), close_timeout=0.05)
        wait_until(lambda: consumer.stats().requests == 1)
        consumer.stop(20)
        wait_until(lambda: consumer.stats().held == 0)
        assert (consumer.stats().acked, consumer.stats().released) == (1, 0)


def test_what_is_left_of_a_message_comes_back_as_a_message_of_its_own(queue: OpenQueue, run: Runner) -> None:
    blocked = gevent.event.Event()

    def answer(visitors: list[str]) -> int:
        if "v0" in visitors and len(visitors) > 1:
            return 400
        if "v0" in visitors:
            blocked.wait(30)
        return 204

    with PickyServer(answer) as server:
        queue.put(requests(server.url, names(8)))
        consumer = run(server.url)
        wait_until(lambda: len(server.accepted) == 7)
        consumer.stop(1)
        wait_until(lambda: consumer.stats().held == 0)
        (message,) = queue.receive(10, 60)
        assert message.request.events == 1
        assert b'"v0"' in (message.request.body or b"")
        assert consumer.stats().released == 1
        blocked.set()


def test_a_lease_is_extended_while_a_message_is_held(queue: OpenQueue, run: Runner) -> None:
    blocked = gevent.event.Event()

    def answer(visitors: list[str]) -> int:
        blocked.wait(30)
        return 204

    with PickyServer(answer) as server:
        queue.put(requests(server.url, ["v"]))
        run(server.url, lease=1.0, request_timeout=60, read_timeout=60)
        wait_until(lambda: queue.status().leased == 1)
        first = wait_until(lambda: extended(queue, 1.5))
        assert first
        blocked.set()
        wait_until(lambda: is_empty(queue))
    assert server.accepted["v"] == 1


def extended(queue: OpenQueue, seconds: float) -> bool:
    """Whether a message of one second's lease is still held after so many."""
    return queue.status().leased == 1 and queue.status().oldest_age > seconds


class Moody:
    """A queue that is away for some calls."""

    def __init__(self, queue: OpenQueue, failures: int) -> None:
        self._queue = queue
        self._failures = failures

    def open(self) -> Moody:
        return self

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            if self._failures:
                self._failures -= 1
                raise QueueUnavailable("away")
            return getattr(self._queue, name)(*arguments)

        return call


def test_a_queue_that_is_away_is_asked_again_and_said_once(
    queue: OpenQueue, run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    with PickyServer(lambda visitors: 204) as server:
        queue.put(requests(server.url, *[[name] for name in names(5)]))
        run(server.url, queue=Moody(queue, 2))
        wait_until(lambda: is_empty(queue))
        assert dict(server.accepted) == dict.fromkeys(names(5), 1)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "cannot receive from the queue (QueueUnavailable: away); trying again"
    ]


class Forgetful:
    """A queue that cannot be told anything for a while.

    Args:
        queue: behind it.
        failures: how often it can be told nothing of each kind.
        kinds: of calls; all but `receive` when there are none.
    """

    def __init__(self, queue: OpenQueue, failures: int = 1, *kinds: str) -> None:
        self.asked: list[str] = []
        self._queue = queue
        self._failures = failures
        self._kinds = kinds

    def open(self) -> Forgetful:
        return self

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            if name in self._kinds or (name != "receive" and not self._kinds):
                self.asked.append(name)
                if self.asked.count(name) <= self._failures:
                    raise QueueUnavailable("away")
            return getattr(self._queue, name)(*arguments)

        return call


def test_what_a_queue_could_not_be_told_is_told_again(
    queue: OpenQueue, run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    with PickyServer(gate.answer) as server:
        queue.put(requests(server.url, ["v"]))
        forgetful = Forgetful(queue)
        run(server.url, queue=forgetful, lease=1)
        wait_until(lambda: forgetful.asked.count("extend") == 2)
        gate.opened.set()
        wait_until(lambda: is_empty(queue))
        assert dict(server.accepted) == {"v": 1}
    assert "the lease of 1 messages was not extended: away" in caplog.text
    assert "cannot settle with the queue (QueueUnavailable: away); trying again" in caplog.text


def test_a_lease_that_cannot_be_extended_again_and_again_is_said_once(
    queue: OpenQueue, run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    with PickyServer(gate.answer) as server:
        queue.put(requests(server.url, ["v"]))
        forgetful = Forgetful(queue, 100, "extend")
        run(server.url, queue=forgetful, lease=3)
        wait_until(lambda: forgetful.asked.count("extend") == 2)
        gate.opened.set()
        wait_until(lambda: is_empty(queue))
    assert caplog.text.count("the lease of 1 messages was not extended: away") == 1


def test_a_message_that_is_held_too_long_is_given_back(queue: OpenQueue, run: Runner) -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/v1/events"
        queue.put(requests(url, ["v"]))
        consumer = run(url, hold_timeout=1, release_delay=60)
        wait_until(lambda: consumer.stats().released == 1)
    status = queue.status()
    assert (status.delayed, status.leased, status.dead) == (1, 0, 0)


def test_what_fails_during_a_stop_when_its_time_is_up_is_not_received_again_at_once(
    queue: OpenQueue, run: Runner
) -> None:
    answer_now = gevent.event.Event()

    def answer(visitors: list[str]) -> int:
        answer_now.wait(30)
        return 503

    with PickyServer(answer) as server:
        queue.put(requests(server.url, ["v"]))
        consumer = run(server.url, hold_timeout=1, release_delay=600)
        wait_until(lambda: consumer.stats().requests == 1)
        consumer.stop(30)
        wait_until(lambda: extended(queue, 1.2))
        answer_now.set()
        wait_until(lambda: consumer.stats().released == 1)
    assert (queue.status().waiting, queue.status().delayed) == (0, 1)


def test_it_runs_until_the_queue_is_empty(queue: OpenQueue, recipe: SqliteQueue) -> None:
    with PickyServer(lambda visitors: 204) as server:
        queue.put(requests(server.url, *[[name] for name in names(25)]))
        consumer = Consumer(recipe, destinations=[server.url], proxy="", poll_interval=0.02)
        with gevent.Timeout(20):
            consumer.run(until_empty=True)
        assert len(server.accepted) == 25
    assert consumer.stats().acked == 25


def test_what_a_queue_should_not_raise_is_for_whoever_runs_the_consumer() -> None:
    class Broken:
        def open(self) -> Broken:
            return self

        def receive(self, most: int, lease: float) -> list[Any]:
            raise ZeroDivisionError("a mistake")

        def close(self) -> None:
            pass

    broken: Any = Broken()
    with gevent.Timeout(10), pytest.raises(ZeroDivisionError, match="a mistake"):
        Consumer(broken, proxy="").run()


class Mistaken:
    """A queue of which one call raises what none should raise; a recipe and an opened queue in one."""

    def __init__(self, queue: OpenQueue, call: str) -> None:
        self._queue = queue
        self._call = call

    def open(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._call else getattr(self._queue, name)

    def _fail(self, *_: object) -> None:
        raise ZeroDivisionError("a mistake")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("call", ["ack", "extend"])
def test_a_consumer_whose_queue_cannot_be_told_because_of_a_mistake_does_not_stand_still(
    queue: OpenQueue, call: str
) -> None:
    mistaken: Any = Mistaken(queue, call)
    with PickyServer(lambda visitors: 204 if call == "ack" else 503) as server:
        queue.put(requests(server.url, ["a"]))
        consumer = Consumer(mistaken, destinations=[server.url], proxy="", poll_interval=0.02, lease=1)
        with gevent.Timeout(20), pytest.raises(ZeroDivisionError, match="a mistake"):
            consumer.run()


def test_a_mistake_of_the_queue_while_the_consumer_stops_is_raised_at_once(queue: OpenQueue) -> None:
    mistaken: Any = Mistaken(queue, "ack")
    stopping: list[None] = []

    def stop(visitors: object) -> int:
        stopping.append(consumer.stop(60))
        return 204

    with PickyServer(stop) as server:
        queue.put(requests(server.url, ["a"]))
        consumer = Consumer(mistaken, destinations=[server.url], proxy="", poll_interval=0.02)
        with gevent.Timeout(20), pytest.raises(ZeroDivisionError, match="a mistake"):
            consumer.run()
    assert stopping


def test_until_empty_does_not_wait_for_ever_for_a_queue_that_is_away(queue: OpenQueue) -> None:
    consumer = Consumer(Moody(queue, 1_000), proxy="", poll_interval=0.02)
    with gevent.Timeout(20):
        consumer.run(until_empty=True)
    assert consumer.stats().received == 0


def test_until_empty_does_not_wait_for_what_an_endpoint_asked_for(queue: OpenQueue, recipe: SqliteQueue) -> None:
    with HostileServer() as server:
        queue.put(requests(server.url("retry_after/120"), names(3)))
        consumer = Consumer(recipe, destinations=[server.url()], proxy="", poll_interval=0.02)
        with gevent.Timeout(20):
            consumer.run(until_empty=True)
    assert (consumer.stats().released, consumer.stats().requests) == (1, 1)


def test_it_runs_once(recipe: SqliteQueue) -> None:
    consumer = Consumer(recipe, proxy="")
    consumer.run(until_empty=True)
    with pytest.raises(RuntimeError, match="runs once"):
        consumer.run()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lease": 0.5}, "lease=0.5: must be a number of seconds from 1.0 to 43200"),
        ({"destinations": ["nonsense"]}, "destinations: the url's scheme is not http or https"),
        ({"backoff_base": 2, "backoff_max": 1}, "backoff_max=1: must not be below"),
        ({"transport": object()}, "must have open"),
        ({"on_delivery": 3}, "on_delivery=3"),
    ],
)
def test_a_wrong_setting_is_said_at_once(recipe: SqliteQueue, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Consumer(recipe, **settings)


def test_an_unknown_setting_is_said_with_the_nearest(recipe: SqliteQueue) -> None:
    with pytest.raises(TypeError, match="did you mean 'lease'"):
        Consumer(recipe, leese=3)  # type: ignore[call-arg]  # what is tested
