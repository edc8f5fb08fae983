"""What came of a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from tests.lifetimes._rows import SDK, Row

# Events whose names begin so were dispatched right before an end that no code survives.
LATE_STEM = "late"


@dataclass
class Tally:
    """Names of the events that were dispatched, as the runner knows them, not as the dispatcher counts them."""

    dispatched: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Result:
    """The account of one row.

    Args:
        row: which one.
        dispatched: events that were dispatched.
        delivered: how many of these arrived.
        duplicated: arrivals beyond the first of an event.
        lost: how many did not arrive.
        may_lose: how many of the dispatched ones no code could have saved.
        beyond: how many were lost of all the others.
        seconds: what the row took.
        trouble: why it could not be run to its end; empty when it was.
        output: the last words of its processes, when something was wrong.
    """

    row: Row
    dispatched: int = 0
    delivered: int = 0
    duplicated: int = 0
    lost: int = 0
    may_lose: int = 0
    beyond: int = 0
    seconds: float = 0.0
    trouble: str = ""
    output: str = ""

    @property
    def problem(self) -> str:
        """What is wrong with it; empty when nothing is."""
        if self.trouble:
            return self.trouble
        if not self.dispatched:
            return "nothing was dispatched"
        wrong = [f"{self.beyond} lost"] if self.beyond else []
        wrong += [f"{self.duplicated} duplicated"] if self.duplicated else []
        return ", ".join(wrong)

    @property
    def has_failed(self) -> bool:
        """Whether it is a row of ours with a problem; what others lose is what the table shows."""
        return bool(self.problem) and self.row.contestant != SDK


def judge(row: Row, tally: Tally, arrived: Mapping[str, int], **more: Any) -> Result:
    """Compare what was dispatched with what arrived.

    Args:
        row: which one.
        tally: what was dispatched.
        arrived: how often each event came.
        **more: further fields of the result.
    """
    lost = tally.dispatched - set(arrived)
    unsaved = {name for name in tally.dispatched if row.unsaved and name.startswith(LATE_STEM)}
    return Result(
        row,
        dispatched=len(tally.dispatched),
        delivered=len(tally.dispatched) - len(lost),
        duplicated=sum(times - 1 for times in arrived.values()),
        lost=len(lost),
        may_lose=len(unsaved),
        beyond=len(lost - unsaved),
        **more,
    )
