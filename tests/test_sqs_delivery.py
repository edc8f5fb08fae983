"""Events by way of SQS: from dispatchers into a queue, and from a queue to endpoints."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any, Callable, Iterator

import gevent
import pytest
from gevent.event import Event as Signal

from gevent_dispatcher import Consumer, GeventEventDispatcher, QueueTransport
from gevent_dispatcher.queues._message import decode, encode, size_of
from gevent_dispatcher.queues.sqs import SqsQueue
from tests.commands import request
from tests.events import log_event, visitor
from tests.hostile import HostileServer, refusing_port
from tests.picky import Gate, PickyServer
from tests.sqs import REGION, Moto, Recording, client_error, failing
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("aws_credentials")

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"
EVENTS = "https://events.example/v1/events"
# Of two calls at once, the server may give the same message to both: SQS may do so, too, but is not counted on here.
ONE_POLL = 1

Runner = Callable[..., Consumer]


def assert_whole(dispatcher: GeventEventDispatcher) -> None:
    stats = dispatcher.stats()
    assert stats.dispatched == stats.delivered + stats.spooled + sum(stats.dropped.values()) + stats.pending


def dispatcher_into(queue: SqsQueue, **settings: Any) -> GeventEventDispatcher:
    quick = {"backoff_base": 0.01, "backoff_max": 0.05, "flush_interval": 0.05}
    return GeventEventDispatcher(transport=QueueTransport(queue), **{**quick, **settings})


# -- into a queue ------------------------------------------------------------------------------------------------------


def test_events_are_cut_into_messages_below_64_kb_each_by_its_dispatcher(moto: Moto) -> None:
    url = moto.queue()
    dispatcher = dispatcher_into(SqsQueue(url, region=REGION))
    for number in range(600):
        dispatcher.dispatch_event(log_event(EVENTS, visitor(f"v{number}", "x" * 900)))
    assert dispatcher.flush(20)
    assert (dispatcher.stats().delivered, dispatcher.stats().splits) == (600, 0)
    texts = [message["Body"] for message in moto.texts(url)]
    assert all(size_of(text) <= 60_000 for text in texts)
    assert len(texts) <= 13
    requests = [decode(text) for text in texts]
    assert sum(each.events for each in requests) == 600
    names = [each["visitor_id"] for one in requests for each in json.loads(one.body or b"")["visitors"]]
    assert sorted(names) == sorted(f"v{number}" for number in range(600))
    dispatcher.close()
    assert_whole(dispatcher)


def test_an_event_that_is_larger_goes_as_a_larger_message_and_beyond_the_limit_alone_is_dropped() -> None:
    client = Recording()
    dispatcher = dispatcher_into(SqsQueue(URL, client=client, message_bytes=3_000, max_message_bytes=9_000))
    for size in (100, 5_000, 20_000):
        dispatcher.dispatch_event(log_event(EVENTS, visitor(f"v{size}", "x" * size)))
    assert dispatcher.close(5)
    stats = dispatcher.stats()
    assert (stats.delivered, stats.dropped["too_large"], sum(stats.dropped.values())) == (2, 1, 1)
    assert_whole(dispatcher)


def test_a_message_that_sqs_refuses_costs_only_the_event_that_is_at_fault() -> None:
    client = Recording()

    def refuse_poison(parameters: dict[str, Any]) -> dict[str, Any]:
        texts = [each["MessageBody"] for each in parameters["Entries"]]
        codes = ["InvalidMessageContents" if "poison" in text else None for text in texts]
        return dict(failing(*codes, is_ours=True)(parameters))

    client.script["send_message_batch"] = [refuse_poison] * 100
    dispatcher = dispatcher_into(SqsQueue(URL, client=client), flush_interval=10)
    for number in range(20):
        dispatcher.dispatch_event(log_event(EVENTS, visitor("poison" if number == 7 else f"v{number}")))
    assert dispatcher.close(5)
    stats = dispatcher.stats()
    assert (stats.delivered, stats.dropped["rejected"]) == (19, 1)
    assert_whole(dispatcher)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (client_error("AccessDenied", 403), "no right to sqs:SendMessage"),
        (client_error("QueueDoesNotExist"), "there is no such queue"),
        (client_error("ExpiredToken", 403), "does not accept the credentials"),
        (client_error("ThrottlingException"), "answered ThrottlingException"),
    ],
)
def test_while_sqs_takes_nothing_events_stay_pending_few_calls_are_made_and_it_is_said_once(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Recording()
    client.script["send_message_batch"] = [error] * 1_000
    dispatcher = dispatcher_into(SqsQueue(URL, client=client), backoff_max=1.0)
    for number in range(2_000):
        dispatcher.dispatch_event(log_event(EVENTS, visitor(f"v{number}", "x" * 500)))
    wait_until(lambda: said in caplog.text)
    wait_until(lambda: len(client.calls) >= 6)
    assert dispatcher.stats().pending == 2_000
    made = len(client.calls)
    assert made < 30
    client.script.clear()
    assert wait_until(lambda: dispatcher.stats().delivered == 2_000)
    assert caplog.text.count(said) == 1
    dispatcher.close()
    assert_whole(dispatcher)


def test_a_spool_in_sqs_takes_what_cannot_be_delivered_and_gives_it_to_whoever_comes(moto: Moto) -> None:
    url = moto.queue()
    with refusing_port() as port:
        first = GeventEventDispatcher(
            spool=SqsQueue(url, region=REGION), proxy="", flush_interval=0, batch_size=1, delivery_timeout=0.5
        )
        for number in range(30):
            first.dispatch_event(log_event(f"http://127.0.0.1:{port}/v1/events", visitor(f"v{number}")))
        wait_until(lambda: first.stats().spooled == 30, 30)
        first.close(5)
        assert_whole(first)
        wait_until(lambda: moto.counts(url) == (30, 0))
        with PickyServer(lambda visitors: 204) as server:
            for raw in moto.texts(url):  # the endpoint has moved
                moved = decode(raw["Body"])._replace(origin=request(server.url, "v").origin)
                moto.client.send_message(QueueUrl=url, MessageBody=encode(moved))
                moto.client.delete_message(QueueUrl=url, ReceiptHandle=raw["ReceiptHandle"])
            second = GeventEventDispatcher(spool=SqsQueue(url, region=REGION), proxy="", flush_interval=0)
            second.dispatch_event(log_event(server.url, visitor("new")))
            wait_until(lambda: len(server.accepted) == 31, 20)
            assert set(server.accepted.values()) == {1}
            wait_until(lambda: moto.left(url) == 0)
            second.close()
            assert second.stats().delivered == 1


def test_a_spool_in_sqs_drops_what_it_will_never_take_and_keeps_the_rest() -> None:
    client = Recording()
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/v1/events"
        spool = SqsQueue(URL, client=client, message_bytes=2_000, max_message_bytes=4_000)
        dispatcher = GeventEventDispatcher(spool=spool, proxy="", flush_interval=0, batch_size=1)
        for name, size in (("a", 10), ("large", 9_000), ("b", 10)):
            dispatcher.dispatch_event(log_event(url, visitor(name, "x" * size)))
        client.script["send_message_batch"] = [failing(None, "Busy"), failing("Busy"), failing("Busy")]
        dispatcher.close(1.5)
    stats = dispatcher.stats()
    assert (stats.spooled, stats.dropped["too_large"], stats.dropped["closed"]) == (1, 1, 1)
    assert_whole(dispatcher)


# -- from a queue ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run() -> Iterator[Runner]:
    """Run consumers that retry quickly, and see that the accounts of each are right at the end."""
    running: list[tuple[Consumer, Any]] = []

    def runner(queue: SqsQueue, *destinations: str, **settings: Any) -> Consumer:
        quick = {"backoff_base": 0.01, "backoff_max": 0.05, "poll_interval": 0.02, "release_delay": 0, "proxy": ""}
        consumer = Consumer(queue, destinations=destinations, **{**quick, "close_timeout": 3, **settings})
        running.append((consumer, gevent.spawn(consumer.run)))
        return consumer

    yield runner
    for consumer, greenlet in running:
        consumer.stop()
        greenlet.join(10)
        assert greenlet.successful(), greenlet.exception
        stats = consumer.stats()
        assert stats.received == stats.acked + stats.released + stats.dead + stats.held
        assert stats.held == 0


def put(queue: SqsQueue, url: str, *names: str) -> None:
    opened = queue.open()
    opened.put([request(url, name) for name in names])
    opened.close()


def test_what_is_in_the_queue_is_delivered_once_and_deleted(moto: Moto, run: Runner) -> None:
    url = moto.queue()
    queue = SqsQueue(url, region=REGION, polls=ONE_POLL)
    with PickyServer(lambda visitors: 204) as server:
        put(queue, server.url, *(f"v{number}" for number in range(60)))
        consumer = run(queue, server.url)
        wait_until(lambda: consumer.stats().acked == 60, 30)
        assert dict(server.accepted) == {f"v{number}": 1 for number in range(60)}
        assert moto.left(url) == 0


def test_poison_is_buried_with_its_reason_and_nothing_else_is(moto: Moto, run: Runner) -> None:
    url, dead = moto.queue(), moto.queue()
    queue = SqsQueue(url, dead_letter_url=dead, region=REGION, polls=ONE_POLL)
    with PickyServer(lambda visitors: 400 if "bad" in visitors else 204) as server, HostileServer() as elsewhere:
        put(queue, server.url, "a", "b", "bad", "c")
        put(queue, elsewhere.url("v1/events"), "foreign")
        put(queue, "http://169.254.169.254/latest/meta-data", "link-local")
        opened = queue.open()
        opened.put([request(server.url, "d", "bad", "e"), request(server.url, "x")._replace(body=b"not JSON")])
        opened.close()
        moto.client.send_message(QueueUrl=url, MessageBody="not JSON")
        moto.client.send_message(QueueUrl=url, MessageBody='{"gevent_dispatcher":2}')
        consumer = run(queue, server.url)
        wait_until(lambda: moto.left(url) == 0 and not consumer.stats().held, 20)
        assert dict(server.accepted) == dict.fromkeys("abcde", 1)
        assert elsewhere.received == []
        reasons = sorted(each["MessageAttributes"]["Reason"]["StringValue"] for each in moto.texts(dead))
        assert [reason.split(" http://")[0] for reason in reasons] == [
            "it is neither a message of gevent_dispatcher's nor a JSON object",
            "its version is not 1, the only one that is known here",
            "not an allowed destination:",
            "not an allowed destination:",
            "rejected: status 400",
            "rejected: status 400",
            "rejected: status 400",
        ]
        stats = consumer.stats()
        assert (stats.received, stats.acked, stats.dead, stats.dead_events) == (8, 3, 5, 5)


def test_without_dead_letters_the_guilty_is_put_alone_and_left_to_the_redrive_policy(
    moto: Moto, run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    dead = moto.queue()
    arn = moto.client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    url = moto.queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"}))
    queue = SqsQueue(url, region=REGION)
    with PickyServer(lambda visitors: 400 if "bad" in visitors else 204) as server:
        opened = queue.open()
        opened.put([request(server.url, "a", "bad", "b"), request(server.url, "c")])
        opened.close()
        consumer = run(queue, server.url)
        wait_until(lambda: moto.left(dead) == 1 and moto.left(url) == 0, 20)
        assert dict(server.accepted) == dict.fromkeys("abc", 1)
        (letter,) = moto.texts(dead)
        assert [each["visitor_id"] for each in json.loads(decode(letter["Body"]).body or b"")["visitors"]] == ["bad"]
        wait_until(lambda: not consumer.stats().held)
        stats = consumer.stats()
        assert (stats.dead, stats.dead_events, stats.acked) == (0, 0, 1)
        assert stats.released == stats.received - 1
    assert caplog.text.count("left to the queue's own redrive policy") == 1


def test_a_slow_endpoint_is_no_reason_to_receive_a_message_again(moto: Moto, run: Runner) -> None:
    url = moto.queue()
    queue = SqsQueue(url, region=REGION, polls=ONE_POLL)
    gate = Gate()
    with PickyServer(gate.answer) as server:
        put(queue, server.url, *(f"v{number}" for number in range(12)))
        consumer = run(queue, server.url, lease=1.5, pool_size=2)
        wait_until(lambda: consumer.stats().received == 12)
        begin = monotonic()
        wait_until(lambda: monotonic() - begin > 3)
        assert moto.counts(url) == (0, 12), "those that wait here are held, too"
        gate.opened.set()
        wait_until(lambda: consumer.stats().acked == 12)
        assert consumer.stats().received == 12
        assert set(server.accepted.values()) == {1}


# -- a stop ------------------------------------------------------------------------------------------------------------


def test_a_stop_lets_a_call_that_waits_end_and_what_it_brings_is_given_back(moto: Moto) -> None:
    url = moto.queue()
    queue = SqsQueue(url, region=REGION)
    consumer = Consumer(queue, destinations=["https://events.example"], close_timeout=6, proxy="")
    running = gevent.spawn(consumer.run)
    opened = queue.open()
    opened.status()
    wait_until(lambda: consumer._receivers is not None and consumer._receivers.are_asking)
    begin = monotonic()
    consumer.stop()
    opened.put([request("https://events.example/", "late")])
    running.get(timeout=10)
    assert monotonic() - begin < 6
    assert (consumer.stats().received, consumer.stats().released) == (1, 1)
    (message,) = opened.receive(1, 60)
    assert message.received == 2, "it could be received again at once"
    opened.close()


def test_an_idle_consumer_makes_one_call_at_a_time_which_waits_as_long_as_a_stop_allows() -> None:
    client = Recording()
    waiting = Signal()

    def wait(parameters: dict[str, Any]) -> dict[str, Any]:
        waiting.wait(parameters["WaitTimeSeconds"])
        return {}

    client.script["receive_message"] = [wait] * 10
    consumer = Consumer(SqsQueue(URL, client=client), close_timeout=30)
    running = gevent.spawn(consumer.run)
    wait_until(lambda: client.of("receive_message"))
    (call,) = client.of("receive_message")
    assert (call["WaitTimeSeconds"], call["MaxNumberOfMessages"]) == (20, 10)
    consumer.stop()
    waiting.set()
    running.get(timeout=5)
    assert len(client.of("receive_message")) == 1

    client.calls.clear()
    client.script["receive_message"] = [{}] * 3
    consumer = Consumer(SqsQueue(URL, client=client), close_timeout=1, poll_interval=0.05)
    running = gevent.spawn(consumer.run)
    begin = monotonic()
    wait_until(lambda: len(client.of("receive_message")) == 3)
    assert monotonic() - begin >= 0.1, "where it cannot wait there, it waits here"
    assert client.of("receive_message")[0]["WaitTimeSeconds"] == 0
    consumer.stop()
    running.get(timeout=5)


def test_a_full_queue_is_asked_by_several_calls_and_never_for_more_than_there_is_room() -> None:
    client = Recording()
    gate = Signal()
    numbers = iter(range(10_000))
    held: set[str] = set()
    most_held = 0

    def give(parameters: dict[str, Any]) -> dict[str, Any]:
        nonlocal most_held
        gevent.sleep(0.01)
        messages = []
        for _ in range(parameters["MaxNumberOfMessages"]):
            receipt = f"r{next(numbers)}"
            held.add(receipt)
            messages.append(
                {"Body": encode(request(server.url, receipt)), "MessageId": receipt, "ReceiptHandle": receipt}
            )
        most_held = max(most_held, len(held))
        return {"Messages": messages}

    def forget(parameters: dict[str, Any]) -> dict[str, Any]:
        held.difference_update(entry["ReceiptHandle"] for entry in parameters["Entries"])
        return dict(failing()(parameters))

    def answer(visitors: list[str]) -> int:
        gate.wait(10)
        return 204

    client.script.update(receive_message=[give] * 30, delete_message_batch=[forget] * 1_000)
    client.script["change_message_visibility_batch"] = [forget] * 1_000
    with PickyServer(answer) as server:
        consumer = Consumer(SqsQueue(URL, client=client), destinations=[server.url], max_held=95, proxy="")
        running = gevent.spawn(consumer.run)
        wait_until(lambda: consumer.stats().held == 95)
        assert client.most_at_once >= 3
        gate.set()
        wait_until(lambda: consumer.stats().acked >= 100, 20)
        consumer.stop(5)
        running.get(timeout=10)
    assert most_held <= 95
    assert not held


def test_while_sqs_is_away_few_calls_are_made_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    client = Recording()
    client.script["receive_message"] = [client_error("InternalFailure", 500)] * 3
    caplog.set_level("INFO", "gevent_dispatcher")
    consumer = Consumer(SqsQueue(URL, client=client), close_timeout=1, poll_interval=0.05)
    running = gevent.spawn(consumer.run)
    begin = monotonic()
    wait_until(lambda: "can receive from the queue again" in caplog.text)
    assert monotonic() - begin > 1.5
    assert caplog.text.count("cannot receive from the queue") == 1
    consumer.stop()
    running.get(timeout=5)


def test_a_consumer_that_shall_end_does_so_when_the_queue_is_empty(moto: Moto) -> None:
    queue = SqsQueue(moto.queue(), region=REGION)
    with PickyServer(lambda visitors: 204) as server:
        put(queue, server.url, *(f"v{number}" for number in range(30)))
        consumer = Consumer(queue, destinations=[server.url], proxy="")
        with gevent.Timeout(20):
            consumer.run(until_empty=True)
        assert consumer.stats().acked == 30
