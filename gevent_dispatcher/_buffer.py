"""The one bounded in-memory queue: events gather in batches, batches wait until they are due.

A batch is open while it gathers events of one envelope; it is closed when it is full or its linger is over. From then
on a retry repeats it byte for byte, until it is split: its pieces keep its number, its age and its place. Whatever was
added and not yet settled counts against the bounds, whether it waits, is in flight or in backoff. Time comes in as an
argument; nothing here sleeps or sends.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Callable, Iterator

from gevent_dispatcher._config import Config
from gevent_dispatcher._event import Encoded, Envelope, Request
from gevent_dispatcher._health import Health
from gevent_dispatcher._lane import Batch, Lane
from gevent_dispatcher._lanes import Lanes
from gevent_dispatcher._pending import Pending
from gevent_dispatcher._url import Address, Origin


class Buffer:
    """Everything pending in one process.

    Args:
        config: `batch_size`, `flush_interval`, `max_request_bytes`, `buffer_events`, `buffer_bytes`, `pool_size`,
            `backoff_max` and `delivery_timeout` are read.
        chance: `random.uniform` or like it.
    """

    def __init__(self, config: Config, chance: Callable[[float, float], float]) -> None:
        self._config = config
        self._most_events = config.buffer_events
        self._most_bytes = config.buffer_bytes
        self._batch_size = config.batch_size
        # Waiting for company must leave time to be sent.
        self._linger = min(config.flush_interval, config.delivery_timeout / 2)
        self.events = 0
        self.bytes = 0
        self.splits = 0
        # Whether an event of any size would be refused.
        self.full = False
        self._pending = Pending(config.delivery_timeout)
        self._open: OrderedDict[Envelope, Batch] = OrderedDict()
        self._lanes = Lanes(config.pool_size, config.backoff_max, chance)

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
        self.events += 1
        self.bytes += size
        if self.events >= self._most_events or self.bytes >= self._most_bytes:
            self.full = True
        if not visitors or batch.visitors >= self._batch_size:
            self._close(batch)
            return True
        return changed

    def accept(self, request: Request, ticket: Any, now: float) -> Batch:
        """Take in a request that is ready to be sent, for whoever holds the ticket; the caller has seen to the bounds.

        Args:
            request: its body stays as it is, unless it is refused and has to be taken apart.
            ticket: comes back with what becomes of it.
            now: monotonic seconds.
        """
        address = Address(request.origin, request.target, None)
        envelope = Envelope(request.verb, address, dict(request.headers))
        batch = Batch(envelope, self._pending.next_number(), now)
        batch.parts, batch.size = [request.body or b""], len(request.body or b"")
        batch.sealed, batch.ticket = request.events, ticket
        self._pending.add(batch)
        self._weigh(batch.events, batch.size)
        self._lane(batch).append(batch)
        return batch

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
        room = self._config.max_request_bytes - envelope.overhead
        batch = Batch(envelope, self._pending.next_number(), now, room)
        self._pending.add(batch)
        self._open[envelope] = batch
        return batch

    def _close(self, batch: Batch) -> None:
        del self._open[batch.envelope]
        self._lane(batch).append(batch)

    def _lane(self, batch: Batch) -> Lane:
        return self._lanes.of(batch.envelope.origin)

    # -- out -----------------------------------------------------------------------------------------------------------

    def is_due(self, now: float) -> bool:
        """Whether `take` would find a batch now. What is open stays open: it may gain company until it is taken."""
        ripe = (self._lane(batch) for batch in self._ripe(now))
        return any(self._lanes.permits(lane, now) for lane in ripe) or self._lanes.is_due(now)

    def take(self, now: float) -> Batch | None:
        """The next batch to send, None when none may go. It stays within the bounds until it is settled."""
        for batch in self._ripe(now):
            self._close(batch)
        lane = self._lanes.next(now)
        return None if lane is None else self._take_from(lane, now)

    def _take_from(self, lane: Lane, now: float) -> Batch:
        batch = lane.choose(now)
        if lane.breaker.is_open and batch.is_stuck and self.unseal(batch):
            batch = self._one_ahead(lane, batch)
        self._lanes.depart(lane, batch)
        return batch

    def _ripe(self, now: float) -> list[Batch]:
        """Open batches whose linger is over."""
        ripe: list[Batch] = []
        for batch in self._open.values():
            if self._linger_ends(batch) > now:
                break
            ripe.append(batch)
        return ripe

    def _linger_ends(self, batch: Batch) -> float:
        return batch.opened + self._linger

    # -- what became of a batch that was taken -------------------------------------------------------------------------

    def answered(self, batch: Batch) -> None:
        """Its origin answered, were it with a refusal; one of the ways to return or settle it comes next."""
        self._lanes.answered(batch)

    def failed(self, batch: Batch, now: float, asked: float, may_be_its_fault: bool) -> None:
        """Its origin did not answer, or asked for time; one of the ways to return or settle it comes next.

        Args:
            batch: what was taken.
            now: monotonic seconds.
            asked: the Retry-After, in seconds.
            may_be_its_fault: the failure is of a kind that the events themselves may cause.
        """
        self._lanes.failed(batch, now, asked, may_be_its_fault)

    def is_resting(self, origin: Origin) -> bool:
        """Whether the breaker of an origin is open."""
        return self._lanes.is_resting(origin)

    def return_unsent(self, batch: Batch) -> None:
        """Return a batch that came to nothing through no fault of the origin: it is due again at once."""
        self._lanes.unsent(batch)
        self._give_back(self._lane(batch), batch)

    def put_back(self, batch: Batch, not_before: float, asked: bool) -> None:
        """Return a batch, whole, to wait.

        Args:
            batch: what `take` gave.
            not_before: monotonic seconds.
            asked: the endpoint asked for this wait, so `hurry` leaves it alone.
        """
        self._lane(batch).wait(batch, not_before, asked)
        self._pending.may_expire(batch)

    def unseal(self, batch: Batch) -> bool:
        """Whether a batch can be split, after a look into the body of one that came whole."""
        events, size = batch.events, batch.size
        can_be_split = batch.unseal()
        self._weigh(batch.events - events, batch.size - size)
        return can_be_split

    def halve(self, batch: Batch) -> None:
        """Return a batch of several events as two, which go next."""
        middle = batch.events // 2
        halves = batch.piece(batch.parts[:middle]), batch.piece(batch.parts[middle:])
        self._replace(batch, *halves)
        self._give_back(self._lane(batch), *halves)

    def send_one_of(self, batch: Batch) -> None:
        """Return a batch of several events so that one goes next and the rest waits for its fate, as its `rest`."""
        one, rest = self._split_one(batch)
        one.rest = rest
        self._give_back(self._lane(batch), one)

    def release_rest(self, batch: Batch) -> None:
        """Have what waits for the fate of a batch go on as two halves, as far as it has not ended meanwhile."""
        rest, batch.rest = batch.rest, None
        if rest is not None and not rest.is_settled:
            if rest.events > 1:
                self.halve(rest)
            else:
                self._give_back(self._lane(rest), rest)

    def _one_ahead(self, lane: Lane, batch: Batch) -> Batch:
        one, rest = self._split_one(batch)
        one.failures = rest.failures = batch.failures
        rest.has_scout, rest.seen = True, batch.seen
        self._give_back(lane, rest)
        return one

    def _split_one(self, batch: Batch) -> tuple[Batch, Batch]:
        middle = batch.events // 2
        one = batch.piece(batch.parts[middle : middle + 1])
        rest = batch.piece(batch.parts[:middle] + batch.parts[middle + 1 :])
        self._replace(batch, one, rest)
        return one, rest

    def _replace(self, batch: Batch, *pieces: Batch) -> None:
        self.splits += 1
        self._pending.replace(batch, pieces)

    def _give_back(self, lane: Lane, *batches: Batch) -> None:
        lane.prepend(*batches)
        self._pending.may_expire(batches[0])

    # -- lent to whoever stores batches elsewhere ----------------------------------------------------------------------

    def lend(self, batch: Batch) -> None:
        """Have a batch that is not in flight neither sent nor expire; it is settled, or taken back, later."""
        batch.in_flight = True
        self._leave_open(batch)

    def lend_oldest(self, size: int) -> list[Batch]:
        """Lend the oldest batches that are closed and not in flight.

        Args:
            size: bytes from which on it is enough.
        """
        chosen: list[Batch] = []
        for batch in sorted(self._closed(), key=lambda each: each.number):
            self.lend(batch)
            chosen.append(batch)
            size -= batch.size
            if size <= 0:
                break
        for lane in self._lanes:
            lane.remove_lent()
        return chosen

    def take_back(self, batches: list[Batch]) -> None:
        """Have batches that `lend_oldest` gave go next after all."""
        for batch in reversed(batches):
            batch.in_flight = False
            self._give_back(self._lane(batch), batch)

    def _closed(self) -> Iterator[Batch]:
        for lane in self._lanes:
            yield from lane.resting()

    def _leave_open(self, batch: Batch) -> None:
        if self._open.get(batch.envelope) is batch:
            del self._open[batch.envelope]

    def settle(self, batch: Batch) -> None:
        """Forget a batch: its events have ended."""
        self._pending.replace(batch)
        self._leave_open(batch)
        self._weigh(-batch.events, -batch.size)

    # -- time ----------------------------------------------------------------------------------------------------------

    def deadline(self, batch: Batch) -> float:
        """When a batch has waited for `delivery_timeout`, in monotonic seconds."""
        return self._pending.deadline(batch)

    def expired(self, now: float) -> list[Batch]:
        """The batches whose deadline is over and which are not in flight; the caller settles them."""
        return self._pending.expired(now)

    def put_off_expiry(self, now: float) -> None:
        """Have what expires wait for the next look at it."""
        self._pending.put_off(now)

    def next_due(self, now: float) -> float | None:
        """When there will be something to do that cannot be done now; None when that is not a matter of time."""
        if not self.events:
            self._pending.forget_expiry()
            return None
        return min(self._times(now))

    def _times(self, now: float) -> Iterator[float]:
        yield self._pending.next_expiry
        ripe = [batch.envelope.origin for batch in self._ripe(now)]
        yield from self._lanes.next_due(now, ripe)
        for batch in self._open.values():
            if self._linger_ends(batch) > now:
                yield self._linger_ends(batch)
                return

    def hurry(self, even_asked: bool = False) -> None:
        """End all linger and backoff.

        Args:
            even_asked: also the waits that an endpoint asked for and the rests of breakers, as at exit.
        """
        for batch in list(self._open.values()):
            self._close(batch)
        for lane in self._lanes:
            lane.hurry(even_asked)

    # -- accounts ------------------------------------------------------------------------------------------------------

    @property
    def newest(self) -> int:
        """The number of the batch that was opened last."""
        return self._pending.newest

    @property
    def oldest(self) -> int | None:
        """The number of the oldest batch that is not settled, None when there is none."""
        return self._pending.oldest

    def pieces(self, number: int) -> tuple[Batch, ...]:
        """What is not settled of the batches of one number."""
        return self._pending.pieces(number)

    def waits_in_vain(self, by: float) -> bool:
        """Whether all that is pending is for origins that are left alone; False when nothing is.

        Args:
            by: monotonic seconds; an origin is left alone while its breaker is open, or when it asked for longer.
        """
        return not self._open and self._lanes.waits_in_vain(by)

    def health(self, now: float) -> Health:
        """How it is doing.

        Args:
            now: monotonic seconds.
        """
        return Health(self.events, self.bytes, origins=self._lanes.health(now))

    def everything(self) -> list[Batch]:
        """All batches that are not settled, in flight ones included, for the final account."""
        return self._pending.everything()
