"""The batches of one origin: those that may go, those that must wait, and how the origin is doing."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from gevent_dispatcher._body import take_apart
from gevent_dispatcher._breaker import Breaker
from gevent_dispatcher._event import Envelope, Request, merge

# A batch that failed so often, when no other failed, is suspected: one of its events may be what makes the endpoint
# fail. What remains of a batch that was suspected is suspected sooner.
_SUSPECTED_AFTER = 3
_PIECE_SUSPECTED_AFTER = 2

# What a failure weighs when others failed, too, but the origin has answered since the batch last failed: it may be down
# now and then by itself, or there may be several such batches.
_IN_COMPANY = 0.5

# In place of the one batch that failed since the last answer: there were several.
_SEVERAL = -1


class Kin:
    """What the pieces of one batch have in common.

    Attributes:
        events: how many events there were when it was split first.
        refused: how many of them were refused alone.
    """

    __slots__ = ("events", "refused")

    def __init__(self, events: int) -> None:
        self.events = events
        self.refused = 0


class Batch:
    """Events of one envelope that share a request, and what has happened to them so far.

    Attributes:
        number: batches are numbered as they are opened; the pieces of a split batch keep its number.
        opened: when its first event was dispatched, in monotonic seconds.
        parts: the encoded events.
        visitors: how many they hold, while the batch is open.
        size: what they weigh in the buffer, in bytes.
        room: bytes that it may still grow by.
        attempts: how often its events were sent.
        failures: how often in a row it itself failed for a time.
        blame: what of that speaks against its events, because the origin was otherwise well.
        seen: how often its origin had answered when it last failed.
        has_scout: one of its events went ahead of it.
        in_flight: it was taken or lent, and is neither settled nor back.
        is_probe: it was sent to see whether the origin answers again.
        is_settled: its events have ended.
        rest: what it was split off from, and what waits for its fate.
        sealed: how many events there are in a body that has not been opened; 0 when `parts` holds them one by one.
        ticket: whose work it is, where it is not the dispatcher's own.
        kin: what it shares with the other pieces of a batch that was split; None before that.
    """

    __slots__ = (
        *(
            "attempts",
            "blame",
            "envelope",
            "failures",
            "has_scout",
            "in_flight",
            "is_probe",
            "is_settled",
            "kin",
            "number",
        ),
        *("opened", "parts", "rest", "room", "sealed", "seen", "size", "ticket", "visitors"),
    )

    def __init__(self, envelope: Envelope, number: int, opened: float, room: int = 0) -> None:
        self.envelope = envelope
        self.number = number
        self.opened = opened
        self.room = room
        self.parts: list[bytes] = []
        self.visitors = 0
        self.size = 0
        self.attempts = 0
        self.failures = 0
        self.blame = 0.0
        self.seen = 0
        self.has_scout = self.in_flight = self.is_probe = self.is_settled = False
        self.rest: Batch | None = None
        self.sealed = 0
        self.ticket: Any = None
        self.kin: Kin | None = None

    def __repr__(self) -> str:
        return f"<Batch {self.number}: {self.events} events, {self.size} bytes, {self.attempts} attempts>"

    @property
    def events(self) -> int:
        """How many events it holds."""
        return self.sealed or len(self.parts)

    @property
    def is_gone(self) -> bool:
        """Whether what a lane has of it is out of date: its events have ended, or somebody has borrowed it."""
        return self.is_settled or self.in_flight

    @property
    def is_piece(self) -> bool:
        """Whether it is what became of a batch that was split."""
        return self.kin is not None

    @property
    def is_suspect(self) -> bool:
        """Whether it failed so often while the origin was otherwise well that it should be split."""
        return self.events > 1 and self.blame >= (_PIECE_SUSPECTED_AFTER if self.is_piece else _SUSPECTED_AFTER)

    @property
    def is_stuck(self) -> bool:
        """Whether it failed so often that one of its events should go ahead, to tell its fault from the origin's."""
        return self.events > 1 and self.failures >= _SUSPECTED_AFTER

    @property
    def is_guilty(self) -> bool:
        """Whether it is the one event that makes the origin fail, so that its failures say nothing of the origin."""
        return self.events == 1 and self.is_piece and self.blame >= _PIECE_SUSPECTED_AFTER

    def request(self) -> Request:
        """The request that carries it: the same bytes each time."""
        request = merge(self.envelope, self.parts)
        return request._replace(events=self.sealed) if self.sealed else request

    def unseal(self) -> bool:
        """Have its events one by one, if it can be taken apart."""
        parts = take_apart(self.parts[0]) if self.sealed else None
        if parts is not None:
            self.envelope = self.envelope.around(parts.prefix, parts.suffix)
            self.parts = parts.visitors
            self.size = sum(map(len, self.parts)) + len(self.parts)
            self.sealed = 0
        return self.events > 1 and not self.sealed

    def piece(self, parts: list[bytes]) -> Batch:
        """A batch of some of its events, with the same past."""
        if self.kin is None:
            self.kin = Kin(self.events)
        piece = Batch(self.envelope, self.number, self.opened)
        piece.parts = parts
        piece.size = sum(map(len, parts)) + len(parts)
        piece.attempts = self.attempts
        piece.ticket = self.ticket
        piece.kin = self.kin
        return piece


class _Waiting(NamedTuple):
    not_before: float
    turn: int
    asked: bool
    batch: Batch


class Lane:
    """The closed batches of one origin.

    Args:
        breaker: the origin's.
    """

    __slots__ = ("_answers", "_blamed", "_ready", "_turns", "_waiting", "breaker", "in_flight")

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.in_flight = 0
        self._ready: deque[Batch] = deque()
        self._waiting: list[_Waiting] = []
        self._turns = 0
        self._answers = 0
        self._blamed = 0  # the number of the one batch that failed since the last answer; 0 for none

    @property
    def is_empty(self) -> bool:
        """Whether nothing is here, be it due or not."""
        return not (self._ready or self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing here, and nothing to remember."""
        return not (self._ready or self._waiting or self.in_flight) and self.breaker.is_well

    @property
    def has_work(self) -> bool:
        """Whether anything is under way or waits here, what has ended meanwhile aside."""
        return self.in_flight > 0 or bool(self.resting())

    def rests(self, by: float) -> bool:
        """Whether its breaker is open, or the time that it asked for ends later than `by`."""
        asked = (each.asked and each.not_before > by and not each.batch.is_gone for each in self._waiting)
        return self.breaker.is_open or any(asked)

    # -- in ------------------------------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> None:
        """Have a batch go when all that is ready now has gone."""
        self._ready.append(batch)

    def prepend(self, *batches: Batch) -> None:
        """Have batches go next, in this order."""
        self._ready.extendleft(reversed(batches))

    def wait(self, batch: Batch, not_before: float, asked: bool) -> None:
        """Have a batch wait until a time."""
        self._turns += 1
        heappush(self._waiting, _Waiting(not_before, self._turns, asked, batch))

    def hurry(self, even_asked: bool) -> None:
        """End the waits, and with `even_asked` also those that the endpoint asked for and the breaker's rest."""
        if even_asked:
            self.breaker.end_rest()
        staying: list[_Waiting] = []
        while self._waiting:
            entry = heappop(self._waiting)
            if even_asked or not entry.asked:
                self._ready.append(entry.batch)
            else:
                staying.append(entry)  # popped in order, so this is a heap
        self._waiting = staying

    def resting(self) -> list[Batch]:
        """The batches that are here."""
        waiting = [entry.batch for entry in self._waiting]
        return [batch for batch in (*self._ready, *waiting) if not batch.is_gone]

    def remove_lent(self) -> None:
        """Forget the batches that somebody has borrowed: they may come back, and then must not be here twice."""
        self._ready = deque(batch for batch in self._ready if not batch.is_gone)
        self._waiting = [entry for entry in self._waiting if not entry.batch.is_gone]
        heapify(self._waiting)

    # -- out -----------------------------------------------------------------------------------------------------------

    def is_due(self, now: float) -> bool:
        """Whether a batch may go now, slots aside."""
        return self._has_any(now) and self.breaker.permits(now, self.in_flight)

    def next_due(self, now: float, has_more: bool) -> float | None:
        """When a batch may go that may not go now; None when that is not a matter of time.

        Args:
            now: monotonic seconds.
            has_more: there is also an open batch whose linger is over.
        """
        if self.is_empty and not has_more:
            return None
        rest = self.breaker.rests_until if self.breaker.is_open else now
        if has_more or self._has_any(now):
            return rest if rest is not None and rest > now else None
        if not self._waiting or rest is None:
            return None
        return max(rest, self._waiting[0].not_before)

    def choose(self, now: float) -> Batch:
        """Take out the batch that goes next; only after `is_due`."""
        if self._waiting:
            self.prepend(*self._end_waits(now))
        self._skip_settled()
        return self._least_tried() if self.breaker.is_open else self._ready.popleft()

    def depart(self, batch: Batch) -> None:
        """Count a batch as under way."""
        batch.in_flight = True
        batch.is_probe = self.breaker.sent()
        self.in_flight += 1

    def _end_waits(self, now: float) -> list[Batch]:
        over: list[Batch] = []
        while self._waiting and self._waiting[0].not_before <= now:
            over.append(heappop(self._waiting).batch)
        return over

    def _least_tried(self) -> Batch:
        """What is sent as a probe should not be what failed again and again: that may be its own fault."""
        batch = min((each for each in self._ready if not each.is_gone), key=lambda each: each.attempts)
        self._ready.remove(batch)
        return batch

    def _has_any(self, now: float) -> bool:
        self._skip_settled()
        return bool(self._ready) or (bool(self._waiting) and self._waiting[0].not_before <= now)

    def _skip_settled(self) -> None:
        """What expired here is skipped when its turn comes."""
        while self._ready and self._ready[0].is_gone:
            self._ready.popleft()
        while self._waiting and self._waiting[0].batch.is_gone:
            heappop(self._waiting)

    # -- what became of it ---------------------------------------------------------------------------------------------

    def answered(self, batch: Batch) -> None:
        """The origin answered, were it with a refusal."""
        self._arrive(batch)
        self.breaker.answered(batch.is_probe)
        self._answers += 1
        self._blamed = 0

    def failed(self, batch: Batch, now: float, asked: float, may_be_its_fault: bool) -> None:
        """The origin did not answer, or asked for time.

        Args:
            batch: what was sent.
            now: monotonic seconds.
            asked: the Retry-After, in seconds.
            may_be_its_fault: the failure is of a kind that the events themselves may cause.
        """
        batch.failures += 1
        if batch.is_guilty and may_be_its_fault:
            self.unsent(batch)
            return
        self._arrive(batch)
        self.breaker.failed(now, batch.is_probe, asked)
        self._blamed = batch.number if self._blamed in (0, batch.number) else _SEVERAL
        if may_be_its_fault and self._answers:
            batch.blame += self._blame(batch)
        batch.seen, batch.has_scout = self._answers, False

    def _blame(self, batch: Batch) -> float:
        """How much one failure speaks against the events of a batch."""
        has_answered = self._answers > batch.seen
        if batch.has_scout and has_answered:  # its scout came through, and it does not
            return _PIECE_SUSPECTED_AFTER
        if self._blamed == batch.number:  # no other batch has failed since the last answer
            return 1.0
        return _IN_COMPANY if has_answered else 0.0

    def unsent(self, batch: Batch) -> None:
        """It was under way and came to nothing, through no fault of the origin."""
        self._arrive(batch)
        self.breaker.unsent(batch.is_probe)

    def _arrive(self, batch: Batch) -> None:
        batch.in_flight = False
        self.in_flight -= 1
