"""What takes an engine's place where the off switch is on: events are counted, and nothing else is done."""

from __future__ import annotations

import itertools
import os
from typing import Any

from gevent_dispatcher._config import Config
from gevent_dispatcher._health import Health
from gevent_dispatcher._off_switch import VARIABLE
from gevent_dispatcher._stats import DISABLED, REASONS, Counters, Stats
from gevent_dispatcher._voice import Voice
from gevent_dispatcher._watch import Observer, Watch

_WHY = f"nothing is sent, because {VARIABLE} or enabled=False says so"


class DisabledEngine:
    """Counts one dispatcher's events in one process. It has no hub, thread, socket or file.

    Args:
        config: the dispatcher's settings.
        observers: told when somebody waits for events, and at the end; may grow.
    """

    def __init__(self, config: Config, observers: list[Observer] | tuple[()] = ()) -> None:
        self.pid = os.getpid()
        self._voice = Voice(config.on_delivery)
        self._watch = Watch(observers, lambda: False, self._voice.repeats)
        self._voice.notices.is_news(DISABLED, _WHY)
        self._numbers = itertools.count()

    def begin(self) -> None:
        """There is nothing to begin."""

    def accept(self, event: Any) -> None:
        """Count an event; it is not looked at."""
        next(self._numbers)  # neither another thread nor a signal handler can cut into that

    def stats(self) -> Stats:
        """All events are dropped as disabled."""
        counters = Counters()
        counters.dropped = self._dropped()
        counters.dispatched = counters.dropped[DISABLED]
        return counters.snapshot(0, 0)

    def health(self) -> Health:
        """Nothing is pending."""
        return Health()

    def watch(self) -> None:
        """A new observer is told with the others."""

    def flush(self, timeout: float) -> bool:
        """There is nothing to wait for; says now and then how many events were not sent."""
        self._voice.drops(self._dropped())
        self._watch.tell()
        return True

    def close(self, timeout: float) -> bool:
        """There is nothing to wait for; says how many events were not sent."""
        self._voice.drops(self._dropped(), everything=True)
        self._watch.tell()
        self._voice.say_the_rest()
        return True

    def prepare_to_end(self) -> None:
        """There is nothing to send."""

    def drain(self, end: bool) -> bool:
        """The process ends: says how many events were not sent."""
        return self.close(0.0)

    def abandon(self) -> None:
        """In a fork's child: there is nothing that could be sent twice."""

    def _dropped(self) -> dict[str, int]:
        # Its text is the only way to see where a count stands without counting one more.
        count = int(repr(self._numbers)[len("count(") : -1])
        return {**dict.fromkeys(REASONS, 0), DISABLED: count}
