"""What Lambda hands over: events of the shape that its developer guide records ("Using Lambda with Amazon SQS")."""

from __future__ import annotations

import hashlib
import json
import uuid
from time import monotonic
from typing import Any, Sequence

from gevent_dispatcher import Request
from gevent_dispatcher._event import Encoder, merge
from gevent_dispatcher.queues._message import encode
from tests.events import log_event, visitor

STANDARD = "arn:aws:sqs:us-east-1:123456789012:events"
FIFO = f"{STANDARD}.fifo"

# The test event that the console offers first.
HELLO_WORLD = {"key1": "value1", "key2": "value2", "key3": "value3"}


class Context:
    """Lambda's, as far as it is used.

    Args:
        seconds: until Lambda would end the process.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self._end = monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda counts."""
        return int((self._end - monotonic()) * 1000)


def request(url: str, *names: str) -> Request:
    """A request with one event for each visitor."""
    encoder = Encoder()
    encoded = [encoder.encode(log_event(url, visitor(name))) for name in names]
    return merge(encoded[0][0], [each[1] for each in encoded])


def message(url: str, *names: str) -> str:
    """The text of a message, as SqsQueue puts it."""
    return encode(request(url, *names))


def record(body: Any, *, id: str | None = None, arn: str = STANDARD, **attributes: str) -> dict[str, Any]:
    """One record.

    Args:
        body: of the message.
        id: of the message; random by default.
        arn: of the queue.
        attributes: beside those that each record has, such as MessageGroupId.
    """
    return {
        "messageId": id or str(uuid.uuid4()),
        "receiptHandle": f"AQEB{uuid.uuid4().hex}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1700000000123",
            "SenderId": "AROAEXAMPLE:shop",
            "ApproximateFirstReceiveTimestamp": "1700000000456",
            **attributes,
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(repr(body).encode()).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": "us-east-1",
    }


def fifo(body: Any, group: str, id: str) -> dict[str, Any]:
    """One record of a FIFO queue."""
    more = {"SequenceNumber": "18849496460467696128", "MessageDeduplicationId": hashlib.sha256(id.encode()).hexdigest()}
    return record(body, id=id, arn=FIFO, MessageGroupId=group, **more)


def event(*records: dict[str, Any]) -> dict[str, Any]:
    """What the handler gets: JSON, read."""
    return dict(json.loads(json.dumps({"Records": records})))


def failed(answer: Any) -> Sequence[str]:
    """The ids that an answer names."""
    assert set(answer) == {"batchItemFailures"}
    assert all(set(each) == {"itemIdentifier"} for each in answer["batchItemFailures"])
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]
