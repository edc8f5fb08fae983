"""What arrived, counted: each event by its uuid, each visitor by the keys of its events. No input or output here."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Iterable, Iterator, NamedTuple
from urllib.parse import parse_qsl


class Arrival(NamedTuple):
    """One event as it was received."""

    uuid: str
    visitor: str
    key: str


class Ledger:
    """Counts of everything received since it was made or last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._requests = 0
        self._invalid = 0
        self._connections: set[object] = set()
        self._uuids: Counter[str] = Counter()
        self._visitors: dict[str, Counter[str]] = {}

    def asked(self, connection: object) -> None:
        """Count a request, whatever it holds and however it will be answered.

        Args:
            connection: identifies the connection that it came over.
        """
        self._requests += 1
        self._connections.add(connection)

    def receive_body(self, body: bytes) -> None:
        """Count the events of a POST's JSON body. A body that is wrong, wholly or in part, counts once as invalid."""
        self._receive(read_body(body))

    def receive_query(self, query: str) -> None:
        """Count the event or events that a GET carries in its query string, the form that old SDKs send."""
        self._receive(read_query(query))

    def _receive(self, arrivals: Iterable[Arrival | None]) -> None:
        whole = True
        for arrival in arrivals:
            if arrival is None:
                whole = False
            else:
                self._add(arrival)
        self._invalid += not whole

    def _add(self, arrival: Arrival) -> None:
        self._uuids[arrival.uuid] += 1
        self._visitors.setdefault(arrival.visitor, Counter())[arrival.key] += 1

    def counts(self) -> dict[str, int]:
        """The totals. Of an event that came n times, n - 1 are duplicated."""
        events = sum(self._uuids.values())
        return {
            "requests": self._requests,
            "connections": len(self._connections),
            "events": events,
            "unique": len(self._uuids),
            "duplicated": events - len(self._uuids),
            "invalid": self._invalid,
            "visitors": len(self._visitors),
        }

    def uuids(self) -> dict[str, int]:
        """How often each event came."""
        return dict(self._uuids)

    def visitors(self) -> dict[str, dict[str, int]]:
        """How often each visitor's events came, by event key; an impression's key is `campaign_activated`."""
        return {visitor: dict(keys) for visitor, keys in self._visitors.items()}


def read_body(body: bytes) -> Iterable[Arrival | None]:
    """The events of one JSON body, in order; None stands for each part that is not of the Event API's shape."""
    try:
        return _arrivals(json.loads(body))
    except (ValueError, RecursionError):
        return (None,)


def read_query(query: str) -> Iterable[Arrival | None]:
    """The events of one query string: `visitors` holding JSON, or `uuid`, `visitor_id` and `key` of a single event."""
    fields = dict(parse_qsl(query))
    if "visitors" in fields:
        return read_body(b'{"visitors":%s}' % fields["visitors"].encode())
    return (_arrival({"visitor_id": fields.get("visitor_id")}, fields),)


def _arrivals(payload: object) -> Iterator[Arrival | None]:
    for visitor in _items(payload, "visitors"):
        for snapshot in _items(visitor, "snapshots"):
            for event in _items(snapshot, "events"):
                yield _arrival(visitor, event)


def _items(parent: object, name: str) -> list[Any]:
    # What is missing becomes a None that falls through the loops below and comes out as one unreadable part.
    items = parent.get(name) if isinstance(parent, dict) else None
    return items if isinstance(items, list) else [None]


def _arrival(visitor: Any, event: object) -> Arrival | None:
    if not isinstance(event, dict) or not isinstance(event.get("uuid"), str):
        return None
    return Arrival(event["uuid"], str(visitor.get("visitor_id")), str(event.get("key")))
