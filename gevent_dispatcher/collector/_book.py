"""All that the collector knows of what it was sent: counts, and the last events. No input or output here."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

from gevent_dispatcher.collector._facts import facts_of, glimpse
from gevent_dispatcher.collector._kept import KEEP, KEEP_BYTES, Envelope, Kept, Shelf
from gevent_dispatcher.collector._ledger import KEEP_UUIDS, Ledger
from gevent_dispatcher.collector._reading import Reading, arrivals
from gevent_dispatcher.collector._tallies import Tallies


class Filter(NamedTuple):
    """Which events are asked for; what is None is not asked.

    Args:
        valid: whether they are as the Event API documents them.
        key: of the event.
        visitor: its id.
        experiment: a rule's key, an experiment's id or a flag's key, of any decision of the event.
        uuid: of the event.
    """

    valid: bool | None = None
    key: str | None = None
    visitor: str | None = None
    experiment: str | None = None
    uuid: str | None = None

    def takes(self, kept: Kept) -> bool:
        """Whether an event is among them."""
        facts = kept.facts
        return (
            (self.valid is None or self.valid is not bool(kept.problems))
            and (self.key is None or self.key == facts.key)
            and (self.visitor is None or self.visitor == facts.visitor)
            and (self.experiment is None or self.experiment in facts.names)
            and (self.uuid is None or self.uuid == facts.uuid)
        )


class Book:
    """Everything received since it was made or last reset.

    Args:
        now: the time, in seconds since 1970.
        keep: events that can be looked at.
        keep_bytes: of all the bodies that these came in.
        keep_uuids: events that are remembered to know repeated ones.
    """

    def __init__(
        self, now: float, keep: int = KEEP, keep_bytes: int = KEEP_BYTES, keep_uuids: int = KEEP_UUIDS
    ) -> None:
        self.ledger = Ledger(keep_uuids)
        self.shelf = Shelf(keep, keep_bytes)
        self.since = now
        # how often it was reset
        self.resets = 0
        self._number = 0
        self._forget()

    def reset(self, now: float) -> None:
        """Forget everything; only the running numbers go on."""
        self.ledger.reset()
        self.shelf.empty()
        self.since = now
        self.resets += 1
        self._forget()

    def _forget(self) -> None:
        self._tallies = Tallies()
        self._valid = 0
        self._refused = 0

    def number(self) -> int:
        """The running number of one more request."""
        self._number += 1
        return self._number

    def refuse(self) -> None:
        """Count a request whose events were not received."""
        self._refused += 1

    def take(self, reading: Reading, envelope: Envelope) -> int:
        """Note the events of a request, and return how many there are. Of an invalid one those count that have a uuid.

        Args:
            reading: what it holds.
            envelope: what it came in.
        """
        if reading.problems:
            seen = [self.ledger.add(*each) for each in arrivals(reading.payload)]
            self.note_invalid(reading, envelope, duplicate=bool(seen) and seen[0])
            return len(seen)
        facts = list(facts_of(reading.payload))
        seen = [self.ledger.add(str(each.uuid), str(each.visitor), str(each.key)) for each in facts]
        self._tallies.add(facts)
        self._valid += len(facts)
        self.shelf.put(facts, seen, reading.problems, envelope)
        return len(facts)

    def note_invalid(self, reading: Reading, envelope: Envelope, duplicate: bool = False) -> None:
        """Note a request for what is wrong with it, and count none of its events."""
        self.ledger.invalid()
        self.shelf.put([glimpse(reading.payload)], [duplicate], reading.problems, envelope)

    def find(self, wanted: Filter, after: int | None = None, limit: int | None = None) -> tuple[list[Kept], int]:
        """Events, newest last, and the number up to which it was looked: what comes later is after it.

        Args:
            wanted: which.
            after: only those with higher numbers; with a limit, the oldest of these, so that a next look can go on.
            limit: how many at most; without `after`, the newest.
        """
        if after is None:
            newest = list(islice(filter(wanted.takes, self.shelf.newest_first()), limit))
            return newest[::-1], self.shelf.last
        found = list(islice(filter(wanted.takes, self.shelf.after(after)), limit))
        return found, found[-1].n if found and len(found) == limit else max(after, self.shelf.last)

    def small_summary(self) -> dict[str, Any]:
        """The totals, as JSON."""
        totals = self.ledger.totals()
        kept = {"valid": self._valid, "refused": self._refused, "kept": len(self.shelf), "since": self.since}
        return {**totals._asdict(), **kept}

    def summary(self) -> dict[str, Any]:
        """The totals, and how often each key and each variation came, as JSON."""
        return {
            **self.small_summary(),
            "keys": self._tallies.keys(),
            "experiments": self._tallies.experiments(),
        }
