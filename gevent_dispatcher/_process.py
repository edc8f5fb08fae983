"""The life of a process: its end, and its forks.

One owner of the order at exit, and one place that makes a fork's child forget what belongs to its parent.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from contextlib import suppress
from typing import Any, Callable

from gevent_dispatcher import _home, _threads

# Imports logging, before the exit handler is registered: what is registered later runs earlier, and may still log.
from gevent_dispatcher._log import about, describe, logger
from gevent_dispatcher._pid import this_process

_engines: weakref.WeakSet[Any] = weakref.WeakSet()
# The process that all of this is about.
_here = this_process()
# What a fork's child has inherited is kept for ever: collecting it would close sockets and switch greenlets that
# belong to the parent.
_parked: list[Any] = []
_exiting = False
# The priority of the finalizer that runs after all others of a multiprocessing child.
_LAST = -1_000_000
# The id of no process.
_NOBODY = -1
# Called before anything is drained; dead ones are skipped.
_before: list[tuple[int, weakref.WeakMethod[Callable[[], object]]]] = []


def enlist(engine: Any) -> None:
    """Have an engine drained at the end of this process, and abandoned in its forks."""
    _engines.add(engine)
    run_exit_handler_first()
    _run_at_the_end_of_a_multiprocessing_child()
    _run_at_the_end_of_uwsgi()


def run_exit_handler_first() -> None:
    """Register the exit handler anew, so that it runs before all that are registered now.

    urllib3 closes its pools by a finalizer that is registered with its first pool; ours must run before that.
    """
    if not _exiting:
        atexit.unregister(_drain_first)
        atexit.register(_drain_first)


def _run_at_the_end_of_a_multiprocessing_child() -> None:
    """Such a child ends by os._exit, without atexit, but runs the finalizers of multiprocessing.util."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _drain_first, exitpriority=0)
        Finalize(None, _drain_late, exitpriority=_LAST)


def _run_at_the_end_of_uwsgi() -> None:
    """Under `uwsgi --gevent` Python's atexit never runs; uwsgi.atexit does, and holds one function."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None:
        previous = getattr(uwsgi, "atexit", None)
        if not isinstance(previous, _AtExit):
            uwsgi.atexit = _AtExit(previous)


class _AtExit:
    """Our exit handler, and then the one that was there before."""

    def __init__(self, previous: Any) -> None:
        self._previous = previous

    def __call__(self) -> None:
        drain_all()
        if callable(self._previous):
            self._previous()


def before_drain(method: Callable[[], object]) -> None:
    """Have a bound method called at the end of this process, before events are drained: it may still dispatch.

    Args:
        method: referenced weakly; must return soon and may raise.
    """
    notice_a_fork()
    _before.append((os.getpid(), weakref.WeakMethod(method)))
    run_exit_handler_first()


def _call_before() -> None:
    while _before:
        pid, reference = _before.pop()
        method = reference()
        if method is not None and pid == os.getpid():
            try:
                method()
            except (SystemExit, KeyboardInterrupt):
                pass  # raised by a signal: the process is ending already, and the events are still to be sent
            except Exception as error:
                _say_failed("what was to be done before the last events are sent", error)


def drain_all(end: bool = True) -> None:
    """Deliver what this process still has; never raises. All calls of a process share one close_timeout.

    Args:
        end: then no more events are accepted. A server's hook leaves them to the exit handler.
    """
    _drain_all(end, end)  # after a server's hook requests still run, and need what is ended before


def _drain_all(call_before: bool, end: bool) -> None:
    global _exiting
    if _exiting:
        return
    _exiting = True
    try:
        if call_before:
            _call_before()
        engines = [engine for engine in list(_engines) if engine.pid == os.getpid()]
        for engine in engines:
            engine.prepare_to_end()
        for engine in engines:
            _drain(engine, end)
    finally:
        _exiting = False


def _drain(engine: Any, end: bool) -> None:
    try:
        engine.drain(end)
    except (SystemExit, KeyboardInterrupt):
        pass  # raised inside the flush by a signal: the process is ending already, and what was left has been counted
    except Exception as error:
        _say_failed("the exit handler", error)


def _say_failed(what: str, error: Exception) -> None:
    name = type(error).__name__
    logger.error("%s failed: %s", what, describe(error), extra=about("exit_failed", what=what, error=name))


def _before_fork() -> None:
    _home.pause()
    _threads.gate.close()


def _in_parent() -> None:
    _threads.gate.open()
    _home.go_on()


def notice_a_fork() -> None:
    """In a fork's child, before anything is made there: somebody's hook may be called before ours, and dispatch."""
    global _here
    if _here != this_process():
        _here = this_process()
        _forget_the_parent()


def _forget_the_parent() -> None:
    global _exiting
    _exiting = False
    _threads.gate.renew()
    for engine in list(_engines):
        _parked.append(engine)
        _engines.discard(engine)
        engine.pid = _NOBODY
        with suppress(Exception):  # nobody can be told in a fork, and the others are to be abandoned all the same
            engine.abandon()
    _before.clear()
    _home.forget()


def _drain_first() -> None:
    """The exit handler that runs first, while urllib3's pools are open: other handlers may dispatch yet."""
    _drain_all(True, False)


def _drain_late() -> None:
    """The exit handler that runs after those of whoever imports this: no more events are accepted."""
    drain_all()


atexit.register(_drain_late)
# Now, not with the first engine: a dispatcher remembers the main hub, which a fork by another thread takes away.
os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=notice_a_fork)
