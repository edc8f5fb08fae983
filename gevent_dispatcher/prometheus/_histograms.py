"""How long deliveries took and how many events they held, of the sources of one kind."""

from __future__ import annotations

from typing import Iterable, Sequence

from prometheus_client import Histogram

from gevent_dispatcher._stats import Outcome
from gevent_dispatcher._watch import Settled
from gevent_dispatcher.prometheus._families import EVENTS, SECONDS, Kind


class Histograms:
    """The distributions of settled requests.

    Args:
        kind: of their sources.
    """

    def __init__(self, kind: Kind) -> None:
        self._seconds = Histogram(
            f"{kind.prefix}delivery_seconds",
            "From the dispatch, or the receipt, of the oldest event of a request to its end.",
            (kind.label, "outcome"),
            buckets=SECONDS,
            registry=None,
        )
        self._events = Histogram(
            f"{kind.prefix}batch_events",
            "Events of each settled request.",
            (kind.label,),
            buckets=EVENTS,
            registry=None,
        )
        self.all = (self._seconds, self._events)

    def begin(self, name: str) -> None:
        """Have what matters most be there before the first request: 0, and not absent."""
        self._seconds.labels(name, Outcome.DELIVERED.value)
        self._events.labels(name)

    def observe(self, name: str, settled: Sequence[Settled]) -> None:
        """Count settled requests of one source."""
        for each in settled:
            self._seconds.labels(name, each.outcome.value).observe(each.seconds)
            self._events.labels(name).observe(each.events)

    def forget(self, names: Iterable[str]) -> None:
        """Begin anew; not in multiprocess mode.

        Args:
            names: of all sources.
        """
        for each in self.all:
            each.clear()
        for name in names:
            self.begin(name)
