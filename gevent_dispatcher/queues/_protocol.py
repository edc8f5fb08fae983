"""What a durable queue does: the `Queue` protocol, and the values and errors that cross it.

A queue is an inert recipe that may be made anywhere, before a fork or a late monkey-patch included. What `open()` gives
belongs to one process. Delivery is at least once: a message is leased, and gone only when it is acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Sequence

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


class QueueUnusable(QueueError):
    """What is there is not a queue of this version: foreign, newer, or corrupt. It takes an operator."""


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
    """What a queue holds at one moment.

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
    dead: int
    events: int
    bytes: int
    oldest_age: float


class OpenQueue(Protocol):
    """An opened queue. Every call waits cooperatively, and raises a `QueueError` when it could not be done."""

    def put(self, requests: Sequence[Request]) -> None:
        """Store requests, each as a message of its own: all of them durably, or none.

        Args:
            requests: in the order in which they shall be received, as far as a queue can keep it.

        Raises:
            QueueFull: there is no room for all.
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
            delay: seconds before anybody can receive them, up to 43 200.
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


class Queue(Protocol):
    """A durable store of requests."""

    def open(self) -> OpenQueue:
        """Make what this process needs. Nothing is touched before the first call to it."""
        ...
