"""The messages that a consumer holds: what became of their events, and so what becomes of them.

A message is one request, but a request may be taken apart: some of its events are delivered, some are guilty, some
still wait when time is up. When the last piece has ended, this room says what the queue is to be told. No input or
output here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Iterable, NamedTuple, Sequence

from gevent_dispatcher import _stats
from gevent_dispatcher._event import Request
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._policy import End
from gevent_dispatcher._stats import Outcome


@dataclass(frozen=True)
class ConsumerStats:
    """What has become of the messages that a consumer received, at one moment.

    `received == acked + released + dead + held` holds in each snapshot; every term is counted. Counts are messages
    unless the name says otherwise.

    Attributes:
        received: taken from the queue.
        acked: every event was delivered, and the queue was told; also when the lease was over by then, so that somebody
            else may deliver the message again.
        released: given back, whole or what is left of them.
        dead: moved to the dead letters, whole or in part.
        held: waiting, in flight, or done and not yet confirmed by the queue.
        delivered_events: events that the endpoint took.
        dead_events: events in dead letters.
        requests: requests sent, repeated ones included.
        retries: requests whose events had been sent before.
        splits: requests that were taken apart.
    """

    received: int = 0
    acked: int = 0
    released: int = 0
    dead: int = 0
    held: int = 0
    delivered_events: int = 0
    dead_events: int = 0
    requests: int = 0
    retries: int = 0
    splits: int = 0


class ConsumerCounters:
    """The mutable counts of one consumer."""

    def __init__(self) -> None:
        self.received = 0
        self.delivered_events = 0
        self._dead_events = 0
        self._ended = {"acked": 0, "released": 0, "dead": 0}

    def confirm(self, how: str, tickets: Collection[Ticket]) -> None:
        """Count messages of which the queue has been told.

        Args:
            how: "acked", "released" or "dead".
            tickets: the messages.
        """
        self._ended[how] += len(tickets)
        self._dead_events += sum(request.events for ticket in tickets for request, _ in ticket.dead)

    def snapshot(self, held: int, requests: int, retries: int, splits: int) -> ConsumerStats:
        """Freeze the counts, with what is counted elsewhere."""
        return ConsumerStats(
            self.received,
            held=held,
            delivered_events=self.delivered_events,
            dead_events=self._dead_events,
            requests=requests,
            retries=retries,
            splits=splits,
            **self._ended,
        )


class Ticket:
    """One message that is held.

    Attributes:
        receipt: proves the lease.
        request: as it was received.
        delivered: events that the endpoint took.
        dead: requests that were refused, each with why.
        left: requests that were neither delivered nor refused before time was up.
        is_untried: nothing of it was ever sent.
    """

    __slots__ = ("dead", "delivered", "is_untried", "left", "receipt", "request")

    def __init__(self, receipt: str, request: Request) -> None:
        self.receipt = receipt
        self.request = request
        self.delivered = 0
        self.dead: list[tuple[Request, str]] = []
        self.left: list[Request] = []
        self.is_untried = False

    def note(self, end: End) -> None:
        """Write down what became of one piece, or of the whole."""
        if end.outcome is Outcome.DELIVERED:
            self.delivered += end.batch.events
        elif end.reason in (_stats.REJECTED, _stats.TOO_LARGE):
            self.dead.append((end.batch.request(), f"{end.reason}: {end.answer}"))
        else:
            self.left.append(end.batch.request())

    def note_left(self, batches: Sequence[Batch]) -> None:
        """Write down what is still pending when time is up; where that is nothing, all that is left is under way."""
        self.left.extend(batch.request() for batch in batches)
        self.is_untried = bool(batches) and not any(batch.attempts for batch in batches)

    def note_unsent(self) -> None:
        """Write down that nothing of it was ever sent."""
        self.left, self.is_untried = [self.request], True

    def leave_dead(self) -> None:
        """Have what was refused count as left: there is no place for it."""
        self.left.extend(request for request, _ in self.dead)
        self.dead = []


class Word(NamedTuple):
    """What a queue is to be told of messages: each is in one of these.

    Attributes:
        ack: every event was delivered.
        hand_back: none was ever sent: others may have it at once.
        release: none was delivered; not at once.
        bury: all were refused, by reason.
        replace: some of this, some of that.
    """

    ack: list[Ticket]
    hand_back: list[Ticket]
    release: list[Ticket]
    bury: dict[str, list[Ticket]]
    replace: list[Ticket]


def word_of(tickets: Iterable[Ticket]) -> Word:
    """Sort finished messages by what the queue is to be told of them."""
    word = Word([], [], [], {}, [])
    for ticket in tickets:
        if not ticket.dead and not ticket.left:
            word.ack.append(ticket)
        elif not ticket.delivered and not ticket.dead:
            (word.hand_back if ticket.is_untried else word.release).append(ticket)
        elif not ticket.delivered and not ticket.left:
            word.bury.setdefault(ticket.dead[0][1], []).append(ticket)
        else:
            word.replace.append(ticket)
    return word
