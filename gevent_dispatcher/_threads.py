"""Work that must not stop the hub, done in its threadpool."""

from __future__ import annotations

from typing import Callable, TypeVar

from gevent import get_hub

T = TypeVar("T")


def off_hub(work: Callable[[], T]) -> T:
    """Do work in the hub's threadpool; in place when no thread can be had, as at the interpreter's end.

    Args:
        work: must not touch gevent.

    Raises:
        Exception: what the work raised.
    """
    try:
        outcome = get_hub().threadpool.apply(_outcome, (work,))
    except RuntimeError:  # Python 3.12 and later start no thread at shutdown, earlier ones may not either
        outcome = _outcome(work)
    value, error = outcome
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]  # gevent is not typed


def _outcome(work: Callable[[], T]) -> tuple[T, BaseException | None]:
    """An exception that crosses the threadpool prints a traceback, so it crosses as a value."""
    try:
        return work(), None
    except Exception as error:
        return None, error  # type: ignore[return-value]  # the value is not looked at then
