"""The life of a process: its end, and its forks.

One owner of the order at exit, and one place that makes a fork's child forget what belongs to its parent.
"""

from __future__ import annotations

import atexit
import logging  # before the exit handler is registered: what is registered later runs earlier, and may still log
import os
import sys
import weakref
from typing import Any

from gevent_dispatcher import _home

logger = logging.getLogger("gevent_dispatcher")

_engines: weakref.WeakSet[Any] = weakref.WeakSet()
# What a fork's child has inherited is kept for ever: collecting it would close sockets and switch greenlets that
# belong to the parent.
_parked: list[Any] = []
_hooked = False
_exiting = False


def enlist(engine: Any) -> None:
    """Have an engine drained at the end of this process, and abandoned in its forks."""
    global _hooked
    _engines.add(engine)
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_after_fork)
    run_exit_handler_first()
    _run_at_the_end_of_a_multiprocessing_child()


def run_exit_handler_first() -> None:
    """Register the exit handler anew, so that it runs before all that are registered now.

    urllib3 closes its pools by a finalizer that is registered with its first pool; ours must run before that.
    """
    if not _exiting:
        atexit.unregister(drain_all)
        atexit.register(drain_all)


def _run_at_the_end_of_a_multiprocessing_child() -> None:
    """Such a child ends by os._exit, without atexit, but runs the finalizers of multiprocessing.util."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, drain_all, exitpriority=0)


def drain_all() -> None:
    """Deliver what this process still has; the exit handler. Runs once, never raises."""
    global _exiting
    engines = [engine for engine in list(_engines) if engine.pid == os.getpid()]
    if not engines or _exiting:
        return
    _exiting = True
    try:
        for engine in engines:
            _drain(engine)
    finally:
        _exiting = False


def _drain(engine: Any) -> None:
    try:
        engine.drain()
    except (SystemExit, KeyboardInterrupt):
        pass  # raised inside the flush by a signal: the process is ending already, and what was left has been counted
    except Exception:
        logger.exception("the exit handler failed")


def _after_fork() -> None:
    for engine in list(_engines):
        engine.abandon()
        _parked.append(engine)
    _engines.clear()
    _home.forget()
