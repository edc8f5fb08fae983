"""The lanes of all origins: whose turn it is, how many requests are under way, and which origins are remembered."""

from __future__ import annotations

from collections import OrderedDict
from typing import Callable, Iterator

from gevent_dispatcher._breaker import Breaker
from gevent_dispatcher._health import OriginHealth
from gevent_dispatcher._lane import Batch, Lane
from gevent_dispatcher._url import Origin

# Origins that are known before the first look for some to forget. An application has one or two.
_REMEMBERED = 100


class Lanes:
    """One lane for each origin.

    Args:
        slots: most requests that may be under way to all origins together.
        longest_rest: upper bound of a breaker's rest, in seconds.
        chance: `random.uniform` or like it.
    """

    def __init__(self, slots: int, longest_rest: float, chance: Callable[[float, float], float]) -> None:
        self._slots = slots
        self._longest_rest = longest_rest
        self._chance = chance
        # Known origins, in the order in which it is their turn.
        self._lanes: OrderedDict[Origin, Lane] = OrderedDict()
        self._most = _REMEMBERED
        self._in_flight = 0

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def of(self, origin: Origin) -> Lane:
        """The lane of an origin; a new one where it is not known."""
        lane = self._lanes.get(origin)
        return self._new(origin) if lane is None else lane

    def _new(self, origin: Origin) -> Lane:
        if len(self._lanes) >= self._most:
            self._forget_idle()
        lane = self._lanes[origin] = Lane(Breaker(self._slots, self._longest_rest, self._chance))
        return lane

    def _forget_idle(self) -> None:
        for origin in [origin for origin, lane in self._lanes.items() if lane.is_idle]:
            del self._lanes[origin]
        self._most = max(_REMEMBERED, 2 * len(self._lanes))

    # -- out -----------------------------------------------------------------------------------------------------------

    def permits(self, lane: Lane, now: float) -> bool:
        """Whether a request of a lane may go, if it has one."""
        return self._leaves_room(lane) and lane.breaker.permits(now, lane.in_flight)

    def is_due(self, now: float) -> bool:
        """Whether any lane has a batch that may go now."""
        return self._in_flight < self._slots and any(self._may_send(lane, now) for lane in self._lanes.values())

    def next(self, now: float) -> Lane | None:
        """The lane that sends now, None when none may: origins take turns."""
        for origin, lane in self._lanes.items():
            if self._may_send(lane, now):
                self._lanes.move_to_end(origin)
                return lane
        return None

    def _may_send(self, lane: Lane, now: float) -> bool:
        return not lane.is_empty and self._leaves_room(lane) and lane.is_due(now)

    def _leaves_room(self, lane: Lane) -> bool:
        """The last slot is for an origin that has none yet: one that hangs must not delay the others."""
        free = self._slots - self._in_flight
        return free > 1 or (free == 1 and (lane.in_flight == 0 or len(self._lanes) == 1))

    def depart(self, lane: Lane, batch: Batch) -> None:
        """Count a batch as under way."""
        lane.depart(batch)
        self._in_flight += 1

    # -- what became of what was under way -----------------------------------------------------------------------------

    def answered(self, batch: Batch) -> None:
        """Its origin answered, were it with a refusal."""
        self.of(batch.envelope.origin).answered(batch)
        self._in_flight -= 1

    def failed(self, batch: Batch, now: float, asked: float, may_be_its_fault: bool) -> None:
        """Its origin did not answer, or asked for time; see `Lane.failed`."""
        self.of(batch.envelope.origin).failed(batch, now, asked, may_be_its_fault)
        self._in_flight -= 1

    def unsent(self, batch: Batch) -> None:
        """It came to nothing, through no fault of its origin."""
        self.of(batch.envelope.origin).unsent(batch)
        self._in_flight -= 1

    # -- how origins are doing -----------------------------------------------------------------------------------------

    def next_due(self, now: float, ripe: list[Origin]) -> Iterator[float]:
        """When each lane may send that may not send now, as far as that is a matter of time.

        Args:
            now: monotonic seconds.
            ripe: origins of open batches whose linger is over.
        """
        dues = (lane.next_due(now, origin in ripe) for origin, lane in self._lanes.items())
        return (due for due in dues if due is not None)

    def is_resting(self, origin: Origin) -> bool:
        """Whether the breaker of an origin is open."""
        lane = self._lanes.get(origin)
        return lane is not None and lane.breaker.is_open

    def waits_in_vain(self, by: float) -> bool:
        """Whether all that is pending here is for origins that are left alone; False when nothing is.

        Args:
            by: monotonic seconds; an origin is left alone while its breaker is open, or when it asked for longer.
        """
        busy = [lane for lane in self._lanes.values() if lane.has_work]
        return bool(busy) and all(lane.rests(by) for lane in busy)

    def health(self, now: float) -> tuple[OriginHealth, ...]:
        """How each origin is doing; from any thread.

        Args:
            now: monotonic seconds.
        """
        breakers = [(str(origin), lane.breaker) for origin, lane in list(self._lanes.items())]
        return tuple(OriginHealth(origin, breaker.state(now), breaker.failures) for origin, breaker in breakers)
