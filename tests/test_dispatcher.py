"""The dispatcher in a patched process, on real sockets."""

from __future__ import annotations

import gc
import json
import logging
import weakref
from contextvars import ContextVar, copy_context
from time import monotonic
from typing import Any, Callable, Iterator

import gevent
import greenlet
import pytest
from gevent import monkey
from gevent.event import Event

import gevent_dispatcher
from gevent_dispatcher import Answer, Delivery, GeventEventDispatcher, Outcome, Request, Stats
from gevent_dispatcher._lane import Lane
from gevent_dispatcher.collector import Collector
from gevent_dispatcher.testing import NO_ANSWER, FakeTransport
from tests.dispatchers import Maker, assert_balanced, balance, dispatch, making
from tests.events import LogEvent, log_event, params, visitor
from tests.hostile import HostileServer, refusing_port
from tests.waiting import wait_until


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@pytest.fixture
def make() -> Iterator[Maker]:
    with making(backoff_base=0.001, backoff_max=0.01) as maker:
        yield maker


URL = "http://events.example/v1/events"


# -- the main job ------------------------------------------------------------------------------------------------------


def test_events_are_merged_and_delivered(collector: Collector, make: Maker) -> None:
    dispatcher = make()
    for _ in range(1_000):
        dispatcher.dispatch_event(log_event(collector.url))
    assert dispatcher.flush(10)
    assert collector.counts()["unique"] == 1_000
    assert collector.counts()["duplicated"] == 0
    stats = dispatcher.stats()
    assert (stats.dispatched, stats.delivered, stats.pending, stats.requests) == (1_000, 1_000, 0, 10)
    assert collector.counts()["connections"] <= 10


def test_an_event_goes_out_by_itself_when_its_linger_is_over(collector: Collector, make: Maker) -> None:
    dispatcher = make(flush_interval=0.05)
    dispatcher.dispatch_event(log_event(collector.url))
    wait_until(lambda: dispatcher.stats().delivered == 1)


def test_without_linger_an_event_goes_out_at_once(collector: Collector, make: Maker) -> None:
    dispatcher = make(flush_interval=0)
    dispatcher.dispatch_event(log_event(collector.url))
    dispatcher.dispatch_event(log_event(collector.url))
    wait_until(lambda: dispatcher.stats().delivered == 2)
    assert dispatcher.stats().requests == 1


def test_an_event_costs_the_same_whether_a_few_or_hundreds_of_origins_are_well(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    class Counted(Lane):
        __slots__ = ()

        @property
        def is_empty(self) -> bool:
            looks.append("whether it has anything")
            return super().is_empty

        def next_due(self, now: float, has_more: bool) -> float | None:
            looks.append("when it is due")
            return super().next_due(now, has_more)

    monkeypatch.setattr("gevent_dispatcher._lanes.Lane", Counted)
    dispatcher = make(flush_interval=0.01, transport=FakeTransport(before=lambda _: gevent.sleep(0.001)))
    for number in range(300):
        dispatcher.dispatch_event(log_event(f"http://{number}.example/v1/events"))
    wait_until(lambda: dispatcher.stats().delivered == 300)
    assert looks.count("when it is due") < 10_000  # 80 000, if all origins are looked at for each event
    assert looks.count("whether it has anything") < 50_000


def test_merging_can_be_turned_off(server: HostileServer, make: Maker) -> None:
    dispatcher = make(batch_size=1)
    payloads = [params() for _ in range(20)]
    for payload in payloads:
        dispatcher.dispatch_event(LogEvent(server.url("status/204"), payload))
    assert dispatcher.flush(10)
    assert sorted(map(json.dumps, payloads)) == sorted(json.dumps(json.loads(body)) for body in server.bodies())


def test_a_get_event_carries_its_params_in_the_query(server: HostileServer, make: Maker) -> None:
    dispatcher = make()
    dispatcher.dispatch_event(LogEvent(server.url("status/200"), {"a": "x y", "n": 1}, "GET", None))
    assert dispatcher.flush(10)
    (received,) = server.received
    assert (received.verb, received.target, received.body) == ("GET", "/status/200?a=x+y&n=1", b"")


def test_the_class_the_module_and_the_documented_form_share_one_default_dispatcher(collector: Collector) -> None:
    default = gevent_dispatcher.default_dispatcher()
    before = default.stats().delivered
    event = log_event(collector.url)
    GeventEventDispatcher.dispatch_event(event)
    GeventEventDispatcher.dispatchEvent("POST", collector.url, params())
    gevent_dispatcher.dispatch_event(log_event(collector.url))
    gevent_dispatcher.dispatchEvent("POST", collector.url, params())
    assert gevent_dispatcher.default_dispatcher() is default
    assert default.flush(10)
    assert default.stats().delivered == before + 4
    assert collector.counts()["unique"] == 4


def test_the_documented_form_works_on_an_instance(collector: Collector, make: Maker) -> None:
    dispatcher = make()
    dispatcher.dispatchEvent("POST", collector.url, params())
    assert dispatcher.flush(10)
    assert collector.counts()["unique"] == 1


def test_a_context_manager_delivers_what_it_was_given(collector: Collector) -> None:
    with GeventEventDispatcher() as dispatcher:
        dispatcher.dispatch_event(log_event(collector.url))
    assert collector.counts()["unique"] == 1
    assert_balanced(dispatcher.stats())


# -- the promise to the caller -----------------------------------------------------------------------------------------


class SwitchingHandler(logging.Handler):
    """A log handler that gives way to other greenlets, as one that writes to a socket does."""

    def emit(self, record: logging.LogRecord) -> None:
        gevent.sleep(0)


@pytest.fixture
def switching_log() -> Iterator[None]:
    logger, handler = logging.getLogger("gevent_dispatcher"), SwitchingHandler()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def switches_during(work: Callable[[], object]) -> int:
    """How often another greenlet gets its turn while something is done."""
    seen: list[Any] = []
    before = greenlet.settrace(lambda event, _: seen.append(event))
    try:
        work()
    finally:
        greenlet.settrace(before)
    return len(seen)


def hostile_events(url: str) -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    circle: dict[str, Any] = {}
    circle["visitors"] = [circle]
    return [
        None,
        object(),
        LogEvent(None, params()),
        LogEvent("ftp://h/", params()),
        LogEvent("http://", params()),
        LogEvent("http://a b/", params()),
        LogEvent(url, params(), "DELETE"),
        LogEvent(url, params(), ["POST"]),
        LogEvent(url, circle),
        LogEvent(url, nested),
        LogEvent(url, {"visitors": [{"v": float("nan")}]}),
        LogEvent(url, {"visitors": [{"v": float("-inf")}]}),
        LogEvent(url, {"visitors": [{"v": b"bytes"}]}),
        LogEvent(url, {"visitors": [{(1, 2): "key"}]}),
        LogEvent(url, params(), "POST", {"X-A": "b\r\nX-B: c"}),
        LogEvent(url, params(), "POST", {"X-A": 3}),
        LogEvent(url, params(), "POST", 3),
        LogEvent(url, {"v": float("nan")}, "GET"),
    ]


@pytest.mark.usefixtures("switching_log")
def test_dispatch_never_switches_whatever_it_is_given(collector: Collector, make: Maker) -> None:
    dispatcher = make(batch_size=3, buffer_events=50)
    good = [log_event(collector.url) for _ in range(200)]
    bad = hostile_events(collector.url)

    def dispatch_all() -> None:
        for event in [*good[:10], *bad, *good[10:], *bad]:
            dispatcher.dispatch_event(event)

    assert switches_during(dispatch_all) == 0
    stats = dispatcher.stats()
    assert stats.dropped["invalid"] == len(bad)  # the second time round, the buffer is full before they are looked at
    assert stats.dropped["buffer_full"] == 150 + len(bad)
    assert dispatcher.flush(10)
    assert collector.counts()["unique"] == dispatcher.stats().delivered == 50


def test_a_closed_dispatcher_counts_and_neither_switches_nor_raises(collector: Collector, make: Maker) -> None:
    dispatcher = make()
    dispatcher.dispatch_event(log_event(collector.url))
    assert dispatcher.close(10)
    assert switches_during(lambda: dispatcher.dispatch_event(log_event(collector.url))) == 0
    assert dispatcher.stats().dropped["closed"] == 1
    assert dispatcher.stats().delivered == 1


def test_bad_events_are_counted_and_their_neighbours_delivered(collector: Collector, make: Maker) -> None:
    dispatcher = make()
    bad = hostile_events(collector.url)
    for event in bad:
        dispatcher.dispatch_event(event)
        dispatcher.dispatch_event(log_event(collector.url))
    assert dispatcher.flush(10)
    assert dispatcher.stats().dropped["invalid"] == len(bad)
    assert collector.counts()["unique"] == len(bad)


def test_an_event_larger_than_the_api_takes_is_counted(collector: Collector, make: Maker) -> None:
    dispatcher = make()
    dispatcher.dispatch_event(log_event(collector.url, {"v": "x" * 3_600_000}))
    dispatcher.dispatch_event(log_event(collector.url, {**visitor(), "padding": "x" * 3_000_000}))
    assert dispatcher.flush(10)
    assert dispatcher.stats().dropped["too_large"] == 1
    assert collector.counts()["unique"] == 1


def test_invalid_events_are_said_once_with_the_reason_and_without_the_payload(
    make: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = make()
    for _ in range(3):
        dispatcher.dispatch_event(LogEvent(URL, {"visitors": [{"v": "payload-secret", "n": float("nan")}]}))
    wait_until(lambda: caplog.records)
    assert dispatcher.flush(1)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "3 events dropped as invalid" in record.getMessage()
    assert "NaN" in record.getMessage()
    assert "payload-secret" not in caplog.text


def test_a_payload_that_changes_after_dispatch_is_delivered_as_it_was(server: HostileServer, make: Maker) -> None:
    dispatcher = make()
    payload = params()
    before = json.dumps(payload)
    dispatcher.dispatch_event(LogEvent(server.url("status/204"), payload))
    payload["visitors"][0]["visitor_id"] = "changed"
    payload["revision"] = "changed"
    assert dispatcher.flush(10)
    assert json.dumps(json.loads(server.bodies()[0])) == before


def test_dispatch_from_a_callback_of_the_hub(collector: Collector, make: Maker) -> None:
    dispatcher = make(batch_size=1, pool_size=1)
    for _ in range(5):
        gevent.get_hub().loop.run_callback(dispatcher.dispatch_event, log_event(collector.url))
    wait_until(lambda: dispatcher.stats().delivered == 5)


def test_dispatch_from_native_threads_the_first_event_included(collector: Collector, make: Maker) -> None:
    dispatcher = make(flush_interval=0.02)
    events = [[log_event(collector.url) for _ in range(250)] for _ in range(4)]
    start_thread = monkey.get_original("_thread", "start_new_thread")

    def dispatch(mine: list[LogEvent]) -> None:
        for event in mine:
            dispatcher.dispatch_event(event)

    for mine in events:
        start_thread(dispatch, (mine,))
    wait_until(lambda: dispatcher.stats().delivered == 1_000)
    assert collector.counts()["unique"] == 1_000


def test_a_sender_does_not_keep_the_callers_context_alive(make: Maker) -> None:
    class Local:
        pass

    variable: ContextVar[Any] = ContextVar("variable")
    blocked = gevent.event.Event()
    dispatcher = make(flush_interval=0, transport=FakeTransport(before=lambda _: blocked.wait(10)))

    def request() -> weakref.ref[Local]:
        local = Local()
        variable.set(local)
        dispatcher.dispatch_event(log_event(URL))
        return weakref.ref(local)

    reference = copy_context().run(request)
    wait_until(lambda: dispatcher.stats().requests == 1)
    gc.collect()
    assert reference() is None
    blocked.set()
    assert dispatcher.flush(5)


# -- outcomes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_temporary_refusal_is_retried_with_identical_bytes(server: HostileServer, make: Maker, status: int) -> None:
    server.script.extend([f"status/{status}"] * 3)
    dispatcher = make()
    dispatcher.dispatch_event(log_event(server.url("status/204"), visitor(), visitor()))
    wait_until(lambda: dispatcher.flush(0.1))
    assert len(server.bodies()) == 4
    assert len(set(server.bodies())) == 1
    stats = dispatcher.stats()
    assert (stats.delivered, stats.requests, stats.retries) == (1, 4, 3)


@pytest.mark.parametrize("behaviour", ["reset_before", "close_before", "garbage", "reset_within"])
def test_a_broken_exchange_is_retried(server: HostileServer, make: Maker, behaviour: str) -> None:
    server.script.extend([behaviour] * 2)
    dispatcher = make()
    dispatcher.dispatch_event(log_event(server.url("status/204")))
    wait_until(lambda: dispatcher.flush(0.1))
    assert dispatcher.stats().delivered == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(301, "rejected"), (400, "rejected"), (401, "rejected"), (404, "rejected"), (413, "too_large")],
)
def test_a_permanent_refusal_is_counted(server: HostileServer, make: Maker, status: int, reason: str) -> None:
    dispatcher = make()
    dispatcher.dispatch_event(log_event(server.url(f"status/{status}")))
    assert dispatcher.flush(10)
    assert dispatcher.stats().dropped[reason] == 1
    assert len(server.received) == 1


def test_events_outlive_an_outage_of_the_endpoint(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    collector = Collector()
    with collector:
        url = collector.url
    dispatcher = make()
    for _ in range(250):
        dispatcher.dispatch_event(log_event(url))
    assert not dispatcher.flush(0.2)
    assert dispatcher.stats().pending == 250
    with collector:
        wait_until(lambda: dispatcher.flush(0.1))
        assert collector.counts()["unique"] == 250
        assert collector.counts()["duplicated"] == 0
    messages = [record.getMessage() for record in caplog.records]
    assert [("does not take events" in each, "takes events again" in each) for each in messages] == [
        (True, False),
        (False, True),
    ]


def test_what_cannot_be_delivered_expires(make: Maker) -> None:
    with refusing_port() as port:
        dispatcher = make(delivery_timeout=0.2)
        dispatcher.dispatch_event(log_event(f"http://127.0.0.1:{port}/"))
        wait_until(lambda: dispatcher.stats().dropped["expired"] == 1)
        assert dispatcher.stats().pending == 0


def test_a_wait_that_the_endpoint_asked_for_is_kept_by_flush(server: HostileServer, make: Maker) -> None:
    server.script.append("retry_after/60/503")
    dispatcher = make()
    dispatcher.dispatch_event(log_event(server.url("status/204")))
    assert not dispatcher.flush(0.3)
    assert len(server.received) == 1


def test_the_buffer_bounds_everything_pending_in_flight_included(make: Maker) -> None:
    released = gevent.event.Event()
    dispatcher = make(buffer_events=10, batch_size=2, transport=FakeTransport(before=lambda _: released.wait(10)))
    for _ in range(10):
        dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: dispatcher.stats().requests == 5)
    dispatcher.dispatch_event(log_event(URL))
    assert dispatcher.stats().dropped["buffer_full"] == 1
    released.set()
    assert dispatcher.flush(5)
    dispatcher.dispatch_event(log_event(URL))
    assert dispatcher.flush(5)
    assert dispatcher.stats().delivered == 11


def test_the_buffer_is_bounded_in_bytes(make: Maker) -> None:
    released = gevent.event.Event()
    dispatcher = make(buffer_bytes=10_000, transport=FakeTransport(before=lambda _: released.wait(10)))
    for _ in range(5):
        dispatcher.dispatch_event(log_event(URL, {"v": "x" * 3_000}))
    assert dispatcher.stats().dropped["buffer_full"] == 2
    released.set()


def test_never_more_senders_than_the_pool_has_and_one_pool_per_process(make: Maker) -> None:
    under_way: list[int] = []
    most: list[int] = []

    def wait(_: Request) -> None:
        under_way.append(1)
        most.append(len(under_way))
        gevent.sleep(0)
        under_way.pop()

    transport = FakeTransport(before=wait)
    dispatcher = make(batch_size=1, pool_size=3, transport=transport)
    for _ in range(50):
        dispatcher.dispatch_event(log_event(URL))
    assert dispatcher.flush(5)
    assert max(most) == 3
    assert transport.opened == 1


def test_a_transport_that_takes_its_time_to_open_is_opened_once(make: Maker) -> None:
    class Slow(FakeTransport):
        def open(self, connections: int) -> FakeTransport:
            gevent.sleep(0.01)
            return super().open(connections)

    transport = Slow()
    dispatcher = make(batch_size=1, transport=transport)
    for _ in range(20):
        dispatcher.dispatch_event(log_event(URL))
    assert dispatcher.flush(5)
    assert transport.opened == 1


def test_a_transport_that_raises_is_retried_and_said(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = make(transport=FakeTransport([RuntimeError("broken")]))
    dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: dispatcher.flush(0.1))
    assert dispatcher.stats().delivered == 1
    assert "the transport raised" in caplog.text


@pytest.mark.parametrize("raised", [greenlet.GreenletExit(), gevent.Timeout(1), MemoryError()])
def test_a_transport_that_always_raises_waits_and_expires_like_any_failure(make: Maker, raised: BaseException) -> None:
    transport = FakeTransport(default=raised)
    dispatcher = make(transport=transport, flush_interval=0, delivery_timeout=0.3, backoff_base=0.05, backoff_max=0.05)
    dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: dispatcher.stats().dropped["expired"] == 1)
    assert 1 < len(transport.requests) < 100


class Returning(FakeTransport):
    """One that returns once what no script can say."""

    def __init__(self, returned: Any) -> None:
        super().__init__()
        self._returned = [returned]

    def send(self, request: Request) -> Answer:
        answer = super().send(request)
        return self._returned.pop() if self._returned else answer


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "not NoneType"),
        (Answer("204"), "not one whose status is str"),  # type: ignore[arg-type]  # what is tested
        (Answer(503, 30), "not one whose retry_after is int"),  # type: ignore[arg-type]
        (Answer(error=OSError()), "not one whose error is OSError"),  # type: ignore[arg-type]
    ],
)
def test_a_transport_that_returns_no_answer_is_retried(
    make: Maker, caplog: pytest.LogCaptureFixture, returned: Any, said: str
) -> None:
    dispatcher = make(transport=Returning(returned))
    dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: dispatcher.flush(0.1))
    assert dispatcher.stats().delivered == 1
    assert f"returns an Answer, {said}" in caplog.text


def test_a_killed_sender_loses_nothing(make: Maker) -> None:
    dispatcher = make(transport=FakeTransport([greenlet.GreenletExit()]))
    dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: dispatcher.flush(0.1))
    assert dispatcher.stats().delivered == 1


class Stranger(BaseException):
    """None of ours, and none that anybody expects of a transport."""


def test_what_a_transport_must_not_raise_costs_no_event(make: Maker, capfd: pytest.CaptureFixture[str]) -> None:
    dispatcher = make(transport=FakeTransport([Stranger()]))
    dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: dispatcher.flush(0.1))
    assert dispatcher.stats().delivered == 1
    assert "Stranger" in capfd.readouterr().err  # gevent says so


class Closing:
    """An event that closes its dispatcher while it is being read."""

    url, http_verb, headers = URL, "POST", None

    def __init__(self, dispatcher: GeventEventDispatcher) -> None:
        self._dispatcher = dispatcher
        self._asked = 0

    @property
    def params(self) -> Any:
        self._asked += 1
        if self._asked > 1:  # the short way has been left
            self._dispatcher.close(5)
        return params()


def test_an_event_that_passed_the_door_before_the_end_is_counted(make: Maker) -> None:
    at_home, elsewhere = make(transport=FakeTransport()), make(transport=FakeTransport())
    for dispatcher in (at_home, elsewhere):
        dispatcher.dispatch_event(log_event(URL))
    at_home.dispatch_event(Closing(at_home))
    gevent.get_hub().threadpool.apply(elsewhere.dispatch_event, (Closing(elsewhere),))
    for dispatcher in (at_home, elsewhere):
        dispatcher.close(5)
        wait_until(lambda dispatcher=dispatcher: dispatcher.stats().dispatched == 2)  # type: ignore[misc]
        assert balance(dispatcher.stats()) == 0
        assert dispatcher.stats().pending == 0


# -- the hook ----------------------------------------------------------------------------------------------------------


def test_the_hook_gets_one_record_for_each_settled_request(make: Maker) -> None:
    records: list[Delivery] = []
    transport = FakeTransport([503, 204, 400])
    dispatcher = make(transport=transport, on_delivery=records.append, pool_size=1)
    dispatcher.dispatch_event(log_event(URL, visitor("a")))
    dispatcher.dispatch_event(log_event(URL, visitor("b")))
    assert not records
    wait_until(lambda: dispatcher.flush(0.1))
    dispatcher.dispatch_event(log_event(URL, visitor("c")))
    assert dispatcher.flush(5)
    delivered, rejected = records
    assert (delivered.outcome, delivered.reason, delivered.events) == (Outcome.DELIVERED, "", 2)
    assert (delivered.status, delivered.attempts, delivered.origin) == (204, 2, "http://events.example")
    assert 0 < delivered.seconds < 60
    assert (rejected.outcome, rejected.reason, rejected.status) == (Outcome.DROPPED, "rejected", 400)
    (body,) = rejected.bodies
    assert [each["visitor_id"] for each in json.loads(body)["visitors"]] == ["c"]
    assert json.loads(body)["account_id"] == "1"
    assert (rejected.verb, rejected.url) == ("POST", URL)
    assert "visitor_id" not in repr(rejected)
    assert URL not in repr(rejected)


def test_a_hook_that_raises_is_said_once_and_changes_nothing(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    def hook(_: Delivery) -> None:
        raise RuntimeError("hook")

    dispatcher = make(transport=FakeTransport(), on_delivery=hook, batch_size=1)
    for _ in range(3):
        dispatcher.dispatch_event(log_event(URL))
    assert dispatcher.flush(5)
    assert dispatcher.stats().delivered == 3
    assert caplog.text.count("on_delivery raised") == 1


@pytest.mark.parametrize("answers", [[NO_ANSWER] * 5, []])
def test_a_hook_that_waits_holds_its_own_sender_and_no_other(make: Maker, answers: list[Answer]) -> None:
    go_on = gevent.event.Event()
    transport = FakeTransport(answers, before=lambda _: gevent.sleep(0))
    dispatcher = make(transport=transport, on_delivery=lambda _: go_on.wait(60), batch_size=1, flush_interval=0)
    for _ in range(8):
        dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: dispatcher.stats().delivered == 8)
    go_on.set()


# -- flush and close ---------------------------------------------------------------------------------------------------


def test_flush_waits_for_what_was_dispatched_before_it_and_not_for_more(make: Maker) -> None:
    gates = [gevent.event.Event(), gevent.event.Event()]
    waiting = list(gates)
    dispatcher = make(transport=FakeTransport(before=lambda _: waiting.pop(0).wait(10)))
    dispatcher.dispatch_event(log_event(URL))
    flush = gevent.spawn(dispatcher.flush, 10)
    wait_until(lambda: dispatcher.stats().requests == 1)
    dispatcher.dispatch_event(log_event(URL))
    later = gevent.spawn(dispatcher.flush, 10)
    wait_until(lambda: dispatcher.stats().requests == 2)
    gates[0].set()
    flush.join(timeout=5)
    assert flush.ready()
    assert not later.ready()
    gates[1].set()
    assert later.get(timeout=5)


@pytest.mark.parametrize("how", ["flush", "close"])
def test_flush_and_close_keep_to_their_time_several_at_once_and_twice(make: Maker, how: str) -> None:
    blocked = gevent.event.Event()
    dispatcher = make(transport=FakeTransport(before=lambda _: blocked.wait(60)))
    dispatcher.dispatch_event(log_event(URL))
    started = monotonic()
    calls = [gevent.spawn(getattr(dispatcher, how), 0.2) for _ in range(3)]
    gevent.joinall(calls, timeout=10)
    assert [each.value for each in calls] == [False] * 3
    assert getattr(dispatcher, how)(0.2) is (how == "close")
    assert monotonic() - started < 5
    assert_balanced(dispatcher.stats())


def test_close_counts_what_it_could_not_send_and_says_so_in_one_line(
    make: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = gevent.event.Event()
    dispatcher = make(batch_size=2, transport=FakeTransport(before=lambda _: blocked.wait(60)))
    for _ in range(7):
        dispatcher.dispatch_event(log_event(URL))
    assert not dispatcher.close(0.1)
    assert dispatcher.stats().dropped["closed"] == 7
    assert [record.getMessage() for record in caplog.records] == ["7 events dropped as closed: not sent before the end"]


def test_close_in_a_callback_of_the_hub_goes_on_beside_it(make: Maker) -> None:
    gate = gevent.event.Event()
    dispatcher = make(transport=FakeTransport(before=lambda _: gate.wait(60)))
    answers: list[bool] = []
    dispatcher.dispatch_event(log_event(URL))
    gevent.get_hub().loop.run_callback(lambda: answers.append(dispatcher.close(10)))
    wait_until(lambda: answers)
    dispatcher.dispatch_event(log_event(URL))
    gate.set()
    wait_until(lambda: not dispatcher.stats().pending)
    assert answers == [False]
    assert (dispatcher.stats().delivered, dispatcher.stats().dropped["closed"]) == (1, 1)


@pytest.mark.parametrize("exit_", [SystemExit, greenlet.GreenletExit, KeyboardInterrupt])
def test_an_exit_raised_inside_close_comes_out_of_it_after_the_count(make: Maker, exit_: type[BaseException]) -> None:
    blocked = gevent.event.Event()
    dispatcher = make(transport=FakeTransport(before=lambda _: blocked.wait(60)))
    dispatcher.dispatch_event(log_event(URL))
    came_out: list[type[BaseException]] = []

    def close() -> None:
        try:
            dispatcher.close(60)
        except BaseException as error:  # what is tested
            came_out.append(type(error))

    closing = gevent.spawn(close)
    wait_until(lambda: dispatcher.stats().requests == 1)
    closing.kill(exit_, timeout=5)
    assert came_out == [exit_]
    assert dispatcher.stats().dropped["closed"] == 1


def test_a_hook_cannot_delay_or_spoil_the_accounts_at_the_end(make: Maker) -> None:
    told: list[Delivery] = []

    def hook(delivery: Delivery) -> None:
        told.append(delivery)
        gevent.sleep(0.01)
        raise RuntimeError("hook")

    blocked = gevent.event.Event()
    dispatcher = make(batch_size=1, on_delivery=hook, transport=FakeTransport(before=lambda _: blocked.wait(60)))
    for _ in range(5):
        dispatcher.dispatch_event(log_event(URL))
    assert not dispatcher.close(0.1)
    assert dispatcher.stats().dropped["closed"] == 5
    wait_until(lambda: len(told) == 5)
    assert {each.reason for each in told} == {"closed"}


def test_a_hook_may_wait_for_as_long_as_close_may(make: Maker) -> None:
    told: list[str] = []
    go_on = gevent.event.Event()

    def hook(delivery: Delivery) -> None:
        go_on.wait(60)
        told.append(delivery.outcome)

    dispatcher = make(batch_size=1, on_delivery=hook, transport=FakeTransport())
    for _ in range(3):
        dispatcher.dispatch_event(log_event(URL))
    closing = gevent.spawn(dispatcher.close, 60)
    wait_until(lambda: dispatcher.stats().delivered == 3)
    go_on.set()
    assert closing.get(timeout=5)
    assert told == [Outcome.DELIVERED] * 3


def test_a_hook_that_waits_for_ever_does_not_hold_close(make: Maker) -> None:
    never = gevent.event.Event()
    dispatcher = make(on_delivery=lambda _: never.wait(60), transport=FakeTransport())
    dispatcher.dispatch_event(log_event(URL))
    started = monotonic()
    assert dispatcher.close(0.1)
    assert monotonic() - started < 5
    wait_until(lambda: not senders())


def test_a_hook_may_close_the_dispatcher(make: Maker) -> None:
    closed: list[bool] = []
    dispatcher = make(batch_size=1, on_delivery=lambda _: closed.append(dispatcher.close(5)), transport=FakeTransport())
    for _ in range(3):
        dispatcher.dispatch_event(log_event(URL))
    wait_until(lambda: closed == [True] * 3)
    assert dispatcher.stats().delivered == 3
    wait_until(lambda: not senders())


def test_a_time_that_no_lock_can_wait_is_cut(collector: Collector, make: Maker) -> None:
    dispatcher = make()
    dispatcher.dispatch_event(log_event(collector.url))
    assert gevent.get_hub().threadpool.apply(dispatcher.flush, (float("inf"),))


def test_a_dispatcher_that_was_never_used_closes_and_flushes_at_once() -> None:
    dispatcher = GeventEventDispatcher()
    assert dispatcher.flush()
    assert dispatcher.stats() == Stats()
    assert dispatcher.close()
    dispatcher.dispatch_event(log_event(URL))
    assert dispatcher.stats().dropped["closed"] == 1
    assert_balanced(dispatcher.stats())


def test_flush_from_a_callback_of_the_hub_does_not_wait(collector: Collector, make: Maker) -> None:
    dispatcher = make()
    dispatcher.dispatch_event(log_event(collector.url))
    answers: list[bool] = []
    gevent.get_hub().loop.run_callback(lambda: answers.append(dispatcher.flush(10)))
    wait_until(lambda: answers)
    assert answers == [False]
    wait_until(lambda: dispatcher.stats().delivered == 1)


def test_flush_and_stats_from_a_native_thread(collector: Collector, make: Maker) -> None:
    dispatcher = make()

    def elsewhere() -> tuple[bool, Stats]:
        for _ in range(10):
            dispatcher.dispatch_event(log_event(collector.url))
        return dispatcher.flush(10), dispatcher.stats()

    flushed, stats = gevent.get_hub().threadpool.apply(elsewhere)
    assert flushed
    assert (stats.dispatched, stats.delivered) == (10, 10)


# -- nothing to do -----------------------------------------------------------------------------------------------------


def test_no_greenlet_lives_while_there_is_nothing_to_do(collector: Collector, make: Maker) -> None:
    dispatcher = make(flush_interval=0.01)
    dispatcher.dispatch_event(log_event(collector.url))
    wait_until(lambda: dispatcher.stats().delivered == 1)
    wait_until(lambda: not senders())


def senders() -> list[Any]:
    gc.collect()
    greenlets = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.ready()]
    return [each for each in greenlets if "_send_due" in repr(each)]


def test_a_dispatcher_that_is_let_go_still_delivers(collector: Collector) -> None:
    dispatcher = GeventEventDispatcher(flush_interval=0.05)
    dispatcher.dispatch_event(log_event(collector.url))
    del dispatcher
    gc.collect()
    wait_until(lambda: collector.counts()["unique"] == 1)


class Looked:
    """An event that knows how often its payload was looked at."""

    def __init__(self) -> None:
        self._event = log_event(URL)
        self.times = 0

    @property
    def params(self) -> Any:
        self.times += 1
        return self._event.params

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)


def test_an_event_of_another_thread_is_encoded_once_too(make: Maker) -> None:
    dispatcher = make(transport=FakeTransport())
    dispatcher.dispatch_event(log_event(URL))
    events = [Looked() for _ in range(3)]
    gevent.get_hub().threadpool.apply(lambda: [dispatcher.dispatch_event(event) for event in events])
    assert [event.times for event in events] == [1, 1, 1]
    assert dispatcher.flush(10)
    assert dispatcher.stats().delivered == 4


def test_the_invariant_holds_at_every_moment_that_a_greenlet_can_observe(make: Maker) -> None:
    transport = FakeTransport([204, 503, 400, NO_ANSWER] * 30, before=lambda _: gevent.sleep(0))
    dispatcher = make(batch_size=2, buffer_events=20, transport=transport)
    observed: list[int] = []

    def observe() -> None:
        while not done:
            observed.append(balance(dispatcher.stats()))
            gevent.sleep(0)

    done: list[bool] = []
    observer = gevent.spawn(observe)
    for number in range(300):
        dispatcher.dispatch_event(log_event(URL) if number % 7 else None)
        if number % 3 == 0:
            gevent.sleep(0)
    wait_until(lambda: dispatcher.flush(0.1))
    done.append(True)
    observer.join(timeout=5)
    assert len(observed) > 100
    assert set(observed) == {0}


class Stubborn:
    """A transport that lets nobody end it."""

    def open(self, connections: int) -> Stubborn:
        return self

    def send(self, request: Any) -> Answer:
        try:
            Event().wait()
        except BaseException:
            return Answer(204)
        raise AssertionError("nobody sets it")

    def close(self) -> None:
        pass


def test_what_a_transport_says_when_it_is_ended_changes_no_account(make: Maker) -> None:
    dispatcher = make(transport=Stubborn(), flush_interval=0)
    dispatch(dispatcher, "http://events.example/", ["v"])
    wait_until(lambda: dispatcher.stats().requests == 1)
    assert not dispatcher.close(0.1)
    assert (dispatcher.stats().delivered, dispatcher.stats().dropped["closed"]) == (0, 1)
