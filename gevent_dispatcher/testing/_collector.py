"""A live collector for tests, also in processes in which nobody runs a hub."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Callable, TypeVar

from gevent_dispatcher import _home
from gevent_dispatcher.collector import Collector

T = TypeVar("T")

# What the collector may take to do something, in seconds: its hub only has to come round to it.
_PATIENCE = 10.0


class LiveCollector(Collector):
    """A `Collector` that answers in unpatched processes, too: there on the hub of a daemon thread.

    Args:
        **settings: a Collector's.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._home: _home.Home | None = None

    def __enter__(self) -> LiveCollector:
        self.start()
        return self

    def start(self) -> None:
        """Listen. A second call does nothing.

        Raises:
            OSError: the port is taken, or a TLS file cannot be read.
        """
        if self._home is None:
            self._home = _home.find_home()
        self._at_home(super().start)

    def stop(self, timeout: float = 0.0) -> None:
        """Stop listening, and close every connection. Does nothing when not started.

        Args:
            timeout: how long connections may stay open to end by themselves, in seconds.
        """
        stop = super().stop
        self._at_home(lambda: stop(timeout))

    def change(self, **settings: Any) -> None:
        """Change how requests are answered from now on; the settings are a Collector's.

        Raises:
            ValueError: a value is outside its range.
            TypeError: there is no such setting.
        """
        change = super().change
        self._at_home(lambda: change(**settings))

    def reset(self) -> None:
        """Forget everything counted so far."""
        self._at_home(super().reset)

    def counts(self) -> dict[str, int]:
        """The totals: requests, connections, events, unique, duplicated, invalid, visitors."""
        return self._at_home(super().counts)

    def summary(self) -> dict[str, Any]:
        """The totals, and how often each event key and each variation of each experiment came."""
        return self._at_home(super().summary)

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """The events that are kept, oldest first; the filters are a Collector's.

        Raises:
            TypeError: there is no such filter.
        """
        events = super().events
        return self._at_home(lambda: events(**filters))

    def uuids(self) -> dict[str, int]:
        """How often each event came."""
        return self._at_home(super().uuids)

    def visitors(self) -> dict[str, dict[str, int]]:
        """How often each visitor's events came, by event key; an impression's key is `campaign_activated`."""
        return self._at_home(super().visitors)

    def _at_home(self, work: Callable[[], T]) -> T:
        home = self._home
        if home is None or _home.get_ident() == home.ident:
            return work()
        return home.call(work, _PATIENCE)


def events_sent_to(url: str) -> AbstractContextManager[None]:
    """Have the SDK make its events for another url, in this process, while the block runs.

    Args:
        url: what takes the place of Optimizely's, such as a collector's.

    Raises:
        ImportError: the SDK is not installed.
    """
    from gevent_dispatcher.sdk._endpoint import events_sent_to

    return events_sent_to(url)
