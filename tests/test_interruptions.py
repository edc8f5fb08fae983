"""A signal handler or a destructor may cut in at any bytecode: what it does there spoils no account."""

from __future__ import annotations

import gc
import sys
from itertools import count
from types import FrameType
from typing import Any, Callable

import gevent
import pytest

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.testing import FakeTransport
from tests.dispatchers import balance
from tests.events import log_event
from tests.test_dispatcher import URL
from tests.waiting import wait_until


class Interruption:
    """Has a callable called before a certain bytecode of the package, as a signal handler is; a context manager.

    Args:
        at: before which bytecode, counted from 1.
        handler: what is called.
    """

    def __init__(self, at: int, handler: Callable[[], object]) -> None:
        self._left = at
        self._handler = handler
        self._before = sys.gettrace()  # coverage's
        self.came = False

    def __enter__(self) -> Interruption:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_globals.get("__name__", "").startswith("gevent_dispatcher."):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self._left -= 1
            if self._left == 0:
                self.came = True
                self._handler()
        return self._trace


def new_dispatcher() -> GeventEventDispatcher:
    dispatcher = GeventEventDispatcher(transport=FakeTransport(), flush_interval=60)
    dispatcher.dispatch_event(log_event(URL))
    return dispatcher


def at_any_bytecode(
    work: Callable[[GeventEventDispatcher], object], handler: Callable[[GeventEventDispatcher], object]
) -> int:
    """Do some work, interrupted before its first bytecode, then before its second, and so on; then close and look."""
    for at in count(1):
        dispatcher = new_dispatcher()
        with Interruption(at, lambda dispatcher=dispatcher: handler(dispatcher)) as interruption:
            work(dispatcher)
        assert balance(dispatcher.stats()) == 0, at
        dispatcher.close(5)
        wait_until(lambda dispatcher=dispatcher: dispatcher.stats().pending == 0)
        assert balance(dispatcher.stats()) == 0, at
        assert dispatcher.stats().delivered >= 1, at
        assert dispatcher.stats().dropped["closed"] <= (handler is close), at
        if not interruption.came:
            return at - 1
    raise AssertionError


def dispatch(dispatcher: GeventEventDispatcher) -> None:
    dispatcher.dispatch_event(log_event(URL))


def dispatch_elsewhere(dispatcher: GeventEventDispatcher) -> None:
    dispatcher.dispatch_event(log_event(URL + "/other"))


@pytest.mark.parametrize("work", [dispatch, dispatch_elsewhere])
@pytest.mark.parametrize("handler", [dispatch, dispatch_elsewhere, GeventEventDispatcher.stats])
def test_a_dispatch_is_interrupted(
    work: Callable[[GeventEventDispatcher], object], handler: Callable[[GeventEventDispatcher], object]
) -> None:
    assert at_any_bytecode(work, handler) > 50


@pytest.mark.parametrize("handler", [dispatch, dispatch_elsewhere])
def test_the_accounts_are_right_when_an_event_comes_while_they_are_read(
    handler: Callable[[GeventEventDispatcher], object],
) -> None:
    def read(dispatcher: GeventEventDispatcher) -> None:
        assert balance(dispatcher.stats()) == 0

    assert at_any_bytecode(read, handler) > 50


def close(dispatcher: GeventEventDispatcher) -> None:
    dispatcher.close(5)


def flush(dispatcher: GeventEventDispatcher) -> None:
    dispatcher.flush(5)


@pytest.mark.parametrize("handler", [close, flush])
def test_what_is_being_dispatched_when_the_end_comes_has_one_outcome(
    handler: Callable[[GeventEventDispatcher], object],
) -> None:
    assert at_any_bytecode(dispatch_elsewhere, handler) > 50


@pytest.mark.parametrize("finalizer", [GeventEventDispatcher.stats, lambda dispatcher: dispatcher.flush(0)])
def test_the_garbage_collector_may_call_in_the_middle_of_anything(
    finalizer: Callable[[GeventEventDispatcher], object],
) -> None:
    dispatcher = new_dispatcher()
    came: list[object] = []

    def collected(phase: str, _: object) -> None:
        if phase == "start":
            came.append(finalizer(dispatcher))

    before = gc.get_threshold()
    gc.freeze()  # what is there already need not be looked at each time
    gc.callbacks.append(collected)
    try:
        for number in range(200):
            event = log_event(f"{URL}/{number}")
            gc.set_threshold(1)
            dispatcher.dispatch_event(event)
            gc.set_threshold(*before)
            gevent.sleep(0)
    finally:
        gc.callbacks.remove(collected)
        gc.unfreeze()
    assert len(came) > 200
    assert balance(dispatcher.stats()) == 0
    assert dispatcher.close(5)
    assert dispatcher.stats().delivered == 201
