"""The signals that ask a command to end."""

from __future__ import annotations

import os
import signal
from typing import Callable

import gevent

# By convention of shells: a process that a signal ended.
_BY_SIGNAL = 128


def on_signals(stop: Callable[[int], object], last_words: Callable[[], str], patience: float) -> None:
    """Have SIGTERM and SIGINT stop what runs: the first one politely, the second one at once.

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


def interruptible(work: Callable[[], int]) -> int:
    """Run work that the first SIGTERM or SIGINT ends at its next wait; its `with` blocks run to their end.

    Returns:
        What the work returns, or the exit code of a process that a signal ended.
    """
    ended_by: list[int] = []
    running = gevent.spawn(_outcome, work)

    def end(number: int) -> None:
        ended_by.append(number)
        if len(ended_by) == 1:  # another would interrupt the cleaning up
            running.kill(block=False)

    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, end, number)
    outcome = running.get()
    if ended_by:
        return exit_code(ended_by[0])
    if isinstance(outcome, BaseException):
        raise outcome
    return int(outcome)


def _outcome(work: Callable[[], int]) -> int | BaseException:
    """What work returns or raises, as a value: gevent would print what is raised."""
    try:
        return work()
    except gevent.GreenletExit:
        raise
    except BaseException as error:
        return error


def exit_code(number: int) -> int:
    """Of a process that a signal ended."""
    return _BY_SIGNAL + number


def _end_at_once(number: int, last_words: str) -> None:
    os.write(2, f"\ngevent_dispatcher: ended at once; {last_words}\n".encode())
    os._exit(exit_code(number))
