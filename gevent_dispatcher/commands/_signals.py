"""The signals that ask a command to end: the first one politely, the second one at once."""

from __future__ import annotations

import os
import signal
from typing import Callable

import gevent

# By convention of shells: a process that a signal ended.
_BY_SIGNAL = 128


def on_signals(stop: Callable[[int], object], last_words: Callable[[], str], patience: float) -> None:
    """Have SIGTERM and SIGINT stop what runs.

    Args:
        stop: called with the number of the first signal, in a greenlet of its own.
        last_words: what is said when a second one, or the end of patience, ends the process at once.
        patience: seconds from the first signal after which the process ends in any case.
    """
    is_stopping: list[int] = []

    def received(number: int) -> None:
        if is_stopping:
            _end_at_once(number, last_words())
        is_stopping.append(number)
        gevent.spawn_later(patience, lambda: _end_at_once(number, last_words()))
        stop(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, received, number)


def exit_code(number: int) -> int:
    """Of a process that a signal ended."""
    return _BY_SIGNAL + number


def _end_at_once(number: int, last_words: str) -> None:
    os.write(2, f"\ngevent_dispatcher: ended at once; {last_words}\n".encode())
    os._exit(exit_code(number))
