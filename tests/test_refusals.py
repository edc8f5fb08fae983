"""Which envelopes are refused whatever they hold: what speaks against one, and what clears it."""

from __future__ import annotations

from typing import Callable

import pytest

from gevent_dispatcher._event import Envelope
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._refusals import Refusals
from gevent_dispatcher._url import parse


def envelope(revision: int = 1) -> Envelope:
    return Envelope("POST", parse("http://us.example"), {}, b'{"revision":%d,"visitors":[' % revision, b"]}")


def batch(events: int, where: Envelope) -> Batch:
    made = Batch(where, 1, 100.0)
    made.parts = [b"{}"] * events
    return made


def sealed(events: int, where: Envelope) -> Batch:
    """One that came whole, as from a queue: its envelope knows nothing of what stands around the visitors."""
    made = Batch(Envelope("POST", parse("http://us.example"), {}), 1, 100.0)
    made.parts = [where.prefix + b",".join([b"{}"] * events) + where.suffix]
    made.sealed = events
    return made


def refused_to_the_last(refusals: Refusals, events: int, where: Envelope) -> None:
    """A batch is taken apart, and each of its events refused."""
    whole = batch(events, where)
    for part in whole.parts:
        refusals.refused_alone(whole.piece([part]))


def is_judged_by_one(refusals: Refusals, where: Envelope) -> bool:
    return refusals.speak_against(batch(10, where))


def test_fifty_events_refused_to_the_last_speak_against_their_envelope() -> None:
    refusals, where, other = Refusals(), envelope(), envelope(2)
    assert not is_judged_by_one(refusals, where)
    refused_to_the_last(refusals, 30, where)
    refused_to_the_last(refusals, 19, where)
    assert not is_judged_by_one(refusals, where)
    refusals.refused_alone(batch(1, where))
    assert is_judged_by_one(refusals, where)
    assert not is_judged_by_one(refusals, other)


def test_an_equal_envelope_is_the_same_one() -> None:
    refusals = Refusals()
    refused_to_the_last(refusals, 50, envelope())
    assert is_judged_by_one(refusals, envelope())


def test_what_is_being_taken_apart_is_taken_apart_to_the_end() -> None:
    refusals, where = Refusals(), envelope()
    refused_to_the_last(refusals, 50, where)
    assert not refusals.speak_against(batch(10, where).piece([b"{}"] * 5))


def test_a_batch_of_which_one_event_is_not_refused_yet_speaks_against_nothing() -> None:
    refusals, where = Refusals(), envelope()
    whole = batch(100, where)
    for part in whole.parts[1:]:
        refusals.refused_alone(whole.piece([part]))
    assert not is_judged_by_one(refusals, where)
    refusals.refused_alone(whole.piece(whole.parts[:1]))
    assert is_judged_by_one(refusals, where)


def test_what_came_whole_and_cannot_be_opened_counts_with_all_its_events() -> None:
    refusals, where = Refusals(), envelope()
    whole = sealed(50, where)
    refusals.refused_alone(whole)
    assert is_judged_by_one(refusals, whole.envelope)


@pytest.mark.parametrize("deliver", [batch, sealed])
def test_one_that_is_delivered_clears_its_envelope_and_no_other(deliver: Callable[[int, Envelope], Batch]) -> None:
    refusals, first, second = Refusals(), envelope(1), envelope(2)
    for where in (first, second):
        refused_to_the_last(refusals, 50, where)
    refusals.delivered(deliver(3, first))
    refusals.delivered(deliver(3, envelope(3)))  # nothing was ever said of this one
    assert not is_judged_by_one(refusals, first)
    assert is_judged_by_one(refusals, second)


def test_a_thousand_envelopes_are_remembered_and_no_more() -> None:
    refusals = Refusals()
    for revision in range(1_000):
        refusals.refused_alone(batch(50, envelope(revision)))
    assert all(is_judged_by_one(refusals, envelope(revision)) for revision in range(1_000))
    refusals.refused_alone(batch(50, envelope(1_000)))
    assert is_judged_by_one(refusals, envelope(1_000))
    assert not any(is_judged_by_one(refusals, envelope(revision)) for revision in range(1_000))
