"""Work that must not stop the hub, done in its threadpool; and no fork in the middle of it.

A fork's child has the forking thread only. What another thread was importing at that moment would stay locked in the
child for ever, so a fork waits for the little that is done here: some tens of milliseconds, once in a process's life.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import Any, Callable, Iterator, TypeVar

from gevent import get_hub

from gevent_dispatcher._home import allocate_lock, get_ident

T = TypeVar("T")

# The longest that a fork waits for work, and work for a fork or other work, in seconds: then it goes on all the same.
_LONGEST_WAIT = 5.0


class _Gate:
    """Held while work is done, and closed by a fork meanwhile."""

    def __init__(self) -> None:
        self._lock: Any = allocate_lock()
        self._holder = 0
        self._is_closed = False

    def __enter__(self) -> None:
        if self._lock.acquire(True, _LONGEST_WAIT):
            self._holder = get_ident()

    def __exit__(self, *_: object) -> None:
        if self._holder == get_ident():
            self._holder = 0
            self._lock.release()

    def close(self) -> None:
        """Before a fork: wait until no work is under way, and let none begin."""
        # A fork within the work itself, as an import may do, must not wait for it.
        self._is_closed = self._holder != get_ident() and self._lock.acquire(True, _LONGEST_WAIT)

    def open(self) -> None:
        """After a fork, in the parent."""
        if self._is_closed:
            self._is_closed = False
            self._lock.release()

    def renew(self) -> None:
        """After a fork, in the child: who may have held it is not there."""
        self._lock = allocate_lock()
        self._holder = 0


gate = _Gate()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from running in this thread: what it finalizes may be a watcher of the hub's loop, and
    a loop must not be touched from another thread.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def off_hub(work: Callable[[], T]) -> T:
    """Do work in the hub's threadpool; in place when no thread can be had, as at the interpreter's end.

    Args:
        work: must not touch gevent.

    Raises:
        Exception: what the work raised.
    """
    try:
        value, error = get_hub().threadpool.apply(_in_the_gate, (work,))
    except RuntimeError:  # Python 3.12 and later start no thread at shutdown, earlier ones may not either
        value, error = _in_the_gate(work)
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]  # gevent is not typed


def _in_the_gate(work: Callable[[], T]) -> tuple[T, Exception | None]:
    with gate, _no_collection():
        return outcome_of(work)


def outcome_of(work: Callable[[], T]) -> tuple[T, Exception | None]:
    """What work returned or raised: an exception that crosses the threadpool prints a traceback, a value does not."""
    try:
        return work(), None
    except Exception as error:
        return None, error  # type: ignore[return-value]  # the value is not looked at then
