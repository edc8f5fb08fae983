"""Where an engine lives: the hub whose greenlets send.

In a patched process that is the main thread's hub. In an unpatched one nobody runs a hub, so one daemon native thread
with a hub of its own is started. Everything that touches greenlets, timers or sockets happens at home; other threads
leave a callable there.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, Callable, TypeVar

import gevent
from gevent import get_hub, getcurrent, monkey
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.hub import MAIN_THREAD_IDENT

T = TypeVar("T")

get_ident: Callable[[], int] = monkey.get_original("_thread", "get_ident")
allocate_lock = monkey.get_original("_thread", "allocate_lock")
start_new_thread = monkey.get_original("_thread", "start_new_thread")

# How long a fork waits for the thread to stand still, and that at most for the fork; in seconds.
_PAUSE_WAIT = 1.0
_LONGEST_PAUSE = 5.0


class Unreachable(Exception):
    """The home did not answer in time."""


class Home:
    """A hub and the native thread that runs it.

    Attributes:
        hub: the hub; None until its thread has made it.
        ident: the native thread's identity; 0 until it runs.
    """

    def __init__(self, hub: Any = None, ident: int = 0) -> None:
        self.hub = hub
        self.ident = ident
        self._left: deque[Callable[[], object]] = deque()

    def is_gone(self) -> bool:
        """Whether somebody has destroyed the hub."""
        return self.hub is not None and self.hub.loop is None

    def renew(self) -> None:
        """Live on with the caller's hub, in place of the one that is gone."""
        gone, self.hub = self.hub, get_hub()
        gone.parent = self.hub  # its loop may be kept: what wakes there, and waits or ends, would fall upon the program
        self.hub.loop.run_callback(self._run_left)

    def can_wait(self) -> bool:
        """Whether the caller may wait here: it is at home, and not in a callback of the hub."""
        return get_ident() == self.ident and getcurrent() is not self.hub

    def soon(self, work: Callable[[], object]) -> None:
        """Have a callable run in the hub; from any thread or signal handler, without waiting.

        Args:
            work: must not block, switch or raise.
        """
        self._left.append(work)
        if self.hub is not None and not self.is_gone():
            self.hub.loop.run_callback_threadsafe(self._run_left)

    def _run_left(self) -> None:
        for _ in range(len(self._left)):  # what is left meanwhile has a callback of its own
            self._left.popleft()()

    def do(self, work: Callable[[], T], timeout: float, otherwise: T) -> T:
        """Run a callable at home: in place where the caller is there, else as `call` does it.

        Args:
            work: may wait.
            timeout: of another thread's wait, in seconds.
            otherwise: the result where there was none in time.

        Raises:
            BaseException: what the callable raised.
        """
        if get_ident() == self.ident:
            return work()
        try:
            return self.call(work, timeout)
        except Unreachable:
            return otherwise

    def call(self, work: Callable[[], T], timeout: float) -> T:
        """Run a callable in a greenlet at home and wait for its result, from another thread.

        Args:
            work: may wait.
            timeout: seconds.

        Raises:
            Unreachable: there was no result in time.
            BaseException: what the callable raised.
        """
        finished = HubSignal() if _runs_a_hub() else NativeSignal()
        results: list[tuple[Any, BaseException | None]] = []

        def run() -> None:
            try:
                results.append((work(), None))
            except BaseException as error:
                results.append((None, error))
            finally:
                finished.send()

        self.soon(lambda: gevent.spawn(run))
        if not finished.wait(max(timeout, 0.0)):
            raise Unreachable
        value, error = results[0]
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]  # T went through a list


class NativeSignal:
    """Sent in one native thread, waited for in another that has nothing else to do."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self.send = self._lock.release

    def wait(self, timeout: float) -> bool:
        return bool(self._lock.acquire(True, timeout))


class HubSignal:
    """Sent in one native thread, waited for by a greenlet of another whose hub goes on meanwhile."""

    def __init__(self) -> None:
        self._sent = Event()
        self._loop = get_hub().loop

    def send(self) -> None:
        self._loop.run_callback_threadsafe(self._sent.set)

    def wait(self, timeout: float) -> bool:
        return bool(self._sent.wait(timeout))


def may_wait() -> bool:
    """Whether the caller may wait at all: a callback of a hub must not."""
    hub = get_hub_if_exists()
    return hub is None or getcurrent() is not hub


def _runs_a_hub() -> bool:
    """Whether the caller's thread is the patched main thread, and the caller may wait in it."""
    return _is_patched_main_thread() and getcurrent() is not get_hub()


class _ThreadHome(Home):
    """A daemon native thread with a hub of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._paused: list[NativeSignal] = []

    def start(self) -> None:
        _import_what_hooks_forks()
        if monkey.is_module_patched("threading"):
            get_hub()  # then so are the locks of imports: who is making a hub cannot wait for one
        start_new_thread(self._live, ())

    def pause(self) -> None:
        """Have the thread stand still in a callback of its hub, where it holds no lock and imports nothing."""
        if get_ident() != self.ident:
            still, go_on = NativeSignal(), NativeSignal()
            self._paused.append(go_on)
            self.soon(partial(_stand_still, still, go_on))
            still.wait(_PAUSE_WAIT)

    def go_on(self) -> None:
        """Let the thread run again."""
        if self._paused:
            self._paused.pop().send()

    def _live(self) -> None:
        hub = get_hub()
        # A referenced watcher keeps the loop running, at no cost, while there is nothing to do.
        keep = hub.loop.async_()
        self.ident = get_ident()
        self.hub = hub
        hub.loop.run_callback(self._run_left)
        hub.wait(keep)


def _import_what_hooks_forks() -> None:
    """What the thread would import for its hub's threadpool: in the middle of a fork, half of its hooks would run."""
    with suppress(Exception):  # at the end of the interpreter nothing is imported any more, by the thread neither
        import concurrent.futures.thread  # noqa: F401


def _stand_still(still: NativeSignal, go_on: NativeSignal) -> None:
    still.send()
    go_on.wait(_LONGEST_PAUSE)


_main_hub: Any = None
_thread_homes: dict[int, _ThreadHome] = {}


def is_patched() -> bool:
    """Whether the main thread waits cooperatively, so that its hub runs."""
    return bool(monkey.is_module_patched("socket"))


def remember_main_hub() -> None:
    """Keep a reference to the hub of a patched main thread, if it has one: another thread cannot find it by itself.

    One that is made here would be in the way of a program that becomes a daemon and closes all its descriptors. What
    making it imports is imported here: the child of a fork in the middle of that could not import it any more.
    """
    global _main_hub
    if _is_patched_main_thread():
        _main_hub = get_hub_if_exists()
        with suppress(ImportError):  # of a setting of gevent's; who makes the hub is told
            _ = gevent.config.loop, gevent.config.format_context


def _is_patched_main_thread() -> bool:
    return is_patched() and get_ident() == MAIN_THREAD_IDENT


def find_home() -> Home:
    """The home of an engine that is made now, in this process."""
    global _main_hub
    if _is_patched_main_thread():
        _main_hub = get_hub()
    if is_patched() and _main_hub is not None and _main_hub.loop is not None:  # a hub that was destroyed has no loop
        return Home(_main_hub, MAIN_THREAD_IDENT)
    pid = os.getpid()
    home = _ThreadHome()
    winner = _thread_homes.setdefault(pid, home)
    if winner is home:
        try:
            home.start()
        except RuntimeError:  # at the end of the interpreter no thread can be had: this one's hub runs while it drains
            del _thread_homes[pid]
            return Home(get_hub(), get_ident())
    return winner


def pause() -> None:
    """Before a fork: what a thread is importing at that moment would stay locked in the child for ever."""
    home = _thread_homes.get(os.getpid())
    if home is not None:
        home.pause()


def go_on() -> None:
    """After a fork, in the parent."""
    home = _thread_homes.get(os.getpid())
    if home is not None:
        home.go_on()


def forget() -> None:
    """In a fork's child: the thread homes stayed behind, and so did the main hub if another thread forked."""
    global _main_hub
    _thread_homes.clear()
    if get_ident() != MAIN_THREAD_IDENT:
        _main_hub = None


def end_at_once(greenlet: Any) -> None:
    """In a fork's child, before its hub runs: what the parent's loop still has queued would resume the greenlet, and
    that would use a socket or a file which is the parent's too.
    """
    if greenlet is getcurrent():
        greenlet.kill(block=False)
    else:
        greenlet.unlink_all()  # they would be told by the hub, which must not be asked for anything here
        greenlet.parent = getcurrent()
        greenlet.throw(gevent.GreenletExit)
