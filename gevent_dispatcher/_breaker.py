"""One origin's health, and how many requests may be under way to it at once.

The allowance is one number. It starts at half of the slots, because an origin that has never answered may be one that
hangs; it grows by one with each answer, up to all slots, and halves with each failure. After so many failures in a row
the breaker opens: nothing is sent for a while, then one probe; when that is answered the allowance starts again at one
(a slow start instead of a stampede). Time and chance come in as arguments.
"""

from __future__ import annotations

from typing import Callable

from gevent_dispatcher._health import BreakerState

# Failures in a row that open the breaker: fewer would take a blip for an outage, more would cost a slot for long.
OPENS_AFTER = 5
# An origin rests for a quarter of the time that it has been failing. So one that only fails often is soon asked again,
# one that is away is asked less and less, and recovery is noticed within a quarter of the outage.
_REST = 0.25
# The bounds of a rest, in seconds. A probe is one request, so even the longest need not be long.
SHORTEST_REST, LONGEST_REST = 0.02, 10.0

_NEVER = float("-inf")


class Breaker:
    """The circuit breaker of one origin: closed, open, half-open with one probe, then a slow start.

    Args:
        slots: most requests that may be under way to all origins together.
        longest: upper bound of a rest, in seconds; `LONGEST_REST` is another.
        chance: `random.uniform` or like it.
    """

    __slots__ = (
        *("_allowance", "_chance", "_failing_since", "_failures", "_longest"),
        *("_probes", "_slots", "_until"),
    )

    def __init__(self, slots: int, longest: float, chance: Callable[[float, float], float]) -> None:
        self._slots = slots
        self._longest = min(longest, LONGEST_REST)
        self._chance = chance
        self._allowance = max(1, slots // 2)
        self._failures = 0  # in a row
        self._failing_since = 0.0
        self._until: float | None = None  # when the rest ends; None while the breaker is closed
        self._probes = 0  # under way

    @property
    def is_open(self) -> bool:
        """Whether the origin is taken for one that does not answer; half-open counts as open."""
        return self._until is not None

    @property
    def is_well(self) -> bool:
        """Whether nothing about the origin is worth remembering."""
        return self._until is None and not self._failures

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def state(self, now: float) -> BreakerState:
        """What is let through.

        Args:
            now: monotonic seconds.
        """
        if self._until is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probes or now >= self._until else BreakerState.OPEN

    @property
    def rests_until(self) -> float | None:
        """When the next probe may go, in monotonic seconds; None while that is not a matter of time."""
        return self._until if not self._probes else None

    def permits(self, now: float, in_flight: int) -> bool:
        """Whether one more request may go.

        Args:
            now: monotonic seconds.
            in_flight: requests under way to this origin.
        """
        if self._until is None:
            return in_flight < self._allowance
        return not self._probes and now >= self._until

    def sent(self) -> bool:
        """Count a request that goes; tell whether it is a probe."""
        if self._until is None:
            return False
        self._probes += 1
        return True

    def answered(self, probe: bool) -> None:
        """The origin answered, were it with a refusal.

        Args:
            probe: what `sent` said of this request.
        """
        self._probes -= probe
        self._failures = 0
        if self._until is not None:
            self._until = None
            self._allowance = 1
        elif self._allowance < self._slots:
            self._allowance += 1

    def failed(self, now: float, probe: bool, asked: float = 0.0) -> None:
        """The origin did not answer, or asked for time.

        Args:
            now: monotonic seconds.
            probe: what `sent` said of this request.
            asked: the Retry-After, in seconds; a rest is not shorter.
        """
        self._probes -= probe
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        self._allowance = max(1, self._allowance // 2)
        if self._until is None:
            if self._failures >= OPENS_AFTER:
                self._rest(now, asked)
        elif probe:
            self._rest(now, asked)
        elif asked:  # sent before the breaker opened: that it failed is no news
            self._until = max(self._until, now + asked)

    def _rest(self, now: float, asked: float) -> None:
        bound = max(SHORTEST_REST, min(self._longest, _REST * (now - self._failing_since)))
        # At least half of it: a rest of nothing would be none.
        self._until = now + max(self._chance(bound / 2, bound), asked)

    def unsent(self, probe: bool) -> None:
        """A request that was under way came to nothing, through no fault of the origin."""
        self._probes -= probe

    def end_rest(self) -> None:
        """Allow a probe at once: the last attempt before the end."""
        if self._until is not None:
            self._until = _NEVER
