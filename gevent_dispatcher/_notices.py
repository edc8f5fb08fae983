"""What is to be said in the log, kept until a sender may say it.

`dispatch_event` must not log: a handler may switch greenlets. It leaves a notice here instead.
"""

from __future__ import annotations

from typing import NamedTuple

# A reason that keeps coming is said again after this many seconds, with the count since the last time.
REPEAT_AFTER = 60.0


class Notice(NamedTuple):
    """One line for the log: a reason for dropping, how many events since the last line, and one example of why."""

    reason: str
    events: int
    detail: str


class Notices:
    """Drops, gathered by reason and handed out at most once per reason in `REPEAT_AFTER` seconds."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._details: dict[str, str] = {}
        self._said: dict[str, float] = {}

    def dropped(self, reason: str, events: int, detail: str) -> bool:
        """Note dropped events.

        Returns:
            True when this reason waits to be said for the first time: somebody should come and take it.
        """
        count = self._counts.get(reason, 0)
        self._counts[reason] = count + events
        self._details[reason] = detail
        return count == 0 and reason not in self._said

    def take(self, now: float, everything: bool = False) -> list[Notice]:
        """Hand out what is due.

        Args:
            now: monotonic seconds.
            everything: also what was said a short while ago, as at the end of the process.
        """
        due = [reason for reason in self._counts if everything or self._is_due(reason, now)]
        for reason in due:
            self._said[reason] = now
        return [Notice(reason, self._counts.pop(reason), self._details.pop(reason)) for reason in due]

    def _is_due(self, reason: str, now: float) -> bool:
        said = self._said.get(reason)
        return said is None or now - said >= REPEAT_AFTER
