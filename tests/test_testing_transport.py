"""FakeTransport: a script of answers, behind a real dispatcher."""

from __future__ import annotations

import itertools
from time import monotonic
from typing import Any

import gevent
import pytest

from gevent_dispatcher import Answer, GeventEventDispatcher, Request
from gevent_dispatcher.testing import NO_ANSWER, FakeTransport, after
from tests.events import log_event, visitor
from tests.waiting import wait_until

URL = "http://events.example/v1/events"


def delivered(transport: FakeTransport, events: int = 1, **settings: Any) -> GeventEventDispatcher:
    """A dispatcher that has delivered some events."""
    quick = {"flush_interval": 0, "backoff_base": 0.001, "backoff_max": 0.001, **settings}
    dispatcher = GeventEventDispatcher(transport=transport, **quick)
    for number in range(events):
        dispatcher.dispatch_event(log_event(URL, visitor(f"visitor-{number}")))
    assert dispatcher.flush(10)
    dispatcher.close(1)
    return dispatcher


def test_a_script_of_statuses_is_answered_in_turn_and_then_the_default() -> None:
    transport = FakeTransport([503, 503, 204])
    stats = delivered(transport).stats()
    assert (stats.delivered, stats.requests, stats.retries) == (1, 3, 2)
    assert (transport.opened, transport.closed) == (1, 1)
    assert len({request.body for request in transport.requests}) == 1
    assert delivered(FakeTransport(default=400)).stats().dropped["rejected"] == 1
    assert delivered(FakeTransport([503], default=404)).stats().dropped["rejected"] == 1


def test_what_was_sent_can_be_read() -> None:
    transport = FakeTransport([503])
    delivered(transport, 2, batch_size=2, flush_interval=5)
    assert [len(payload["visitors"]) for payload in transport.payloads] == [2, 2]
    assert [event.visitor for event in transport.events] == ["visitor-0", "visitor-1"] * 2
    assert [request.events for request in transport.requests] == [2, 2]


@pytest.mark.parametrize(
    "step", [NO_ANSWER, Answer(503, "0"), RuntimeError("broken"), OSError, lambda request: 500, after(0.001, 502)]
)
def test_each_kind_of_step_that_fails_is_retried(step: Any) -> None:
    stats = delivered(FakeTransport([step])).stats()
    assert (stats.delivered, stats.requests) == (1, 2)


def test_a_callable_decides_by_the_request() -> None:
    def picky(request: Request) -> Any:
        return 400 if b"visitor-3" in (request.body or b"") else after(0.001, 204)

    stats = delivered(FakeTransport(default=picky), 10, flush_interval=5).stats()
    assert (stats.delivered, stats.dropped["rejected"]) == (9, 1)


def test_a_script_may_be_endless() -> None:
    transport = FakeTransport(itertools.cycle([503, 204]))
    assert delivered(transport, 5, batch_size=1, pool_size=1).stats().delivered == 5
    assert len(transport.requests) == 10


def test_a_delay_holds_the_sender_for_its_time() -> None:
    begin = monotonic()
    delivered(FakeTransport([after(0.1, 204)]))
    assert monotonic() - begin >= 0.09


def test_what_runs_before_an_answer_may_wait() -> None:
    gate, asked = gevent.event.Event(), []

    def wait(request: Request) -> None:
        asked.append(request)
        gate.wait(10)

    transport = FakeTransport(before=wait)
    with GeventEventDispatcher(transport=transport, flush_interval=0) as dispatcher:
        dispatcher.dispatch_event(log_event(URL))
        wait_until(lambda: asked)
        assert dispatcher.stats().pending == 1
        gate.set()
        wait_until(lambda: dispatcher.stats().delivered == 1)


@pytest.mark.parametrize("step", [None, True, 99, 600, "204", [204]])
def test_a_step_that_is_none_is_refused_where_it_is_written(step: Any) -> None:
    refused = "must be an HTTP status from 100 to 599, an Answer"
    with pytest.raises(ValueError, match=refused):
        FakeTransport([204, step])
    with pytest.raises(ValueError, match=refused):
        FakeTransport(default=step)
    with pytest.raises(ValueError, match=refused):
        after(1, step)


@pytest.mark.parametrize("seconds", [-1, 3601, "1", True])
def test_a_delay_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"after\(.*\): must be a number of seconds from 0 to 3600"):
        after(seconds, 204)


def test_a_callable_that_returns_no_step_is_said(caplog: pytest.LogCaptureFixture) -> None:
    stats = delivered(FakeTransport([lambda request: None])).stats()
    assert stats.delivered == 1
    assert "the transport raised" in caplog.text
    assert "ValueError" in caplog.text


def test_it_reads_without_what_was_sent() -> None:
    transport = FakeTransport()
    delivered(transport)
    assert repr(transport) == "<FakeTransport, 1 requests>"
