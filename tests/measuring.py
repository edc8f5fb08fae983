"""Coverage, followed into native threads, greenlets and programs: a plugin of coverage, and what a program inherits.

Coverage follows a thread because `threading` hands on a trace function to those that it starts. A queue's thread,
gevent's threadpool and the home of an unpatched process are started by `_thread` itself, or by what gevent keeps of it:
both are this module's, as coverage loads its plugins before a program begins.

Coverage looks which greenlet runs when a function of Python's is called or returns. gevent's are compiled, so that it
takes the lines behind a `join()` or a `get()` for those of another greenlet, and loses them (its issue 841). So it is
shown a call and a return at each switch.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading  # first, so that what it starts is started as ever
from typing import Any, Callable

import greenlet

# What has an interpreter measured from its start; and where it finds this.
NAMES = ("COVERAGE_PROCESS_START", "COVERAGE_FILE", "PYTHONPATH")

_start_new_thread = _thread.start_new_thread


def coverage_init(registry: object, options: object) -> None:
    """What coverage calls in each process that it measures."""
    _thread.start_new_thread = _start_traced
    greenlet.settrace(_switched)


def _start_traced(function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> int:
    def run() -> None:
        sys.settrace(threading.gettrace())
        greenlet.settrace(_switched)
        function(*args, **(kwargs or {}))

    return _start_new_thread(run, ())


def _switched(event: str, between: object) -> None:
    follow = sys.gettrace()
    if follow is not None:
        frame = sys._getframe()
        follow(frame, "call", None)
        follow(frame, "return", None)


def inherited() -> dict[str, str]:
    """For a program that gets an environment of its own: nothing, unless it is to be measured."""
    return {name: os.environ[name] for name in NAMES if name in os.environ and NAMES[0] in os.environ}
