"""What arrived, counted: each event by its uuid, each visitor by the keys of its events. No input or output here."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakSet

from gevent_dispatcher.collector._recent import Recent, RecentPairs

# By which repeated events are known. At a thousand a second, a quarter of an hour: longer than events are retried.
# They take some 200 bytes each.
KEEP_UUIDS = 1_000_000
# Pairs of a visitor and an event key.
_KEEP_VISITORS = 200_000


class Totals(NamedTuple):
    """Counts of everything since the last reset."""

    requests: int
    connections: int
    events: int
    unique: int
    duplicated: int
    invalid: int
    visitors: int


class Ledger:
    """Counts of everything received since it was made or last reset.

    Args:
        keep_uuids: events that are remembered; an older one that comes again counts as a new one.
    """

    def __init__(self, keep_uuids: int = KEEP_UUIDS) -> None:
        self._keep_uuids = keep_uuids
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._requests = 0
        self._invalid = 0
        self._events = 0
        self._connections = 0
        self._open: WeakSet[object] = WeakSet()
        self._uuids = Recent(self._keep_uuids)
        self._visitors = RecentPairs(_KEEP_VISITORS)

    def asked(self, connection: object) -> None:
        """Count a request, whatever it holds and however it will be answered.

        Args:
            connection: the one that it came over; it is not kept alive.
        """
        self._requests += 1
        if connection not in self._open:
            self._open.add(connection)
            self._connections += 1

    def invalid(self) -> None:
        """Count a request that is not as it should be."""
        self._invalid += 1

    def add(self, uuid: str, visitor: str, key: str) -> bool:
        """Count an event; whether it came before."""
        self._events += 1
        self._visitors.add(visitor, key)
        return self._uuids.add(uuid)

    def totals(self) -> Totals:
        """Of an event that came n times, n - 1 are duplicated."""
        unique = self._uuids.distinct
        return Totals(
            requests=self._requests,
            connections=self._connections,
            events=self._events,
            unique=unique,
            duplicated=self._events - unique,
            invalid=self._invalid,
            visitors=self._visitors.distinct,
        )

    def uuids(self) -> dict[str, int]:
        """How often each event came."""
        return self._uuids.counts()

    def visitors(self) -> dict[str, dict[str, int]]:
        """How often each visitor's events came, by event key; an impression's key is `campaign_activated`."""
        return self._visitors.counts()
