"""In prometheus_client's multiprocess mode: what has changed is written to the files that all processes share.

That mode ignores whatever is read when it is scraped, because each scrape reaches one process only. Its locks may be
native ones, where it was imported before a late patch: who asks for one that another greenlet holds stops the hub. So
nothing here switches while one is held, neither the arithmetic nor the write to a mapped file, and nothing here runs in
`dispatch_event`, which a signal handler may call in the midst of it.
"""

from __future__ import annotations

import os
from typing import Callable, Sequence

from prometheus_client import Counter, Gauge

from gevent_dispatcher._watch import Observer, Settled
from gevent_dispatcher.prometheus._families import Family, Kind, Values
from gevent_dispatcher.prometheus._histograms import Histograms


class Written:
    """The sources of one kind in this process; those of one name are added up.

    Args:
        kind: what is exported.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._counters = {family: self._counter(family) for family in kind.families if family.is_counter}
        self._gauges = {family: self._gauge(family) for family in kind.families if not family.is_counter}
        self._histograms = Histograms(kind)
        self._sources: list[_Source] = []

    def _counter(self, family: Family) -> Counter:
        labels = (self._kind.label, *family.labels)
        return Counter(self._kind.prefix + family.name, family.help, labels, registry=None)

    def _gauge(self, family: Family) -> Gauge:
        labels = (self._kind.label, *family.labels)
        return Gauge(self._kind.prefix + family.name, family.help, labels, registry=None, multiprocess_mode="livesum")

    def add(self, name: str, read: Callable[[], Values]) -> Observer:
        """Export one more source.

        Args:
            name: tells it apart.
            read: gives its values.

        Returns:
            What must observe it.
        """
        source = _Source(self, name, read)
        self._sources.append(source)
        self._histograms.begin(name)
        source.write()
        return source

    def count(self, family: Family, labels: tuple[str, ...], more: float) -> None:
        """A counter has grown."""
        self._counters[family].labels(*labels).inc(more)

    def show(self, family: Family, labels: tuple[str, ...]) -> None:
        """A gauge has changed. It is set and not moved: a file of that name may have been left by a process before."""
        total = sum(source.written().get((family, labels), 0.0) for source in self._sources)
        self._gauges[family].labels(*labels).set(total)

    def observe(self, name: str, settled: Sequence[Settled]) -> None:
        """Requests were settled."""
        self._histograms.observe(name, settled)


class _Source:
    """One source, and what of it is in this process's files; an observer.

    Args:
        shared: where it is written, with those of its kind.
        name: tells it apart.
        read: gives its values.
    """

    def __init__(self, shared: Written, name: str, read: Callable[[], Values]) -> None:
        self._written: dict[tuple[Family, tuple[str, ...]], float] = {}
        self._shared = shared
        self._name = name
        self._read = read
        self._pid = os.getpid()

    def report(self, settled: Sequence[Settled]) -> None:
        self._shared.observe(self._name, settled)
        self.write()

    def written(self) -> dict[tuple[Family, tuple[str, ...]], float]:
        """What is in this process's files; a fork's child begins with files, and with counts, of its own."""
        if self._pid != os.getpid():
            self._pid, self._written = os.getpid(), {}
        return self._written

    def write(self) -> None:
        """Write what has changed since the last time."""
        for family, series in self._read().items():
            for labels, value in series.items():
                self._write(family, (self._name, *labels), value)

    def _write(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        written = self.written()
        before = written.get((family, labels))
        if value == before:
            return
        written[family, labels] = value
        if family.is_counter:
            self._shared.count(family, labels, value - (before or 0.0))
        else:
            self._shared.show(family, labels)
