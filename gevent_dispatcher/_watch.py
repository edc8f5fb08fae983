"""Observers of an engine or a consumer: told soon after something changed, beside its work and never in its way."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Callable, NamedTuple, Protocol, Sequence

import gevent

from gevent_dispatcher._home import end_at_once
from gevent_dispatcher._log import about, describe, logger
from gevent_dispatcher._notices import Repeats, often
from gevent_dispatcher._policy import End
from gevent_dispatcher._stats import Outcome

monotonic = time.monotonic

# What an observer knows is at most so old, in seconds. A report costs some tens of microseconds, so that this is next
# to nothing even while something is pending for hours.
_INTERVAL = 0.2
# Settled requests that are kept for an observer that does not return; the oldest go first.
_MOST_SETTLED = 10_000


class Settled(NamedTuple):
    """One settled request.

    Attributes:
        outcome: how its events ended.
        events: how many it held.
        seconds: from the dispatch of its oldest event, or from its receipt from a queue, to its end.
    """

    outcome: Outcome
    events: int
    seconds: float


class Observer(Protocol):
    """Who wants to know how deliveries are doing, as metrics do."""

    def report(self, settled: Sequence[Settled]) -> None:
        """Something has changed: counts, or how origins are doing; `stats()` and `health()` say what.

        Called in a greenlet of its own where the senders live, within 0.2 s of a change, and never while nothing
        changes and nothing is pending; at the end of the process once more, when every event has its outcome. Must
        return soon. What it raises is logged now and then and changes nothing.

        Args:
            settled: what was settled since the last report.
        """
        ...


class Watch:
    """Tells observers.

    Args:
        observers: may grow; while it is empty nothing here costs anything.
        is_busy: whether something is pending, so that more will change.
        repeats: so that each thing is said once in a while.
    """

    def __init__(self, observers: Sequence[Observer], is_busy: Callable[[], object], repeats: Repeats) -> None:
        self._observers = observers
        self._is_busy = is_busy
        self._settled: deque[Settled] = deque(maxlen=_MOST_SETTLED)
        self._is_news = False
        self._reporter: Any = None
        self._repeats = repeats
        self._teller: Any = None  # the greenlet that is telling
        self._left_behind: list[object] = []

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._observers)

    def settled(self, end: End) -> None:
        """Keep what is to be told of a batch that has ended; does not switch."""
        if self._observers:
            self._is_news = True
            self._settled.append(Settled(end.outcome, end.batch.events, monotonic() - end.batch.opened))

    def changed(self) -> None:
        """Have observers told soon; at home, does not switch."""
        if self._observers:
            self._is_news = True
            if self._reporter is None:
                self._reporter = gevent.spawn(self._report)

    def _report(self) -> None:
        """Tell them again and again while something is pending: what is pending will change."""
        current = gevent.getcurrent()
        try:
            while self._reporter is current and (self._is_news or self._is_busy()):
                self.tell()
                gevent.sleep(_INTERVAL, ref=False)
        finally:
            if self._reporter is current:
                self._reporter = None

    def tell(self) -> None:
        """Tell them now, as at the end.

        A signal handler that closes may cut in while they are being told. It must not ask for a lock that the observer
        below it holds, so they are told again afterwards instead.
        """
        current = gevent.getcurrent()
        self._is_news = self._teller is current
        if not self._is_news:
            self._teller = current
            try:
                self._tell()
            finally:
                if self._teller is current:
                    self._teller = None

    def _tell(self) -> None:
        settled = list(self._settled)
        self._settled.clear()
        for observer in list(self._observers):
            try:
                observer.report(settled)
            except (Exception, gevent.Timeout) as error:
                self._say(error)

    def _say(self, error: BaseException) -> None:
        times = self._repeats.count("observer_raised", monotonic())
        if times:
            logger.error(
                "an observer raised%s: %s",
                often(times),
                describe(error),
                extra=about("observer_raised", error=type(error).__name__, times=times),
            )

    def close(self) -> None:
        """Tell them for the last time."""
        self.tell()
        if self._reporter is not None:
            self._reporter.kill(block=False)

    def move(self) -> None:
        """To another hub; see `Senders.move`. The next change has them told there."""
        if self._reporter is not None:
            self._reporter.parent = gevent.get_hub()
        self._left_behind.append(self._reporter)
        self._reporter = self._teller = None

    def abandon(self) -> None:
        """In a fork's child, before its hub runs: what the parent's loop has queued must not tell anybody either."""
        self._observers = ()
        if self._reporter is not None:
            end_at_once(self._reporter)
