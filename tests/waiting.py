"""Waiting in tests: for a condition with a deadline, never for a period."""

from __future__ import annotations

from time import monotonic
from typing import Callable, TypeVar

import gevent

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """Ask until the answer is true, and return it.

    Args:
        condition: what must become true.
        timeout: seconds.

    Raises:
        AssertionError: it did not within the time.
    """
    deadline = monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s; the last answer was {answer!r}")
        gevent.sleep(0.005)
