"""One piece of work for a native thread, whose fate is decided once.

Either its caller gives up in time, and then nothing was done; or the thread reaches the point of no return first. Both
take the one ticket, and taking it cannot be torn apart by another thread or a signal.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from time import monotonic
from typing import Any, Callable

from gevent_dispatcher.queues._protocol import QueueUnavailable, QueueUncertain

# How long a caller waits before it looks by itself whether its work is done, in seconds.
_FIRST_SLICE, _LONGEST_SLICE = 0.01, 0.16


class Withdrawn(Exception):
    """The caller gave up: undo what was begun."""


class Job:
    """Work that a thread does for a caller who waits for at most `timeout` seconds.

    Attributes:
        deadline: on the monotonic clock; the work itself ends a little before the caller's patience does.
        is_last: the thread ends with it.
        stopped_collector: whether the collector ran before and did not during the work.
    """

    def __init__(
        self, work: Callable[[Any, Job], Any], timeout: float, signal: Any, guard: Any = None, is_last: bool = False
    ) -> None:
        self.deadline = monotonic() + 0.9 * timeout  # the answer needs time to arrive
        self.timeout = timeout
        self.is_last = is_last
        self.stopped_collector = False
        self._guard = guard
        self._work: Callable[[Any, Job], Any] | None = work
        self._signal = signal
        self._ticket = [True]
        self._is_claimed = False
        self._is_collector_off = False
        self._outcome: tuple[Any, BaseException | None] | None = None

    def run(self, session: Any) -> None:
        """In the thread: do the work, unless nobody waits for it any more, and tell its caller."""
        work = self._work
        if work is not None:
            self._stop_collector()
            self._outcome = _outcome(work, session, self)
            self._work = None
            with suppress(Exception):  # the caller's hub is gone, and the caller with it
                self._signal.send()

    def _stop_collector(self) -> None:
        """What the collector finalizes may be a watcher or a socket of a hub's, not to be touched in this thread."""
        self._is_collector_off = self.stopped_collector = gc.isenabled()
        gc.disable()

    def let_collect(self) -> None:
        """In the thread, as the last that it does before it waits: whatever it made after this could collect in it."""
        if self._is_collector_off:
            self._is_collector_off = False
            gc.enable()

    def claim(self) -> None:
        """In the thread: reach the point of no return, or learn that the caller has given up.

        Raises:
            Withdrawn: nothing of the work must remain.
        """
        if not self._is_claimed and not self._take():
            raise Withdrawn
        self._is_claimed = True

    def breathe(self) -> None:
        """In the thread, between statements: let a fork go first."""
        if self._guard is not None:  # pragma: no branch  # done in place, from Python 3.12 on
            self._guard.yield_to_fork()

    def has_time_for(self, seconds: float) -> bool:
        """In the thread: whether the caller will still wait when another try has taken so long."""
        return self._work is not None and monotonic() + seconds < self.deadline

    def wait(self) -> Any:
        """In the caller: the result of the work.

        Raises:
            QueueUnavailable: time ran out, and nothing was done.
            QueueUncertain: time ran out in the middle of a commit.
            QueueError: what the work raised.
        """
        try:
            self._wait_for_signal()
        except BaseException:  # the caller is killed, or has a timeout of its own
            self._withdraw()
            raise
        if self._outcome is None:
            self._give_up()
        return self._result()

    def _wait_for_signal(self) -> None:
        """In slices: in a fork's child that did not reinitialize its hub, the signal wakes the parent instead."""
        end, slice = monotonic() + self.timeout, _FIRST_SLICE
        while self._outcome is None:
            left = end - monotonic()
            if left <= 0 or self._signal.wait(min(left, slice)):
                return
            slice = min(2 * slice, _LONGEST_SLICE)

    def _give_up(self) -> None:
        if self._withdraw():
            raise QueueUnavailable(f"the disk did not answer within {self.timeout:g} s")
        if self._outcome is None:  # pragma: no branch  # it came at this very moment
            raise QueueUncertain(f"the disk did not finish a commit within {self.timeout:g} s")

    def _withdraw(self) -> bool:
        """The body of a request must not wait in memory for a disk that hangs, nor the collector."""
        is_ours = self._take()
        if is_ours:
            self._work = None
        if self._is_collector_off:
            gc.enable()
        return is_ours

    def _take(self) -> bool:
        try:
            return self._ticket.pop()
        except IndexError:
            return False

    def _result(self) -> Any:
        assert self._outcome is not None
        value, error = self._outcome
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # or it would refer to itself by way of this frame


def _outcome(work: Callable[[Any, Job], Any], session: Any, job: Job) -> tuple[Any, BaseException | None]:
    try:
        return work(session, job), None
    except Exception as error:
        return None, error
