"""What other threads and signal handlers leave for an engine's home."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event

from gevent_dispatcher import _home
from gevent_dispatcher._inbox import Inbox
from tests.test_buffer import encoded, envelope
from tests.waiting import wait_until


def collected(inbox: Inbox) -> tuple[list[Any], dict[Any, int]]:
    events: list[Any] = []
    refused: dict[Any, int] = {}
    inbox.collect(events.append, refused.__setitem__)
    return events, refused


def test_events_come_out_as_they_went_in_and_weigh_nothing_then() -> None:
    inbox, where = Inbox(), envelope()
    given = [encoded(where, data=b"%d" % number) for number in range(20)]
    for event in given:
        inbox.give(event)
    assert inbox.bytes == sum(event[3] for event in given)
    assert collected(inbox) == (given, {})
    assert inbox.bytes == 0
    assert collected(inbox) == ([], {})


def test_refused_events_are_counted_by_reason() -> None:
    inbox = Inbox()
    for reason in ("full", "closed", "full", "full"):
        inbox.refuse((reason, "why"))
    assert collected(inbox) == ([], {("full", "why"): 3, ("closed", "why"): 1})


def test_what_is_given_while_it_is_emptied_waits_for_the_next_time() -> None:
    inbox, event = Inbox(), encoded(envelope())
    inbox.give(event)
    inbox.refuse(("full", "why"))
    inbox.collect(inbox.give, lambda refusal, _: inbox.refuse(refusal))
    assert collected(inbox) == ([event], {("full", "why"): 1})


def test_work_that_leaves_more_work_does_not_hold_the_hub() -> None:
    home, done = _home.find_home(), []

    def work() -> None:
        done.append(1)
        if len(done) < 1_000:
            home.soon(work)

    home.soon(work)
    gevent.sleep(0)
    assert len(done) < 1_000, "the hub took no other turn meanwhile"
    wait_until(lambda: len(done) == 1_000)
