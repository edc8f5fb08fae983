"""Everything that exists once per dispatcher and process: the buffer, the pool of senders, the timer, the accounts.

An event enters by `accept`, in any thread. All else happens at home (see `_home`), where greenlets take turns and none
can cut in on another: only a signal handler or a destructor can, and what they dispatch takes the way of the inbox
while `_inside` is entered. Senders are greenlets that live only while something is due.
"""

from __future__ import annotations

import logging
import os
import random
import time
from typing import Any, Callable, TypeVar

import gevent
from gevent.pool import Pool

from gevent_dispatcher import _stats
from gevent_dispatcher._buffer import Batch, Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._event import Encoded, Encoder, Refused, TooLarge
from gevent_dispatcher._flushes import Flushes
from gevent_dispatcher._home import Home, Unreachable, get_ident
from gevent_dispatcher._inbox import Inbox
from gevent_dispatcher._retry import Answer, Verdict, judge, parse_retry_after, wait
from gevent_dispatcher._stats import Counters, Delivery, Outcome, Stats
from gevent_dispatcher._transport import Link, Transport
from gevent_dispatcher._voice import Voice

logger = logging.getLogger("gevent_dispatcher")

T = TypeVar("T")
monotonic = time.monotonic

_CLOSED = (_stats.CLOSED, "the dispatcher is closed")
_BUFFER_FULL = (_stats.BUFFER_FULL, "the buffer is full")

_UNSENT = Answer(error="not sent before the end")

# What a killed sender may take to close its socket, in seconds.
_KILL_TIMEOUT = 0.05
# What another thread waits for an account of the events, in seconds: the home only has to come round to it.
_ACCOUNT_TIMEOUT = 5.0


class Engine:
    """The delivery of one dispatcher's events in one process.

    Args:
        config: the dispatcher's settings.
        transport: opened by the first sender.
        home: where its greenlets live.
        closed: refuse all events from the start.
    """

    def __init__(self, config: Config, transport: Transport, home: Home, closed: bool = False) -> None:
        self.pid = os.getpid()
        self._config = config
        self._transport = transport
        self._home = home
        self._closed = closed
        self._ended = False
        self._encoder = Encoder()
        self._buffer = Buffer(config)
        self._counters = Counters()
        self._voice = Voice(config.on_delivery)
        self._inbox = Inbox()
        self._inside = _Inside()
        self._wake_posted = False
        self._pool = Pool(config.pool_size)
        self._fresh: Any = None  # a sender that was started and has not run yet
        self._link: Link | None = None
        self._timer: Any = None
        self._timer_due = float("inf")
        self._flushes = Flushes()
        self._exit_deadline: float | None = None
        self._closers = 0

    # -- the door: any thread, never waits, never switches, never raises -----------------------------------------------

    def accept(self, event: Any) -> None:
        """Take an event in, or count why not."""
        if self._closed:
            self._at_home(self._drop, _CLOSED)
        elif self._buffer.full or (self._inbox and self._is_inbox_full()):
            self._at_home(self._drop, _BUFFER_FULL)
        else:
            try:
                encoded = self._encoder.encode(event)
            except Refused as refusal:
                reason = _stats.TOO_LARGE if isinstance(refusal, TooLarge) else _stats.INVALID
                self._at_home(self._drop, (reason, str(refusal)))
            else:
                self._at_home(self._admit, encoded, encoded[3])

    def _is_inbox_full(self) -> bool:
        return not self._buffer.fits(self._inbox.bytes, len(self._inbox))

    def _at_home(self, work: Callable[[Any], None], argument: Any, size: int = 0) -> None:
        inside = self._inside
        if get_ident() == self._home.ident and not inside.entered:
            inside.entered = 1  # what `with inside` does, at a fifth of its cost
            try:
                work(argument)
            finally:
                inside.entered = 0
        else:
            self._inbox.give(work, argument, size)
            self._wake()

    def _wake(self) -> None:
        if not self._wake_posted:
            self._wake_posted = True
            self._home.soon(self._collect)

    def _collect(self) -> None:
        """Do what other threads left; in a callback of the hub."""
        self._wake_posted = False
        with self._inside:
            self._inbox.collect()

    def _admit(self, encoded: Encoded) -> None:
        if self._ended:  # closed alone is not enough: it passed the door before that
            self._drop(_CLOSED)
        elif not self._buffer.fits(encoded[3]):
            self._drop(_BUFFER_FULL)
        else:
            self._counters.dispatched += 1
            if self._buffer.add(encoded, monotonic):
                self._attend()

    def _drop(self, refusal: tuple[str, str]) -> None:
        """Count an event that is not let in, and have a sender say so if that is news."""
        self._counters.dispatched += 1
        self._counters.dropped[refusal[0]] += 1
        if self._voice.notices.is_news(*refusal) and not self._ended:
            self._start_sender()

    # -- at home: nothing below the door waits unless it says so -------------------------------------------------------

    def _attend(self) -> None:
        """Something changed in the buffer: see that it is sent, now or when it is due."""
        if self._ended:
            return
        if self._buffer.is_due(monotonic()):
            self._start_sender()
        self._arm()

    def _start_sender(self) -> None:
        """Add one sender, unless one is about to look anyway or all slots are taken: the next to end looks again."""
        if self._fresh is None and not self._pool.full():
            sender = gevent.Greenlet(self._send_due)
            self._fresh = sender
            self._pool.start(sender, blocking=False)
            sender.rawlink(self._sender_ended)

    def _sender_ended(self, sender: Any) -> None:
        with self._inside:
            if sender is self._fresh:
                self._fresh = None
            self._attend()

    def _arm(self) -> None:
        due = self._buffer.next_due()
        if due is None or due >= self._timer_due:
            return
        self._disarm()
        self._timer_due = due
        self._timer = self._home.hub.loop.timer(max(due - monotonic(), 0.0), ref=False)
        self._timer.start(self._time_has_come, update=True)

    def _disarm(self) -> None:
        self._timer_due = float("inf")
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _time_has_come(self) -> None:
        # The mark goes first: a timer may fire slightly early, and must then be armed again.
        with self._inside:
            self._disarm()
            self._attend()

    # -- senders: greenlets, the only ones that wait -------------------------------------------------------------------

    def _send_due(self) -> None:
        self._fresh = None
        while True:
            self._voice.drops(self._counters.dropped)
            batch = self._take()
            if batch is None:
                return
            self._send(batch)

    def _take(self) -> Batch | None:
        with self._inside:
            now = monotonic()
            batch = self._buffer.take(now)
            if batch is not None and self._buffer.is_due(now):
                self._start_sender()  # one more, now that this one is busy too
            return batch

    def _send(self, batch: Batch) -> None:
        batch.attempts += 1
        self._counters.requests += 1
        self._counters.retries += batch.attempts > 1
        try:
            answer = self._exchange(batch)
        except BaseException:  # killed, or a stranger's timeout: the events are still ours
            self._give_back(batch)
            raise
        self._conclude(batch, answer)

    def _exchange(self, batch: Batch) -> Answer:
        try:
            if self._link is None:
                self._link = self._transport.open(self._config.pool_size)
                self._voice.findings()
            answer = self._link.send(batch.request())
            if not isinstance(answer, Answer):
                raise TypeError(f"send() of a transport returns an Answer, not {type(answer).__name__}")
            return answer
        except (Exception, gevent.Timeout, gevent.GreenletExit) as error:
            if self._ended:
                raise
            logger.exception("the transport raised; its batch of %d events is retried", batch.events)
            return Answer(error=type(error).__name__)

    def _give_back(self, batch: Batch) -> None:
        with self._inside:
            if not self._ended:
                self._buffer.return_first(batch)

    def _conclude(self, batch: Batch, answer: Answer) -> None:
        if self._ended:  # counted as closed while this sender was still on its way out
            return
        verdict = judge(answer)
        if verdict is Verdict.DELIVERED:
            self._settle(batch, Outcome.DELIVERED, "", answer)
        elif verdict is Verdict.REJECT:
            self._settle(batch, Outcome.DROPPED, _stats.REJECTED, answer)
        elif not self._put_back(batch, answer):
            self._settle(batch, Outcome.DROPPED, _stats.EXPIRED, answer)
        self._voice.health(batch.envelope.origin, verdict, answer, self._buffer.events)

    def _put_back(self, batch: Batch, answer: Answer) -> bool:
        """Have a batch wait for its next attempt; False when its time is over."""
        config, now = self._config, monotonic()
        asked = parse_retry_after(answer.retry_after, time.time())
        pause = wait(batch.attempts, asked, config.backoff_base, config.backoff_max, random.uniform)
        deadline = self._buffer.deadline(batch)
        not_before = now + pause.seconds
        if now >= deadline or (pause.asked and not_before > deadline):
            return False
        with self._inside:
            self._buffer.put_back(batch, min(not_before, deadline), pause.asked)
            self._arm()
        return True

    def _settle(self, batch: Batch, outcome: Outcome, reason: str, answer: Answer) -> None:
        with self._inside:
            self._account(batch, outcome, reason, answer)
        if self._config.on_delivery is not None:
            self._voice.settled([_delivery(batch, outcome, reason, answer)])

    def _account(self, batch: Batch, outcome: Outcome, reason: str, answer: Answer) -> None:
        self._buffer.settle(batch)
        if outcome is Outcome.DELIVERED:
            self._counters.delivered += batch.events
        else:
            self._counters.dropped[reason] += batch.events
            self._voice.notices.is_news(reason, str(answer))
        self._flushes.tell(self._buffer.oldest)

    # -- accounts ------------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """A consistent snapshot, from any thread."""
        if get_ident() == self._home.ident:
            return self._snapshot()
        try:
            return self._home.call(self._snapshot, _ACCOUNT_TIMEOUT)
        except Unreachable:
            return self._counters.snapshot(self._buffer.events)

    def _snapshot(self) -> Stats:
        if self._inbox and not self._inside.entered:
            with self._inside:
                self._inbox.collect()
        return self._counters.snapshot(self._buffer.events)

    # -- flush and close -----------------------------------------------------------------------------------------------

    def flush(self, timeout: float) -> bool:
        """Wait for what was dispatched before; from any thread."""
        return self._wherever(lambda: self._flush(monotonic() + timeout), timeout, False)

    def close(self, timeout: float) -> bool:
        """Refuse new events, flush, count what is left as closed; from any thread."""
        self._closed = True
        return self._finish(lambda: self._close(monotonic() + timeout), timeout)

    def prepare_to_end(self) -> None:
        """The process ends: what waits is sent, and close_timeout begins. Several engines share their time so."""
        if self._exit_deadline is None:
            self._exit_deadline = monotonic() + self._config.close_timeout
            self._home.soon(lambda: self._flush(0.0, even_asked=True))

    def drain(self, end: bool) -> bool:
        """Deliver what can be delivered within close_timeout from the first call on, and accept events until then.

        Args:
            end: then end: count what is left as closed.
        """
        self.prepare_to_end()
        deadline = self._exit_deadline or 0.0
        return self._finish(lambda: self._drain(deadline, end), max(deadline - monotonic(), 0.0))

    def _wherever(self, work: Callable[[], T], timeout: float, otherwise: T) -> T:
        if get_ident() == self._home.ident:
            return work()
        try:
            return self._home.call(work, timeout + _KILL_TIMEOUT)
        except Unreachable:
            return otherwise

    def _finish(self, work: Callable[[], bool], timeout: float) -> bool:
        """Close or drain; what interrupts the wait for it in another thread ends it at home, too."""
        try:
            return self._wherever(work, timeout + 2 * _KILL_TIMEOUT, False)
        except BaseException:
            self._wherever(self._end, 2 * _KILL_TIMEOUT, None)
            raise

    def _flush(self, deadline: float, even_asked: bool = False) -> bool:
        if self._inside.entered:  # a signal handler cut in while the buffer is being changed
            self._home.soon(lambda: self._flush(0.0, even_asked))
            return False
        with self._inside:
            self._inbox.collect()
            self._buffer.hurry(even_asked)
            self._attend()
        # In a callback of the hub nobody may wait.
        seconds = max(deadline - monotonic(), 0.0) if self._home.can_wait() else 0.0
        return self._flushes.wait(self._buffer.newest, self._buffer.oldest, seconds)

    def _close(self, deadline: float) -> bool:
        if not self._ended and not self._home.can_wait():
            # In a signal handler that runs in the hub: what cannot be waited for goes on beside it.
            gevent.spawn(self._close, deadline)
            return False
        self._closers += 1
        done = False
        try:
            done = self._ended or self._flush(deadline)
        finally:
            self._closers -= 1
            if done or not self._closers:
                self._end(deadline)
        return done

    def _drain(self, deadline: float, end: bool) -> bool:
        try:
            self._flush(deadline, even_asked=True)
            while self._buffer.events and monotonic() < deadline and self._home.can_wait():
                self._flush(deadline)
            return self._buffer.events == 0
        finally:
            if end:
                self._end(deadline)

    def _end(self, deadline: float = 0.0) -> None:
        """Stop everything and count what is left; whatever happens, the accounts are closed.

        Args:
            deadline: until when the hook may be told of what is left, in monotonic seconds.
        """
        if self._ended:
            return
        self._closed = self._ended = True
        self._disarm()
        try:
            self._pool.kill(block=self._home.can_wait(), timeout=_KILL_TIMEOUT)
        finally:
            rest = self._count_the_rest()
            self._voice.drops(self._counters.dropped, everything=True)
            if self._link is not None:
                self._link.close()
            self._tell_of_the_rest(rest, deadline)

    def _count_the_rest(self) -> list[Batch]:
        with self._inside:
            self._inbox.collect()
            rest = self._buffer.drain()
            for batch in rest:
                self._account(batch, Outcome.DROPPED, _stats.CLOSED, _UNSENT)
        return rest

    def _tell_of_the_rest(self, rest: list[Batch], deadline: float) -> None:
        if self._config.on_delivery is not None and rest:
            deliveries = [_delivery(batch, Outcome.DROPPED, _stats.CLOSED, _UNSENT) for batch in rest]
            telling = gevent.spawn(self._voice.settled, deliveries)
            if self._home.can_wait():
                telling.join(max(deadline - monotonic(), _KILL_TIMEOUT))

    # -- forks ---------------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """In a fork's child: all of this belongs to the parent. Cheap, and starts nothing."""
        self._closed = self._ended = True
        if get_ident() == self._home.ident:
            self._disarm()
            for sender in list(self._pool):
                _end_at_once(sender)


def _end_at_once(sender: Any) -> None:
    """In a fork's child, before its hub runs: what the parent's loop still has queued would resume the sender, and that
    would use a socket which is the parent's too.
    """
    if sender is gevent.getcurrent():
        sender.kill(block=False)
    else:
        sender.unlink_all()  # they would be told by the hub, which must not be asked for anything here
        sender.parent = gevent.getcurrent()
        sender.throw(gevent.GreenletExit)


class _Inside:
    """Marks that the engine's own state is being changed, so that a signal handler's events take the inbox."""

    __slots__ = ("entered",)

    def __init__(self) -> None:
        self.entered = 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_: object) -> None:
        self.entered -= 1


def _delivery(batch: Batch, outcome: Outcome, reason: str, answer: Answer) -> Delivery:
    seconds = monotonic() - batch.opened
    origin = str(batch.envelope.origin)
    bodies = tuple(batch.parts)
    return Delivery(outcome, reason, origin, batch.events, answer.status, batch.attempts, seconds, bodies)
