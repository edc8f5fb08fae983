"""What is to be said in the log, kept until a sender may say it.

`dispatch_event` must not log: a handler may switch greenlets. It counts, and leaves an example of why.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple

# What keeps coming is said again after this many seconds, with the count since the last time.
REPEAT_AFTER = 60.0
# Things that repeat and are told apart; there are a handful, unless somebody makes them up.
_REMEMBERED = 1_000


class Notice(NamedTuple):
    """One line for the log: a reason for dropping, how many events since the last line, and one example of why."""

    reason: str
    events: int
    detail: str


class Notices:
    """Says which drops are due to be said: each reason at most once in `REPEAT_AFTER` seconds, with its count."""

    def __init__(self) -> None:
        self._details: dict[str, str] = {}
        self._said: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def is_news(self, reason: str, detail: str) -> bool:
        """Keep an example of why.

        Returns:
            True when this reason was never noted before: somebody should come and say it.
        """
        first = reason not in self._details
        self._details[reason] = detail
        return first

    def take(self, dropped: Mapping[str, int], now: float, everything: bool = False) -> list[Notice]:
        """What is due to be said.

        Args:
            dropped: events dropped so far, by reason.
            now: monotonic seconds.
            everything: also what was said a short while ago, as at the end of the process.
        """
        if not self._details:
            return []
        due = [reason for reason in self._details if everything or self._is_due(reason, now)]
        return [notice for notice in (self._notice(reason, dropped[reason], now) for reason in due) if notice.events]

    def _is_due(self, reason: str, now: float) -> bool:
        said = self._said.get(reason)
        return said is None or now - said >= REPEAT_AFTER

    def _notice(self, reason: str, count: int, now: float) -> Notice:
        news = count - self._counts.get(reason, 0)
        if news:
            self._said[reason], self._counts[reason] = now, count
        return Notice(reason, news, self._details[reason])


class Repeats:
    """Has what happens again and again said at most once in so many seconds, with how often it has happened since.

    Args:
        after: seconds.
    """

    def __init__(self, after: float = REPEAT_AFTER) -> None:
        self._after = after
        self._said: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def count(self, what: str, now: float, more: int = 1) -> int:
        """Count one more, or several.

        Args:
            what: is counted by itself: the name of its record, and what there is to tell it apart.
            now: monotonic seconds.
            more: how often it has happened now.

        Returns:
            How often it has happened since it was last said, when it is to be said now; else 0.
        """
        times = self._counts[what] = self._counts.get(what, 0) + more
        said = self._said.get(what)
        if said is not None and now - said < self._after:
            return 0
        if said is None and len(self._said) >= _REMEMBERED:
            self._forget_one()
        self._said[what], self._counts[what] = now, 0
        return times

    def _forget_one(self) -> None:
        oldest = next(iter(self._said))
        del self._said[oldest], self._counts[oldest]

    def rest(self) -> dict[str, int]:
        """How often each thing has happened since it was last said, as at an end; after that it is said."""
        rest = {what: times for what, times in self._counts.items() if times}
        self._counts.update(dict.fromkeys(rest, 0))
        return rest


def often(times: int) -> str:
    """How often something has happened, to stand in a line behind what has; nothing for once."""
    return "" if times == 1 else f" ({times} times since it was last said)"
