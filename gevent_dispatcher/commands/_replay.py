"""Events from lines, handed to a dispatcher no faster than it gets rid of them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import gevent

from gevent_dispatcher._dispatcher import GeventEventDispatcher
from gevent_dispatcher._event import Given
from gevent_dispatcher._log import about, logger
from gevent_dispatcher._stats import INVALID, TOO_LARGE, Stats
from gevent_dispatcher.commands._lines import BadLine, Lines, event_of
from gevent_dispatcher.commands._progress import Work

# One portion fills while the outcomes of the one before are awaited: so much is pending at most, twice.
_PORTION_EVENTS = 5_000
_PORTION_BYTES = 8 * 1024 * 1024
# Room in the dispatcher's buffer, whose bounds are then those of the portions: escaped, a byte may become several.
ROOM_EVENTS, ROOM_BYTES = 3 * _PORTION_EVENTS, 1 << 40

# Lines that are named; the others are counted.
_NAMED = 20
# A flush that takes longer than this begins anew, in seconds.
_LONG = 3_600.0


class Stopped(Exception):
    """A signal asks for the end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number


class Replay:
    """One run through all lines.

    Args:
        dispatcher: has a buffer of `ROOM_EVENTS` and `ROOM_BYTES`.
        lines: what is read.
        url: where events go that do not say so themselves.
    """

    def __init__(self, dispatcher: GeventEventDispatcher, lines: Lines, url: str | None) -> None:
        self._dispatcher = dispatcher
        self._lines = lines
        self._url = url
        self._bad = 0
        self._named = 0
        self._refused = 0  # at the dispatcher's door
        self._events = 0  # of the portion that fills
        self._bytes = 0
        self._flushing: Any = None

    def run(self) -> Stopped | OSError | None:
        """Read to the end and wait for all outcomes, and tell what came between: gevent would print what is raised."""
        try:
            self._read()
        except (Stopped, OSError) as end:
            return end
        return None

    def result(self) -> Result:
        """What has become of the lines so far."""
        return Result(self._dispatcher.stats(), self._lines.number, self._bad)

    def work(self) -> Work:
        """How far it has come."""
        result = self.result()
        stats = result.stats
        done = stats.dispatched - stats.pending
        dropped = sum(stats.dropped.values())
        text = f"{stats.delivered} events delivered, {stats.pending} pending, {dropped} dropped, {self._bad} lines bad"
        return Work(done, self._total(stats), text, f"{stats.pending} pending, {dropped} dropped, {self._bad} bad")

    def _total(self, stats: Stats) -> int | None:
        lines = self._lines
        if not lines.bytes or not lines.size:
            return None
        return max(int(stats.dispatched * lines.size / lines.bytes), stats.dispatched)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        for line in self._lines:
            try:
                event = event_of(line, self._url)
            except BadLine as error:
                self._bad += 1
                self._name(str(error))
            else:
                if event is not None:
                    self._send(event, len(line or b""))
        self._turn_over()
        self._wait()

    def _send(self, event: Given, size: int) -> None:
        if self._events >= _PORTION_EVENTS or self._bytes + size > _PORTION_BYTES:
            self._turn_over()
        self._events += 1
        self._bytes += size
        self._dispatcher.dispatch_event(event)
        dropped = self._dispatcher.stats().dropped
        refused = dropped[INVALID] + dropped[TOO_LARGE]
        if refused > self._refused:
            self._refused = refused
            self._name("what it holds cannot be sent, see below")

    def _name(self, why: str) -> None:
        self._named += 1
        line = self._lines.number
        if self._named <= _NAMED:
            logger.warning("line %d: %s", line, why, extra=about("line_bad", line=line, why=why))
        elif self._named == _NAMED + 1:
            logger.warning(
                "line %d is bad, too; further ones are only counted",
                line,
                extra=about("line_bad", line=line, why="further ones are only counted"),
            )

    # -- no faster than events go --------------------------------------------------------------------------------------

    def _turn_over(self) -> None:
        """Begin a portion, once the one before the last has its outcomes."""
        self._wait()
        self._flushing = gevent.spawn(self._flush)
        self._events = self._bytes = 0

    def _wait(self) -> None:
        if self._flushing is not None:
            self._flushing.get()

    def _flush(self) -> None:
        while not self._dispatcher.flush(_LONG):
            pass  # pragma: no cover  # an hour later


class Result(NamedTuple):
    """What became of all lines."""

    stats: Stats
    lines: int
    bad: int

    @property
    def is_complete(self) -> bool:
        """Whether every line was an event or blank, and every event was delivered."""
        return not self.bad and self.stats.delivered == self.stats.dispatched

    def as_json(self) -> str:
        """One object."""
        stats = self.stats
        counts = {"lines": self.lines, "bad": self.bad, "dispatched": stats.dispatched, "delivered": stats.delivered}
        effort = {"requests": stats.requests, "retries": stats.retries, "splits": stats.splits}
        return json.dumps({**counts, "dropped": dict(stats.dropped), **effort})

    def as_text(self) -> str:
        """One line for a reader."""
        stats = self.stats
        reasons = ", ".join(f"{count} {reason}" for reason, count in stats.dropped.items() if count)
        return (
            f"{self.lines} lines, {self.bad} of them bad; {stats.delivered} of {stats.dispatched} events delivered in "
            f"{stats.requests} requests; dropped: {reasons or 'none'}"
        )
