"""A plugin of coverage: what runs in threads that are started past `threading` is counted, too.

Coverage follows a thread because `threading` hands on a trace function to those that it starts. A queue's thread,
gevent's threadpool and the home of an unpatched process are started by `_thread` itself, or by what gevent keeps of it:
both are this module's, as coverage loads its plugins before a program begins.
"""

from __future__ import annotations

import _thread
import sys
import threading  # first, so that what it starts is started as ever
from typing import Any, Callable

_start_new_thread = _thread.start_new_thread


def coverage_init(registry: object, options: object) -> None:
    """What coverage calls in each process that it measures."""
    _thread.start_new_thread = _start_traced


def _start_traced(function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> int:
    def run() -> None:
        sys.settrace(threading.gettrace())
        function(*args, **(kwargs or {}))

    return _start_new_thread(run, ())
