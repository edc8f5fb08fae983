"""The batches of one origin: what goes next, what must wait, and which of them is to blame."""

from __future__ import annotations

import pytest

from gevent_dispatcher._breaker import OPENS_AFTER, Breaker
from gevent_dispatcher._event import Envelope, merge
from gevent_dispatcher._lane import Batch, Lane
from gevent_dispatcher._url import parse

ENVELOPE = Envelope("POST", parse("http://us.example"), {"X-A": "b"}, b'{"visitors":[', b"]}")


def longest(low: float, high: float) -> float:
    return high


def lane() -> Lane:
    return Lane(Breaker(10, 30.0, longest))


def batch(number: int = 1, events: int = 3, attempts: int = 0) -> Batch:
    made = Batch(ENVELOPE, number, 100.0)
    made.parts = [b'{"n":%d}' % each for each in range(events)]
    made.size = sum(len(part) + 1 for part in made.parts)
    made.attempts = attempts
    return made


def sealed(events: int = 3) -> Batch:
    """One that came whole, as from a queue."""
    made = Batch(Envelope("POST", parse("http://us.example"), {"X-A": "b"}), 1, 100.0)
    made.parts = [merge(ENVELOPE, batch(events=events).parts).body or b""]
    made.sealed, made.size = events, len(made.parts[0])
    return made


def sent(where: Lane, now: float = 100.0) -> Batch:
    """Have the next batch go."""
    assert where.is_due(now)
    chosen = where.choose(now)
    where.depart(chosen)
    return chosen


def fail(where: Lane, *batches: Batch, now: float = 100.0) -> None:
    """They go, and fail as an event of theirs may cause it."""
    for each in batches:
        where.depart(each)
    for each in batches:
        where.failed(each, now, 0.0, may_be_its_fault=True)


def answer(where: Lane, number: int = 99) -> None:
    """Another batch goes, and is answered."""
    other = batch(number)
    where.depart(other)
    where.answered(other)


# -- a batch -----------------------------------------------------------------------------------------------------------


def test_a_new_batch_has_no_past() -> None:
    new = Batch(ENVELOPE, 7, 100.0, 50)
    assert (new.envelope, new.number, new.opened, new.room, new.parts) == (ENVELOPE, 7, 100.0, 50, [])
    assert (new.visitors, new.size, new.attempts, new.failures, new.blame, new.seen, new.sealed) == (0,) * 7
    assert (new.has_scout, new.in_flight, new.is_probe, new.is_settled) == (False,) * 4
    assert (new.rest, new.ticket, new.kin) == (None, None, None)
    assert Batch(ENVELOPE, 7, 100.0).room == 0


def test_a_batch_reads_as_what_it_holds() -> None:
    assert repr(batch(4, 2, 5)) == "<Batch 4: 2 events, 16 bytes, 5 attempts>"


def test_a_request_is_made_of_the_parts_or_is_what_came_whole() -> None:
    assert sealed().request() == batch().request() == merge(ENVELOPE, batch().parts)
    assert sealed().request().events == 3


def test_what_came_whole_is_opened_into_its_events() -> None:
    whole = sealed()
    assert (whole.events, whole.unseal()) == (3, True)
    assert (whole.parts, whole.size, whole.sealed, whole.events) == (batch().parts, batch().size, 0, 3)
    assert whole.request() == batch().request()


def test_an_event_that_looks_like_a_merged_body_is_not_opened() -> None:
    alone = batch()
    alone.parts = [b'{"visitors":[1,2]}']
    assert not alone.unseal()
    assert (alone.parts, alone.events) == ([b'{"visitors":[1,2]}'], 1)


def test_what_cannot_be_opened_cannot_be_split() -> None:
    whole = sealed()
    whole.parts = [b"not JSON"]
    assert not whole.unseal()
    assert (whole.sealed, whole.parts) == (3, [b"not JSON"])


@pytest.mark.parametrize(("events", "can_be_split"), [(1, False), (2, True)])
def test_one_event_cannot_be_split(events: int, can_be_split: bool) -> None:
    assert batch(events=events).unseal() is can_be_split
    assert sealed(events).unseal() is can_be_split


def test_a_piece_has_the_past_of_its_batch() -> None:
    whole = batch(4, attempts=2)
    whole.ticket, whole.failures = "ticket", 3
    one, rest = whole.piece(whole.parts[:1]), whole.piece(whole.parts[1:])
    assert (one.envelope, one.number, one.opened, one.attempts, one.ticket) == (ENVELOPE, 4, 100.0, 2, "ticket")
    assert (one.parts, one.size, rest.events, rest.size) == ([b'{"n":0}'], 8, 2, 16)
    assert one.is_piece
    assert not one.failures
    assert one.kin is rest.kin is one.piece(one.parts).kin
    assert one.kin is not None
    assert (one.kin.events, one.kin.refused) == (3, 0)


@pytest.mark.parametrize(("events", "failures", "is_stuck"), [(2, 3, True), (2, 4, True), (2, 2, False), (1, 3, False)])
def test_three_failures_in_a_row_are_where_several_events_are_stuck(events: int, failures: int, is_stuck: bool) -> None:
    made = batch(events=events)
    made.failures = failures
    assert made.is_stuck is is_stuck


def test_what_is_settled_or_under_way_is_gone() -> None:
    made = batch()
    assert not made.is_gone
    made.in_flight = True
    assert made.is_gone
    made.in_flight, made.is_settled = False, True
    assert made.is_gone


# -- what goes next ----------------------------------------------------------------------------------------------------


def test_batches_go_in_their_order_and_what_is_put_before_them_first() -> None:
    where = lane()
    assert (where.is_empty, where.is_idle, where.is_due(100.0), where.in_flight) == (True, True, False, 0)
    first, second, third, fourth = (batch(number) for number in range(1, 5))
    where.append(first)
    where.append(second)
    where.prepend(third, fourth)
    assert (where.is_empty, where.is_idle) == (False, False)
    assert where.resting() == [third, fourth, first, second]
    assert [sent(where) for _ in range(4)] == [third, fourth, first, second]
    assert (where.is_empty, where.is_idle, where.in_flight) == (True, False, 4)


def test_what_waits_goes_at_its_time_and_before_what_is_ready() -> None:
    where = lane()
    late, early, same, ready = (batch(number) for number in range(1, 5))
    where.wait(late, 107.0, asked=False)
    where.wait(early, 105.0, asked=False)
    where.wait(same, 107.0, asked=False)
    assert not where.is_due(104.9)
    assert where.next_due(100.0, has_more=False) == 105.0
    assert where.is_due(105.0)
    assert where.next_due(105.0, has_more=False) is None
    assert sent(where, 105.0) is early
    where.append(ready)
    assert sent(where, 106.9) is ready
    assert where.next_due(106.9, has_more=False) == 107.0
    assert [sent(where, 107.0), sent(where, 107.0)] == [late, same]


def test_those_that_have_waited_go_in_the_order_in_which_their_waits_ended() -> None:
    where = lane()
    ready, first, second, third, fourth = (batch(number) for number in range(1, 6))
    where.append(ready)
    for each, not_before in ((third, 107.0), (second, 106.0), (fourth, 107.0), (first, 105.0)):
        where.wait(each, not_before, asked=False)
    assert [sent(where, 107.0) for _ in range(5)] == [first, second, third, fourth, ready]


def test_what_is_gone_meanwhile_is_passed_over() -> None:
    where = lane()
    batches = [batch(number) for number in range(1, 7)]
    for each in batches[:3]:
        where.append(each)
    for each in batches[3:]:
        where.wait(each, 105.0 + each.number, asked=False)
    batches[0].is_settled = batches[3].in_flight = True
    assert where.resting() == [batches[1], batches[2], batches[4], batches[5]]
    assert sent(where, 100.0) is batches[1]
    batches[2].is_settled = True
    assert not where.is_due(109.9)
    assert where.next_due(100.0, has_more=False) == 110.0
    batches[4].is_settled = batches[5].is_settled = True
    assert not where.is_due(1e9)
    assert (where.is_empty, where.next_due(100.0, has_more=False)) == (True, None)


def test_what_was_lent_is_forgotten_until_it_comes_back() -> None:
    where = lane()
    ready, lent, waiting, other = (batch(number) for number in range(1, 5))
    for each in (ready, lent):
        where.append(each)
    where.wait(other, 120.0, asked=False)
    where.wait(waiting, 110.0, asked=True)
    lent.in_flight = other.in_flight = True
    where.remove_lent()
    lent.in_flight = other.in_flight = False
    assert where.resting() == [ready, waiting]
    where.prepend(lent)
    assert [sent(where), sent(where)] == [lent, ready]
    assert where.next_due(100.0, has_more=False) == 110.0


def test_an_open_breaker_lets_the_least_tried_go_as_a_probe() -> None:
    where = lane()
    for _ in range(OPENS_AFTER):
        fail(where, batch(99), now=100.0)
    tried, gone, fresh = batch(1, attempts=5), batch(2, attempts=0), batch(3, attempts=1)
    gone.is_settled = True
    for each in (tried, gone, fresh):
        where.append(each)
    assert not where.is_due(100.0)
    rest = where.next_due(100.0, has_more=False)
    assert rest is not None
    assert rest > 100.0
    assert sent(where, rest) is fresh
    assert fresh.is_probe
    assert not where.is_due(rest)  # one probe at a time
    assert where.next_due(rest, has_more=True) is None
    where.unsent(fresh)
    assert not fresh.in_flight
    assert sent(where, rest) is tried


def test_what_is_due_next_behind_an_open_breaker_is_due_when_it_has_rested() -> None:
    where = lane()
    for seconds in range(OPENS_AFTER):
        fail(where, batch(99), now=96.0 + seconds)  # for four seconds: it rests for one
    assert where.next_due(100.0, has_more=False) is None
    assert where.next_due(100.0, has_more=True) == 101.0
    assert where.next_due(101.0, has_more=True) is None
    where.wait(batch(1), 100.5, asked=False)
    assert where.next_due(100.0, has_more=False) == 101.0
    assert where.next_due(100.6, has_more=False) == 101.0
    where.wait(batch(2), 100.7, asked=False)
    assert where.next_due(100.0, has_more=False) == 101.0


def test_hurry_ends_waits_and_only_if_told_those_that_were_asked_for() -> None:
    where = lane()
    own, asked, later = batch(1), batch(2), batch(3)
    where.wait(asked, 105.0, asked=True)
    where.wait(own, 110.0, asked=False)
    where.wait(later, 120.0, asked=True)
    where.hurry(even_asked=False)
    assert sent(where) is own
    assert not where.is_due(104.9)
    assert where.next_due(100.0, has_more=False) == 105.0
    where.hurry(even_asked=True)
    assert [sent(where), sent(where)] == [asked, later]
    assert where.is_empty


def test_the_last_hurry_ends_the_rest_of_the_breaker_and_another_does_not() -> None:
    where = lane()
    for _ in range(OPENS_AFTER):
        fail(where, batch(99))
    where.append(batch(1))
    where.hurry(even_asked=False)
    assert not where.is_due(100.0)
    where.hurry(even_asked=True)
    assert where.is_due(100.0)


def test_it_rests_while_its_breaker_is_open_or_a_time_that_was_asked_for_lasts() -> None:
    where = lane()
    where.wait(batch(1), 300.0, asked=False)
    assert not where.rests(by=200.0)
    asked = batch(2)
    where.wait(asked, 250.0, asked=True)
    assert [where.rests(by=by) for by in (249.9, 250.0)] == [True, False]
    asked.is_settled = True
    assert not where.rests(by=200.0)
    for _ in range(OPENS_AFTER):
        fail(where, batch(99))
    assert where.rests(by=200.0)


# -- whose fault it is -------------------------------------------------------------------------------------------------


def test_failures_of_an_origin_that_never_answered_speak_against_nothing() -> None:
    where, one = lane(), batch()
    for _ in range(3):
        fail(where, one)
    assert (one.failures, one.blame, one.in_flight, where.in_flight) == (3, 0.0, False, 0)


def test_three_failures_of_one_batch_alone_make_it_suspected() -> None:
    where, one = lane(), batch()
    answer(where)
    blamed = []
    for _ in range(3):
        fail(where, one)
        blamed.append((one.blame, one.is_suspect))
    assert blamed == [(1.0, False), (2.0, False), (3.0, True)]


def test_two_failures_of_a_piece_make_it_suspected_or_guilty() -> None:
    where, whole = lane(), batch()
    two, one = whole.piece(whole.parts[:2]), whole.piece(whole.parts[2:])
    answer(where)
    for each in (two, one):
        fail(where, each)
        assert not each.is_suspect
        assert not each.is_guilty
        fail(where, each)
    assert (two.is_suspect, two.is_guilty) == (True, False)
    assert (one.is_suspect, one.is_guilty) == (False, True)


def test_a_failure_that_events_cannot_cause_speaks_against_none() -> None:
    where, one = lane(), batch()
    answer(where)
    where.depart(one)
    where.failed(one, 100.0, 0.0, may_be_its_fault=False)
    assert (one.failures, one.blame) == (1, 0.0)


def test_failures_of_several_at_once_speak_against_none_and_half_if_there_were_answers_between() -> None:
    where, one, other = lane(), batch(1), batch(2)
    answer(where)
    fail(where, one, other)
    assert (one.blame, other.blame) == (1.0, 0.5)  # the first of them was alone until then
    fail(where, one, other)
    assert (one.blame, other.blame) == (1.0, 0.5)
    answer(where)
    fail(where, other, one)
    assert (one.blame, other.blame) == (1.5, 1.5)
    answer(where)
    fail(where, other)
    assert other.blame == 2.5


def test_one_whose_scout_came_through_while_it_fails_is_suspected_at_once() -> None:
    where, one, other = lane(), batch(1), batch(2)
    answer(where)
    fail(where, other, one)
    before = one.blame
    one.has_scout = True
    answer(where)
    fail(where, other, one)
    assert one.blame == before + 2
    assert not one.has_scout


def test_one_whose_scout_did_not_come_through_is_like_any_other() -> None:
    where, one, other = lane(), batch(1), batch(2)
    answer(where)
    fail(where, other, one)
    before = one.blame
    one.has_scout = True
    fail(where, other, one)
    assert one.blame == before


def test_the_failures_of_the_guilty_event_say_nothing_of_the_origin() -> None:
    where, whole = lane(), batch()
    guilty = whole.piece(whole.parts[:1])
    answer(where)
    fail(where, guilty)
    fail(where, guilty)
    assert (guilty.is_guilty, where.breaker.failures) == (True, 2)
    fail(where, guilty)
    assert (guilty.failures, guilty.blame, where.breaker.failures, where.in_flight) == (3, 2.0, 2, 0)
    where.depart(guilty)
    where.failed(guilty, 100.0, 0.0, may_be_its_fault=False)  # but that the origin asks for time does
    assert where.breaker.failures == 3


def test_an_answer_is_told_to_the_breaker_and_what_the_origin_asked_for_too() -> None:
    where = lane()
    for _ in range(OPENS_AFTER):
        each = batch()
        where.depart(each)
        where.failed(each, 100.0, 60.0, may_be_its_fault=False)
    assert where.next_due(100.0, has_more=True) == 160.0
    probe = batch()
    where.append(probe)
    assert sent(where, 160.0).is_probe
    where.answered(probe)
    assert (where.breaker.is_open, where.in_flight, probe.in_flight) == (False, 0, False)
