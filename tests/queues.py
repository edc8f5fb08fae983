"""Requests and clocks for tests of queues."""

from __future__ import annotations

from gevent_dispatcher import Request
from gevent_dispatcher._url import Origin

ORIGIN = Origin("https", "events.example", 443)
HEADERS = {"Content-Type": "application/json"}


def request(body: bytes | str = b"{}", events: int = 1) -> Request:
    """One ready request."""
    data = body.encode() if isinstance(body, str) else body
    return Request("POST", ORIGIN, "/v1/events", HEADERS, data, events)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
