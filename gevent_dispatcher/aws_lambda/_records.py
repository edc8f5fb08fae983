"""The records of one invocation as a queue that a consumer empties.

Lambda deletes from the real queue what is not named in the answer, so a record counts as failed until it has ended
well: acknowledged, or stored among the dead letters.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple, Protocol, Sequence

from gevent_dispatcher._event import Request
from gevent_dispatcher.queues import LegacyFormat, Message
from gevent_dispatcher.queues._message import Letter, decode, encode

_SOURCE = "aws:sqs"
_FIFO = ".fifo"


class Record(NamedTuple):
    """A message as Lambda hands it over (AWS Lambda developer guide, "Using Lambda with Amazon SQS").

    Attributes:
        id: the message's.
        body: its text, unless somebody else made the event.
        group: of a FIFO queue's message, whose order is kept within the group; None on other queues.
        received: how often the message has been received, this time included.
        sent_at: seconds since the epoch.
    """

    id: str
    body: Any
    group: str | None
    received: int
    sent_at: float

    @property
    def key(self) -> tuple[str, str]:
        """What is equal when a message is there twice."""
        return self.id, self.body if isinstance(self.body, str) else repr(self.body)


def records_of(event: object) -> list[Record]:
    """The records of an event, each once: a standard queue may deliver a message twice.

    Raises:
        ValueError: the event is not one of an SQS queue. Then nothing of it must be taken for done, whatever it is.
    """
    found = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(found, list):
        raise ValueError(
            "the event has no list of Records: this handler is for the event source mapping of an SQS queue"
        )
    records = {each.key: each for each in map(_record, found)}
    return list(records.values())


def _record(found: object) -> Record:
    source = found.get("eventSource") if isinstance(found, dict) else None
    if not isinstance(found, dict) or source != _SOURCE:
        known = source if isinstance(source, str) and source.startswith("aws:") else "unknown"
        raise ValueError(f"a record is not of {_SOURCE} but of {known[:40]}: this handler is for SQS queues")
    id = found.get("messageId")
    if not isinstance(id, str) or not id:
        raise ValueError("a record has no messageId, so that it could not be returned alone")
    attributes = found.get("attributes")
    return _with_attributes(id, found, attributes if isinstance(attributes, dict) else {})


def _with_attributes(id: str, found: dict[Any, Any], attributes: dict[Any, Any]) -> Record:
    # A standard queue's message may have a group too, where order does not matter ("fair queues").
    is_fifo = str(found.get("eventSourceARN")).endswith(_FIFO)
    group = str(attributes.get("MessageGroupId")) if is_fifo else None
    sent_at = _number(attributes.get("SentTimestamp")) / 1000
    return Record(id, found.get("body"), group, _number(attributes.get("ApproximateReceiveCount")), sent_at)


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 18 else 0


class DeadLetters(Protocol):
    """Where messages are kept that cannot be delivered."""

    def send(self, letters: Sequence[Letter]) -> list[int]:
        """Store letters, waiting cooperatively, and tell the numbers of those that are not stored.

        Args:
            letters: what to store.
        """
        ...


class RecordQueue:
    """The records, leased to the consumer that asks. A receipt is a record's number.

    Args:
        records: of the invocation.
        legacy: what messages of older formats lack.
        dead_letters: None returns what cannot be delivered, and leaves it to the queue's redrive policy.
    """

    def __init__(
        self, records: Sequence[Record], legacy: LegacyFormat | None = None, dead_letters: DeadLetters | None = None
    ) -> None:
        self._records = records
        self._legacy = legacy
        self._dead_letters = dead_letters
        self._ready: deque[int] = deque()
        self._behind: dict[str | None, deque[int]] = {}  # those of a group whose turn has not come
        self._unreadable: dict[str, list[str]] = {}  # receipts by reason
        self._done: set[int] = set()
        self._refused: Counter[str] = Counter()
        for number, record in enumerate(records):
            self._line_up(number, record.group)

    def _line_up(self, number: int, group: str | None) -> None:
        if group in self._behind:
            self._behind[group].append(number)
            return
        self._ready.append(number)
        if group is not None:
            self._behind[group] = deque()

    # -- what became of them -------------------------------------------------------------------------------------------

    @property
    def failures(self) -> list[str]:
        """The ids of the messages that have not ended well, in their order. Those behind a failure of a group are."""
        failed = (record.id for number, record in enumerate(self._records) if number not in self._done)
        return list(dict.fromkeys(failed))

    @property
    def refused(self) -> dict[str, int]:
        """How many of them can never be delivered, by reason."""
        return dict(self._refused)

    def _has_ended_well(self, number: int) -> None:
        self._done.add(number)
        behind = self._behind.get(self._records[number].group)
        if behind:
            self._ready.append(behind.popleft())

    # -- the protocol of queues, as far as a consumer uses it ----------------------------------------------------------

    def open(self) -> RecordQueue:
        """Itself."""
        return self

    def receive(self, most: int, lease: float) -> list[Message]:
        """What is ready; of a FIFO queue's group one message at a time.

        To bury what is unreadable may take its time, and comes when all others are under way.
        """
        messages = self._readable(most)
        while not messages and self._unreadable:
            reason, receipts = self._unreadable.popitem()
            self.bury(receipts, reason)
            messages = self._readable(most)
        return messages

    def _readable(self, most: int) -> list[Message]:
        messages: list[Message] = []
        while self._ready and len(messages) < most:
            number = self._ready.popleft()
            try:
                messages.append(self._message(number))
            except ValueError as error:
                self._unreadable.setdefault(str(error), []).append(str(number))
        return messages

    def _message(self, number: int) -> Message:
        record = self._records[number]
        if not isinstance(record.body, str):
            raise ValueError("its body is not text")
        return Message(str(number), decode(record.body, self._legacy), record.received, record.sent_at)

    def extend(self, receipts: Sequence[str], lease: float) -> list[str]:
        """They are ours for the whole invocation."""
        return []

    def ack(self, receipts: Sequence[str]) -> list[str]:
        """Lambda shall delete them."""
        for receipt in receipts:
            self._has_ended_well(int(receipt))
        return []

    def release(self, receipts: Sequence[str], delay: float = 0.0) -> list[str]:
        """They come again after the queue's visibility timeout, as whatever has not ended well."""
        return []

    def bury(self, receipts: Sequence[str], reason: str) -> list[str]:
        """To the dead letters as they came; without these they are returned, as are those that could not be stored: the
        receipts of all that are returned are told.
        """
        records = {receipt: self._records[int(receipt)] for receipt in receipts}
        possible = [receipt for receipt, record in records.items() if isinstance(record.body, str) and record.body]
        numbers = self._store([_letter(records[receipt], records[receipt].body, reason) for receipt in possible])
        stored = {possible[at] for at in numbers}
        self.ack([receipt for receipt in possible if receipt in stored])
        if len(stored) < len(records):
            self._refused[reason] += len(records) - len(stored)
        return [receipt for receipt in records if receipt not in stored]

    def replace(
        self, receipt: str, again: Sequence[Request], dead: Sequence[tuple[Request, str]], delay: float = 0.0
    ) -> bool:
        """What is left of a message cannot take its place here: it is returned whole, and its uuids make that harmless.

        Only when all but the dead was delivered, and these are stored, it has ended well.
        """
        if again:
            return False
        record = self._records[int(receipt)]
        letters = [_letter(record, encode(request), reason, request.events) for request, reason in dead]
        is_stored = len(self._store(letters)) == len(letters)
        if is_stored:
            self.ack([receipt])
        else:
            self._refused[dead[0][1]] += 1
        return is_stored

    def close(self) -> None:
        """Nothing."""

    def _store(self, letters: list[Letter]) -> list[int]:
        """The numbers of those that are stored. A failure is not tried again: that would be paid for by time."""
        if self._dead_letters is None or not letters:
            return []
        left = set(self._dead_letters.send(letters))
        return [at for at in range(len(letters)) if at not in left]


def _letter(record: Record, text: str, reason: str, events: int = 1) -> Letter:
    return Letter(text, reason, events, record.received, record.sent_at)
