"""A loop that the SDK would run in a thread, made to survive forks: each process starts one of its own.

The SDK's threads end in a fork, silently. In a patched process they are greenlets, which a fork doubles: the child's
goes on with the parent's work, on the parent's sockets.
"""

from __future__ import annotations

import _thread
import os
import threading
import weakref
from contextlib import contextmanager, suppress
from typing import Iterator

# For the greenlets that take the place of the SDK's threads: a fork's child must kill those that it inherits, and only
# gevent can do so while they wait for a socket.
import gevent
from gevent import monkey

from gevent_dispatcher import _home, _process
from gevent_dispatcher._pid import this_process

# How long a fork waits for a thread to finish the request that it is at, in seconds: a datafile comes within tenths.
_FORK_PATIENCE = 1.0

_loops: weakref.WeakSet[Loop] = weakref.WeakSet()
# What a thread that forks holds meanwhile, by the thread's identity.
_held: dict[int, list[Loop]] = {}
_hooked: list[bool] = []


class Loop:
    """Work that goes on until it is asked to end, in one process; has what the SDK asks of a thread.

    A greenlet at the hub's home where threads are patched, a daemon native thread elsewhere. Making one has no side
    effect; several threads may start it, it runs once.

    Attributes:
        exit_patience: most seconds that the end of the process waits for it.
    """

    exit_patience = 0.0

    def __init__(self) -> None:
        self._process = this_process()
        self._is_native = not monkey.is_module_patched("threading")
        self._unstarted = [True]  # popped by the one that starts it
        self._ended = threading.Event()
        self._patience: float | None = None
        self._busy = threading.RLock()  # a listener that the work calls may fork
        self._held_in_vain = False
        self._greenlet: gevent.Greenlet | None = None

    def work(self) -> None:
        """What is done, until the end is asked for."""
        raise NotImplementedError  # pragma: no cover  # each has its own

    def end(self) -> None:
        """Ask for the end and wait for it, by `join`; called at the end of the process."""
        raise NotImplementedError  # pragma: no cover  # each has its own

    # -- what a thread has ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, unless another thread has; never waits.

        Raises:
            RuntimeError: it has ended.
        """
        if self._ended.is_set():
            raise RuntimeError("it was stopped, and cannot be started again: make a new client")
        with suppress(IndexError):
            self._unstarted.pop()
            self._start()

    def is_alive(self) -> bool:
        """Whether it runs, in this process."""
        return not (self._unstarted or self._ended.is_set()) and self.is_ours()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end; at the end of the process not longer than `exit_patience`.

        Args:
            timeout: seconds.
        """
        waits = [wait for wait in (timeout, self._patience) if wait is not None]
        if self.is_alive() and not self._is_hub():
            self._ended.wait(min(waits, default=None))

    def setDaemon(self, daemonic: bool) -> None:
        """It always is one; SDK 3 and 4 say so by this method."""

    # -- the life of a process -----------------------------------------------------------------------------------------

    @property
    def is_unstarted(self) -> bool:
        """Whether nobody has started it yet."""
        return bool(self._unstarted)

    def is_ours(self) -> bool:
        """Whether it belongs to this process, and not to a parent."""
        return self._process == this_process()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Around what may hold locks that a fork's child would find held for ever: name look-ups, TLS, imports."""
        with self._busy:
            self._held_in_vain = False
            yield

    def hold(self) -> bool:
        """Before a fork: keep a native thread from being busy; True when that succeeded within the patience."""
        if not self._is_native or self._held_in_vain or not self.is_alive():
            return False
        held = self._busy.acquire(timeout=_FORK_PATIENCE)
        self._held_in_vain = not held
        return held

    def let_go(self) -> None:
        """After a fork, in the parent."""
        self._busy.release()

    def abandon(self) -> None:
        """After a fork, in the child: end the greenlet that the fork has doubled."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def _start(self) -> None:
        _hook_forks()
        _loops.add(self)
        _process.before_drain(self._end_at_exit)
        if self._is_native:
            self._start_thread()
        else:
            _home.find_home().soon(self._spawn)

    def _start_thread(self) -> None:
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # pragma: no cover  # an interpreter that is ending starts none, from Python 3.12 on
            self._ended.set()

    def _spawn(self) -> None:
        if self.is_ours():  # pragma: no branch  # a fork may have come in between
            self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            if self.is_ours() and not self._is_for_want_of_a_thread(error):
                raise
        finally:
            self._ended.set()

    def _is_for_want_of_a_thread(self, error: BaseException) -> bool:
        """From Python 3.12 on an interpreter that is ending starts no thread, and so looks up no name."""
        return isinstance(error, RuntimeError) and self._patience is not None

    def _end_at_exit(self) -> None:
        self._patience = self.exit_patience
        # Raised by a signal while it waits: the process is ending already, and the events must still be sent.
        with suppress(SystemExit, KeyboardInterrupt, gevent.GreenletExit):
            self.end()

    def _is_hub(self) -> bool:
        return not self._is_native and gevent.getcurrent() is gevent.get_hub()


def _hook_forks() -> None:
    if not _hooked:
        _hooked.append(True)
        os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _before_fork() -> None:
    _held[_home.get_ident()] = [loop for loop in list(_loops) if loop.hold()]


def _after_in_parent() -> None:
    for loop in _held.pop(_home.get_ident(), []):
        loop.let_go()


def _after_in_child() -> None:
    for loop in list(_loops):
        if not loop.is_ours():  # another hook of the fork may have started one here
            loop.abandon()
            _loops.discard(loop)
    _held.clear()
