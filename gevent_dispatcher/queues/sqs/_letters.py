"""Dead letters in a queue of SQS: the message as it was, with its reason and a few numbers as attributes."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any, Iterable, Iterator, Mapping, Sequence

from gevent_dispatcher.queues._legacy import LegacyFormat
from gevent_dispatcher.queues._message import Letter, decode
from gevent_dispatcher.queues._protocol import DeadLetter, QueueError, Refusal
from gevent_dispatcher.queues.sqs._batch import MOST_ENTRIES
from gevent_dispatcher.queues.sqs._changes import Changes
from gevent_dispatcher.queues.sqs._client import Client
from gevent_dispatcher.queues.sqs._outbox import Outbox, Parcel
from gevent_dispatcher.queues.sqs._settings import DEFAULT_TIMEOUT, LARGEST_BYTES, PACKED_BYTES, Settings

REASON, DIED_AT, PUT_AT, EVENTS, RECEIVED = "Reason", "DiedAt", "PutAt", "Events", "Received"

_REASON_CHARACTERS = 500
# What SQS does not take in a text (its API reference, "SendMessage").
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BY_SQS = "moved by the queue's redrive policy"
# How long a letter is out of the others' sight while it is looked at, in seconds.
LOOK = 60


def parcel_of(letter: Letter, died_at: float) -> Parcel:
    """A letter as it is sent."""
    reason = _ILLEGAL.sub("\ufffd", letter.reason[:_REASON_CHARACTERS]) or "?"  # SQS takes no empty text
    attributes = {REASON: {"DataType": "String", "StringValue": reason}}
    numbers = {
        DIED_AT: f"{died_at:.3f}",
        PUT_AT: f"{letter.put_at:.3f}",
        EVENTS: str(letter.events),
        RECEIVED: str(letter.received),
    }
    for name, number in numbers.items():
        attributes[name] = {"DataType": "Number", "StringValue": number}
    return Parcel(letter.text, attributes)


def letter_of(message: Mapping[str, Any], legacy: LegacyFormat | None) -> DeadLetter:
    """A letter as it was received."""
    attributes = message.get("MessageAttributes") or {}
    sent_at = float((message.get("Attributes") or {}).get("SentTimestamp", 0)) / 1000
    try:
        request = decode(message["Body"], legacy)
    except ValueError:  # the reason says so
        request = None
    return DeadLetter(
        str(message["MessageId"]),
        _text(attributes, REASON) or _BY_SQS,
        _number(attributes, DIED_AT, sent_at),
        request,
        request.events if request is not None else int(_number(attributes, EVENTS, 1)),
        _number(attributes, PUT_AT, sent_at),
    )


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name)
    return str(value.get("StringValue") or "") if isinstance(value, Mapping) else ""


def _number(attributes: Mapping[str, Any], name: str, otherwise: float) -> float:
    try:
        return float(_text(attributes, name))
    except ValueError:
        return otherwise


class Letters:
    """The dead letters of one opened queue.

    Args:
        client: makes the calls.
        url: of the queue that keeps them.
        most_bytes: of all messages in one call.
        timeout: seconds that a call may take.
    """

    def __init__(self, client: Client, url: str, most_bytes: int, timeout: float) -> None:
        self.url = url
        self._client = client
        self._changes = Changes(client, url)
        self._outbox = Outbox(partial(client.call, "send_message_batch", QueueUrl=url), most_bytes, 2 * timeout)

    def bury(self, letters: Sequence[Letter]) -> list[QueueError | Refusal | None]:
        """Send letters, and tell for each what came between."""
        parcels = [parcel_of(letter, time.time()) for letter in letters]
        self._outbox.send(parcels)
        return [None if parcel.outcome is True else _problem(parcel.outcome) for parcel in parcels]

    def looked_at(self, most: int) -> Iterator[list[dict[str, Any]]]:
        """Letters as they are received, some at a time, each once; they are given back by whoever asked for them.

        Args:
            most: letters.
        """
        seen: set[str] = set()
        while len(seen) < most:
            found = self._received(min(most - len(seen), MOST_ENTRIES))
            new = [message for message in found if message["MessageId"] not in seen]
            seen.update(message["MessageId"] for message in new)
            if not new:
                return
            yield new

    def delete(self, receipts: Iterable[str]) -> None:
        """Delete letters that are kept elsewhere."""
        self._changes.delete(receipts)

    def give_back(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Have letters that were looked at be received by others again."""
        self._changes.hide(dict.fromkeys((raw["ReceiptHandle"] for raw in found), 0))

    def _received(self, most: int) -> list[dict[str, Any]]:
        answer = self._client.call(
            "receive_message",
            1,
            QueueUrl=self.url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=LOOK,
            WaitTimeSeconds=1,
            AttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages") or ())


def _problem(outcome: object) -> QueueError | Refusal:
    return outcome if isinstance(outcome, (QueueError, Refusal)) else QueueError("it has no outcome")


class DeadLetters:
    """A queue of SQS that keeps dead letters, for consumers whose messages do not come from a `SqsQueue`.

    Args:
        url: of that queue; the right `sqs:SendMessage` is needed.
        region: None takes it from the url, or from the environment.
        client: a botocore client for sqs, or what makes one; None makes one.
        timeout: seconds that a call may take; 0.1 to 300.

    Raises:
        ValueError: a setting is outside its accepted range.
    """

    def __init__(
        self, url: str, *, region: str | None = None, client: Any = None, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        self._settings = Settings(
            queue_url=url,
            dead_letter_url=None,
            region=region,
            client=client,
            packed_bytes=PACKED_BYTES,
            largest_bytes=LARGEST_BYTES,
            polls=1,
            timeout=timeout,
            longest_delay=0,
            legacy=None,
        )

    def open(self) -> OpenDeadLetters:
        """Make what this process needs."""
        return OpenDeadLetters(self._settings)


class OpenDeadLetters:
    """An opened queue of dead letters; belongs to one process."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        self._letters = Letters(self._client, settings.queue_url, settings.largest_bytes, settings.timeout)

    def bury(self, letters: Sequence[Letter]) -> list[QueueError | Refusal | None]:
        """Send letters, waiting cooperatively, and tell for each what came between: None is nothing."""
        return self._letters.bury(letters)

    def close(self) -> None:
        """Give back connections. May be called twice; never raises."""
        self._client.close()
