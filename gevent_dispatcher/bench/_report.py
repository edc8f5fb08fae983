"""What came of the benchmark, for a reader and for a program."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from importlib.metadata import version
from typing import Any, Sequence

from gevent_dispatcher import __version__, _table
from gevent_dispatcher.bench import _events
from gevent_dispatcher.bench._runs import LATENCY, ROUNDS, Row

EXPLANATION = f"""\
caller        how long dispatch_event keeps a request
CPU           of the whole process, delivery included, less what the loop takes that dispatches
events/s      until the endpoint had answered all of them
Medians of {ROUNDS} runs (of the SDK's dispatcher, one), each in a fresh process; on a busy machine they vary by tens of
percent. In a clone of the project `python -m tests.benchmarks` measures at length, beside peers and the limit."""

_COLUMNS = {
    "": "contestant",
    "events": "events",
    "delivered": "delivered",
    "caller p50 µs": "caller_p50_us",
    "p99 µs": "caller_p99_us",
    "CPU µs/event": "cpu_us_per_event",
    "events/s": "events_per_s",
}


def conditions(events: int) -> dict[str, Any]:
    """Under which it was measured."""
    return {
        "events": events,
        "event_bytes": _events.size(),
        "latency_ms": LATENCY,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "gevent": version("gevent"),
        "gevent_dispatcher": __version__,
    }


def problems(rows: Sequence[Row]) -> list[str]:
    """What makes the benchmark fail: an event that was dispatched and not delivered."""
    return [
        f"{each.contestant}: only {each.delivered} of {each.events} events were delivered"
        for each in rows
        if each.delivered is not None and each.delivered < each.events
    ]


def as_json(rows: Sequence[Row], events: int) -> str:
    """One object."""
    found = [dataclasses.asdict(each) for each in rows]
    return json.dumps({"conditions": conditions(events), "rows": found, "problems": problems(rows)}, indent=2)


def as_table(rows: Sequence[Row]) -> str:
    """The rows, aligned."""
    return _table.as_table(rows, _COLUMNS, _cell)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
    return str(value)
