"""How another thread reaches the home of an engine: what it gets, and what it is told when nobody is there."""

from __future__ import annotations

from typing import Any, Callable

import gevent
import pytest
from gevent import monkey

from gevent_dispatcher import GeventEventDispatcher, _engine
from gevent_dispatcher._home import Home, Unreachable, find_home
from gevent_dispatcher.testing import FakeTransport
from tests.dispatchers import balance
from tests.events import log_event
from tests.test_dispatcher import URL

allocate_lock = monkey.get_original("_thread", "allocate_lock")
start_new_thread = monkey.get_original("_thread", "start_new_thread")


@pytest.fixture
def home() -> Home:
    return find_home()


def while_the_hub_stands_still(work: Callable[[], Any]) -> Any:
    """What work returns or raises in another thread, while this one waits without letting its hub turn."""
    outcomes: list[Any] = []
    done = allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)
        done.release()

    start_new_thread(run, ())
    assert done.acquire(True, 10)
    return outcomes[0]


def test_what_work_raises_at_home_is_raised_where_it_was_asked_for(home: Home) -> None:
    def ask() -> object:
        try:
            return home.call(lambda: 1 // 0, 10)
        except ZeroDivisionError as error:
            return error

    assert isinstance(gevent.get_hub().threadpool.apply(ask), ZeroDivisionError)


def test_a_home_that_stands_still_is_unreachable(home: Home) -> None:
    assert isinstance(while_the_hub_stands_still(lambda: home.call(lambda: 1, 0.01)), Unreachable)


def test_the_accounts_are_read_and_a_flush_fails_while_the_home_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "_ACCOUNT_TIMEOUT", 0.01)
    dispatcher = GeventEventDispatcher(transport=FakeTransport(), flush_interval=60)
    dispatcher.dispatch_event(log_event(URL))
    stats = while_the_hub_stands_still(dispatcher.stats)
    assert (stats.dispatched, stats.pending) == (1, 1)
    assert while_the_hub_stands_still(dispatcher.health).pending_events == 1
    assert while_the_hub_stands_still(lambda: dispatcher.flush(0.01)) is False
    dispatcher.close()
    assert balance(dispatcher.stats()) == 0
