"""A program that dispatches events and ends: `python -m tests.lifetimes.script END`."""

# ruff: noqa: E402  # when the standard library is patched, if at all, is what is tried here
from __future__ import annotations

import os

PATCHED = os.environ["LIFETIMES_PATCHED"]  # "first", "late" or "never"

if PATCHED == "first":
    from gevent import monkey

    monkey.patch_all()

import signal
import subprocess
import sys
from typing import Callable

from tests.lifetimes import contestants

# More than fit one request, so that one is under way and others wait when the end comes.
EARLY = 120
LATE = 20

_contestant = contestants.make()

if PATCHED == "late":
    from gevent import monkey

    monkey.patch_all()


def dispatch(stem: str, count: int) -> None:
    """Note and dispatch events."""
    event_names = contestants.names(f"{stem}-{os.getpid()}", count)
    contestants.note(event_names)
    for name in event_names:
        _contestant.dispatch(name)


def work() -> None:
    """Dispatch so many events that a request is under way."""
    dispatch("early", EARLY)
    contestants.wait_for(_contestant.has_begun)


def _exit_in_greenlet() -> None:
    import gevent

    gevent.spawn(sys.exit).join()


def _raise() -> None:
    raise RuntimeError("the end of this program")


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    contestants.wait_for(lambda: False)


def _run_commands() -> None:
    for _ in range(5):
        subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)


def _fork() -> None:
    _fork_with(os.fork)


def _raw_fork() -> None:
    from gevent import monkey

    _fork_with(monkey.get_original("os", "fork"))


def _fork_then_patch() -> None:
    from gevent import monkey

    _fork_with(os.fork, monkey.patch_all)


def _fork_with(fork: Callable[[], int], first: Callable[[], object] = lambda: None) -> None:
    """Both go on to the end of the program; the parent has waited for the child."""
    child = fork()
    if child:
        dispatch("parent", LATE)
        _must_be_zero(os.waitpid(child, 0)[1])
    else:
        first()
        work()


def _multiprocessing(method: str) -> None:
    import multiprocessing

    multiprocessing.set_start_method(method)
    child = multiprocessing.Process(target=work)
    child.start()
    dispatch("parent", LATE)
    child.join()
    _must_be_zero(child.exitcode)


def _must_be_zero(code: int | None) -> None:
    if code:
        raise RuntimeError(f"the child ended with {code}")


def _delivered_then(end: Callable[[], object]) -> None:
    """For ends that no code survives: what was dispatched long before them has arrived."""
    _contestant.flush()
    dispatch("late", LATE)
    end()


ENDS: dict[str, Callable[[], object]] = {
    "end": lambda: None,
    "sys.exit": lambda: sys.exit(0),
    "greenlet sys.exit": _exit_in_greenlet,
    "exception": _raise,
    "SIGINT": _interrupt,
    "subprocess": _run_commands,
    "fork": _fork,
    "raw fork": _raw_fork,
    "fork, patch": _fork_then_patch,
    "mp fork": lambda: _multiprocessing("fork"),
    "mp spawn": lambda: _multiprocessing("spawn"),
    "os._exit": lambda: _delivered_then(lambda: os._exit(0)),
    "SIGKILL": lambda: _delivered_then(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "SIGTERM": lambda: _delivered_then(lambda: os.kill(os.getpid(), signal.SIGTERM)),
}

if __name__ == "__main__":
    work()
    dispatch("last", LATE)
    ENDS[sys.argv[1]]()
