"""A quick benchmark: what a dispatcher costs on this machine, beside doing nothing and the SDK's own.

Each run is a fresh, patched process that dispatches to an endpoint of its own, which is another process. It is short
and small on purpose; the project's benchmarks measure at length, beside peers and the limit.
"""

from __future__ import annotations

from gevent_dispatcher.bench._report import EXPLANATION, as_json, as_table, conditions, problems
from gevent_dispatcher.bench._runs import LATENCY, MOST_EVENTS, ROUNDS, Row, Runs

__all__ = [
    "EXPLANATION",
    "LATENCY",
    "MOST_EVENTS",
    "ROUNDS",
    "Row",
    "Runs",
    "as_json",
    "as_table",
    "conditions",
    "problems",
]
