"""When requests are sent, and how many at once: the pool of senders, and the one timer.

Senders are greenlets that live only while something is due: one takes batches until none may go, then ends; one more is
started only while all are busy. Everything here happens at home (see `_home`), in greenlets and callbacks of one hub.
"""

from __future__ import annotations

import random
import time
from contextlib import AbstractContextManager
from typing import Any, Callable, Iterable

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool

from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._home import Home, end_at_once
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._policy import End, Policy, rescue_nothing
from gevent_dispatcher._retry import Answer, Verdict, answer_problem, judge
from gevent_dispatcher._stats import Counters, Delivery
from gevent_dispatcher._transport import Link, Transport
from gevent_dispatcher._url import Origin
from gevent_dispatcher._voice import Voice

monotonic = time.monotonic


class Senders:
    """The greenlets that deliver what is in a buffer.

    Args:
        config: the dispatcher's settings.
        transport: opened by the first sender.
        home: where the greenlets live.
        buffer: what is to be delivered.
        inside: entered while the buffer is being changed.
        counters: requests and retries are counted there.
        voice: what is said.
        account: closes the account of a batch; must not switch.
        rescue: takes over a batch whose time is up, if it can; must not switch.
        settle_in: calls `move` if somebody has destroyed the hub; must not switch.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        home: Home,
        buffer: Buffer,
        inside: AbstractContextManager[None],
        counters: Counters,
        voice: Voice,
        account: Callable[[End], None],
        rescue: Callable[[Batch], bool] = rescue_nothing,
        settle_in: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._transport = transport
        self._home = home
        self._buffer = buffer
        self._inside = inside
        self._counters = counters
        self._voice = voice
        self._account = account
        self._policy = Policy(config, buffer, random.uniform, rescue)
        self._settle_in = settle_in
        self._pool = Pool(config.pool_size)
        self._under_way: set[Batch] = set()
        self._fresh: Any = None  # a sender that was started and has not run yet
        self._link: Link | None = None
        self._opening = BoundedSemaphore(1)
        self._timer: Any = None
        self._timer_due = float("inf")
        self._tellers: set[Any] = set()  # greenlets that are telling the hook
        self._teller: Any = None  # the last that told what had expired
        self._left_behind: list[object] = []
        self._ended = False

    # -- started and stopped; nothing here waits unless it says so -----------------------------------------------------

    def attend(self) -> None:
        """Something changed in the buffer: see that it is sent, now or when it is due."""
        if self._ended:
            return
        now = monotonic()
        if self._buffer.is_due(now):
            self.start_one()
        self._arm(now)

    def start_one(self) -> None:
        """Add one sender, unless one is about to look anyway or all slots are taken: the next to end looks again."""
        if self._fresh is None and not self._ended and not self._pool.full():
            sender = gevent.Greenlet(self._send_due, self._pool)
            self._fresh = sender
            self._pool.start(sender, blocking=False)
            sender.rawlink(self._sender_ended)

    def _sender_ended(self, sender: Any) -> None:
        with self._inside:
            self._settle_in()
            if sender is self._fresh:
                self._fresh = None
            self.attend()

    def stop(self, seconds: float, kill_timeout: float) -> None:
        """End all senders but the caller, whose hook may be what asks for it; waits for them where it may.

        Args:
            seconds: for those who tell the hook.
            kill_timeout: seconds for those who are killed then.
        """
        self._ended = True
        self._disarm()
        if self._home.can_wait():
            gevent.joinall(_others(self._tellers), timeout=seconds)
        others = _others({*self._pool, *self._tellers})
        for each in others:
            each.kill(block=False)
        if self._home.can_wait():
            gevent.joinall(others, timeout=kill_timeout)

    def move(self) -> None:
        """To another hub: what belongs to the one that was destroyed can be used no more, and not be closed either.

        What was under way goes again. It may have arrived: the Event API recognises its uuids.
        """
        for each in {*self._pool, *self._tellers}:  # its loop may be kept: what a timeout wakes there must end well
            each.parent = gevent.get_hub()
        self._left_behind.append((self._link, self._pool, self._timer, self._fresh, self._tellers))
        self._pool, self._tellers = Pool(self._config.pool_size), set()
        self._link = self._timer = self._fresh = self._teller = None
        self._timer_due = float("inf")
        self._opening = BoundedSemaphore(1)
        under_way, self._under_way = self._under_way, set()
        for batch in sorted(under_way, key=lambda each: each.number, reverse=True):
            self._buffer.return_unsent(batch)

    def close(self) -> None:
        """Give back the transport's sockets and files."""
        if self._link is not None:
            self._link.close()

    def abandon(self) -> None:
        """In a fork's child, at home: all of this belongs to the parent. Cheap, and starts nothing."""
        self._ended = True
        self._disarm()
        for each in {*self._pool, *self._tellers}:
            end_at_once(each)

    # -- the timer -----------------------------------------------------------------------------------------------------

    def _arm(self, now: float) -> None:
        due = self._buffer.next_due(now)
        if due is None or due >= self._timer_due:
            return
        self._disarm()
        self._timer_due = due
        self._timer = self._home.hub.loop.timer(max(due - now, 0.0), ref=False)
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
            self._settle_in()
            self._disarm()
            over = self._expire(monotonic())
            for end in over:
                self._account(end)
            self.attend()
            if over:
                self.start_one()  # to say so
        if self._is_heard(over):
            self._teller = gevent.spawn(self.tell, over)  # the hook may wait, and the hub must not
            self._tellers.add(self._teller)

    def _expire(self, now: float) -> list[End]:
        if self._teller in self._tellers:  # what the hook has not heard of would be in no bound
            self._buffer.put_off_expiry(now)
            return []
        return self._policy.expire(now)

    # -- a sender: the only one that waits -----------------------------------------------------------------------------

    def _send_due(self, pool: Pool) -> None:
        with self._inside:
            self._settle_in()
        if pool is self._pool:
            self._fresh = None
        while True:
            self._voice.drops(self._counters.dropped)
            batch = self._take(pool)
            if batch is None:
                return
            self._send(batch, pool)

    def _take(self, pool: Pool) -> Batch | None:
        with self._inside:
            if self._has_lost(pool):
                return None
            now = monotonic()
            batch = self._buffer.take(now)
            if batch is not None:
                self._under_way.add(batch)
                if self._buffer.is_due(now):
                    self.start_one()  # one more, now that this one is busy too
            return batch

    def _has_lost(self, pool: Pool) -> bool:
        """Whether what the senders of a pool had is theirs no more: counted as closed, or sent on another hub."""
        return self._ended or pool is not self._pool

    def _send(self, batch: Batch, pool: Pool) -> None:
        batch.attempts += 1
        self._counters.requests += 1
        self._counters.retries += batch.attempts > 1
        try:
            answer = self._exchange(batch)
        except BaseException:  # killed, or a stranger's timeout: the events are still ours
            self._give_back(batch, pool)
            raise
        if self._has_back(batch, pool):
            self._conclude(batch, answer)

    def _has_back(self, batch: Batch, pool: Pool) -> bool:
        """Whether a batch that was sent is still the sender's, who goes on with what became of it."""
        with self._inside:
            self._settle_in()
            if self._has_lost(pool):
                return False
            self._under_way.discard(batch)
            return True

    def _exchange(self, batch: Batch) -> Answer:
        try:
            answer = (self._link or self._opened()).send(batch.request())
        except (Exception, gevent.Timeout, gevent.GreenletExit) as error:
            if self._ended:
                raise
            self._voice.transport_raised(error, batch.events)
            return Answer(error=type(error).__name__)
        problem = answer_problem(answer)
        if problem is None:
            return answer
        self._voice.no_answer(problem)
        return Answer(error="no Answer")

    def _opened(self) -> Link:
        """The transport, opened once: that may take its time, and other senders come meanwhile."""
        with self._opening:
            if self._link is None:
                self._link = self._transport.open(self._config.pool_size)
                self._voice.findings()
            return self._link

    def _give_back(self, batch: Batch, pool: Pool) -> None:
        with self._inside:
            if not self._has_lost(pool):
                self._under_way.discard(batch)
                self._buffer.return_unsent(batch)

    # -- what an answer leads to ---------------------------------------------------------------------------------------

    def _conclude(self, batch: Batch, answer: Answer) -> None:
        origin = batch.envelope.origin
        with self._inside:
            was_resting = self._buffer.is_resting(origin)
            ends = self._policy.conclude(batch, answer, monotonic(), time.time())
            for end in ends:
                self._account(end)
            if was_resting or self._buffer.is_resting(origin) or self._is_heard(ends):
                self.attend()  # this sender may have to wait now, and what may go by this answer must not
            elif judge(answer) is not Verdict.DELIVERED:  # after which nothing waits that did not before
                self._arm(monotonic())
        self._say(origin, answer)
        self.tell(ends)

    # -- what is said of it --------------------------------------------------------------------------------------------

    def _say(self, origin: Origin, answer: Answer) -> None:
        if judge(answer) is not Verdict.RETRY:
            self._voice.answered(origin, self._buffer.events)
        elif self._buffer.is_resting(origin):
            self._voice.failed(origin, answer, self._buffer.events)

    def _is_heard(self, ends: list[End]) -> bool:
        return bool(ends) and self._config.on_delivery is not None

    def tell(self, ends: list[End]) -> None:
        """Tell the hook what has ended; it may wait."""
        if self._is_heard(ends):
            teller = gevent.getcurrent()
            self._tellers.add(teller)
            try:
                self._voice.settled(_delivery(end) for end in ends)
            finally:
                self._tellers.discard(teller)


def _others(greenlets: Iterable[Any]) -> list[Any]:
    """All of them but the caller."""
    return [each for each in greenlets if each is not gevent.getcurrent()]


def _delivery(end: End) -> Delivery:
    """The record of a settled request."""
    batch, envelope = end.batch, end.batch.envelope
    return Delivery(
        end.outcome,
        end.reason,
        str(envelope.origin),
        batch.events,
        end.answer.status,
        batch.attempts,
        monotonic() - batch.opened,
        envelope.verb,
        f"{envelope.origin}{envelope.target}",
        tuple(batch.parts),
        (envelope.prefix, envelope.suffix),
    )
