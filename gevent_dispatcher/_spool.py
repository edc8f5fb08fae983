"""Where an engine puts what it cannot deliver now, and from where it is delivered later, by whichever process.

In normal operation nothing here touches the disk. What is stored is no longer the engine's: it is counted as spooled.
Everything happens at the engine's home, and what waits does so in greenlets of its own.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from typing import Any, Callable, Collection, Mapping

import gevent

from gevent_dispatcher import _stats
from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._consumer import Consumer
from gevent_dispatcher._home import end_at_once
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._log import about, logger
from gevent_dispatcher._notices import often
from gevent_dispatcher._policy import End
from gevent_dispatcher._retry import CONTENT_TOO_LARGE, Answer
from gevent_dispatcher._stats import Outcome
from gevent_dispatcher._transport import Transport
from gevent_dispatcher._voice import Voice
from gevent_dispatcher.queues import (
    OpenQueue,
    Queue,
    QueueError,
    QueueFull,
    QueuePartial,
    QueueRefused,
    QueueUnavailable,
    Refusal,
    SqliteQueue,
)

monotonic = time.monotonic

# The spool is looked at no more often, in seconds; and a spool that could not be used is left alone for as long.
_INTERVAL = 5.0
# While something is known to be there, and the endpoint is not known to be well, it is looked at less and less often.
_LONGEST_PAUSE = 60.0
# The oldest are moved to the spool from three quarters full on, until half is free.
_CROWDED, _ROOMY = 0.75, 0.5
# Bytes that are lent in one go: enough for a commit to be cheap, and soon done.
_PORTION = 4 * 1024 * 1024
# Bytes of the first commit of several; each has twice as many as the one before. A slow disk keeps what it was given in
# time.
_FIRST_COMMIT = 512 * 1024
# What is kept of the time to close for the last commit: a third, and in seconds at most.
_SHARE, _LONGEST_SHARE = 1 / 3, 1.0

_STORED = Answer()
_OUT_OF_TIME = Answer(error="not delivered in time, and not spooled")


def kept_for_the_end(seconds: float) -> float:
    """What of the time to close, in seconds, is not for delivering but for the last commit."""
    return min(max(seconds, 0.0) * _SHARE, _LONGEST_SHARE)


class Spool:
    """One engine's side of a durable queue.

    Args:
        config: the dispatcher's settings; `spool` is a path or a queue.
        transport: how what was spooled is delivered.
        buffer: whose batches may be stored.
        inside: entered while the buffer is being changed.
        account: counts the events of a batch that has ended; must not switch.
        tell: tells the hook of them; may wait.
        voice: what is said.
        settle_in: calls `move` if somebody has destroyed the hub; must not switch.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        buffer: Buffer,
        inside: AbstractContextManager[None],
        account: Callable[[End], None],
        tell: Callable[[list[End]], None],
        voice: Voice,
        settle_in: Callable[[], None],
    ) -> None:
        place = config.spool
        self._path = os.path.abspath(place) if isinstance(place, (str, os.PathLike)) else None
        self._queue: Queue = place if self._path is None else SqliteQueue(self._path)
        self._config = config
        self._transport = transport
        self._buffer = buffer
        self._inside = inside
        self._account = account
        self._tell = tell
        self._settle_in = settle_in
        self._opened: OpenQueue | None = None
        self._expired: list[Batch] = []
        self._expired_in_hand: list[Batch] = []
        self._oldest_in_hand: list[Batch] = []
        self._storing: Any = None
        self._reading: Any = None
        self._reading_due = 0.0
        self._consumer: Consumer | None = None
        self._next_look = 0.0
        self._pause = _INTERVAL
        self._holds = False  # as far as is known
        self._was_put = False  # since the last look at it began
        self._away_until = 0.0
        self._is_ended = False
        self._voice = voice
        self._left_behind: list[object] = []

    # -- in ------------------------------------------------------------------------------------------------------------

    def attend(self) -> None:
        """The buffer has grown: see that the oldest go to the spool before it is full."""
        if self._storing is None and not self._is_ended and self._is_crowded(_CROWDED) and not self._is_away():
            self._storing = gevent.spawn(self._store_until_roomy)

    def rescue(self, batch: Batch) -> bool:
        """Take over a batch whose time is up, to store it; False when that cannot be done."""
        if self._is_ended or self._is_away():
            return False
        self._buffer.lend(batch)
        self._expired.append(batch)
        self._see_to_the_expired()
        return True

    def _see_to_the_expired(self) -> None:
        if self._expired and self._storing is None:
            self._storing = gevent.spawn(self._store_until_roomy)

    def _is_crowded(self, share: float) -> bool:
        config, buffer = self._config, self._buffer
        return buffer.events >= config.buffer_events * share or buffer.bytes >= config.buffer_bytes * share

    def _is_away(self) -> bool:
        return monotonic() < self._away_until

    def _store_until_roomy(self) -> None:
        try:
            while self._store_expired() or self._store_oldest():
                pass
        finally:
            if self._storing is gevent.getcurrent():
                self._storing = None

    def _store_expired(self) -> bool:
        batches, self._expired = self._expired, []
        if not batches:
            return False
        self._expired_in_hand = batches
        lost = self._store(batches)
        self._expired_in_hand = []
        self._end(lost, Outcome.DROPPED, _stats.EXPIRED, _OUT_OF_TIME)
        return True

    def _store_oldest(self) -> bool:
        if self._is_ended or not self._is_crowded(_ROOMY) or self._is_away():
            return False
        with self._inside:
            self._oldest_in_hand = batches = self._buffer.lend_oldest(_PORTION)
        if not batches:
            return False
        left = self._store(batches)
        with self._inside:
            self._oldest_in_hand = []
            self._buffer.take_back(left)
        return not left

    def _store(self, batches: list[Batch]) -> list[Batch]:
        """Store as many as can be, the first before the others, and tell which could not.

        What is refused ends here: it would be refused again.
        """
        ended, most = 0, _FIRST_COMMIT
        while ended < len(batches):
            portion = _first_of(batches[ended:], most)
            try:
                self._put(portion)
            except QueueFull as error:
                if len(portion) == 1:
                    self._say_why(batches[ended:], error)
                    break
                most = _bytes(portion) // 2
            except QueuePartial as error:
                self._end_some(portion, error.stored, error.refusals)
                left = [batch for batch in batches[ended:] if not batch.is_settled]
                self._say_why(left, error)
                return left
            except QueueError as error:
                self._say_why(batches[ended:], error)
                break
            else:
                ended += len(portion)
                most *= 2
        return batches[ended:]

    def _put(self, batches: list[Batch]) -> None:
        if self._opened is None:
            self._opened = self._queue.open()
        opened = self._opened
        refusals: dict[int, Refusal] = {}
        try:
            opened.put([batch.request() for batch in batches])
        except QueueRefused as error:
            refusals = error.refusals
        finally:
            if self._opened is not opened:  # left behind, and what it had in hand was taken from it
                raise gevent.GreenletExit
        self._end_some(batches, set(range(len(batches))) - refusals.keys(), refusals)

    def _end_some(self, batches: list[Batch], stored: Collection[int], refusals: Mapping[int, Refusal]) -> None:
        """End those that were stored, and those that never will be, by their positions."""
        self._was_put = self._was_put or bool(stored)
        self._holds = self._holds or bool(stored)
        self._look_in(self._pause)
        self._end([batches[at] for at in sorted(stored)], Outcome.SPOOLED, "", _STORED)
        for at, refusal in refusals.items():
            self._end([batches[at]], Outcome.DROPPED, *_why_refused(refusal))

    def _say_why(self, batches: list[Batch], error: QueueError) -> None:
        self._away_until = monotonic() + _INTERVAL
        times = self._voice.repeats.count("spool_not_written", monotonic())
        if times:
            name, events = type(error).__name__, _events(batches)
            logger.warning(
                "cannot spool %d events%s (%s: %s)",
                events,
                often(times),
                name,
                error,
                extra=about("spool_not_written", events=events, error=name, times=times),
            )

    def _end(self, batches: list[Batch], outcome: Outcome, reason: str, answer: Answer) -> None:
        ends = [End(batch, outcome, reason, answer) for batch in batches if not batch.is_settled]
        with self._inside:
            for end in ends:
                self._buffer.settle(end.batch)
                self._account(end)
        self._tell(ends)

    # -- out -----------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """The endpoint may be well: deliver what is spooled, if that was not tried a moment ago."""
        wait = self._next_look - monotonic()
        if wait <= 0:
            self._pause = _INTERVAL
            self._look_in(0.0)
        elif self._holds:
            self._look_in(wait)

    def _look_in(self, seconds: float) -> None:
        due = monotonic() + seconds
        if self._is_ended or self._consumer is not None or (self._reading is not None and self._reading_due <= due):
            return
        if self._reading is not None:
            self._reading.kill(block=False)  # it has not begun, and this will begin earlier
        self._reading_due = due
        self._reading = gevent.spawn_later(seconds, self._read)

    def _read(self) -> None:
        with self._inside:
            self._settle_in()
        current = gevent.getcurrent()
        if self._reading is not current:  # left behind
            return
        self._next_look = monotonic() + _INTERVAL
        self._was_put = False
        try:
            holds = self._has_more()
        finally:
            if self._reading is not current:  # left behind meanwhile
                raise gevent.GreenletExit
            self._reading = self._consumer = None
        self._holds = holds or self._was_put
        if self._holds:
            self._look_in(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _has_more(self) -> bool:
        try:
            # Nothing was ever spooled where there is no file, and none must be made.
            return (self._path is None or os.path.exists(self._path)) and not self._is_emptied()
        except QueueError as error:
            self._say_unread(error)
            return self._holds

    def _say_unread(self, error: QueueError) -> None:
        times = self._voice.repeats.count("spool_not_read", monotonic())
        if times:
            name = type(error).__name__
            logger.warning(
                "cannot read the spool%s (%s: %s)",
                often(times),
                name,
                error,
                extra=about("spool_not_read", error=name, times=times),
            )

    def _is_emptied(self) -> bool:
        """Deliver what can be delivered now, and tell whether that was all."""
        self._consumer = consumer = Consumer(
            self._queue,
            transport=self._transport,
            destinations=None,  # the file is its owner's alone
            pool_size=max(1, self._config.pool_size // 2),
            backoff_base=self._config.backoff_base,
            backoff_max=self._config.backoff_max,
            release_delay=1.0,
            on_delivery=self._config.on_delivery,
        )
        consumer.speak_through(self._voice)
        consumer.run(until_empty=True)
        return not consumer.stats().released

    def move(self) -> None:
        """To another hub; see `Senders.move`. What was in hand may have been stored, and comes to no harm twice."""
        for each in (self._storing, self._reading):
            if each is not None:
                each.parent = gevent.get_hub()
        if self._consumer is not None:
            self._consumer.leave_behind()
        self._left_behind.append((self._opened, self._storing, self._reading, self._consumer))
        self._opened = self._storing = self._reading = self._consumer = None
        oldest, self._oldest_in_hand = self._oldest_in_hand, []
        self._buffer.take_back([batch for batch in oldest if not batch.is_settled])
        expired, self._expired_in_hand = self._expired_in_hand, []
        self._expired[:0] = [batch for batch in expired if not batch.is_settled]
        if not self._is_ended:
            self._see_to_the_expired()
        if self._holds:
            self._look_in(self._pause)

    def abandon(self) -> None:
        """In a fork's child, before its hub runs: all of this belongs to the parent. Cheap, and starts nothing."""
        self._is_ended = True
        if self._consumer is not None:
            self._consumer.abandon()
        for greenlet in (self._storing, self._reading):
            if greenlet is not None:
                end_at_once(greenlet)

    # -- the end -------------------------------------------------------------------------------------------------------

    def finish(self, seconds: float) -> None:
        """Store what is pending, give back what is being delivered, and close; waits.

        Args:
            seconds: the time for all of it.
        """
        self._is_ended = True
        deadline = monotonic() + seconds
        reading, storing = self._reading, self._storing
        if self._consumer is not None:
            self._consumer.stop(seconds)
        elif reading is not None:
            reading.kill(block=False)  # it has not begun
        if storing is not None:
            storing.join(seconds / 2)
            storing.kill(timeout=seconds / 4)
        left = self._buffer.everything()
        if left:
            self._store_in_time(left, deadline - monotonic())
        if reading is not None:
            reading.join(max(deadline - monotonic(), 0.0))
            reading.kill(timeout=0.01)
        if self._opened is not None:
            with gevent.Timeout(max(deadline - monotonic(), 0.01), False):
                self._opened.close()

    def _store_in_time(self, batches: list[Batch], seconds: float) -> None:
        with gevent.Timeout(max(seconds, 0.01), False):
            self._store(batches)
            return
        left = [batch for batch in batches if not batch.is_settled]
        self._say_why(left, QueueUnavailable("the time to close was over first"))


def _why_refused(refusal: Refusal) -> tuple[str, Answer]:
    is_too_large = refusal.status == CONTENT_TOO_LARGE
    return _stats.TOO_LARGE if is_too_large else _stats.REJECTED, Answer(refusal.status, error=refusal.reason)


def _first_of(batches: list[Batch], most: int) -> list[Batch]:
    """As many as have so many bytes, and at least one."""
    count = size = 0
    while count < len(batches) and (not count or size + batches[count].size <= most):
        size += batches[count].size
        count += 1
    return batches[:count]


def _bytes(batches: list[Batch]) -> int:
    return sum(batch.size for batch in batches)


def _events(batches: list[Batch]) -> int:
    return sum(batch.events for batch in batches)
