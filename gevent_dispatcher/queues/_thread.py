"""One native thread per opened queue and process, which does all that may wait for a disk.

A fork's child has none of it: it makes a thread of its own, and what the parent's thread holds is held by nothing but
that thread's frames, so that the child can neither use nor finalize it. That matters: SQLite forbids even to close in a
child what was opened in its parent.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from typing import Any, Callable, Protocol, TypeVar

from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.hub import MAIN_THREAD_IDENT

from gevent_dispatcher._home import (
    HubSignal,
    NativeSignal,
    allocate_lock,
    get_ident,
    is_patched,
    may_wait,
    start_new_thread,
)
from gevent_dispatcher._pid import this_process
from gevent_dispatcher.queues._job import Job
from gevent_dispatcher.queues._protocol import QueueUnavailable

T = TypeVar("T")

_SimpleQueue = monkey.get_original("queue", "SimpleQueue")

# Jobs that may lie before a disk that hangs. More callers than this are told so at once.
_MOST_JOBS = 1_000
# How long a fork waits for the statement that is under way, in seconds: a disk that hangs must not stop it.
_FORK_WAIT = 0.5
# Young objects, in thresholds of the collector, from which on a caller collects them: the thread was never idle.
_STARVED = 20


class Session(Protocol):
    """What the thread works with."""

    def close(self) -> None:
        """Give back files; never raises."""
        ...


Work = Callable[[Any, Job], T]


class Worker:
    """Does jobs in turn, each with the same session, in a thread that the first of them starts.

    Args:
        make_session: called in the thread, or in the caller's when none can be had; must not raise.
        timeout: seconds that a caller waits.
    """

    def __init__(self, make_session: Callable[[], Session], timeout: float) -> None:
        self._make_session = make_session
        self._timeout = timeout
        # By process; setdefault has one winner, also among native threads and in signal handlers.
        self._threads: dict[tuple[int, int], _Thread] = {}
        self._is_closed = False

    def call(self, work: Work[T]) -> T:
        """Have work done, and wait for its result without holding the hub.

        Args:
            work: gets the session and its own job; must not touch gevent.

        Raises:
            QueueUnavailable: it was not done in time, or this is closed.
            QueueError: what the work raised.
        """
        if self._is_closed:
            raise QueueUnavailable("the queue is closed")
        check_that_the_caller_may_wait()
        thread = self._thread()
        if thread is None:  # pragma: no cover  # from Python 3.12 on
            return self._in_place(work)
        return thread.do(work, self._timeout)  # type: ignore[no-any-return]  # it goes through the thread's queue

    def close(self) -> None:
        """End the thread after what it was given before, waiting for that if the caller may wait."""
        thread = self._threads.pop(this_process(), None)
        self._is_closed = True
        if thread is not None:
            thread.end(self._timeout)

    def _thread(self) -> _Thread | None:
        process = this_process()
        thread = self._threads.get(process)
        if thread is None:
            mine = _Thread(self._make_session)
            thread = self._threads.setdefault(process, mine)
            if thread is mine and not self._started(mine, process):  # pragma: no cover  # from Python 3.12 on
                return None
        return thread

    def _started(self, thread: _Thread, process: tuple[int, int]) -> bool:
        is_started = False
        try:
            is_started = thread.start()
        finally:
            if not is_started:
                del self._threads[process]
        return is_started

    def _in_place(self, work: Work[T]) -> T:  # pragma: no cover  # from Python 3.12 on
        """At the end of the interpreter no thread can be had, and nobody is left to be held up."""
        session = self._make_session()
        try:
            return work(session, Job(work, self._timeout, None))
        finally:
            session.close()


class _Thread:
    """The thread of one process."""

    def __init__(self, make_session: Callable[[], Session]) -> None:
        self._make_session = make_session
        self._jobs: Any = _SimpleQueue()
        self._guard = Guard()

    def start(self) -> bool:
        """Whether there is a thread now; there is none any more at the end of the interpreter.

        Raises:
            QueueUnavailable: the system has no thread to give.
        """
        _register_fork_hooks()
        _guards.append(self._guard)
        try:
            start_new_thread(self._live, ())
        except RuntimeError as error:
            _guards.remove(self._guard)
            if "shutdown" in str(error):  # pragma: no cover  # from Python 3.12 on
                return False
            raise QueueUnavailable("no thread can be had") from error
        return True

    def do(self, work: Work[Any], timeout: float) -> Any:
        """Have work done, and wait for its result."""
        if self._jobs.qsize() >= _MOST_JOBS:
            raise QueueUnavailable("the disk does not keep up: too many calls wait for it")
        job = Job(work, timeout, _signal(), self._guard)
        self._jobs.put(job)
        result = job.wait()
        if job.stopped_collector:
            _collect_if_starved()
        return result

    def end(self, timeout: float) -> None:
        """End after what was given before; wait for that if the caller may."""
        is_awaited = may_wait()
        last = Job(_close, timeout, _signal() if is_awaited else _Silence(), self._guard, is_last=True)
        self._jobs.put(last)
        if is_awaited:
            with suppress(QueueUnavailable):  # the disk hangs; the thread ends when it answers
                last.wait()

    def _live(self) -> None:
        session = self._make_session()
        is_last = False
        while not is_last:
            job = self._jobs.get()
            self._guard.take()
            try:
                job.run(session)
                job.let_collect()  # before a fork may come, whose child would stay without its collector
            finally:
                self._guard.give()
            is_last = job.is_last
            del job  # or its requests would stay in memory until the next one comes
        session.close()
        _guards.remove(self._guard)


def _close(session: Session, job: Job) -> None:
    session.close()


class Guard:
    """Held by a thread while it works, and by a fork meanwhile.

    What a thread has locked within SQLite at the moment of a fork would stay locked in the child for ever.
    """

    def __init__(self) -> None:
        self.process = this_process()
        self._lock = allocate_lock()
        # A lock that is given back and taken again at once is not given to who waits for it: the fork stands here.
        self._turnstile = allocate_lock()
        self._held: list[Any] = []

    # Around these the collector is on: nothing is made that would have it run, neither a `with` nor a tuple.
    def take(self) -> None:
        """In the thread, before it works."""
        self._turnstile.acquire()
        self._turnstile.release()
        self._lock.acquire()

    def give(self) -> None:
        """In the thread, when it has worked."""
        self._lock.release()

    def yield_to_fork(self) -> None:
        """In the thread: give the lock to a fork that waits, and take it back."""
        self.give()
        self.take()

    def before_fork(self) -> None:
        """Wait until the thread does nothing, and let it begin nothing."""
        self._held = [lock for lock in (self._turnstile, self._lock) if lock.acquire(True, _FORK_WAIT)]

    def after_fork(self) -> None:
        """In the parent: go on."""
        while self._held:
            self._held.pop().release()


_guards: list[Guard] = []
_unregistered = [True]


def _register_fork_hooks() -> None:
    """Once per program; taking the item cannot be torn apart by another thread or a signal."""
    with suppress(IndexError):
        _unregistered.pop()
        os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def _before_fork() -> None:
    for guard in _guards:
        guard.before_fork()


def _in_parent() -> None:
    for guard in _guards:
        guard.after_fork()


def _in_child() -> None:
    """Somebody's hook may have been called before this, and have started a thread here."""
    _guards[:] = [guard for guard in _guards if guard.process == this_process()]


def check_that_the_caller_may_wait() -> None:
    """A callback of the hub cannot do what has to wait for a disk or for a network.

    Raises:
        QueueUnavailable: it is one.
    """
    if not may_wait():
        raise QueueUnavailable("a callback of the hub must not wait; spawn a greenlet that does")


def _has_hub() -> bool:
    """Whether others may run in the caller's thread while it waits."""
    return get_hub_if_exists() is not None or (is_patched() and get_ident() == MAIN_THREAD_IDENT)


class _Silence:
    """For a caller that cannot wait."""

    def send(self) -> None:
        """Nobody listens."""


def _signal() -> Any:
    return HubSignal() if _has_hub() else NativeSignal()


def _collect_if_starved() -> None:
    """The collector is off while the thread works; with no pause in its work, it would never run."""
    young, threshold = gc.get_count()[0], gc.get_threshold()[0]
    if threshold and young > _STARVED * threshold:
        gc.collect(1)
