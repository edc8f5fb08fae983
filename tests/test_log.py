"""What operators read, and their machines: each record has a name and plain fields, and none has a payload."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path
from typing import Any, Iterator

import gevent
import pytest

import gevent_dispatcher
from gevent_dispatcher import (
    Consumer,
    Delivery,
    GeventEventDispatcher,
    QueueError,
    QueueTransport,
    Request,
    SqliteQueue,
)
from gevent_dispatcher._log import about
from gevent_dispatcher.collector import Collector
from gevent_dispatcher.testing import NO_ANSWER, FakeTransport
from tests.documents import first_cells
from tests.events import LogEvent, log_event, visitor
from tests.waiting import wait_until

PACKAGE = Path(gevent_dispatcher.__file__).parent
METHODS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
SECRET = "payload-secret"


class JsonLines(logging.Formatter):
    """What an application with structured logs has."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "gevent_dispatcher", None)
        return json.dumps({"level": record.levelname, "message": record.getMessage(), "fields": fields})


class Handler(logging.Handler):
    """Keeps each line as an operator's tools read it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(self.format(record))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.text]

    def fields(self, event: str) -> list[dict[str, Any]]:
        """The fields of the records of one name."""
        return [each["fields"] for each in self.lines if each["fields"]["event"] == event]

    def levels(self, event: str) -> set[str]:
        return {each["level"] for each in self.lines if each["fields"]["event"] == event}


@pytest.fixture
def log() -> Iterator[Handler]:
    logger, handler = logging.getLogger("gevent_dispatcher"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)
    assert SECRET not in "".join(handler.text)


def secret_event(url: str) -> LogEvent:
    return log_event(url + "?token=" + SECRET, {**visitor(), "attributes": [{"value": SECRET}]})


# -- a day in the life -------------------------------------------------------------------------------------------------


def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends(log: Handler) -> None:
    collector = Collector()
    with collector:
        url = collector.url
    with GeventEventDispatcher(backoff_base=0.01, backoff_max=0.05, flush_interval=0, proxy="") as dispatcher:
        for _ in range(10):
            dispatcher.dispatch_event(secret_event(url))
        wait_until(lambda: log.fields("origin_down"))
        with collector:
            wait_until(lambda: dispatcher.stats().delivered == 10)
        wait_until(lambda: log.fields("origin_up"))
    (down,), (up,) = log.fields("origin_down"), log.fields("origin_up")
    assert url.startswith(down["origin"])
    assert (down["status"], down["pending"], down["times"]) == (None, 10, 1)
    assert down["error"]
    assert up["seconds"] > 0
    assert up["pending"] < 10
    assert (log.levels("origin_down"), log.levels("origin_up")) == ({"WARNING"}, {"INFO"})
    assert len(log.lines) == 2


def test_who_empties_the_spool_does_not_say_the_same_outage_again(log: Handler, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    fill(path, 20)
    transport = FakeTransport(default=NO_ANSWER)
    with GeventEventDispatcher(
        transport=transport,
        spool=path,
        backoff_base=0.001,
        backoff_max=0.001,
        flush_interval=0,
        batch_size=1,
        close_timeout=0.5,
    ) as dispatcher:
        for _ in range(20):
            dispatcher.dispatch_event(secret_event("http://events.example/"))
        wait_until(lambda: transport.closed == 1)  # by the consumer
        wait_until(lambda: dispatcher.stats().requests >= 5)
    assert transport.opened == 2
    assert len(log.fields("origin_down")) == 1


def fill(path: Path, events: int) -> None:
    """Put events into a queue's file."""
    with GeventEventDispatcher(transport=QueueTransport(SqliteQueue(path)), batch_size=1) as dispatcher:
        for _ in range(events):
            dispatcher.dispatch_event(secret_event("http://events.example/"))
        assert dispatcher.flush(10)


def test_events_that_are_lost_are_an_error_with_reason_and_count(log: Handler) -> None:
    with Collector() as collector, Collector(status=400) as refusing:
        dispatcher = GeventEventDispatcher(flush_interval=60, delivery_timeout=0.2, proxy="")
        dispatcher.dispatch_event(secret_event("ftp://user:" + SECRET + "@x/"))
        dispatcher.dispatch_event(secret_event(refusing.url))
        dispatcher.dispatch_event(secret_event(collector.url))
        assert dispatcher.flush(10)
        collector.stop()
        dispatcher.dispatch_event(secret_event(collector.url))
        wait_until(lambda: dispatcher.stats().dropped["expired"] == 1)
        dispatcher.close(1)
        dispatcher.dispatch_event(secret_event(collector.url))
    reasons = {each["reason"]: each["events"] for each in log.fields("events_dropped")}
    assert reasons == {"invalid": 1, "rejected": 1, "expired": 1}
    assert log.levels("events_dropped") == {"ERROR"}


def test_what_is_left_at_the_end_is_said_once(log: Handler) -> None:
    never = gevent.event.Event()
    dispatcher = GeventEventDispatcher(transport=FakeTransport(before=lambda _: never.wait(60)), flush_interval=0)
    for _ in range(7):
        dispatcher.dispatch_event(secret_event("http://events.example/"))
    dispatcher.close(0.05)
    (left,) = log.fields("events_dropped")
    assert (left["reason"], left["events"]) == ("closed", 7)


def fails_often(log: Handler, event: str, **settings: Any) -> dict[str, Any]:
    """Have a dispatcher do the same thing wrong many times, and return the one record of it."""
    dispatcher = GeventEventDispatcher(
        flush_interval=0, batch_size=1, backoff_base=0.001, backoff_max=0.001, delivery_timeout=0.5, **settings
    )
    for _ in range(20):
        dispatcher.dispatch_event(secret_event("http://events.example/"))
    wait_until(lambda: dispatcher.stats().requests >= 20)
    dispatcher.close(0.2)
    (record,) = log.fields(event)
    assert log.levels(event) == {"ERROR"}
    return record


def said_at_the_end(log: Handler) -> dict[str, int]:
    """How often has happened again what was said before, by its name."""
    said = {each["what"]: each["times"] for each in log.fields("repeated")}
    assert len(said) == len(log.fields("repeated")), "each once"
    return said


def test_a_transport_that_always_raises_is_one_line(log: Handler) -> None:
    transport = FakeTransport(default=RuntimeError(SECRET))
    record = fails_often(log, "transport_raised", transport=transport)
    assert (record["error"], record["times"]) == ("RuntimeError", 1)
    assert said_at_the_end(log)["transport_raised: RuntimeError"] == len(transport.requests) - 1


def test_a_transport_that_never_returns_an_answer_is_one_line(log: Handler) -> None:
    class Talking(FakeTransport):
        def send(self, request: Request) -> Any:
            super().send(request)
            return SECRET

    transport = Talking()
    assert fails_often(log, "transport_no_answer", transport=transport)["returned"] == "str"
    assert said_at_the_end(log)["transport_no_answer: str"] == len(transport.requests) - 1


def test_a_hook_that_always_raises_is_one_line(log: Handler) -> None:
    def hook(delivery: Delivery) -> None:
        raise LookupError(SECRET)

    record = fails_often(log, "hook_raised", transport=FakeTransport(), on_delivery=hook)
    assert record["error"] == "LookupError"
    assert said_at_the_end(log) == {"hook_raised": 19}


def test_an_observer_that_raises_is_counted_to_the_end(log: Handler) -> None:
    class Nosy:
        told = 0

        def report(self, settled: Any) -> None:
            self.told += 1
            raise LookupError(SECRET)

    nosy, dispatcher = Nosy(), GeventEventDispatcher(transport=FakeTransport(), flush_interval=0)
    dispatcher.observe(nosy)
    dispatcher.dispatch_event(secret_event("http://events.example/"))
    wait_until(lambda: nosy.told)
    dispatcher.close(5)
    assert said_at_the_end(log) == {"observer_raised": nosy.told - 1}


def test_an_origin_that_fails_and_recovers_by_turns_is_counted_to_the_end(log: Handler) -> None:
    script = [*[503] * 5, 204] * 3
    dispatcher = GeventEventDispatcher(
        transport=FakeTransport(script), flush_interval=0, batch_size=1, backoff_base=0.001, backoff_max=0.001
    )
    for done in range(1, 4):
        dispatcher.dispatch_event(secret_event("http://events.example/"))
        wait_until(lambda done=done: dispatcher.stats().delivered == done)  # type: ignore[misc]  # a default that binds
    dispatcher.close(5)
    assert len(log.fields("origin_down")) == 1
    assert said_at_the_end(log) == {"origin_down: http://events.example": 2}


class Away:
    """A queue that is away, or not, from one call to the next."""

    def __init__(self, answers: Iterator[bool]) -> None:
        self.answers = answers
        self.asked = 0

    def open(self) -> Any:
        return self

    def receive(self, most: int, lease: float) -> list[Any]:
        self.asked += 1
        if next(self.answers):
            return []
        raise QueueError("no such disk")

    def put(self, requests: list[Request]) -> None:
        raise QueueError("no such disk")

    def close(self) -> None:
        pass


def test_a_queue_that_is_away_now_and_then_is_not_said_each_time(log: Handler) -> None:
    queue = Away(iter([False, False, True, *[False, True] * 50]))
    consumer: Any = Consumer(queue, poll_interval=0.01)
    running = gevent.spawn(consumer.run)
    wait_until(lambda: queue.asked >= 6)
    consumer.stop(0.1)
    running.join(5)
    assert log.fields("queue_away") == [
        {"event": "queue_away", "doing": "receive from", "error": "QueueError", "times": 1}
    ]
    assert log.fields("queue_back") == [{"event": "queue_back", "doing": "receive from"}]


def test_what_goes_to_the_dead_letters_is_said_with_the_reason(log: Handler, tmp_path: Path) -> None:
    fill(tmp_path / "queue.db", 20)
    queue = SqliteQueue(tmp_path / "queue.db")
    Consumer(queue, transport=FakeTransport(default=400), destinations=None, poll_interval=0.01).run(until_empty=True)
    (dead,) = log.fields("dead_letters")
    assert dead["why"] == "rejected: status 400"
    assert dead["events"] + said_at_the_end(log).get("dead_letters", 0) == 20


def test_a_spool_that_cannot_be_written_is_a_warning(log: Handler) -> None:
    never = gevent.event.Event()
    dispatcher = GeventEventDispatcher(
        transport=FakeTransport(before=lambda _: never.wait(60)),
        spool=Away(iter([])),
        buffer_events=8,
        batch_size=1,
    )
    for _ in range(8):
        dispatcher.dispatch_event(secret_event("http://events.example/"))
    wait_until(lambda: log.fields("spool_not_written"))
    dispatcher.close(0.1)
    assert len(log.fields("spool_not_written")) == 1
    assert said_at_the_end(log) == {"spool_not_written": 1}  # the last commit failed, too
    assert log.levels("spool_not_written") == {"WARNING"}


def test_the_fields_are_plain() -> None:
    record = logging.makeLogRecord(about("origin_down", origin="http://x", status=None))
    assert record.gevent_dispatcher == {"event": "origin_down", "origin": "http://x", "status": None}  # type: ignore[attr-defined]


# -- all of them, read from the code -----------------------------------------------------------------------------------


def log_calls() -> list[tuple[str, ast.Call]]:
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and is_log_call(node.func)
    ]


def is_log_call(function: ast.AST) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in METHODS:
        return False
    owner = ast.unparse(function.value) if hasattr(ast, "unparse") else ast.dump(function.value)
    return "logger" in owner and "_manager" not in owner  # the SDK's own polling says that with the SDK's logger


def test_each_record_has_a_name_and_fields() -> None:
    calls = log_calls()
    assert len(calls) > 15
    for where, call in calls:
        extra = [each.value for each in call.keywords if each.arg == "extra"]
        assert extra, f"{where} has no extra="
        assert isinstance(extra[0], ast.Call), f"{where}: extra=about(...)"
        assert getattr(extra[0].func, "id", "") == "about", f"{where}: extra=about(...)"


def named_in_code() -> set[str]:
    """The names of all events, as they are given to about()."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {node.args[0].value for node in calls if getattr(node.func, "id", "") == "about"}  # type: ignore[attr-defined]


def test_the_table_lists_every_name() -> None:
    assert first_cells("examples/OPERATING.md", "event") == named_in_code()


def test_there_is_one_logger() -> None:
    makers = [path for path in PACKAGE.rglob("*.py") if "getLogger" in path.read_text(encoding="utf-8")]
    assert [path.name for path in makers] == ["_log.py"]
