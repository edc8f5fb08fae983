"""Serve one request of the shop, and print how many events it dispatched."""

from __future__ import annotations

from typing import Any

from flask_app import DATAFILE, create_app
from optimizely.event.event_processor import ForwardingEventProcessor
from optimizely.optimizely import Optimizely


class Counter:
    """A dispatcher that only counts."""

    def __init__(self) -> None:
        self.events = 0

    def dispatch_event(self, event: Any) -> None:
        """Count it."""
        self.events += 1


counter = Counter()
client = Optimizely(DATAFILE, event_processor=ForwardingEventProcessor(counter))
answer = create_app(client).test_client().get("/checkout?user=alice")
assert answer.status_code == 200, answer.data
print(counter.events)
