"""SqsQueue before a server that speaks SQS, and before answers that such a server does not give."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import botocore.exceptions
import gevent
import pytest
from gevent import monkey
from hypothesis import example, given
from hypothesis import strategies as st

from gevent_dispatcher import Request
from gevent_dispatcher._home import get_ident
from gevent_dispatcher.queues import (
    LegacyFormat,
    QueueError,
    QueueForbidden,
    QueuePartial,
    QueueRefused,
    QueueUnavailable,
    QueueUncertain,
    QueueUnusable,
)
from gevent_dispatcher.queues._message import Letter, decode, encode, size_of
from gevent_dispatcher.queues.sqs import DeadLetters, SqsQueue, _open
from gevent_dispatcher.queues.sqs._batch import how_many, portions, texts_of
from gevent_dispatcher.queues.sqs._client import read_messages
from gevent_dispatcher.queues.sqs._faults import explain
from gevent_dispatcher.queues.sqs._leases import Lease, Leases
from gevent_dispatcher.queues.sqs._outbox import Outbox, Parcel
from tests.commands import environ
from tests.lifetimes._processes import ROOT
from tests.queues import request
from tests.sqs import ENVIRON, REGION, Moto, Recording, client_error, failing, opened
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("aws_credentials")

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"
DEAD = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"


def several(*visitors: bytes) -> Request:
    return request(b'{"visitors":[' + b",".join(visitors) + b'],"x":1}', events=len(visitors))


# -- the pure part -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 2_000), max_size=40), st.integers(1_000, 4_000))
def test_a_call_takes_ten_entries_and_so_many_bytes_and_at_least_one_entry(sizes: list[int], most: int) -> None:
    left = list(sizes)
    while left:
        count = how_many(left, most)
        assert 1 <= count <= 10
        assert count == 1 or sum(left[:count]) <= most
        assert count in (10, len(left)) or sum(left[: count + 1]) > most, "there was room for another one"
        left = left[count:]
    assert how_many([], most) == 0


@given(st.lists(st.integers(), max_size=35))
def test_portions_are_all_there_is(items: list[int]) -> None:
    cut = list(portions(items))
    assert [item for portion in cut for item in portion] == items
    assert all(1 <= len(portion) <= 10 for portion in cut)


@given(st.lists(st.text("abü", max_size=600), min_size=1, max_size=12), st.integers(900, 5_000))
@example(["a" * 500] * 12, 900)
@example(["a", "b" * 900, "c"], 900)
def test_a_large_request_is_taken_apart_between_visitors_which_stay_as_they_are(names: list[str], most: int) -> None:
    visitors = [json.dumps({"id": name}, ensure_ascii=False).encode() for name in names]
    texts = texts_of(several(*visitors), most)
    if isinstance(texts, list):
        assert all(size_of(text) <= most for text in texts)
        assert b",".join(visitors) == b",".join(
            (decode(text).body or b"")[len(b'{"visitors":[') : -len(b'],"x":1}')] for text in texts
        )
        assert sum(decode(text).events for text in texts) == len(visitors)
    else:
        assert texts.status == 413
        assert any(size_of(encode(several(each))) > most for each in visitors)


def test_what_is_not_of_the_sdks_shape_cannot_be_taken_apart() -> None:
    refusal = texts_of(request("x" * 2_000, events=2), 900)
    assert not isinstance(refusal, list)
    assert refusal.status == 413


def test_a_single_event_is_never_taken_apart() -> None:
    one = request(b'{"visitors":[' + b",".join([b'{"id":"abc"}'] * 300) + b"]}", events=1)
    refusal = texts_of(one, 2_000)
    assert not isinstance(refusal, list)
    assert (refusal.status, "2000 bytes" in refusal.reason) == (413, True)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (client_error("AWS.SimpleQueueService.NonExistentQueue"), QueueUnavailable, "there is no such queue"),
        (client_error("QueueDoesNotExist"), QueueUnavailable, "there is no such queue"),
        (client_error("AccessDenied", 403), QueueForbidden, "no right to sqs:SendMessage"),
        (client_error("AccessDeniedException"), QueueForbidden, "no right to sqs:SendMessage"),
        (client_error("Something", 403), QueueForbidden, "no right"),
        (client_error("ExpiredToken", 403), QueueUnavailable, "does not accept the credentials (ExpiredToken)"),
        (client_error("InvalidSignatureException"), QueueUnavailable, "check the credentials and the clock"),
        (client_error("RequestThrottled", 403), QueueUnavailable, "answered RequestThrottled (status 403)"),
        (client_error("OverLimit", 403), QueueUnavailable, "answered OverLimit"),
        (client_error("PurgeQueueInProgress", 403), QueueUnavailable, "answered PurgeQueueInProgress"),
        (client_error("com.amazonaws.sqs#ThrottlingException"), QueueUnavailable, "answered ThrottlingException"),
        (client_error("InternalFailure", 500), QueueUnavailable, "answered InternalFailure (status 500)"),
        (client_error("InvalidMessageContents"), QueueRefused, "refused it: InvalidMessageContents"),
        (client_error("AWS.SimpleQueueService.BatchRequestTooLong"), QueueRefused, "BatchRequestTooLong"),
        (botocore.exceptions.NoCredentialsError(), QueueUnavailable, "no AWS credentials"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="S3CRET"), QueueUncertain, "did not answer"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="S3CRET"), QueueUnavailable, "cannot be reached"),
        (RuntimeError("S3CRET"), QueueUnavailable, "cannot be reached (RuntimeError)"),
        (botocore.exceptions.ClientError({}, "x"), QueueUnavailable, "answered an error"),
    ],
)
def test_what_an_error_means(error: Exception, kind: type[QueueError], said: str) -> None:
    explained = explain(error, "send_message_batch")
    assert type(explained) is kind
    assert said in str(explained)
    assert "S3CRET" not in str(explained)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"queue_url": "events"}, "queue_url: the url's scheme"),
        ({"queue_url": "https://sqs.eu-west-1.amazonaws.com/"}, "queue_url: is not like https://HOST/ACCOUNT/NAME"),
        ({"queue_url": "https://key:S3CRET@sqs.eu-west-1.amazonaws.com/1/q"}, "queue_url: is not like"),
        ({"queue_url": URL + ".fifo"}, "is a FIFO queue"),
        ({"dead_letter_url": URL + ".fifo"}, "dead_letter_url=.* is a FIFO queue"),
        ({"dead_letter_url": URL}, "dead_letter_url=.* another queue"),
        ({"dead_letter_url": DEAD.replace("eu", "us")}, "dead_letter_url=.* host and port of queue_url"),
        ({"region": "nowhere!"}, "region='nowhere!'"),
        ({"region": 7}, "region=7"),
        ({"client": "me"}, "client='me': must be"),
        ({"client": Recording(), "region": REGION}, "region='eu-west-1': would be ignored beside client="),
        ({"message_bytes": 1_999}, "message_bytes=1999: must be a whole number of bytes from 2000 to 1048576"),
        ({"message_bytes": 70_000, "max_message_bytes": 60_000}, "message_bytes=70000: .* to 60000"),
        ({"max_message_bytes": 1_048_577}, "max_message_bytes=1048577"),
        ({"polls": 0}, "polls=0: must be a whole number of calls from 1 to 50"),
        ({"timeout": 0}, "timeout=0: must be a number of seconds from 0.1 to 300"),
        ({"longest_delay": 43_201}, "longest_delay=43201"),
        ({"legacy": "1"}, "legacy='1': must be a LegacyFormat"),
    ],
)
def test_a_wrong_setting_raises_there_and_then(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        SqsQueue(**{"queue_url": URL, **settings})
    assert "S3CRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "region", "endpoint"),
    [
        (URL, "eu-west-1", "https://sqs.eu-west-1.amazonaws.com"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1", None),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1", None),
        ("https://vpce-0a-1.sqs.us-east-2.vpce.amazonaws.com/1/q", "us-east-2", None),
        ("https://sqs.eu-west-1.api.aws/1/q", "eu-west-1", None),
        ("https://eu-west-1.queue.amazonaws.com/1/q", "eu-west-1", ""),
        ("https://queue.amazonaws.com/1/q", "us-east-1", ""),
        ("http://127.0.0.1:5000/1/q", None, "http://127.0.0.1:5000"),
    ],
)
def test_the_region_and_the_endpoint_are_those_of_the_url(url: str, region: str, endpoint: str | None) -> None:
    settings = SqsQueue(url)._settings
    assert settings.region_of_url == region
    expected = url.partition("/1/")[0] if endpoint is None else endpoint or None
    assert settings.endpoint == expected


def test_calls_that_come_at_once_make_one_client() -> None:
    lock = monkey.get_original("_thread", "allocate_lock")()
    lock.acquire()
    made: list[object] = []

    class Answering:
        def get_queue_attributes(self, **_: object) -> dict[str, Any]:
            return {"Attributes": dict.fromkeys(_open._COUNTS, "3")}

        def close(self) -> None:
            pass

    def make() -> Any:
        made.append(lock.acquire(True, 10))  # in a native thread
        return Answering()

    queue = SqsQueue(URL, client=make).open()
    looks = [gevent.spawn(queue.status) for _ in range(3)]
    gevent.sleep(0)
    lock.release()
    assert [look.get(timeout=10).waiting for look in looks] == [3] * 3
    assert made == [True]
    queue.close()


def test_making_and_opening_one_does_nothing() -> None:
    queue = SqsQueue(URL, message_bytes=10_000, client=lambda: pytest.fail("not yet"))
    assert repr(queue) == f"SqsQueue('{URL}')"
    assert queue.request_bytes == 9_500
    opened = queue.open()
    opened.close()
    opened.close()
    with pytest.raises(QueueUnavailable, match="closed"):
        opened.put([request()])


# -- before a server ---------------------------------------------------------------------------------------------------


def test_what_is_put_is_received_as_it_was_until_it_is_acknowledged(moto: Moto) -> None:
    queue = opened(moto.queue())
    originals = [request(f'{{"größe":{number}}}', events=number + 1) for number in range(13)]
    queue.put(originals)
    status = queue.status()
    assert (status.waiting, status.dead, status.events, status.bytes, status.oldest_age) == (13, None, None, None, None)
    messages = [*queue.receive(100, 60), *queue.receive(10, 60)]
    assert sorted(message.request.body or b"" for message in messages) == sorted(each.body or b"" for each in originals)
    assert {message.received for message in messages} == {1}
    assert queue.status().leased == 13
    assert queue.extend([message.receipt for message in messages], 120) == []
    assert queue.ack([message.receipt for message in messages]) == []
    assert (queue.status().waiting, queue.status().leased) == (0, 0)
    queue.close()


def test_a_message_that_is_given_back_comes_again_and_its_count_grows(moto: Moto) -> None:
    queue = opened(moto.queue())
    queue.put([request()])
    (first,) = queue.receive(1, 60)
    assert queue.release([first.receipt]) == []
    (second,) = queue.receive(1, 60)
    assert (first.received, second.received) == (1, 2)
    assert second.put_at == first.put_at > 1_700_000_000
    queue.close()


def test_a_dead_letter_has_its_reason_and_can_be_requeued(moto: Moto) -> None:
    url, dead = moto.queue(), moto.queue()
    queue = opened(url, dead_letter_url=dead)
    queue.put([request(f"[{number}]", events=2) for number in range(3)])
    messages = queue.receive(10, 60)
    assert queue.bury([messages[0].receipt], "rejected:\x00" + "x" * 600) == []
    assert queue.bury([messages[1].receipt], "why") == []
    assert queue.ack([messages[2].receipt]) == []
    first, second = queue.dead()
    assert first.reason == "rejected:\ufffd" + "x" * 490
    assert (second.reason, second.events, second.request) == ("why", 2, messages[1].request)
    assert second.died_at >= second.put_at > 1_700_000_000
    assert queue.status().dead == 2, "looking at them leaves them there"
    assert queue.requeue([second.id, "unknown"]) == 1
    assert [message.request for message in queue.receive(10, 60)] == [second.request]
    assert queue.requeue() == 1
    assert (queue.status().dead, queue.dead()) == (0, [])
    queue.close()


def test_purging_deletes_everything(moto: Moto) -> None:
    url, dead = moto.queue(), moto.queue()
    queue = opened(url, dead_letter_url=dead)
    queue.put([request() for _ in range(12)])
    queue.bury([queue.receive(1, 60)[0].receipt], "why")
    queue.receive(2, 60)
    assert (queue.purge(), queue.purge_dead()) == (11, 1)
    assert (moto.left(url), moto.left(dead)) == (0, 0)
    queue.close()


def test_without_a_place_for_dead_letters_that_is_said(moto: Moto) -> None:
    url = moto.queue()
    queue = opened(url)
    queue.put([request()])
    (message,) = queue.receive(1, 60)
    assert queue.buries is False
    for work in (
        lambda: queue.bury([message.receipt], "why"),
        lambda: queue.replace(message.receipt, [], [(request(), "why")]),
        queue.dead,
        queue.requeue,
        queue.purge_dead,
    ):
        with pytest.raises(QueueUnusable, match="dead_letter_url="):
            work()
    assert moto.left(url) == 1
    queue.close()


def test_what_is_left_of_a_message_takes_its_place(moto: Moto) -> None:
    url, dead = moto.queue(), moto.queue()
    queue = opened(url, dead_letter_url=dead)
    queue.put([request("[1,2,3]", events=3)])
    (message,) = queue.receive(1, 60)
    assert queue.replace(message.receipt, [request("[2]")], [(request("[3]"), "why")], 0.0)
    assert not queue.replace(message.receipt, [request("[2]")], [])
    assert not queue.replace("unknown", [request("[2]")], [])
    assert [each.request.body for each in queue.receive(10, 60)] == [b"[2]"]
    assert [(each.request.body, each.reason) for each in queue.dead() if each.request] == [(b"[3]", "why")]
    queue.close()


def test_what_cannot_be_read_is_buried_with_why_and_the_rest_is_received(
    moto: Moto, caplog: pytest.LogCaptureFixture
) -> None:
    url, dead = moto.queue(), moto.queue()
    queue = opened(url, dead_letter_url=dead)
    newer = '{"gevent_dispatcher":99,"S3CRET":1}'
    for text in ("S3CRET is no JSON", newer, "another S3CRET"):
        moto.client.send_message(QueueUrl=url, MessageBody=text)
    queue.put([request()])
    assert [message.request for message in queue.receive(10, 60)] == [request()]
    letters = {message["Body"]: message["MessageAttributes"]["Reason"]["StringValue"] for message in moto.texts(dead)}
    assert set(letters) == {"S3CRET is no JSON", "another S3CRET", newer}
    assert "version is not 1" in letters[newer]
    assert moto.left(url) == 1
    assert "S3CRET" not in caplog.text
    assert caplog.text.count("cannot be read") == 2, "one line for each reason"
    moto.client.send_message(QueueUrl=url, MessageBody=newer)
    assert queue.receive(10, 60) == []
    assert caplog.text.count("cannot be read") == 2
    queue.close()
    last_words = caplog.records[-1].getMessage()
    assert last_words.startswith("messages_unreadable: its version is not 1")
    assert last_words.endswith(": 1 more since it was last said")


def test_what_cannot_be_read_is_left_to_the_redrive_policy_where_there_is_no_other_place(moto: Moto) -> None:
    dead = moto.queue()
    arn = moto.client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    url = moto.queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "1"}))
    queue = opened(url, longest_delay=1)
    moto.client.send_message(QueueUrl=url, MessageBody="no JSON")
    assert queue.receive(10, 60) == []
    assert moto.counts(url) == (0, 1)
    with gevent.Timeout(10):
        while moto.left(url):
            assert queue.poll(10, 60, 2) == []
    assert moto.left(dead) == 1
    queue.close()


def test_messages_of_older_formats_are_understood_where_it_is_said_what_they_lack(moto: Moto) -> None:
    url, dead = moto.queue(), moto.queue()
    body = json.dumps({"visitor-1": [[], {"decisions": [], "events": [{"uuid": "u", "timestamp": 1}]}]})
    for _ in range(2):
        moto.client.send_message(QueueUrl=url, MessageBody=body)
    queue = opened(url, dead_letter_url=dead, legacy=LegacyFormat("12", "34"))
    (message,) = queue.receive(1, 60)
    sent = json.loads(message.request.body or b"")
    assert (sent["account_id"], sent["visitors"][0]["visitor_id"]) == ("12", "visitor-1")
    queue.close()
    queue = opened(url, dead_letter_url=dead)
    assert queue.receive(1, 60) == []
    (letter,) = queue.dead()
    assert "account" in letter.reason
    queue.close()


def test_a_queue_that_is_not_there_says_so(moto: Moto) -> None:
    queue = opened(moto.queue() + "-not")
    for work in (lambda: queue.put([request()]), lambda: queue.receive(1, 60), queue.status):
        with pytest.raises(QueueUnavailable, match=r"there is no such queue \(\w+\): check"):
            work()
    queue.close()


def test_a_poll_waits_as_long_as_it_is_asked_to_and_brings_what_comes_meanwhile(moto: Moto) -> None:
    url = moto.queue()
    queue, other = opened(url), opened(url)
    other.status()
    poll = gevent.spawn(queue.poll, 10, 60, 20)
    gevent.spawn_later(0.2, other.put, [request()])
    assert [message.request for message in poll.get(timeout=10)] == [request()]
    assert queue.poll(10, 60, 0) == []
    queue.close()
    other.close()


def test_dead_letters_of_others_have_a_place(moto: Moto) -> None:
    url = moto.queue()
    letters = DeadLetters(url, region=REGION).open()
    assert letters.bury([Letter("anything", "why", 3, 2, 5.0), Letter("x", "")]) == [None, None]
    one, other = sorted(moto.texts(url), key=lambda message: -len(message["Body"]))
    attributes = {name: value["StringValue"] for name, value in one["MessageAttributes"].items()}
    assert one["Body"] == "anything"
    assert {name: attributes[name] for name in ("Reason", "Events", "Received", "PutAt")} == {
        "Reason": "why",
        "Events": "3",
        "Received": "2",
        "PutAt": "5.000",
    }
    assert other["MessageAttributes"]["Reason"]["StringValue"] == "?"
    letters.close()


# -- calls -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Recording:
    return Recording()


def queue_of(client: Recording, **settings: Any) -> Any:
    return SqsQueue(URL, client=client, **settings).open()


def texts_sent(client: Recording) -> list[str]:
    return [entry["MessageBody"] for call in client.of("send_message_batch") for entry in call["Entries"]]


def puts_of_their_own(client: Recording, queue: Any, count: int) -> list[Any]:
    """Puts that have been sent, each in a call of its own."""
    puts = []
    for number in range(count):
        puts.append(gevent.spawn(queue.put, [request(f"[{number}]")]))
        wait_until(lambda number=number: len(client.calls) == number + 1)  # type: ignore[misc]
    return puts


def test_putting_takes_one_right_and_puts_that_come_together_share_calls(client: Recording) -> None:
    queue = queue_of(client)
    puts = [gevent.spawn(queue.put, [request(f"[{number}]")]) for number in range(40)]
    gevent.joinall(puts, timeout=10, raise_error=True)
    calls = client.of("send_message_batch")
    assert {name for name, _ in client.calls} == {"send_message_batch"}
    assert sorted(texts_sent(client)) == sorted(encode(request(f"[{number}]")) for number in range(40))
    assert len(calls) == 4
    for call in calls:
        assert [entry["Id"] for entry in call["Entries"]] == [str(at) for at in range(len(call["Entries"]))]
    assert client.most_at_once == 2


def test_a_call_carries_no_more_bytes_than_a_queue_takes(client: Recording) -> None:
    queue = queue_of(client, max_message_bytes=10_000, message_bytes=4_000)
    queue.put([request("x" * 3_000) for _ in range(10)])
    assert [len(call["Entries"]) for call in client.of("send_message_batch")] == [3, 3, 3, 1]


def test_an_entry_that_fails_by_no_fault_of_its_own_is_sent_again_alone(client: Recording) -> None:
    client.script["send_message_batch"] = [failing(None, "InternalError", None), failing("InternalError")]
    queue_of(client).put([request(f"[{number}]") for number in range(3)])
    assert [len(call["Entries"]) for call in client.of("send_message_batch")] == [3, 1, 1]
    assert texts_sent(client)[3:] == [encode(request("[1]"))] * 2


def test_an_entry_that_fails_again_and_again_is_left_to_who_put_it(client: Recording) -> None:
    client.script["send_message_batch"] = [failing(None, "Busy", None), failing("Busy"), failing("Busy")]
    with pytest.raises(QueuePartial, match="did not take a message: Busy") as caught:
        queue_of(client).put([request(f"[{number}]") for number in range(3)])
    assert caught.value.stored == {0, 2}
    client.script["send_message_batch"] = [failing("Busy")] * 3
    with pytest.raises(QueueUnavailable, match="Busy") as alone:
        queue_of(client).put([request()])
    assert type(alone.value) is QueueUnavailable


def test_an_entry_that_is_at_fault_is_refused_and_the_others_are_stored(client: Recording) -> None:
    client.script["send_message_batch"] = [failing(None, "InvalidMessageContents", is_ours=True)]
    with pytest.raises(QueueRefused) as caught:
        queue_of(client, max_message_bytes=4_000, message_bytes=2_000).put([request(), request(), request("x" * 5_000)])
    refusals = caught.value.refusals
    assert {at: each.status for at, each in refusals.items()} == {1: 400, 2: 413}
    assert "InvalidMessageContents" in refusals[1].reason
    assert len(texts_sent(client)) == 2, "what is too large is not even sent"


def test_an_entry_that_is_larger_than_this_queue_takes_is_too_large(client: Recording) -> None:
    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        text = "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
        return {"Failed": [{"Id": "0", "Code": "InvalidParameterValue", "SenderFault": True, "Message": text}]}

    client.script["send_message_batch"] = [answer]
    with pytest.raises(QueueRefused) as caught:
        queue_of(client).put([request()])
    assert caught.value.refusals[0].status == 413


def test_a_call_that_is_too_long_is_made_in_halves_and_the_next_are_shorter(client: Recording) -> None:
    too_long = client_error("AWS.SimpleQueueService.BatchRequestTooLong")
    client.script["send_message_batch"] = [too_long, None, too_long, None, too_long, None, too_long]
    queue = queue_of(client)
    with pytest.raises(QueueRefused) as caught:
        queue.put([request("x" * 9_000) for _ in range(8)])
    assert [len(call["Entries"]) for call in client.of("send_message_batch")] == [8, 4, 4, 2, 2, 1, 1]
    assert list(caught.value.refusals) == [7]
    client.calls.clear()
    queue.put([request("x" * 9_000) for _ in range(8)])
    assert max(len(call["Entries"]) for call in client.of("send_message_batch")) < 4


@pytest.mark.parametrize("error", [client_error("ThrottlingException"), client_error("InternalFailure", 500)])
def test_a_call_that_fails_is_not_repeated_here(client: Recording, error: Exception) -> None:
    client.script["send_message_batch"] = [error]
    with pytest.raises(QueueUnavailable):
        queue_of(client).put([request(), request()])
    assert len(client.calls) == 1


def test_a_large_put_does_not_try_on_when_a_call_has_failed(client: Recording) -> None:
    client.script["send_message_batch"] = [None, client_error("InternalFailure", 500)]
    with pytest.raises(QueuePartial) as caught:
        queue_of(client).put([request(f"[{number}]") for number in range(45)])
    assert caught.value.stored == set(range(10))
    assert len(client.calls) == 2


def test_a_put_that_is_killed_leaves_the_others_their_turn(client: Recording) -> None:
    gates = [gevent.event.Event() for _ in range(2)]
    for gate in gates:
        client.script.setdefault("send_message_batch", []).append(
            lambda parameters, gate=gate: gate.wait() and failing()(parameters)
        )
    queue = queue_of(client)
    first = puts_of_their_own(client, queue, 2)
    waiting = [gevent.spawn(queue.put, [request(f"[{number}]")]) for number in (2, 3)]
    gevent.sleep(0)
    waiting[0].kill()
    first[0].kill()
    gates[1].set()
    gevent.joinall([first[1], waiting[1]], timeout=5, raise_error=True)
    assert sorted(texts_sent(client)) == [encode(request(f"[{number}]")) for number in (0, 1, 3)]


@pytest.mark.parametrize(
    "answer",
    [
        {"Messages": [{}]},
        {"Messages": ["S3CRET"]},
        {"Messages": "S3CRET"},
        {"Messages": [{"MessageId": "1", "ReceiptHandle": "1", "Body": None}]},
        {
            "Messages": [
                {"MessageId": "1", "ReceiptHandle": "1", "Body": "", "Attributes": {"SentTimestamp": "yesterday"}}
            ]
        },
    ],
)
def test_what_is_no_answer_of_sqs_is_an_error_like_any_other(client: Recording, answer: Any) -> None:
    client.script["receive_message"] = [answer]
    with pytest.raises(QueueUncertain, match="is not SQS"):
        queue_of(client).receive(1, 60)


@pytest.mark.parametrize("failed", [[{"Code": "InternalError"}], [{"Id": 0}], {"Id": "0"}])
def test_what_is_no_answer_of_sqs_leaves_a_message_unsettled(client: Recording, failed: Any) -> None:
    client.script["delete_message_batch"] = [{"Failed": failed}]
    queue = queue_of(client)
    with pytest.raises(QueueUncertain, match="is not SQS"):
        queue.ack(["a receipt"])


def test_a_deletion_without_an_outcome_is_tried_again(client: Recording) -> None:
    client.script["delete_message_batch"] = [{}]
    assert queue_of(client).ack(["a receipt"]) == []
    assert len(client.of("delete_message_batch")) == 2


@pytest.mark.parametrize("answer", [{"Attributes": {"ApproximateNumberOfMessages": "many"}}, {}])
def test_numbers_that_are_none_are_no_answer_of_sqs(client: Recording, answer: Any) -> None:
    client.script["get_queue_attributes"] = [answer]
    with pytest.raises(QueueUncertain, match="is not SQS"):
        queue_of(client).status()


def test_a_call_that_never_ends_is_given_up_in_time(client: Recording) -> None:
    client.script["send_message_batch"] = [lambda parameters: gevent.event.Event().wait()] * 2
    queue = queue_of(client, timeout=0.2)
    puts = puts_of_their_own(client, queue, 2)
    third = gevent.spawn(queue.put, [request()])
    gevent.joinall([*puts, third], timeout=5)
    assert [type(put.exception) for put in puts] == [QueueUncertain] * 2
    assert third.successful()


def test_a_call_that_fails_late_changes_nothing_for_a_putter_that_has_left_it() -> None:
    gate, calls = gevent.event.Event(), []

    def call(**parameters: Any) -> dict[str, Any]:
        calls.append(len(parameters["Entries"]))
        gate.wait()
        raise QueueUncertain("it failed")

    outbox, parcels = Outbox(call, 1_000, 0.05), [Parcel("first"), Parcel("second")]
    puts = [gevent.spawn(outbox.send, [parcel]) for parcel in parcels]
    wait_until(lambda: puts[1].dead)
    gate.set()
    gevent.joinall(puts, timeout=5, raise_error=True)
    assert calls == [2]
    assert [str(parcel.outcome) for parcel in parcels] == ["it failed", "no room for another call to SQS within 0.05 s"]
    assert [type(parcel.outcome) for parcel in parcels] == [QueueUncertain] * 2


def test_a_put_that_gets_no_turn_in_time_is_given_up(client: Recording) -> None:
    client.script["send_message_batch"] = [lambda parameters: gevent.event.Event().wait()] * 20
    queue = queue_of(client, timeout=0.1)
    puts = [gevent.spawn(queue.put, [request(f"[{number}]")] * 10) for number in range(12)]
    gevent.joinall(puts, timeout=5)
    assert [type(put.exception) for put in puts[:2]] == [QueueUncertain] * 2
    assert type(puts[-1].exception) is QueueUnavailable
    assert "no room for another call to SQS" in str(puts[-1].exception)


def test_of_halves_of_a_call_that_is_too_long_one_may_meet_a_bad_moment(client: Recording) -> None:
    too_long = client_error("AWS.SimpleQueueService.BatchRequestTooLong")
    client.script["send_message_batch"] = [too_long, client_error("InternalFailure", 500), None]
    with pytest.raises(QueuePartial) as caught:
        queue_of(client).put([request(f"[{number}]") for number in range(4)])
    assert caught.value.stored == {2, 3}


def test_a_call_that_is_refused_for_what_is_in_it_leaves_the_size_of_the_next_alone(client: Recording) -> None:
    refusal = client_error("InvalidMessageContents")
    client.script["send_message_batch"] = [refusal, None, refusal]
    queue = queue_of(client)
    with pytest.raises(QueueRefused) as caught:
        queue.put([request("[1]"), request("[2]")])
    assert list(caught.value.refusals) == [1]
    client.calls.clear()
    queue.put([request("x" * 9_000) for _ in range(8)])
    assert len(client.of("send_message_batch")) == 1


def test_a_callback_of_the_hub_is_told_that_it_cannot_wait(client: Recording) -> None:
    queue = queue_of(client)
    outcomes: list[BaseException] = []

    def put() -> None:
        try:
            queue.ack(["r"])
        except QueueUnavailable as error:
            outcomes.append(error)

    gevent.get_hub().loop.run_callback(put)
    assert "callback of the hub" in str(wait_until(lambda: outcomes)[0])
    assert client.calls == []


def test_a_timeout_of_the_callers_own_comes_out_as_it_is(client: Recording) -> None:
    client.script["delete_message_batch"] = [lambda parameters: gevent.event.Event().wait()]
    queue = queue_of(client)
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as own:
        queue.ack(["r"])
    assert caught.value is own


def test_a_client_is_made_off_the_hub_and_once(client: Recording) -> None:
    idents: list[int] = []

    def make() -> Recording:
        idents.append(get_ident())
        return client

    queue = SqsQueue(URL, client=make).open()
    gevent.joinall([gevent.spawn(queue.put, [request()]) for _ in range(5)], timeout=5, raise_error=True)
    assert len(idents) == 1
    assert idents[0] != get_ident()


def read_early(status: int, body: bytes) -> tuple[dict[str, Any], bytes]:
    """What is read of an answer before botocore reads it, and what is left to it."""
    answer, read = {"status_code": status, "body": body}, {}
    read_messages(response_dict=answer, customized_response_dict=read, operation_model=None)
    return read, answer["body"]


def test_messages_are_read_by_the_quickest_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("orjson", reason="json is the quickest then, and botocore has it")
    body = json.dumps({"Messages": [{"Body": 'a "quoted" \u00e9'}]}).encode()
    assert read_early(200, body) == (json.loads(body), b"{}")
    monkeypatch.setattr("gevent_dispatcher._json._orjson", None)
    assert read_early(200, body) == ({}, body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"Messages": []}'),
        (200, b"{}"),
        (200, b"[]"),
        (200, b""),
        (200, b"<xml/>"),
        (200, b'{"Messages": null}'),
        (200, b'{"Messages": [{"Body": "\\ud800"}]}'),
    ],
)
def test_an_answer_that_is_not_as_expected_is_left_to_botocore(status: int, body: bytes) -> None:
    assert read_early(status, body) == ({}, body)


def test_headers_that_are_left_out_are_said_once_by_their_names(
    client: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    queue = queue_of(client)
    secret = request()._replace(headers={"Authorization": "S3CRET", "Content-Type": "application/json"})
    queue.put([secret, secret])
    queue.put([secret])
    assert caplog.text.count("the header Authorization does not go into messages") == 1
    assert "S3CRET" not in caplog.text + "".join(texts_sent(client))


# -- what is held ------------------------------------------------------------------------------------------------------


def received(client: Recording, queue: Any, *counts: int) -> list[str]:
    """Receive messages that were received so often, and return their receipts."""
    raw = [
        {
            "Body": encode(request(f"[{at}]")),
            "MessageId": f"id{at}",
            "ReceiptHandle": f"r{at}",
            "Attributes": {"ApproximateReceiveCount": str(count), "SentTimestamp": "1700000000000"},
        }
        for at, count in enumerate(counts)
    ]
    client.script["receive_message"] = [{"Messages": raw}]
    return [message.receipt for message in queue.receive(10, 60)]


def visibilities(client: Recording) -> list[int]:
    calls = client.of("change_message_visibility_batch")
    return [entry["VisibilityTimeout"] for call in calls for entry in call["Entries"]]


def test_what_was_sent_in_vain_comes_later_each_time(client: Recording) -> None:
    queue = queue_of(client)
    queue.release(received(client, queue, 1, 2, 4, 6, 60), 30.0)
    assert visibilities(client) == [30, 60, 240, 960, 3600]


def test_what_is_given_back_untried_comes_at_once(client: Recording) -> None:
    queue = queue_of(client)
    queue.release(received(client, queue, 1, 9))
    assert visibilities(client) == [0, 0]


def test_nothing_is_hidden_for_longer_than_sqs_hides_it() -> None:
    leases = Leases(longest_delay=43_200)
    leases.add("held", Lease(request(), received=50, put_at=0.0, since=1_000.0, until=1_060.0))
    assert leases.extensions(["held", "unknown"], 600, 44_000.0) == {"held": 195, "unknown": 600}
    assert leases.delays(["held", "unknown"], 30.0, 44_000.0) == {"held": 195, "unknown": 30}
    assert leases.extensions(["held"], 600, 50_000.0) == {"held": 0}


def test_what_others_can_receive_is_not_held_any_more() -> None:
    leases = Leases(longest_delay=0)
    leases.add("held", Lease(request(), received=1, put_at=0.0, since=1_000.0, until=1_060.0))
    leases.extend({"held": 100, "unknown": 100}, 1_010.0)
    leases.forget_what_is_over(1_115.0)
    assert leases.held(["held", "unknown"]).keys() == {"held"}
    leases.forget_what_is_over(1_116.0)
    assert leases.held(["held"]) == {}


def test_what_was_never_settled_is_forgotten_when_nobody_can_hold_it_any_more(
    client: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queue_of(client)
    (receipt,) = received(client, queue, 5)
    begin = monotonic()
    monkeypatch.setattr(_open, "monotonic", lambda: begin + 43_000)
    assert received(client, queue) == []
    queue.release([receipt], 30.0)
    assert visibilities(client) == [30], "how often it had come is not known any more"


def test_the_lease_of_what_is_not_known_can_be_extended(client: Recording) -> None:
    queue = queue_of(client)
    assert queue.extend(["unknown"], 60) == []
    assert visibilities(client) == [60]


UNREADABLE = {"Body": "no message", "MessageId": "id", "ReceiptHandle": "r", "Attributes": {}}


@pytest.mark.parametrize("settings", [{}, {"dead_letter_url": DEAD}])
def test_what_cannot_be_read_and_cannot_be_moved_either_is_said_once(
    client: Recording, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    queue = queue_of(client, **settings)
    away = client_error("InternalFailure", 500)
    operation = "send_message_batch" if settings else "change_message_visibility_batch"
    for _ in range(2):
        client.script["receive_message"] = [{"Messages": [UNREADABLE]}]
        client.script[operation] = [away]
        assert queue.receive(10, 60) == []
    assert caplog.text.count("what cannot be read stays where it is for now (QueueUnavailable: ") == 1
    assert caplog.text.count("1 messages cannot be read") == 1


def test_a_heartbeat_and_a_lease_are_whole_seconds(client: Recording) -> None:
    queue = queue_of(client)
    receipts = received(client, queue, 1)
    queue.extend(receipts, 1.2)
    assert visibilities(client) == [2]
    assert client.of("receive_message")[0]["VisibilityTimeout"] == 60


@pytest.mark.parametrize("call", ["ack", "extend", "release", "bury"])
def test_many_messages_take_calls_of_ten_and_stale_ones_are_told(client: Recording, call: str) -> None:
    queue = queue_of(client, dead_letter_url=DEAD)
    receipts = [f"r{at}" for at in range(8)]
    received(client, queue, *[1] * 8)
    operation = "change_message_visibility_batch" if call in ("extend", "release") else "delete_message_batch"
    client.script[operation] = [failing(None, "Busy", "ReceiptHandleIsInvalid"), failing("MessageNotInflight")]
    arguments = {"ack": (), "extend": (60,), "release": (0.0,), "bury": ("why",)}[call]
    stale = getattr(queue, call)([*receipts, *(["unknown"] if call == "bury" else [])], *arguments)
    assert set(stale) == {"r1", "r2", *(["unknown"] if call == "bury" else [])}
    assert [len(each["Entries"]) for each in client.of(operation)] == [8, 1]


def test_deleting_more_than_ten_takes_several_calls(client: Recording) -> None:
    queue_of(client).ack([f"r{at}" for at in range(23)])
    assert [len(call["Entries"]) for call in client.of("delete_message_batch")] == [10, 10, 3]


def test_what_cannot_be_deleted_is_told_after_three_tries(client: Recording) -> None:
    client.script["delete_message_batch"] = [failing("Busy")] * 3
    with pytest.raises(QueueUnavailable, match=r"for 1 messages \(Busy\)"):
        queue_of(client).ack(["r0"])


@pytest.mark.parametrize("call", ["bury", "replace"])
def test_what_has_been_moved_is_not_moved_again_when_its_deletion_failed(client: Recording, call: str) -> None:
    queue = queue_of(client, dead_letter_url=DEAD)
    (receipt,) = received(client, queue, 1)
    client.script["delete_message_batch"] = [client_error("InternalFailure", 500)]
    work: Any = {
        "bury": lambda: queue.bury([receipt], "why"),
        "replace": lambda: queue.replace(receipt, [request("[1]")], [(request("[2]"), "why")]),
    }[call]
    with pytest.raises(QueueUnavailable, match="InternalFailure"):
        work()
    sent = len(texts_sent(client))
    assert work() in ([], True)
    assert len(texts_sent(client)) == sent
    assert len(client.of("delete_message_batch")) == 2


def letters(*names: str, **attributes: str) -> dict[str, Any]:
    given = {name: {"DataType": "Number", "StringValue": value} for name, value in attributes.items()}
    body = encode(request())
    shown = [{"Body": body, "MessageId": name, "ReceiptHandle": name, "MessageAttributes": given} for name in names]
    return {"Messages": shown}


def test_numbers_of_a_dead_letter_that_are_none_are_made_up_for(client: Recording) -> None:
    queue = queue_of(client, dead_letter_url=DEAD)
    client.script["receive_message"] = [letters("a", died_at="yesterday"), {}]
    (letter,) = queue.dead(10)
    assert letter.died_at == 0.0


def test_no_more_dead_letters_are_looked_at_than_were_asked_for(client: Recording) -> None:
    queue = queue_of(client, dead_letter_url=DEAD)
    client.script["receive_message"] = [letters("a"), letters("a", "b"), letters("c")]
    assert [letter.id for letter in queue.dead(1)] == ["a"]
    assert len(client.of("receive_message")) == 1


def test_of_dead_letters_only_those_that_were_named_are_requeued(client: Recording) -> None:
    queue = queue_of(client, dead_letter_url=DEAD)
    client.script["receive_message"] = [letters("a"), letters("b"), letters("c")]
    assert queue.requeue(["b"]) == 1
    assert len(texts_sent(client)) == 1
    assert len(client.of("receive_message")) == 2


def test_what_the_dead_letters_do_not_take_is_not_deleted(client: Recording) -> None:
    queue = queue_of(client, dead_letter_url=DEAD)
    receipts = received(client, queue, 1, 1)
    client.script["send_message_batch"] = [failing(None, "Busy"), failing("Busy"), failing("Busy")]
    with pytest.raises(QueueUnavailable, match="dead letters were not all taken"):
        queue.bury(receipts, "why")
    (deleted,) = client.of("delete_message_batch")
    assert [entry["ReceiptHandle"] for entry in deleted["Entries"]] == ["r0"]
    assert queue.bury(receipts[1:], "why") == []


def test_what_is_left_of_a_message_waits_no_longer_than_sqs_lets_a_new_one(client: Recording) -> None:
    queue = queue_of(client)
    (receipt,) = received(client, queue, 1)
    queue.replace(receipt, [request("[1]")], [], 3_000.0)
    assert client.of("send_message_batch")[0]["Entries"][0]["DelaySeconds"] == 900


# -- processes ---------------------------------------------------------------------------------------------------------


def in_a_process(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**environ(), **ENVIRON}, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


UNPATCHED = """
import sys, threading, time
import gevent
from gevent_dispatcher.queues.sqs import SqsQueue
from tests.queues import request
queue = SqsQueue(sys.argv[1], region="eu-west-1").open()
queue.put([request()])
(message,) = queue.receive(1, 60)
queue.ack([message.receipt])
turns = 0
def tick():
    global turns
    while True:
        gevent.sleep(0.01)
        turns += 1
ticking = gevent.spawn(tick)
assert queue.poll(1, 60, 2) == []
others = []
thread = threading.Thread(target=lambda: others.append(queue.status()))
thread.start()
thread.join()
queue.close()
print(turns, len(others), threading.active_count())
"""


def test_in_a_process_that_is_not_patched_the_hub_goes_on(moto: Moto) -> None:
    turns, others, threads = map(int, in_a_process(UNPATCHED, moto.queue()).split())
    assert turns > 20
    assert (others, threads) == (1, 1)


LATE = """
import sys
from gevent import monkey
from gevent_dispatcher.queues.sqs import SqsQueue
from tests.queues import request
queue = SqsQueue(sys.argv[1], region="eu-west-1").open()
queue.put([request()])
import botocore
first = botocore
monkey.patch_all()
queue.put([request()])
import botocore.session, ssl, urllib3.util.ssl_
assert botocore is not first
assert urllib3.util.ssl_.SSLContext is ssl.SSLContext
botocore.session.Session().create_client("sqs", region_name="eu-west-1")  # a context whose properties are set
print(queue.status().waiting)
"""


@pytest.mark.filterwarnings("ignore")
def test_botocore_from_before_a_late_patch_is_not_used_after_it(moto: Moto) -> None:
    assert in_a_process(LATE, moto.queue()) == "2\n"


NO_CREDENTIALS = """
import sys
from gevent import monkey
monkey.patch_all()
from gevent_dispatcher.queues.sqs import SqsQueue
from gevent_dispatcher.queues import QueueUnavailable
from tests.queues import request
for settings in ({"region": "eu-west-1"}, {}):
    try:
        SqsQueue(sys.argv[1], **settings).open().put([request()])
    except QueueUnavailable as error:
        print(error)
"""


def test_without_credentials_or_a_region_that_is_said(moto: Moto, tmp_path: Path) -> None:
    nothing = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    kept = {name: value for name, value in environ().items() if not name.startswith("AWS_")}
    url = moto.queue()
    for keys, said in (({}, "no AWS credentials were found"), (ENVIRON, "names no region")):
        command = [sys.executable, "-c", NO_CREDENTIALS, url]
        done = subprocess.run(
            command, cwd=ROOT, env={**kept, **nothing, **keys}, capture_output=True, timeout=60, check=True
        )
        assert said in done.stdout.decode()


def test_without_botocore_the_extra_is_named() -> None:
    program = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "botocore" else find(name, package)
import gevent_dispatcher.queues
try:
    from gevent_dispatcher import SqsQueue
except ImportError as error:
    print(error)
"""
    assert "pip install 'gevent-dispatcher[sqs]'" in in_a_process(program)


def test_importing_the_queues_imports_neither_botocore_nor_those_of_sqs() -> None:
    program = "import sys, gevent_dispatcher.queues; print(*sorted(sys.modules))"
    names = in_a_process(program).split()
    assert not [name for name in names if name.split(".")[0] == "botocore" or "queues.sqs" in name]
    program = "import sys, gevent_dispatcher.queues.sqs; print(*sorted(sys.modules))"
    assert not [name for name in in_a_process(program).split() if name.split(".")[0] in ("botocore", "urllib3")]


def test_a_fork_makes_a_client_of_its_own(moto: Moto) -> None:
    program = """
import os, sys
from gevent import monkey
monkey.patch_all()
from gevent_dispatcher.queues.sqs import SqsQueue
from tests.queues import request
recipe = SqsQueue(sys.argv[1], region="eu-west-1")
queue = recipe.open()
queue.put([request()])
pid = os.fork()
mine = recipe.open() if pid == 0 else queue
for _ in range(5):
    mine.put([request()])
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(queue.status().waiting)
"""
    assert in_a_process(program, moto.queue()) == "11\n"


logging.getLogger("botocore").setLevel(logging.WARNING)


FAILING = """
import sys
import gevent
from gevent import monkey
from gevent_dispatcher.queues import QueueUnavailable
from gevent_dispatcher.queues.sqs import SqsQueue
gevent.sleep(0)
queue = SqsQueue(sys.argv[1], region="eu-west-1").open()
for _ in range(2):
    try:
        queue.status()
    except QueueUnavailable as error:
        print(error)
    monkey.get_original("_thread", "stack_size")(1 << 46)  # more than there is address space for
    gevent.get_hub().threadpool.kill()
another = SqsQueue(sys.argv[1], region="eu-west-1").open()
try:
    another.status()
except QueueUnavailable as error:
    print(error)
"""


def test_in_a_process_that_is_not_patched_an_error_and_the_want_of_a_thread_are_told_alike() -> None:
    said = in_a_process(FAILING, "http://127.0.0.1:1/123456789012/events").splitlines()
    assert len(said) == 3
    assert len(set(said)) == 1
    assert "cannot be reached" in said[0]
