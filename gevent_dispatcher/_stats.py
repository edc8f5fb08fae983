"""What became of the events: outcomes, the record that a hook gets, and the counters behind `stats()`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Mapping

# Why an event was dropped, as it stands in stats() and in logs.
BUFFER_FULL = "buffer_full"
REJECTED = "rejected"
EXPIRED = "expired"
TOO_LARGE = "too_large"
INVALID = "invalid"
CLOSED = "closed"
DISABLED = "disabled"
REASONS = (BUFFER_FULL, REJECTED, EXPIRED, TOO_LARGE, INVALID, CLOSED, DISABLED)


class Outcome(str, Enum):
    """How an event ends, exactly once."""

    DELIVERED = "delivered"
    SPOOLED = "spooled"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Delivery:
    """One settled request, as `on_delivery` receives it.

    Attributes:
        outcome: delivered, spooled or dropped.
        reason: why it was dropped; "" when it was not.
        origin: scheme, host and port, without path or query.
        events: how many events the request held.
        status: the last HTTP status, None when there was no answer.
        attempts: how often its events were sent.
        seconds: from the dispatch of its oldest event to this record.
        verb: POST or GET.
        url: where it went, path and query included; not in the repr.
        parts: the encoded events, as they were merged; not in the repr.
        around: what stands before and behind them in a request's body; not in the repr.
    """

    outcome: Outcome
    reason: str
    origin: str
    events: int
    status: int | None
    attempts: int
    seconds: float
    verb: str = field(default="POST", repr=False)
    url: str = field(default="", repr=False)
    parts: tuple[bytes, ...] = field(default=(), repr=False)
    around: tuple[bytes, bytes] = field(default=(b"", b""), repr=False)

    @property
    def bodies(self) -> tuple[bytes, ...]:
        """Each event as the body of a request of its own, for a dead-letter store; empty ones for GET."""
        before, behind = self.around
        return tuple(before + part + behind for part in self.parts)


@dataclass(frozen=True)
class Stats:
    """What has become of the events of this process, at one moment.

    `dispatched == delivered + spooled + sum(dropped.values()) + pending` holds in each snapshot; every term is counted,
    none is what remains.

    Attributes:
        dispatched: events handed over.
        delivered: events whose request was answered with 2xx.
        spooled: events committed to the spool.
        pending: events waiting, in flight or in backoff.
        dropped: events dropped, by reason.
        requests: requests sent, repeated ones included.
        retries: requests whose events had been sent before, as a whole or in a request that was split.
        splits: requests that were split, because they were refused or failed again and again.
    """

    dispatched: int = 0
    delivered: int = 0
    spooled: int = 0
    pending: int = 0
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(REASONS, 0)))
    requests: int = 0
    retries: int = 0
    splits: int = 0


class Counters:
    """The mutable counts of one engine. Only its home thread writes them."""

    def __init__(self) -> None:
        self.dispatched = 0
        self.delivered = 0
        self.spooled = 0
        self.dropped = dict.fromkeys(REASONS, 0)
        self.requests = 0
        self.retries = 0

    def snapshot(self, pending: int, splits: int) -> Stats:
        """Freeze the counts.

        Args:
            pending: events in the buffer at this moment.
            splits: requests that were split.
        """
        dropped = MappingProxyType(dict(self.dropped))
        counts = (self.dispatched, self.delivered, self.spooled, pending, dropped)
        return Stats(*counts, self.requests, self.retries, splits)
