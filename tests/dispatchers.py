"""Dispatchers for tests: made to retry quickly, and held to their accounts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterable, Iterator

from gevent_dispatcher import GeventEventDispatcher, Stats
from tests.events import log_event, visitor

Maker = Callable[..., GeventEventDispatcher]


@contextmanager
def making(close_timeout: float = 0.1, **quick: Any) -> Iterator[Maker]:
    """Make dispatchers, and see that the accounts of each are right at the end.

    Args:
        close_timeout: seconds that each gets at the end.
        quick: settings of all of them, unless a test says otherwise.
    """
    made: list[GeventEventDispatcher] = []

    def maker(**settings: Any) -> GeventEventDispatcher:
        given = {"backoff_base": 0.01, "backoff_max": 0.05, "proxy": "", **quick, **settings}
        if "transport" in settings:
            del given["proxy"]
        made.append(GeventEventDispatcher(**given))
        return made[-1]

    yield maker
    for dispatcher in made:
        dispatcher.close(close_timeout)
        assert_balanced(dispatcher.stats())
        assert dispatcher.stats().pending == 0


def balance(stats: Stats) -> int:
    """What the invariant leaves over: always 0."""
    return stats.dispatched - (stats.delivered + stats.spooled + sum(stats.dropped.values()) + stats.pending)


def assert_balanced(stats: Stats) -> None:
    """Every event is somewhere, and only there."""
    assert balance(stats) == 0, stats


def dispatch(dispatcher: GeventEventDispatcher, url: str, names: Iterable[str]) -> None:
    """An event of each visitor."""
    for name in names:
        dispatcher.dispatch_event(log_event(url, visitor(name)))
