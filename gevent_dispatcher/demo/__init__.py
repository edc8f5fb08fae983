"""The demonstration: one shop, three ways to send its events, and what became of them.

It starts a local stand-in for the Event API and then, for each contestant, the Flask application in `shop` under
gunicorn with gevent workers: the project's examples, by links. It asks at a steady rate, stops gunicorn as a deployment
would, and compares what was dispatched with what arrived. Everything stays on this machine.
"""

from __future__ import annotations

from importlib.util import find_spec

from gevent_dispatcher.demo._contest import LATENCY, REQUESTS, WORKERS, Contest, Row
from gevent_dispatcher.demo._report import as_table, problems

__all__ = ["LATENCY", "REQUESTS", "WORKERS", "Contest", "Row", "as_table", "missing", "problems"]

# What the extra `examples` brings.
_NEEDED = ("optimizely", "flask", "gunicorn")


def missing() -> list[str]:
    """What it needs and is not installed."""
    return [name for name in _NEEDED if find_spec(name) is None]
