"""What a durable queue does: the `Queue` protocol, and the values and errors that cross it.

A queue is an inert recipe that may be made anywhere, before a fork or a late monkey-patch included. What `open()` gives
belongs to one process. Delivery is at least once: a message is leased, and gone only when it is acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Collection, Mapping, NamedTuple, Protocol, Sequence

if TYPE_CHECKING:
    from gevent_dispatcher._event import Request


class QueueError(Exception):
    """A queue could not do what was asked; the text never shows a payload."""


class QueueFull(QueueError):
    """There is no room, within `max_bytes` or on the disk. Nothing was stored."""


class QueueUnavailable(QueueError):
    """The queue could not be reached, or not in time. Nothing was done; it may work later."""


class QueueUncertain(QueueUnavailable):
    """Time ran out, or the disk failed, in the middle of a commit: all of it was done, or nothing."""


class QueueForbidden(QueueUnavailable):
    """Whoever asks has no right to; the text names the right."""


class QueueUnusable(QueueError):
    """What is there is not a queue of this version: foreign, newer, or corrupt. It takes an operator."""


class Refusal(NamedTuple):
    """Why a queue will never take a request as it is.

    Attributes:
        status: what an endpoint would say: 413 when it is too large, 400 otherwise.
        reason: for operators; no payload.
    """

    status: int
    reason: str


class QueuePartial(QueueUncertain):
    """Some requests of a put were stored, the others not, or that is uncertain; a queue of one place never raises it.

    Args:
        why: for operators.
        stored: the positions of those that were, in what was put.
        refusals: by the position, for those that will never be.
    """

    def __init__(self, why: str, stored: Collection[int], refusals: Mapping[int, Refusal]) -> None:
        super().__init__(why)
        self.stored = frozenset(stored)
        self.refusals = dict(refusals)


class QueueRefused(QueueError):
    """Some requests of a put will never be taken as they are; all others of it were stored.

    Args:
        refusals: by the position in what was put.
    """

    def __init__(self, refusals: Mapping[int, Refusal]) -> None:
        super().__init__("; ".join(sorted({each.reason for each in refusals.values()})))
        self.refusals = dict(refusals)


class Message(NamedTuple):
    """A leased request.

    Attributes:
        receipt: proves the lease. It is of no use once another receives the message, or this one gave it back.
        request: what to send.
        received: how often it has been received, this time included.
        put_at: when it was first put, in seconds since the epoch.
    """

    receipt: str
    request: Request
    received: int
    put_at: float


class DeadLetter(NamedTuple):
    """A message that nobody shall receive any more, until it is requeued.

    Attributes:
        id: names it for `requeue`.
        reason: why it was buried.
        died_at: when, in seconds since the epoch.
        request: None when what is stored cannot be read.
        events: how many it holds.
        put_at: when it was first put, in seconds since the epoch.
    """

    id: str
    reason: str
    died_at: float
    request: Request | None
    events: int
    put_at: float


@dataclass(frozen=True)
class Status:
    """What a queue holds at one moment; None is what it cannot tell.

    Attributes:
        waiting: messages that can be received now.
        delayed: messages that were released for later.
        leased: messages that somebody holds.
        dead: dead letters.
        events: events in all of them but the dead.
        bytes: what counts against `max_bytes`, dead letters included.
        oldest_age: seconds since the oldest of all but the dead was first put; 0 when there is none.
    """

    waiting: int
    delayed: int
    leased: int
    dead: int | None
    events: int | None
    bytes: int | None
    oldest_age: float | None


class OpenQueue(Protocol):
    """An opened queue. Every call waits cooperatively, and raises a `QueueError` when it could not be done."""

    def put(self, requests: Sequence[Request]) -> None:
        """Store requests, each as a message of its own: all of them durably, or none.

        Args:
            requests: in the order in which they shall be received, as far as a queue can keep it.

        Raises:
            QueueFull: there is no room for all.
            QueueRefused: it will never take some of them.
            QueuePartial: some were stored.
        """
        ...

    def receive(self, most: int, lease: float) -> list[Message]:
        """Take what can be received now; nobody else gets it before the lease is over.

        Args:
            most: messages, 1 to 10 000.
            lease: seconds, up to 43 200.
        """
        ...

    def extend(self, receipts: Sequence[str], lease: float) -> list[str]:
        """Hold messages for longer, and tell the receipts for which that came too late.

        Args:
            receipts: of messages that are held.
            lease: seconds from now, up to 43 200.
        """
        ...

    def ack(self, receipts: Sequence[str]) -> list[str]:
        """Remove messages that are done, and tell the receipts that were stale: those do nothing.

        Args:
            receipts: of messages that are held.
        """
        ...

    def release(self, receipts: Sequence[str], delay: float = 0.0) -> list[str]:
        """Give messages back, and tell the receipts that were stale.

        Args:
            receipts: of messages that are held.
            delay: seconds before anybody can receive them, up to 43 200; a queue may make it longer the more often a
                message was received in vain.
        """
        ...

    def bury(self, receipts: Sequence[str], reason: str) -> list[str]:
        """Move messages to the dead letters, and tell the receipts that were stale.

        Args:
            receipts: of messages that are held.
            reason: for operators; no payload. What exceeds 500 characters is cut off.
        """
        ...

    def replace(
        self, receipt: str, again: Sequence[Request], dead: Sequence[tuple[Request, str]], delay: float = 0.0
    ) -> bool:
        """Put what is left of a message in its place, all of it or nothing; False when the receipt was stale.

        Args:
            receipt: of a message that is held.
            again: what is still to be delivered, each as a message of its own.
            dead: what shall go to the dead letters, each with its reason.
            delay: seconds before anybody can receive the new messages, up to 43 200.
        """
        ...

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The dead letters, those that died first before the others.

        Args:
            limit: most letters, 1 to 10 000.
        """
        ...

    def requeue(self, ids: Sequence[str] | None = None) -> int:
        """Have dead letters received again, as if they were new, and tell how many.

        Args:
            ids: of the dead letters; None for all.
        """
        ...

    def purge(self) -> int:
        """Delete every message but the dead letters, held ones included, and tell how many."""
        ...

    def purge_dead(self) -> int:
        """Delete every dead letter, and tell how many."""
        ...

    def status(self) -> Status:
        """What the queue holds now."""
        ...

    def close(self) -> None:
        """Give back threads and files, waiting for what is under way. May be called twice; never raises."""
        ...


class PollingQueue(OpenQueue, Protocol):
    """An opened queue that can wait for messages by itself, and is worth several calls at once.

    Attributes:
        polls: how many calls at once are worth it.
        longest_poll: seconds that one may wait.
        buries: whether it has a place for dead letters; what would go there is given back otherwise.
    """

    polls: int
    longest_poll: float
    buries: bool

    def poll(self, most: int, lease: float, wait: float) -> list[Message]:
        """Take what can be received, and wait for it when there is nothing. Must be let end: a call that is aborted may
        swallow a message for the time of its lease.

        Args:
            most: messages, 1 to 10 000.
            lease: seconds, up to 43 200.
            wait: seconds until it returns empty-handed.
        """
        ...


class Queue(Protocol):
    """A durable store of requests. It may have `request_bytes`: the size from which on its requests cost more."""

    def open(self) -> OpenQueue:
        """Make what this process needs. Nothing is touched before the first call to it."""
        ...
