"""An opened queue of SQS: what each of its calls does."""

from __future__ import annotations

from functools import partial
from math import ceil
from time import monotonic
from typing import Any, Callable, Iterable, Mapping, Sequence

from gevent_dispatcher._event import Request
from gevent_dispatcher.queues import _limits
from gevent_dispatcher.queues._message import Letter, decode, encode
from gevent_dispatcher.queues._protocol import (
    DeadLetter,
    Message,
    QueueError,
    QueuePartial,
    QueueRefused,
    QueueUnavailable,
    QueueUncertain,
    QueueUnusable,
    Refusal,
    Status,
)
from gevent_dispatcher.queues.sqs._batch import MOST_ENTRIES, texts_of
from gevent_dispatcher.queues.sqs._changes import Changes
from gevent_dispatcher.queues.sqs._client import Client
from gevent_dispatcher.queues.sqs._faults import NOT_SQS
from gevent_dispatcher.queues.sqs._leases import Lease, Leases
from gevent_dispatcher.queues.sqs._letters import Letters, letter_of
from gevent_dispatcher.queues.sqs._outbox import Outbox, Parcel
from gevent_dispatcher.queues.sqs._remarks import Remarks
from gevent_dispatcher.queues.sqs._settings import ATTRIBUTE_BYTES, LONGEST_DELAY, LONGEST_POLL, Settings

# More letters than this are not looked through in one go.
_MOST_LETTERS = 1_000_000

_COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible")

Entry = Mapping[str, Any]


class OpenSqsQueue:
    """A queue as one process and its hub have it.

    Args:
        settings: of the queue.
    """

    def __init__(self, settings: Settings) -> None:
        self.polls = settings.polls
        self.longest_poll = float(LONGEST_POLL)
        self.buries = settings.dead_letter_url is not None
        self._settings = settings
        self._client = Client(settings)
        self._call: Callable[..., dict[str, Any]] = partial(self._client.call, QueueUrl=settings.queue_url)
        self._most_bytes = settings.largest_bytes - ATTRIBUTE_BYTES  # it may become a dead letter
        self._outbox = Outbox(partial(self._call, "send_message_batch"), settings.largest_bytes, 2 * settings.timeout)
        self._changes = Changes(self._client, settings.queue_url)
        self._letters: Letters | None = None
        if settings.dead_letter_url is not None:
            self._letters = Letters(self._client, settings.dead_letter_url, settings.largest_bytes, settings.timeout)
        self._leases = Leases(settings.longest_delay)
        self._remarks = Remarks(self.buries)

    # -- in ------------------------------------------------------------------------------------------------------------

    def put(self, requests: Sequence[Request]) -> None:
        """Store requests; see `OpenQueue`. Others' requests may share the call."""
        self._put(requests, 0.0)

    def _put(self, requests: Sequence[Request], delay: float) -> None:
        refusals: dict[int, Refusal] = {}
        parcels: list[tuple[int, Parcel]] = []
        for at, request in enumerate(requests):
            self._remarks.put(request)
            texts = texts_of(request, self._most_bytes)
            if isinstance(texts, Refusal):
                refusals[at] = texts
            else:
                parcels += [(at, Parcel(text, delay=min(ceil(delay), LONGEST_DELAY))) for text in texts]
        if parcels:
            self._outbox.send([parcel for _, parcel in parcels])
        _raise_what_failed(parcels, refusals, len(requests))

    # -- out -----------------------------------------------------------------------------------------------------------

    def receive(self, most: int, lease: float) -> list[Message]:
        """Take what can be received now; SQS looks everywhere only when it may take a second."""
        return self.poll(most, lease, 1.0)

    def poll(self, most: int, lease: float, wait: float) -> list[Message]:
        """Take what can be received, and wait for it; see `PollingQueue`."""
        _limits.check_count("most", most)
        _limits.check_lease(lease)
        begin, seconds = monotonic(), int(min(max(wait, 0.0), LONGEST_POLL))
        answer = self._call(
            "receive_message",
            seconds,
            MaxNumberOfMessages=min(most, MOST_ENTRIES),
            VisibilityTimeout=ceil(lease),
            WaitTimeSeconds=seconds,
            AttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        self._leases.forget_what_is_over(begin)
        found: list[Message] = []
        unreadable: list[tuple[Entry, str]] = []
        for raw in answer.get("Messages") or ():
            try:
                found.append(self._taken(raw, monotonic(), ceil(lease)))
            except ValueError as error:
                unreadable.append((raw, str(error)))
        if unreadable:
            self._get_rid_of(unreadable)
        return found

    def _taken(self, raw: Entry, now: float, lease: int) -> Message:
        request = decode(raw["Body"], self._settings.legacy)
        received, put_at = _history(raw)
        self._leases.add(raw["ReceiptHandle"], Lease(request, received, put_at, now, now + lease))
        return Message(raw["ReceiptHandle"], request, received, put_at)

    def _get_rid_of(self, unreadable: Sequence[tuple[Entry, str]]) -> None:
        """What nobody could send goes to the dead letters at once, or is left to the queue's redrive policy."""
        self._remarks.unreadable([why for _, why in unreadable])
        try:
            if self._letters:
                self._bury_raw(self._letters, unreadable)
            else:
                delays = {raw["ReceiptHandle"]: self._leases.growing(_history(raw)[0], 1.0) for raw, _ in unreadable}
                self._changes.hide(delays)
        except QueueError as error:
            self._remarks.not_moved(error)

    def _bury_raw(self, letters: Letters, unreadable: Sequence[tuple[Entry, str]]) -> None:
        outcomes = letters.bury([Letter(raw["Body"], why, 1, *_history(raw)) for raw, why in unreadable])
        self._changes.delete(raw["ReceiptHandle"] for (raw, _), outcome in zip(unreadable, outcomes) if outcome is None)
        _raise_first(outcomes)

    # -- what becomes of what is held ----------------------------------------------------------------------------------

    def extend(self, receipts: Sequence[str], lease: float) -> list[str]:
        """Hold messages for longer, as far as SQS allows: twelve hours in all."""
        _limits.check_lease(lease)
        now = monotonic()
        seconds = self._leases.extensions(receipts, lease, now)
        stale = self._changes.hide(seconds)
        self._leases.extend({receipt: each for receipt, each in seconds.items() if receipt not in stale}, now)
        return stale

    def ack(self, receipts: Sequence[str]) -> list[str]:
        """Delete messages that are done."""
        stale = self._changes.delete(receipts)
        self._leases.forget(receipts)
        return stale

    def release(self, receipts: Sequence[str], delay: float = 0.0) -> list[str]:
        """Give messages back: at once without a delay, else after twice as long each time that one is received."""
        _limits.check_delay(delay)
        stale = self._changes.hide(self._leases.delays(receipts, delay, monotonic()))
        self._leases.forget(receipts)
        return stale

    def bury(self, receipts: Sequence[str], reason: str) -> list[str]:
        """Send messages to the dead letters, and delete them then: what comes between may have one there twice."""
        letters = self._letters_or_raise()
        held = self._leases.held(receipts)
        fresh = [lease for lease in held.values() if not lease.is_moved]
        outcomes = letters.bury([_letter(lease.request, reason, lease) for lease in fresh])
        for lease, outcome in zip(fresh, outcomes):
            lease.is_moved = outcome is None
        moved = [receipt for receipt, lease in held.items() if lease.is_moved]
        stale = self._changes.delete(moved)
        self._leases.forget(moved)
        _raise_first(outcomes)
        return [*stale, *(receipt for receipt in receipts if receipt not in held)]

    def replace(
        self, receipt: str, again: Sequence[Request], dead: Sequence[tuple[Request, str]], delay: float = 0.0
    ) -> bool:
        """Put what is left, then delete the message: what comes between may have it twice, and loses nothing."""
        _limits.check_delay(delay)
        lease = self._leases.get(receipt)
        if lease is None or lease.until < monotonic():
            return False
        if not lease.is_moved:
            self._move(lease, again, dead, delay)
            lease.is_moved = True
        self._changes.delete([receipt])
        self._leases.forget([receipt])
        return True

    def _move(self, lease: Lease, again: Sequence[Request], dead: Sequence[tuple[Request, str]], delay: float) -> None:
        letters = self._letters_or_raise() if dead else None
        if letters is not None:
            _raise_first(letters.bury([_letter(request, reason, lease) for request, reason in dead]))
        if again:
            self._put(again, delay)

    def _letters_or_raise(self) -> Letters:
        if self._letters is None:
            raise QueueUnusable("dead letters have no place: give dead_letter_url= (--dead-letter-url)")
        return self._letters

    # -- for operators -------------------------------------------------------------------------------------------------

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The dead letters, as far as they can be received now; each look at them counts as a receipt."""
        _limits.check_count("limit", limit)
        letters = self._letters_or_raise()
        found: list[dict[str, Any]] = []
        try:
            for some in letters.looked_at(limit):
                found += some
        finally:
            letters.give_back(found)
        return sorted((letter_of(raw, self._settings.legacy) for raw in found), key=lambda letter: letter.died_at)

    def requeue(self, ids: Sequence[str] | None = None) -> int:
        """Put dead letters into the queue, and delete them then: what comes between may have one twice."""
        letters, wanted = self._letters_or_raise(), None if ids is None else set(ids)
        moved, others = 0, []
        try:
            for some in letters.looked_at(_MOST_LETTERS):
                chosen = [raw for raw in some if wanted is None or raw["MessageId"] in wanted]
                others += [raw for raw in some if raw not in chosen]
                moved += self._requeue(letters, chosen)
                if wanted is not None and moved == len(wanted):
                    break
        finally:
            letters.give_back(others)
        return moved

    def _requeue(self, letters: Letters, chosen: Sequence[Entry]) -> int:
        if not chosen:
            return 0
        parcels = [(at, Parcel(raw["Body"])) for at, raw in enumerate(chosen)]
        self._outbox.send([parcel for _, parcel in parcels])
        done = [chosen[at]["ReceiptHandle"] for at, parcel in parcels if parcel.outcome is True]
        letters.delete(done)
        _raise_what_failed(parcels, {}, len(chosen))
        return len(done)

    def purge(self) -> int:
        """Delete every message; SQS takes up to a minute for it, and tells how many there were only about."""
        return self._purge(self._settings.queue_url)

    def purge_dead(self) -> int:
        """Delete every dead letter, as `purge` does."""
        return self._purge(self._letters_or_raise().url)

    def _purge(self, url: str) -> int:
        count = sum(self._counts(url))
        self._client.call("purge_queue", QueueUrl=url)
        return count

    def status(self) -> Status:
        """What the queue holds about now; what SQS cannot tell is None."""
        waiting, delayed, held = self._counts(self._settings.queue_url)
        dead = None if self._letters is None else sum(self._counts(self._letters.url))
        return Status(waiting, delayed, held, dead, None, None, None)

    def _counts(self, url: str) -> list[int]:
        answer = self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=list(_COUNTS))
        attributes = answer.get("Attributes") or {}
        if not attributes.keys() >= set(_COUNTS):  # a page to sign in reads like an answer without any
            raise QueueUncertain(NOT_SQS)
        return [int(attributes[name]) for name in _COUNTS]

    def close(self) -> None:
        """Give back connections. May be called twice; never raises."""
        self._client.close()
        self._remarks.close()


def _history(raw: Entry) -> tuple[int, float]:
    """How often a message has been received, and when it was put."""
    attributes = raw.get("Attributes") or {}
    return int(attributes.get("ApproximateReceiveCount", 1)), float(attributes.get("SentTimestamp", 0)) / 1000


def _letter(request: Request, reason: str, lease: Lease) -> Letter:
    return Letter(encode(request), reason, request.events, lease.received, lease.put_at)


def _raise_first(outcomes: Iterable[QueueError | Refusal | None]) -> None:
    for outcome in outcomes:
        if outcome is not None:
            text = outcome.reason if isinstance(outcome, Refusal) else str(outcome)
            raise QueueUnavailable(f"the dead letters were not all taken: {text}")


def _raise_what_failed(parcels: Iterable[tuple[int, Parcel]], refusals: dict[int, Refusal], requests: int) -> None:
    errors: dict[int, QueueError] = {}
    for at, parcel in parcels:
        if isinstance(parcel.outcome, QueueError):
            errors[at] = parcel.outcome
        elif isinstance(parcel.outcome, Refusal):
            refusals[at] = parcel.outcome
    stored = set(range(requests)) - errors.keys() - refusals.keys()
    if errors:
        error = next(iter(errors.values()))
        if stored or refusals:
            raise QueuePartial(str(error), stored, refusals)
        raise type(error)(str(error))  # several putters are told of it
    if refusals:
        raise QueueRefused(refusals)
