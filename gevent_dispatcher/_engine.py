"""Everything that exists once per dispatcher and process: the door, the accounts, flush, and the end.

An event enters by `accept`, in any thread. All else happens at home (see `_home`), where greenlets take turns and none
can cut in on another: only a signal handler or a destructor can, and what they dispatch takes the way of the inbox
while `_inside` is entered. What is sent, and when, is for the senders.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from typing import Any, Callable

import gevent

from gevent_dispatcher import _stats
from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._event import Encoded, Encoder, Refused, TooLarge
from gevent_dispatcher._flushes import Flushes
from gevent_dispatcher._health import Health
from gevent_dispatcher._home import Home, get_ident
from gevent_dispatcher._inbox import Inbox, Refusal
from gevent_dispatcher._inside import Inside
from gevent_dispatcher._policy import End, rescue_nothing
from gevent_dispatcher._senders import Senders
from gevent_dispatcher._spool import Spool, kept_for_the_end
from gevent_dispatcher._stats import Counters, Outcome, Stats
from gevent_dispatcher._transport import Transport, within
from gevent_dispatcher._voice import UNSENT, Voice, why
from gevent_dispatcher._watch import Observer, Watch

monotonic = time.monotonic

_CLOSED = (_stats.CLOSED, "the dispatcher is closed")
_BUFFER_FULL = (_stats.BUFFER_FULL, "the buffer is full")

# What a killed sender may take to close its socket, in seconds.
_KILL_TIMEOUT = 0.05
# What the exit handler waits longer for another thread than that may take: the machine may be busy. In seconds.
_LAST_PATIENCE = 1.0
# What another thread waits for an account of the events, in seconds: the home only has to come round to it.
_ACCOUNT_TIMEOUT = 5.0


class Engine:
    """The delivery of one dispatcher's events in one process.

    Args:
        config: the dispatcher's settings.
        transport: opened by the first sender.
        home: where its greenlets live.
        closed: refuse all events from the start.
        observers: told of what has changed; may grow.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        home: Home,
        closed: bool = False,
        observers: list[Observer] | tuple[()] = (),
    ) -> None:
        self.pid = os.getpid()
        self._config = config = within(config, transport)
        self._home = home
        self._closed = closed
        self._ended = False
        self._encoder = Encoder()
        self._encode_known = self._encoder.encode_known
        self._most_bytes = config.buffer_bytes
        self._buffer = Buffer(config, random.uniform)
        self._counters = Counters()
        self._voice = Voice(config.on_delivery)
        self._watch = Watch(observers, lambda: self._buffer.events, self._voice.repeats)
        self._inbox = Inbox()
        self._inside = Inside()
        self._wake_posted = False
        self._is_attending = False
        self._flushes = Flushes()
        self._spool: Spool | None = None
        if config.spool is not None:
            self._spool = Spool(
                config, transport, self._buffer, self._inside, self._account, self._tell, self._voice, self._settle_in
            )
        rescue = self._spool.rescue if self._spool else rescue_nothing
        self._senders = Senders(
            *(config, transport, home, self._buffer, self._inside, self._counters, self._voice, self._account),
            rescue=rescue,
            settle_in=self._settle_in,
        )
        self._had_last_attempt = False
        self._exit_seconds = config.close_timeout
        self._exit_deadline: float | None = None
        self._closers = 0

    def begin(self) -> None:
        """It is the engine of its process: see what is left in the spool."""
        if self._spool is not None:
            self._home.soon(self._spool.look)

    # -- the door: any thread, never waits, never switches, never raises -----------------------------------------------

    def accept(self, event: Any) -> None:
        """Take an event in, or count why not. What stands here is paid for by each event; all else is behind calls."""
        buffer, inside = self._buffer, self._inside
        if self._closed or buffer.full or self._inbox.events:
            return self._accept(event)
        try:
            encoded = self._encode_known(event)
        except Exception:  # the long way says what is wrong with it
            encoded = None
        # A signal handler may have closed since.
        if encoded is None or self._ended or buffer.bytes + encoded[3] > self._most_bytes:
            return self._accept(event)
        if inside.entered or get_ident() != self._home.ident:
            return self._let_in(encoded)
        inside.entered = 1
        try:
            self._counters.dispatched += 1
            if buffer.add(encoded, monotonic):
                self._attend()
        finally:
            inside.entered = 0
        return None

    def _accept(self, event: Any) -> None:
        if self._closed:
            self._refuse(_CLOSED)
        elif self._buffer.full or (self._inbox.events and self._is_inbox_full()):
            self._refuse(_BUFFER_FULL)
        else:
            try:
                encoded = self._encode(event)
            except Refused as refusal:
                reason = _stats.TOO_LARGE if isinstance(refusal, TooLarge) else _stats.INVALID
                self._refuse((reason, str(refusal)))
            else:
                self._let_in(encoded)

    def _encode(self, event: Any) -> Encoded:
        """The short way once more only where it was not tried: while events of other threads lie in the inbox."""
        known = None
        with suppress(Exception):  # the long way says what is wrong with it
            known = self._encode_known(event) if self._inbox.events else None
        return self._encoder.encode(event) if known is None else known

    def _is_inbox_full(self) -> bool:
        return not self._buffer.fits(self._inbox.bytes, len(self._inbox.events))

    def _let_in(self, encoded: Encoded) -> None:
        if self._is_at_home():
            with self._inside:
                self._admit(encoded)
        else:
            self._inbox.give(encoded)
            self._wake()

    def _refuse(self, refusal: Refusal) -> None:
        if self._is_at_home():
            with self._inside:
                self._drop(refusal)
        else:
            self._inbox.refuse(refusal)
            self._wake()

    def _is_at_home(self) -> bool:
        """Whether the caller may change the engine's state: at home, and not cutting in where it is being changed."""
        return get_ident() == self._home.ident and not self._inside.entered

    def _wake(self) -> None:
        if not self._wake_posted:
            self._wake_posted = True
            self._home.soon(self._come_home)

    def _come_home(self) -> None:
        """Take in what other threads left; in a callback of the hub."""
        self._wake_posted = False
        with self._inside:
            self._collect()

    def _collect(self) -> None:
        self._inbox.collect(self._admit, self._drop)

    def _admit(self, encoded: Encoded) -> None:
        if self._ended:  # closed alone is not enough: it passed the door before that
            self._drop(_CLOSED)
        elif not self._buffer.fits(encoded[3]):
            self._drop(_BUFFER_FULL)
        else:
            self._counters.dispatched += 1
            if self._buffer.add(encoded, monotonic):
                self._attend()

    def _attend(self) -> None:
        """A batch was opened or closed: see to it in the hub, which has to turn before a sender runs anyway.

        Starting a sender and arming a timer here would cost the caller several times what its event costs.
        """
        self._settle_in()
        if not self._is_attending:
            self._is_attending = True
            self._home.hub.loop.run_callback(self._attend_now)

    def _settle_in(self) -> None:
        """Where somebody has destroyed the hub, and goes on with another; what was under way there is sent again.

        Nothing tells of it: it is seen when a batch is opened or closed, or at a flush, or at the end. A batch that was
        open then waits for that, too.
        """
        if self._home.is_gone():
            self._home.renew()
            self._is_attending = False
            if self._spool is not None:
                self._spool.move()
            self._senders.move()
            self._watch.move()
            self._attend()

    def _attend_now(self) -> None:
        self._is_attending = False
        with self._inside:
            self._settle_in()
            self._senders.attend()
            if self._spool is not None:
                self._spool.attend()
            self._watch.changed()

    def _drop(self, refusal: Refusal, events: int = 1) -> None:
        """Count events that are not let in, and have a sender say so if that is news."""
        self._counters.dispatched += events
        self._counters.dropped[refusal[0]] += events
        if self._voice.notices.is_news(*refusal) and not self._ended:
            self._senders.start_one()
        if self._watch.is_watched:
            self._attend()

    # -- accounts: at home, where nothing waits unless it says so ------------------------------------------------------

    def _account(self, end: End) -> None:
        """Count the events of a batch that has ended; the buffer has forgotten it."""
        if end.outcome is Outcome.DELIVERED:
            self._counters.delivered += end.batch.events
            if self._spool is not None:
                self._spool.look()
        elif end.outcome is Outcome.SPOOLED:
            self._counters.spooled += end.batch.events
        else:
            self._counters.dropped[end.reason] += end.batch.events
            self._voice.notices.is_news(end.reason, why(end))
        self._watch.settled(end)
        self._flushes.tell(self._buffer.oldest)

    def _tell(self, ends: list[End]) -> None:
        """Tell the hook what the spool has settled."""
        if self._ended:
            gevent.spawn(self._senders.tell, ends)  # there is no time to wait for it
        else:
            self._senders.tell(ends)

    def stats(self) -> Stats:
        """A consistent snapshot, from any thread."""
        return self._home.do(self._snapshot, _ACCOUNT_TIMEOUT, None) or self._snapshot_of_now()

    def _snapshot(self) -> Stats:
        with self._inside:  # between two of the counts a signal handler may dispatch
            if self._inside.entered == 1:
                self._collect()
            return self._snapshot_of_now()

    def _snapshot_of_now(self) -> Stats:
        return self._counters.snapshot(self._buffer.events, self._buffer.splits)

    def health(self) -> Health:
        """How deliveries are doing, from any thread."""
        return self._home.do(self._health, _ACCOUNT_TIMEOUT, None) or self._health()

    def _health(self) -> Health:
        return self._buffer.health(monotonic()).within(self._config.buffer_events, self._config.buffer_bytes)

    def watch(self) -> None:
        """There is a new observer: it knows nothing yet."""
        self._home.soon(self._watch.changed)

    # -- flush and close -----------------------------------------------------------------------------------------------

    def flush(self, timeout: float) -> bool:
        """Wait for what was dispatched before; from any thread."""
        return self._home.do(lambda: self._flush(monotonic() + timeout), timeout + _KILL_TIMEOUT, False)

    def close(self, timeout: float) -> bool:
        """Refuse new events, flush, count what is left as closed; from any thread."""
        self._closed = True
        return self._finish(lambda: self._close(monotonic() + timeout), timeout)

    def prepare_to_end(self) -> None:
        """The process ends: what waits is sent, and close_timeout runs. Several engines share their time so."""
        if self._exit_deadline is None:
            self._exit_deadline = monotonic() + self._exit_seconds
            self._home.soon(lambda: self._flush(0.0, last_attempt=True))

    def drain(self, end: bool) -> bool:
        """Deliver what can be delivered in what earlier calls have left of close_timeout, and accept events meanwhile.

        Args:
            end: then end: count what is left as closed.
        """
        self.prepare_to_end()
        deadline, self._exit_deadline = self._exit_deadline or 0.0, None
        is_done = self._finish(lambda: self._drain(deadline, end), max(deadline + _LAST_PATIENCE - monotonic(), 0.0))
        self._exit_seconds = max(deadline - monotonic(), -_LAST_PATIENCE)
        if self._exit_seconds == -_LAST_PATIENCE and get_ident() != self._home.ident and not self._ended:
            self._voice.never_ended(self._buffer.events + len(self._inbox.events))
        return is_done

    def _finish(self, work: Callable[[], bool], timeout: float) -> bool:
        """Close or drain; what interrupts the wait for it in another thread ends it at home, too."""
        try:
            return self._home.do(work, timeout + 3 * _KILL_TIMEOUT, False)
        except BaseException:
            self._home.do(self._end, 3 * _KILL_TIMEOUT, None)
            raise

    def _flush(self, deadline: float, last_attempt: bool = False) -> bool:
        if self._inside.entered:  # a signal handler cut in while the buffer is being changed
            self._home.soon(lambda: self._flush(0.0, last_attempt))
            return False
        with self._inside:
            self._settle_in()
            self._collect()
            self._hurry(last_attempt)
            self._senders.attend()
        # In a callback of the hub nobody may wait.
        seconds = max(deadline - monotonic(), 0.0) if self._home.can_wait() else 0.0
        return self._flushes.wait(self._buffer.newest, self._buffer.oldest, seconds)

    def _hurry(self, last_attempt: bool) -> None:
        """End linger and backoff; once in a life also what endpoints asked for and the rests of breakers."""
        self._buffer.hurry(even_asked=last_attempt and not self._had_last_attempt)
        self._had_last_attempt = self._had_last_attempt or last_attempt

    def _close(self, deadline: float) -> bool:
        if not self._ended and (self._inside.entered or not self._home.can_wait()):
            # In a signal handler that runs in the hub, or cut in while the buffer is being changed: what cannot be
            # waited for goes on beside it.
            gevent.spawn(self._close, deadline)
            return False
        self._closers += 1
        done = False
        try:
            done = self._ended or self._flush(deadline - self._kept(deadline - monotonic()), last_attempt=True)
        finally:
            self._closers -= 1
            if done or not self._closers:
                self._end(deadline)
        return done

    def _drain(self, deadline: float, end: bool) -> bool:
        try:
            until = deadline - self._kept(self._config.close_timeout)
            self._flush(until, last_attempt=True)
            while self._buffer.events and monotonic() < until and self._home.can_wait():
                self._flush(until)
            return self._buffer.events == 0
        finally:
            if end:
                self._end(deadline)
            self._watch.tell()

    def _end(self, deadline: float = 0.0) -> None:
        """Stop everything and count what is left; whatever happens, the accounts are closed.

        Args:
            deadline: until when the hook may be told, of what has ended and of what is left; in monotonic seconds.
        """
        if self._ended:
            return
        self._closed = self._ended = True
        try:
            # What is kept for the spool's last commit is not for the hook.
            kept = self._kept(deadline - monotonic()) if self._buffer.events else 0.0
            self._senders.stop(max(deadline - kept - monotonic(), 0.0), _KILL_TIMEOUT)
            self._store_the_rest(deadline)
        finally:
            rest = self._count_the_rest()
            self._voice.drops(self._counters.dropped, everything=True)
            self._senders.close()
            self._watch.tell()
            self._tell_of_the_rest(rest, deadline)
            self._voice.say_the_rest()

    def _kept(self, seconds: float) -> float:
        """What of the time to close is kept for the spool, in seconds."""
        return kept_for_the_end(seconds) if self._spool is not None else 0.0

    def _store_the_rest(self, deadline: float) -> None:
        if self._spool is not None and self._home.can_wait():
            with self._inside:
                self._collect()
            self._spool.finish(max(deadline - monotonic(), _KILL_TIMEOUT))

    def _count_the_rest(self) -> list[End]:
        with self._inside:
            self._collect()
            rest = [End(batch, Outcome.DROPPED, _stats.CLOSED, UNSENT) for batch in self._buffer.everything()]
            for end in rest:
                self._buffer.settle(end.batch)
                self._account(end)
        return rest

    def _tell_of_the_rest(self, rest: list[End], deadline: float) -> None:
        if self._config.on_delivery is not None and rest:
            telling = gevent.spawn(self._senders.tell, rest)
            if self._home.can_wait():
                telling.join(max(deadline - monotonic(), _KILL_TIMEOUT))

    # -- forks ---------------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """In a fork's child: all of this belongs to the parent. Cheap, and starts nothing."""
        self._closed = self._ended = True
        if get_ident() == self._home.ident:
            self._senders.abandon()
            self._watch.abandon()
            if self._spool is not None:
                self._spool.abandon()
