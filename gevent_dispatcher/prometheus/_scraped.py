"""Within one process: sources are read when they are scraped, so that each scrape sees this very moment."""

from __future__ import annotations

import os
from typing import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gevent_dispatcher._watch import Observer, Settled
from gevent_dispatcher.prometheus._families import Family, Kind, Values
from gevent_dispatcher.prometheus._histograms import Histograms


class Scraped(Collector):
    """The sources of one kind in one registry; those of one name are added up.

    Args:
        kind: what is exported.
        registry: where it is registered.
    """

    def __init__(self, kind: Kind, registry: CollectorRegistry) -> None:
        self._kind = kind
        self._sources: list[tuple[str, Callable[[], Values]]] = []
        self._histograms = Histograms(kind)
        self._pid = os.getpid()
        registry.register(self)

    def add(self, name: str, read: Callable[[], Values]) -> Observer:
        """Export one more source.

        Args:
            name: tells it apart.
            read: gives its values.

        Returns:
            What must observe it.
        """
        self._sources.append((name, read))
        self._histograms.begin(name)
        return _Observer(self, name)

    def observe(self, name: str, settled: Sequence[Settled]) -> None:
        """Requests were settled; all else is read."""
        self._forget_a_parent()
        self._histograms.observe(name, settled)

    def _forget_a_parent(self) -> None:
        """A fork's child counts its own requests, as a dispatcher does."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._histograms.forget(name for name, _ in self._sources)

    def describe(self) -> Iterable[Metric]:
        """The names, which a registry keeps from being given twice."""
        distributions = [metric for each in self._histograms.all for metric in each.describe()]
        return [*self._metrics().values(), *distributions]

    def collect(self) -> Iterable[Metric]:
        """All values, as they are now."""
        self._forget_a_parent()
        metrics = self._metrics()
        for family, labels, value in self._added_up():
            metrics[family].add_metric(labels, value)
        distributions = [metric for each in self._histograms.all for metric in each.collect()]
        return [*metrics.values(), *distributions]

    def _metrics(self) -> dict[Family, CounterMetricFamily | GaugeMetricFamily]:
        return {family: self._metric(family) for family in self._kind.families}

    def _metric(self, family: Family) -> CounterMetricFamily | GaugeMetricFamily:
        make = CounterMetricFamily if family.is_counter else GaugeMetricFamily
        return make(self._kind.prefix + family.name, family.help, labels=(self._kind.label, *family.labels))

    def _added_up(self) -> Iterable[tuple[Family, tuple[str, ...], float]]:
        sums: dict[tuple[Family, tuple[str, ...]], float] = {}
        for name, read in self._sources:
            for family, series in read().items():
                for labels, value in series.items():
                    key = family, (name, *labels)
                    sums[key] = sums.get(key, 0.0) + value
        return ((family, labels, value) for (family, labels), value in sums.items())


class _Observer:
    def __init__(self, scraped: Scraped, name: str) -> None:
        self._scraped = scraped
        self._name = name

    def report(self, settled: Sequence[Settled]) -> None:
        self._scraped.observe(self._name, settled)
