"""What came of the demonstration, for a reader."""

from __future__ import annotations

from typing import Sequence

from gevent_dispatcher import _table
from gevent_dispatcher.demo._contest import Row

_COLUMNS = {
    "": "contestant",
    "requests answered": "answered",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "events dispatched": "dispatched",
    "delivered": "delivered",
    "duplicated": "duplicated",
    "lost": "lost",
}


def problems(rows: Sequence[Row]) -> list[str]:
    """What makes the demonstration fail: a lost or duplicated event of ours, which is first, or a request of anyone."""
    found = [f"{each.contestant}: {each.failed} requests failed" for each in rows if each.failed]
    mine = rows[0]
    if mine.lost or mine.duplicated:
        found.append(f"{mine.contestant}: {mine.lost} events lost, {mine.duplicated} duplicated")
    return found


def as_table(rows: Sequence[Row]) -> str:
    """The rows, aligned."""
    return _table.as_table(rows, _COLUMNS)
