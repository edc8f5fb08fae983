"""How much came in each of the last seconds, and how long its answers took. Pure."""

from __future__ import annotations

from typing import Any

# Seconds that are remembered: longer than any reader of the stream is waited for.
_KEEP = 60


class _Second:
    __slots__ = ("events", "longest", "requests", "total")

    def __init__(self) -> None:
        self.events = 0
        self.requests = 0
        self.total = 0.0
        self.longest = 0.0


class Pace:
    """What was answered, by the second."""

    def __init__(self) -> None:
        self._seconds: dict[int, _Second] = {}

    def note(self, at: float, events: int, seconds: float) -> None:
        """Note an answer.

        Args:
            at: when it went out, in seconds since 1970.
            events: that it acknowledged.
            seconds: that it took.
        """
        second = self._seconds.get(int(at))
        if second is None:
            second = self._seconds[int(at)] = _Second()
            while len(self._seconds) > _KEEP:
                del self._seconds[min(self._seconds)]
        second.events += events
        second.requests += 1
        second.total += seconds
        second.longest = max(second.longest, seconds)

    def ticks(self, after: int, now: float) -> list[dict[str, Any]]:
        """The seconds that are over, in which anything was answered, as JSON.

        Args:
            after: only later ones.
            now: seconds since 1970.
        """
        over = sorted(at for at in self._seconds if after < at < int(now))
        return [self._tick(at) for at in over]

    def is_counting(self, after: int) -> bool:
        """Whether anything was answered in a later second, over or not."""
        return any(at > after for at in self._seconds)

    def _tick(self, at: int) -> dict[str, Any]:
        second = self._seconds[at]
        return {
            "at": at,
            "events": second.events,
            "requests": second.requests,
            "ms": round(1000 * second.total / second.requests, 3),
            "max_ms": round(1000 * second.longest, 3),
        }
