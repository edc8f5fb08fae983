"""How deliveries are doing at one moment: what is pending, and how each origin answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class BreakerState(str, Enum):
    """What the circuit breaker of an origin lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class OriginHealth:
    """How one origin is doing.

    Attributes:
        origin: scheme, host and port, without path or query.
        state: closed: requests go; open: none goes for a while; half open: one goes, to see whether it is answered.
        failures: requests in a row that failed.
    """

    origin: str
    state: BreakerState
    failures: int


@dataclass(frozen=True)
class Health:
    """How deliveries are doing in this process, at one moment.

    Attributes:
        pending_events: events waiting, in flight or in backoff.
        pending_bytes: what they weigh in memory, encoded.
        buffer_events: most events that may be pending; 0 where nothing was dispatched yet, and for a consumer, which
            bounds messages.
        buffer_bytes: most bytes that may be pending; 0 as above.
        origins: those that events went to; long unused ones are forgotten.
    """

    pending_events: int = 0
    pending_bytes: int = 0
    buffer_events: int = 0
    buffer_bytes: int = 0
    origins: tuple[OriginHealth, ...] = ()

    def within(self, buffer_events: int, buffer_bytes: int) -> Health:
        """The same, with the bounds."""
        return replace(self, buffer_events=buffer_events, buffer_bytes=buffer_bytes)
