"""The Lambda handler with events as they are recorded: what has not ended well comes again, and nothing else."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Sequence

import gevent
import pytest

from gevent_dispatcher import HttpTransport, aws_lambda
from gevent_dispatcher._consumer import EVENT_API
from gevent_dispatcher.aws_lambda import BatchFailed, Handler, make_handler
from gevent_dispatcher.aws_lambda._environment import settings_of
from gevent_dispatcher.aws_lambda._kept import KeptTransport
from gevent_dispatcher.aws_lambda._records import RecordQueue, records_of
from gevent_dispatcher.queues import LegacyFormat
from gevent_dispatcher.queues._message import Letter, decode
from tests.events import names, params, visitor
from tests.hostile import HostileProcess, HostileServer
from tests.hostile.ports import refusing_port
from tests.lambda_events import HELLO_WORLD, Context, event, failed, fifo, message, record
from tests.picky import Gate, PickyServer
from tests.sqs import Moto

ROOT = Path(__file__).resolve().parent.parent


def handler_for(url: str, **settings: Any) -> Handler:
    quick = {"backoff_base": 0.01, "backoff_max": 0.05, "proxy": "", "margin": 0.1}
    return make_handler(destinations=[url], **{**quick, **settings})


class Letters:
    """Dead letters in memory, in place of a queue that takes them; those of some reasons are not taken."""

    def __init__(self, refuses: str = "nothing") -> None:
        self.stored: list[Letter] = []
        self._refuses = refuses

    def send(self, letters: Sequence[Letter]) -> list[int]:
        """Keep them."""
        refused = [at for at, letter in enumerate(letters) if self._refuses in letter.reason]
        self.stored += [letter for at, letter in enumerate(letters) if at not in refused]
        return refused


class Hanging:
    """Dead letters that cannot be stored within any time."""

    def send(self, letters: Sequence[Letter]) -> list[int]:
        """Wait."""
        gevent.sleep(60)
        return []


def with_letters(url: str, letters: Any) -> Handler:
    quick = {"backoff_base": 0.01, "backoff_max": 0.05, "transport": HttpTransport(proxy="")}
    return Handler(False, 0.5, None, letters, [url], quick)


# -- what is delivered -------------------------------------------------------------------------------------------------


def test_what_is_delivered_is_not_named() -> None:
    with PickyServer(lambda visitors: 204) as server:
        batches = [names(5, f"b{number}-") for number in range(10)]
        answer = handler_for(server.url)(event(*[record(message(server.url, *batch)) for batch in batches]), Context())
        assert failed(answer) == []
        assert dict(server.accepted) == {name: 1 for batch in batches for name in batch}


def test_bodies_pass_as_they_are() -> None:
    with HostileServer() as server:
        text = message(server.url("v1/events"), "v") + " "
        assert failed(handler_for(server.url())(event(record(text)), Context())) == []
        assert server.bodies() == [decode(text).body]


def test_a_full_batch_is_delivered_quickly() -> None:
    with HostileServer() as server:
        records = [record(message(server.url("v1/events"), *names(54, f"b{number}-"))) for number in range(10)]
        handler = handler_for(server.url())
        handler(event(record(message(server.url("v1/events"), "first"))), Context())
        begun = process_time()
        assert failed(handler(event(*records), Context())) == []
        assert process_time() - begun < 0.3  # the endpoint's part included; some 20 ms
        assert len(server.received) == 11


def test_only_what_failed_comes_again_in_its_order() -> None:
    with PickyServer(lambda visitors: 503 if "bad" in visitors else 204) as server:
        records = [record(message(server.url, name), id=f"id-{at}") for at, name in enumerate(["a", "bad", "b", "bad"])]
        assert failed(handler_for(server.url)(event(*records), Context())) == ["id-1", "id-3"]
        assert dict(server.accepted) == {"a": 1, "b": 1}


def test_a_failure_that_passes_is_none() -> None:
    with HostileServer(["status/503", "reset_before"]) as server:
        assert failed(handler_for(server.url())(event(record(message(server.url("v1/events"), "v"))), Context())) == []
        assert len(server.received) == 3


def test_a_message_that_is_there_twice_is_sent_once() -> None:
    with PickyServer(lambda visitors: 204) as server:
        twice = record(message(server.url, "v"), id="twice")
        assert failed(handler_for(server.url)(event(twice, {**twice, "receiptHandle": "another"}), Context())) == []
        assert dict(server.accepted) == {"v": 1}


def test_an_id_with_two_bodies_has_ended_well_when_both_have() -> None:
    with PickyServer(lambda visitors: 503 if "bad" in visitors else 204) as server:
        records = [record(message(server.url, name), id="same") for name in ("good", "bad")]
        assert failed(handler_for(server.url)(event(*records), Context())) == ["same"]
        assert dict(server.accepted) == {"good": 1}


def test_messages_of_older_formats_are_delivered_where_account_and_project_are_known() -> None:
    made = visitor("alice")
    texts = [json.dumps({"alice": [made["attributes"], made["snapshots"][0]]}), json.dumps(params(visitor("bob")))]
    with PickyServer(lambda visitors: 204) as server:
        handler = handler_for(server.url, legacy=LegacyFormat("1", "2", url=server.url))
        assert failed(handler(event(*map(record, texts)), Context())) == []
        assert set(server.accepted) == {"alice", "bob"}


# -- what is not -------------------------------------------------------------------------------------------------------


def test_an_outage_returns_everything_soon() -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/v1/events"
        records = [record(message(url, name), id=name) for name in names(20)]
        begun = monotonic()
        assert failed(handler_for(url)(event(*records), Context(60))) == names(20)
        assert monotonic() - begun < 10


def test_an_endpoint_that_is_away_keeps_no_record_from_another() -> None:
    with HostileServer(default="delay/0.02") as server, refusing_port() as port:
        away = [record(message(f"http://127.0.0.1:{port}/v1/events", name), id=name) for name in names(10, "away")]
        well = [record(message(server.url("v1/events"), name), id=name) for name in names(20)]
        handler = make_handler(destinations=None, pool_size=2, backoff_base=0.01, proxy="", margin=0.1)
        begun = monotonic()
        assert failed(handler(event(*away, *well), Context(60))) == names(10, "away")
        assert len(server.received) == len(well)
        assert monotonic() - begun < 10


def test_an_endpoint_that_asks_for_minutes_is_not_waited_for() -> None:
    with HostileServer(default="retry_after/120") as server:
        begun = monotonic()
        records = event(record(message(server.url("v1/events"), "v"), id="asked"))
        assert failed(handler_for(server.url())(records, Context(60))) == ["asked"]
        assert monotonic() - begun < 10
        assert len(server.received) == 1


def test_at_the_deadline_what_hangs_is_returned_and_what_was_delivered_is_not() -> None:
    gate = Gate()
    with PickyServer(lambda visitors: gate.answer(visitors) if "slow" in visitors else 204) as server:
        records = [record(message(server.url, name), id=name) for name in ("slow", *names(4))]
        begun = monotonic()
        assert failed(handler_for(server.url, margin=0.5)(event(*records), Context(2.0))) == ["slow"]
        assert 0.5 < monotonic() - begun < 2.0
        gate.opened.set()
    assert set(server.accepted) == {*names(4), "slow"}  # the endpoint took it in the end: the uuid makes that harmless


def test_what_was_sent_before_the_deadline_may_still_be_answered() -> None:
    with HostileServer() as server:
        records = event(record(message(server.url("delay/1.9"), "v"), id="slow"))
        # Stopped after 1.8 s, and answered in the time that is kept for it.
        assert failed(handler_for(server.url(), margin=0)(records, Context(2.4))) == []
        assert len(server.received) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.55, -1.0])
def test_a_deadline_too_near_sends_nothing(seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    with HostileServer() as server:
        records = [record(message(server.url("v1/events"), name), id=name) for name in ("a", "b")]
        assert failed(handler_for(server.url())(event(*records), Context(seconds))) == ["a", "b"]
        assert server.received == []
    assert "nothing was sent" in caplog.text


def test_in_strict_mode_a_failure_raises_and_success_does_not() -> None:
    with PickyServer(lambda visitors: 503 if "bad" in visitors else 204) as server:
        handler = handler_for(server.url, strict=True)
        assert failed(handler(event(record(message(server.url, "good"))), Context())) == []
        with pytest.raises(BatchFailed, match="1 of 2 messages failed; in strict mode all of them come again"):
            handler(event(record(message(server.url, "good")), record(message(server.url, "bad"))), Context())
        with pytest.raises(BatchFailed, match="1 of 1"):
            handler(event(record(message(server.url, "good"))), Context(0))


# -- what can never be delivered ---------------------------------------------------------------------------------------


def poison(server_url: str, elsewhere: str) -> list[dict[str, Any]]:
    """One of each kind, and a good one."""
    return [
        record(message(server_url, "refused"), id="refused"),
        record(message(elsewhere, "foreign"), id="foreign"),
        record(message("http://169.254.169.254/latest/meta-data", "local"), id="link-local"),
        record("Hello from SQS!", id="text"),
        record('{"gevent_dispatcher":2}\n{}', id="version"),
        record(json.dumps(params()), id="older"),
        record(message(server_url, "good"), id="good"),
    ]


REASONS = {
    "refused": "rejected: status 400",
    "link-local": "not an allowed destination: http://169.254.169.254",
    "text": "it is neither a message of gevent_dispatcher's nor a JSON object",
    "version": "its version is not 1, the only one that is known here",
    "older": "it is in an older format: configure account_id and project_id",
}


def picky(visitors: list[str]) -> int:
    return 400 if {"refused", "r0", "r1"} & set(visitors) else 204


def test_without_dead_letters_it_is_returned_and_its_reason_said(caplog: pytest.LogCaptureFixture) -> None:
    with PickyServer(picky) as server, HostileServer() as elsewhere:
        records = poison(server.url, elsewhere.url("v1/events"))
        answer = handler_for(server.url)(event(*records), Context())
        assert failed(answer) == ["refused", "foreign", "link-local", "text", "version", "older"]
        assert dict(server.accepted) == {"good": 1}
        assert elsewhere.received == []
    for reason in REASONS.values():
        assert caplog.text.count(reason) == 1
    assert "Hello" not in caplog.text
    assert "dead letters" not in caplog.text


def test_dead_letters_get_it_as_it_came_with_its_reason() -> None:
    letters = Letters()
    with PickyServer(picky) as server, HostileServer() as elsewhere:
        records = poison(server.url, elsewhere.url("v1/events"))
        assert failed(with_letters(server.url, letters)(event(*records), Context())) == []
        assert (dict(server.accepted), elsewhere.received) == ({"good": 1}, [])
    kept = {letter.text: letter for letter in letters.stored}
    for each in records:
        if each["messageId"] in REASONS:
            assert kept[each["body"]] == (each["body"], REASONS[each["messageId"]], 1, 1, 1700000000.123)
    assert len(letters.stored) == 6


@pytest.mark.parametrize(("text", "returned", "said"), [("neither", "text", 1), ("rejected", "refused", 0)])
def test_what_the_dead_letters_do_not_take_is_returned_and_not_said_to_be_there(
    text: str, returned: str, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    with PickyServer(picky) as server:
        records = event(*[each for each in poison(server.url, server.url) if each["messageId"] in ("refused", "text")])
        assert failed(with_letters(server.url, Letters(text))(records, Context())) == [returned]
    assert caplog.text.count("1 events went to the dead letters: rejected") == said


@pytest.mark.parametrize("id", ["refused", "text"])
def test_dead_letters_that_hang_hold_nobody_beyond_the_deadline(id: str) -> None:
    with PickyServer(picky) as server:
        records = [each for each in poison(server.url, server.url) if each["messageId"] in (id, "good")]
        begun = monotonic()
        assert failed(with_letters(server.url, Hanging())(event(*records), Context(2.0))) == [id]
        assert monotonic() - begun < 2.0
        assert dict(server.accepted) == {"good": 1}


def test_of_a_message_that_is_delivered_in_part_only_the_rest_is_a_dead_letter() -> None:
    letters = Letters()
    with PickyServer(picky) as server:
        records = event(record(message(server.url, "a", "r0", "b", "r1"), id="mixed"))
        assert failed(with_letters(server.url, letters)(records, Context())) == []
        assert dict(server.accepted) == {"a": 1, "b": 1}
    bodies = [json.loads(decode(letter.text).body or b"") for letter in letters.stored]
    assert {each["visitor_id"] for body in bodies for each in body["visitors"]} == {"r0", "r1"}
    assert {letter.reason for letter in letters.stored} == {"rejected: status 400"}


@pytest.mark.parametrize("letters", [None, Letters("rejected")])
def test_without_them_such_a_message_is_returned_whole(letters: Letters | None) -> None:
    with PickyServer(picky) as server:
        handler = handler_for(server.url) if letters is None else with_letters(server.url, letters)
        assert failed(handler(event(record(message(server.url, "a", "r0", "b"), id="mixed")), Context())) == ["mixed"]


def test_what_is_left_of_a_message_at_the_deadline_is_returned_with_it() -> None:
    letters, blocked = Letters(), gevent.event.Event()

    def answer(visitors: list[str]) -> int:
        if visitors == ["slow"]:
            blocked.wait(30)
        return 400 if "slow" in visitors and len(visitors) > 1 else picky(visitors)

    with PickyServer(answer) as server:
        records = event(record(message(server.url, "slow", "a", "r0"), id="left"))
        assert failed(with_letters(server.url, letters)(records, Context(2.0))) == ["left"]
        blocked.set()
    assert letters.stored == []  # they come again with the rest, and would be there twice


# -- FIFO --------------------------------------------------------------------------------------------------------------


def test_of_a_group_nothing_is_sent_behind_a_failure() -> None:
    with PickyServer(lambda visitors: 503 if "bad" in visitors else 204) as server:
        sent = [("a", "a1"), ("b", "b1"), ("a", "bad"), ("b", "b2"), ("a", "a3"), ("a", "a4")]
        records = [fifo(message(server.url, name), group, name) for group, name in sent]
        assert failed(handler_for(server.url)(event(*records), Context())) == ["bad", "a3", "a4"]
        assert dict(server.accepted) == {"a1": 1, "b1": 1, "b2": 1}


def test_a_group_is_delivered_in_its_order_and_groups_side_by_side() -> None:
    with PickyServer(lambda visitors: 204) as server:
        order = [(group, f"{group}{number}") for number in range(8) for group in "abc"]
        records = [fifo(message(server.url, name), group, name) for group, name in order]
        assert failed(handler_for(server.url)(event(*records), Context())) == []
        accepted = [visitors[0] for _, visitors in server.requests]
        for group in "abc":
            assert [name for name in accepted if name[0] == group] == [f"{group}{number}" for number in range(8)]


@pytest.mark.parametrize("letters", [None, Letters()])
def test_poison_in_a_group_holds_it_up_unless_there_are_dead_letters(letters: Letters | None) -> None:
    with PickyServer(lambda visitors: 204) as server:
        handler = handler_for(server.url) if letters is None else with_letters(server.url, letters)
        records = [fifo("poison", "a", "poison"), fifo(message(server.url, "v"), "a", "behind")]
        assert failed(handler(event(*records), Context())) == (["poison", "behind"] if letters is None else [])
        assert dict(server.accepted) == ({} if letters is None else {"v": 1})


def test_a_group_on_a_standard_queue_has_no_order() -> None:
    with PickyServer(lambda visitors: 503 if "bad" in visitors else 204) as server:
        records = [record(message(server.url, name), id=name, MessageGroupId="fair") for name in ("bad", "good")]
        assert failed(handler_for(server.url)(event(*records), Context())) == ["bad"]
        assert dict(server.accepted) == {"good": 1}


# -- events of other shapes --------------------------------------------------------------------------------------------


def test_an_event_without_records_is_answered() -> None:
    assert handler_for("http://127.0.0.1:1")(event(), Context(0)) == {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        *((each, "the event has no list of Records") for each in (HELLO_WORLD, {}, None, [], "x", {"Records": None})),
        ({"Records": ["x"]}, "a record is not of aws:sqs but of unknown"),
        ({"Records": [{"eventSource": "aws:kinesis", "kinesis": {}}]}, "not of aws:sqs but of aws:kinesis"),
        ({"Records": [{"EventSource": "aws:sns", "Sns": {}}]}, "not of aws:sqs but of unknown"),
        ({"Records": [record("x"), {"eventSource": "aws:sqs", "body": "x"}]}, "a record has no messageId"),
        ({"Records": [{"eventSource": "aws:sqs", "messageId": "", "body": "x"}]}, "a record has no messageId"),
    ],
)
def test_an_event_that_is_not_of_sqs_raises_and_sends_nothing(other: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        handler_for("http://127.0.0.1:1")(other, Context())


def test_a_good_record_beside_one_of_another_source_is_not_sent() -> None:
    with HostileServer() as server:
        records = [record(message(server.url("v1/events"), "v")), {"eventSource": "aws:s3"}]
        with pytest.raises(ValueError, match="aws:s3"):
            handler_for(server.url())(event(*records), Context())
        assert server.received == []


@pytest.mark.parametrize("body", [None, 7, {"a": 1}, [], "", "\x00"])
def test_a_record_whose_body_is_no_message_is_returned_alone(body: Any) -> None:
    letters = Letters()
    with PickyServer(lambda visitors: 204) as server:
        records = event(record(body, id="odd"), record(message(server.url, "v"), id="good"))
        assert failed(handler_for(server.url)(records, Context())) == ["odd"]
        expected = [] if isinstance(body, str) and body else ["odd"]  # SQS takes no other text
        assert failed(with_letters(server.url, letters)(records, Context())) == expected


@pytest.mark.parametrize("attributes", [None, [], {"ApproximateReceiveCount": "many", "SentTimestamp": None}])
def test_attributes_that_are_missing_do_no_harm(attributes: Any) -> None:
    (read,) = records_of({"Records": [{**record("x"), "attributes": attributes}]})
    assert (read.received, read.sent_at, read.group) == (0, 0.0, None)


def test_what_is_read_of_a_record() -> None:
    (read,) = records_of(event(fifo("x", "shop", "id")))
    assert (read.id, read.body, read.group, read.received, read.sent_at) == ("id", "x", "shop", 1, 1700000000.123)


def test_a_queue_of_records_hands_each_over_once() -> None:
    text = message("https://a.example/v1/events", "v")
    queue = RecordQueue(records_of(event(*[record(text, id=each) for each in "abc"])))
    assert [each.receipt for each in queue.receive(2, 60)] == ["0", "1"]
    assert [each.receipt for each in queue.receive(2, 60)] == ["2"]
    assert queue.receive(2, 60) == []
    queue.ack(["1"])
    queue.release(["0"])
    assert queue.failures == ["a", "c"]


# -- from one invocation to the next -----------------------------------------------------------------------------------


def test_connections_are_kept_from_one_invocation_to_the_next() -> None:
    with HostileServer() as server:
        handler = handler_for(server.url())
        for name in names(3):
            assert failed(handler(event(record(message(server.url("v1/events"), name))), Context())) == []
        assert (server.connections, len(server.received)) == (1, 3)


@pytest.mark.parametrize("how", ["closed", "breaks when it is used"])
def test_a_kept_connection_that_died_meanwhile_costs_nothing(how: str) -> None:
    with HostileServer() as server:
        handler = handler_for(server.url())
        url = server.url("v1/events" if how != "closed" else "close_after")
        assert failed(handler(event(record(message(url, "first"))), Context())) == []
        server.doom()
        assert failed(handler(event(record(message(server.url("v1/events"), "second"))), Context())) == []
        assert [json.loads(body)["visitors"][0]["visitor_id"] for body in server.bodies()] == ["first", "second"]


def test_nothing_of_an_invocation_lives_on() -> None:
    with HostileProcess() as server, refusing_port() as port:
        away = f"http://127.0.0.1:{port}/v1/events"
        handler = make_handler(destinations=[server.url(), away], backoff_base=0.01, proxy="", margin=0.1)
        urls = [server.url("v1/events"), server.url("delay/5"), away]
        before = greenlets()
        assert len(failed(handler(event(*[record(message(url, "v")) for url in urls]), Context(1.5)))) == 2
        assert greenlets() - before == set()


def greenlets() -> set[Any]:
    gc.collect()
    return {each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead}


def in_a_process(code: str, url: str) -> Any:
    """What an unpatched process prints, as JSON; as Lambda's is, it is frozen between two invocations."""
    start = "import sys, time, json\nfrom tests.lambda_events import *\nURL = sys.argv[1]\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code, url],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=str(ROOT),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_in_an_unpatched_process_the_hub_runs_only_while_the_handler_waits() -> None:
    code = """
import gc, gevent, threading
from gevent import monkey
from gevent_dispatcher.aws_lambda import make_handler
handler = make_handler(destinations=[URL], proxy="", request_timeout=5, connect_timeout=0.4, read_timeout=0.4)
ran = []
def tick():
    while True:
        ran.append(1)
        gevent.sleep(0.001)
gevent.spawn(tick)
answers, before = [], []
for number in range(3):
    answers += failed(handler(event(record(message(URL, f"v{number}"), id=str(number))), Context(5)))
    at, cpu = len(ran), time.process_time()
    time.sleep(0.5)  # frozen; longer than each timeout, and longer than what is kept for a stop
    before.append((len(ran) - at, time.process_time() - cpu < 0.05))
others = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead]
patched = [name for name in ("socket", "ssl", "time", "threading", "select") if monkey.is_module_patched(name)]
print(json.dumps([answers, before, len(others), patched, len(ran) > 0, threading.active_count()]))
"""
    with HostileServer() as server:
        answers, frozen, alive, patched, ran, threads = in_a_process(code, server.url("delay/0.05"))
        assert (answers, frozen) == ([], [[0, True]] * 3)
        assert (alive, patched, ran, threads) == (1, [], True, 1)
        assert (len(server.received), server.connections) == (3, 1)


def test_time_that_passed_while_the_process_was_frozen_is_not_taken_from_an_invocation() -> None:
    code = """
import gevent
from gevent_dispatcher.aws_lambda import make_handler
handler = make_handler(destinations=[URL], proxy="", margin=0)
gevent.sleep(0.01)  # the application's: the hub takes it for the time at which this ended
time.sleep(3.0)  # an invocation is stopped 3.5 s after it began, and its answer takes 0.8 s
print(json.dumps(failed(handler(event(record(message(URL, "v"))), Context(4)))))
"""
    with HostileServer() as server:
        assert in_a_process(code, server.url("delay/0.8")) == []
        assert len(server.received) == 1


# -- dead letters in SQS -----------------------------------------------------------------------------------------------


SOME_POISON = """
from gevent_dispatcher.aws_lambda import make_handler
dead, url = URL.split()
handler = make_handler(dead_letter_url=dead, destinations=[url], proxy="")
answers = []
for number in range(2):
    records = [record(f"poison {number}", id="p"), record(message(url, "v"), id="v"), record(message("http://x/", "x"))]
    answers += failed(handler(event(*records), Context()))
print(json.dumps(answers))
"""


@pytest.mark.usefixtures("aws_region")
def test_dead_letters_go_to_a_queue_with_their_reasons(moto: Moto) -> None:
    dead = moto.queue()
    with HostileServer() as server:
        assert in_a_process(SOME_POISON, f"{dead} {server.url('v1/events')}") == []
        assert len(server.received) == 2
    letters = moto.texts(dead)
    reasons = sorted(each["MessageAttributes"]["Reason"]["StringValue"] for each in letters)
    assert reasons == [REASONS["text"]] * 2 + ["not an allowed destination: http://x"] * 2
    assert {"poison 0", "poison 1"} <= {each["Body"] for each in letters}


@pytest.mark.usefixtures("aws_region")
def test_what_a_queue_of_dead_letters_does_not_take_is_returned(moto: Moto, caplog: pytest.LogCaptureFixture) -> None:
    handler = make_handler(dead_letter_url=moto.queue() + "-that-is-not-there")
    assert failed(handler(event(record("poison", id="p")), Context())) == ["p"]
    assert "some dead letters were not stored" in caplog.text
    assert "poison" not in caplog.text


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"strict": "yes"}, ValueError, "strict='yes': must be True or False"),
        ({"margin": -1}, ValueError, "margin=-1: must be a number of seconds from 0 to 899"),
        ({"margin": float("nan")}, ValueError, "margin=nan: must be"),
        ({"margin": "1"}, ValueError, "margin='1': must be"),
        ({"pool_size": 0}, ValueError, "pool_size=0: must be a whole number of greenlets"),
        ({"backoff_base": 5}, ValueError, "backoff_max=2.0: must not be below backoff_base=5"),
        ({"destinations": ["nonsense"]}, ValueError, "destinations: the url's scheme is not http or https"),
        ({"transport": 3}, ValueError, "transport=3: must have open"),
        ({"connect_timeout": 0}, ValueError, "connect_timeout=0: must be"),
        ({"dead_letter_url": "nonsense"}, ValueError, "dead_letter_url: the url's scheme is not http or https"),
        (
            {"dead_letter_url": "https://sqs.us-east-1.amazonaws.com/123456789012/dead.fifo"},
            ValueError,
            r"dead_letter_url='https://sqs.us-east-1.amazonaws.com/123456789012/dead.fifo': is a FIFO queue",
        ),
        ({"lease": 60}, TypeError, "there is no setting 'lease'"),
        ({"pool_sise": 3}, TypeError, "did you mean 'pool_size'"),
        (
            {"legacy": LegacyFormat("1", "2", url="https://events.example/")},
            ValueError,
            "legacy: its url is at https://events.example, where requests may not go",
        ),
    ],
)
def test_a_wrong_setting_is_said_when_the_handler_is_made(settings: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        make_handler(**settings)


def test_the_environment_says_what_the_keywords_say() -> None:
    environ = {
        "GEVENT_DISPATCHER_ALLOW": "https://a.example, http://b.example:8080",
        "GEVENT_DISPATCHER_ACCOUNT_ID": "12001",
        "GEVENT_DISPATCHER_PROJECT_ID": "111001",
        "GEVENT_DISPATCHER_ANONYMIZE_IP": "False",
        "GEVENT_DISPATCHER_LEGACY_URL": "https://a.example/v1/events",
        "GEVENT_DISPATCHER_DEAD_LETTER_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
        "GEVENT_DISPATCHER_STRICT": "true",
        "GEVENT_DISPATCHER_MARGIN": "2.5",
        "GEVENT_DISPATCHER_POOL_SIZE": "20",
        "GEVENT_DISPATCHER_CONNECT_TIMEOUT": "1",
        "GEVENT_DISPATCHER_READ_TIMEOUT": "",
        "PATH": "/bin",
    }
    assert settings_of(environ) == {
        "destinations": [*EVENT_API, "https://a.example", "http://b.example:8080"],
        "legacy": LegacyFormat("12001", "111001", False, url="https://a.example/v1/events"),
        "dead_letter_url": "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
        "strict": True,
        "margin": 2.5,
        "pool_size": 20,
        "connect_timeout": 1.0,
    }
    assert settings_of({}) == {}


def test_the_off_switch_of_dispatchers_in_the_same_environment_is_none_of_its_variables() -> None:
    assert settings_of({"GEVENT_DISPATCHER_DISABLED": "1", "GEVENT_DISPATCHER_MARGIN": "2"}) == {"margin": 2.0}


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_a_variable_says_yes_or_no_in_the_off_switchs_words(word: str) -> None:
    opposite = {"1": "0", "true": "false", "YES": "No", "on": "OFF"}[word]
    assert settings_of({"GEVENT_DISPATCHER_STRICT": word}) == {"strict": True}
    assert settings_of({"GEVENT_DISPATCHER_STRICT": opposite}) == {"strict": False}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"STRICT": "maybe"}, "GEVENT_DISPATCHER_STRICT='maybe': must be true or false"),
        ({"MARGIN": "soon"}, "GEVENT_DISPATCHER_MARGIN='soon': must be a number of seconds"),
        ({"POOL_SIZE": "1.5"}, "GEVENT_DISPATCHER_POOL_SIZE='1.5': must be a whole number"),
        ({"STRIKT": "true"}, "no setting GEVENT_DISPATCHER_STRIKT; did you mean GEVENT_DISPATCHER_STRICT?"),
        ({"XYZ": "1"}, "no setting GEVENT_DISPATCHER_XYZ; there are ACCOUNT_ID, ALLOW"),
        (
            {"ACCOUNT_ID": "1"},
            "GEVENT_DISPATCHER_PROJECT_ID is not set: it is needed beside GEVENT_DISPATCHER_ACCOUNT_ID",
        ),
        (
            {"LEGACY_URL": "x"},
            "GEVENT_DISPATCHER_ACCOUNT_ID is not set: it is needed beside GEVENT_DISPATCHER_LEGACY_URL",
        ),
        ({"ACCOUNT_ID": "x", "PROJECT_ID": "1"}, "account_id='x': must be a string of 1 to 32 digits"),
    ],
)
def test_a_wrong_variable_is_said_by_its_name(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        settings_of({f"GEVENT_DISPATCHER_{name}": text for name, text in environ.items()})


def test_the_handler_is_made_when_lambda_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(aws_lambda), "handler", raising=False)
    monkeypatch.setenv("GEVENT_DISPATCHER_MARGIN", "1000")
    with pytest.raises(ValueError, match=r"margin=1000\.0: must be a number of seconds from 0 to 899"):
        _ = aws_lambda.handler
    monkeypatch.setenv("GEVENT_DISPATCHER_MARGIN", "3")
    assert repr(aws_lambda.handler) == "<Handler for SQS records, strict=False, margin=3>"
    assert aws_lambda.handler is aws_lambda.handler
    monkeypatch.delitem(vars(aws_lambda), "handler")
    with pytest.raises(AttributeError, match="has no attribute 'handle'"):
        _ = aws_lambda.handle


def test_importing_it_needs_no_botocore_and_no_urllib3() -> None:
    code = "import json, gevent_dispatcher.aws_lambda as a; h = a.handler\n"
    code += (
        "print(json.dumps([each for each in ('botocore', 'boto3', 'urllib3', 'optimizely') if each in sys.modules]))"
    )
    assert in_a_process("import sys\n" + code, "") == []


# -- what a consumer may ask of the records ----------------------------------------------------------------------------


def test_records_need_not_be_held_for_longer() -> None:
    assert RecordQueue([]).open().extend(["0"], 60.0) == []


def test_a_kept_transport_reads_like_the_one_that_it_keeps() -> None:
    assert repr(KeptTransport(HttpTransport())) == f"KeptTransport({HttpTransport()!r})"
