"""The one bounded in-memory queue: events gather in batches, batches wait until they are due.

A batch is open while it gathers events of one envelope; it is closed when it is full or its linger is over, and then it
never changes: a retry repeats it byte for byte. Whatever was added and not yet settled counts against the bounds,
whether it waits, is in flight or in backoff. Time comes in as an argument; nothing here sleeps or sends.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heappop, heappush
from typing import Callable, NamedTuple

from gevent_dispatcher._config import Config
from gevent_dispatcher._event import Encoded, Envelope, Request, merge
from gevent_dispatcher._url import Origin


class Batch:
    """Events of one envelope that share a request, and what has happened to them so far."""

    __slots__ = ("attempts", "envelope", "number", "opened", "parts", "room", "size", "visitors")

    def __init__(self, envelope: Envelope, number: int, opened: float, room: int) -> None:
        self.envelope = envelope
        self.room = room
        self.number = number
        self.opened = opened
        self.parts: list[bytes] = []
        self.visitors = 0
        self.size = 0
        self.attempts = 0

    def __repr__(self) -> str:
        return f"<Batch {self.number}: {self.events} events, {self.size} bytes, {self.attempts} attempts>"

    @property
    def events(self) -> int:
        """How many events it holds."""
        return len(self.parts)

    def request(self) -> Request:
        """The request that carries it: the same bytes each time."""
        return merge(self.envelope, self.parts)


class _Waiting(NamedTuple):
    not_before: float
    number: int
    asked: bool
    batch: Batch


class _Lane:
    """The closed batches of one origin: those that may go, and those that must wait."""

    __slots__ = ("ready", "waiting")

    def __init__(self) -> None:
        self.ready: deque[Batch] = deque()
        self.waiting: list[_Waiting] = []

    def is_due(self, now: float) -> bool:
        return bool(self.ready) or (bool(self.waiting) and self.waiting[0].not_before <= now)

    def wake(self, now: float) -> None:
        while self.waiting and self.waiting[0].not_before <= now:
            self.ready.appendleft(heappop(self.waiting).batch)

    def hurry(self, even_asked: bool) -> None:
        staying: list[_Waiting] = []
        while self.waiting:
            entry = heappop(self.waiting)
            if even_asked or not entry.asked:
                self.ready.append(entry.batch)
            else:
                staying.append(entry)  # popped in order, so this is a heap
        self.waiting = staying


class Buffer:
    """Everything pending in one process.

    Args:
        config: `batch_size`, `flush_interval`, `max_request_bytes`, `buffer_events`, `buffer_bytes` and
            `delivery_timeout` are read.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._most_events = config.buffer_events
        self._most_bytes = config.buffer_bytes
        self._batch_size = config.batch_size
        self.events = 0
        self.bytes = 0
        # Whether an event of any size would be refused.
        self.full = False
        self._numbers = 0
        # All batches that are not settled, oldest first: that is also the order of their deadlines.
        self._pending: OrderedDict[int, Batch] = OrderedDict()
        self._open: OrderedDict[Envelope, Batch] = OrderedDict()
        self._lanes: dict[Origin, _Lane] = {}

    def fits(self, size: int, events: int = 1) -> bool:
        """Whether this much more would stay within the bounds."""
        return self.events + events <= self._most_events and self.bytes + size <= self._most_bytes

    # -- in ------------------------------------------------------------------------------------------------------------

    def add(self, event: Encoded, clock: Callable[[], float]) -> bool:
        """Take one event in; the caller has checked that it fits.

        Args:
            event: what the encoder made of it.
            clock: monotonic seconds, asked only when a new batch is opened.

        Returns:
            True when something changed that a sender or the timer must hear of: a batch was opened or closed.
        """
        envelope, data, visitors, size = event
        batch = self._open.get(envelope)
        changed = False
        if batch is None or size > batch.room or batch.visitors + visitors > self._batch_size:
            batch = self._next_batch(envelope, clock())
            changed = True
        batch.parts.append(data)
        batch.visitors += visitors
        batch.size += size
        batch.room -= size
        self._weigh(1, size)
        if not visitors or batch.visitors >= self._batch_size:
            self._close(batch)
            return True
        return changed

    def _weigh(self, events: int, size: int) -> None:
        self.events += events
        self.bytes += size
        self.full = self.events >= self._most_events or self.bytes >= self._most_bytes

    def _next_batch(self, envelope: Envelope, now: float) -> Batch:
        batch = self._open.get(envelope)
        if batch is not None:
            self._close(batch)
        return self._open_batch(envelope, now)

    def _open_batch(self, envelope: Envelope, now: float) -> Batch:
        self._numbers += 1
        batch = Batch(envelope, self._numbers, now, self._config.max_request_bytes - envelope.overhead)
        self._pending[batch.number] = batch
        self._open[envelope] = batch
        return batch

    def _close(self, batch: Batch) -> None:
        del self._open[batch.envelope]
        self._lane(batch).ready.append(batch)

    def _lane(self, batch: Batch) -> _Lane:
        origin = batch.envelope.origin
        lane = self._lanes.get(origin)
        if lane is None:
            lane = self._lanes[origin] = _Lane()
        return lane

    # -- out -----------------------------------------------------------------------------------------------------------

    def is_due(self, now: float) -> bool:
        """Whether `take` would find a batch now. What is open stays open: it may gain company until it is taken."""
        if self._open and self._linger_ends(self._oldest_open()) <= now:
            return True
        return any(lane.is_due(now) for lane in self._lanes.values())

    def take(self, now: float) -> Batch | None:
        """The next batch to send, None when none is due. It stays within the bounds until it is settled."""
        self._ripen(now)
        for origin, lane in self._lanes.items():
            if lane.ready:
                batch = lane.ready.popleft()
                self._to_the_back(origin)
                return batch
        return None

    def _to_the_back(self, origin: Origin) -> None:
        """Origins take turns."""
        lane = self._lanes.pop(origin)
        if lane.ready or lane.waiting:
            self._lanes[origin] = lane

    def _ripen(self, now: float) -> None:
        while self._open and self._linger_ends(self._oldest_open()) <= now:
            self._close(self._oldest_open())
        for lane in self._lanes.values():
            if lane.waiting:
                lane.wake(now)

    def _oldest_open(self) -> Batch:
        return next(iter(self._open.values()))

    def _linger_ends(self, batch: Batch) -> float:
        return batch.opened + self._config.flush_interval

    def put_back(self, batch: Batch, not_before: float, asked: bool) -> None:
        """Return a taken batch, whole, to wait.

        Args:
            batch: what `take` gave.
            not_before: monotonic seconds.
            asked: the endpoint asked for this wait, so `hurry` leaves it alone.
        """
        heappush(self._lane(batch).waiting, _Waiting(not_before, batch.number, asked, batch))

    def return_first(self, batch: Batch) -> None:
        """Return a taken batch that was not sent after all: it is due again at once."""
        self._lane(batch).ready.appendleft(batch)

    def settle(self, batch: Batch) -> None:
        """Forget a batch: its events have ended."""
        del self._pending[batch.number]
        self._weigh(-batch.events, -batch.size)

    # -- time ----------------------------------------------------------------------------------------------------------

    def deadline(self, batch: Batch) -> float:
        """When a batch has waited for `delivery_timeout`, in monotonic seconds."""
        return batch.opened + self._config.delivery_timeout

    def next_due(self) -> float | None:
        """When a batch that waits becomes due, in monotonic seconds; None when none waits."""
        times = [lane.waiting[0].not_before for lane in self._lanes.values() if lane.waiting]
        if self._open:
            times.append(self._linger_ends(self._oldest_open()))
        return min(times) if times else None

    def hurry(self, even_asked: bool = False) -> None:
        """End all linger and backoff.

        Args:
            even_asked: also the waits that an endpoint asked for, as at exit.
        """
        while self._open:
            self._close(self._oldest_open())
        for lane in self._lanes.values():
            lane.hurry(even_asked)

    # -- accounts ------------------------------------------------------------------------------------------------------

    @property
    def newest(self) -> int:
        """The number of the batch that was opened last."""
        return self._numbers

    @property
    def oldest(self) -> int | None:
        """The number of the oldest batch that is not settled, None when there is none."""
        return next(iter(self._pending), None)

    def drain(self) -> list[Batch]:
        """All batches that are not settled, in flight ones included, for the final account."""
        self._open.clear()
        self._lanes.clear()
        return list(self._pending.values())
