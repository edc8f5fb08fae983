"""The buffer conserves events and bytes, keeps batches whole and sends in time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._event import Encoded, Envelope, Request
from gevent_dispatcher._health import BreakerState, Health, OriginHealth
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._url import Address, Origin, parse
from tests.floats import floats

ORIGINS = ("http://us.example", "http://eu.example")


def envelope(url: str = ORIGINS[0], verb: str = "POST") -> Envelope:
    return Envelope(verb, parse(url), {}, b'{"visitors":[', b"]}")


def encoded(where: Envelope, visitors: int = 1, data: bytes = b"{}") -> Encoded:
    return where, data, visitors, len(data) + 1


def at(now: float) -> Any:
    return lambda: now


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def sent_and_answered(waiting: Buffer, now: float) -> Batch:
    """Take what is due, and have its origin answer."""
    batch = waiting.take(now)
    assert batch is not None
    waiting.answered(batch)
    return batch


def sent_and_failed(waiting: Buffer, now: float, asked: float = 0.0) -> Batch:
    """Take what is due, and have its origin fail."""
    batch = waiting.take(now)
    assert batch is not None
    waiting.failed(batch, now, asked, may_be_its_fault=False)
    return batch


def buffer(**changes: Any) -> Buffer:
    return Buffer(Config(**changes), middle)


def test_an_event_waits_for_company_until_its_linger_is_over() -> None:
    waiting, where = buffer(flush_interval=1.0), envelope()
    assert waiting.add(encoded(where), at(100.0)) is True
    assert waiting.add(encoded(where), at(100.5)) is False
    assert waiting.next_due(100.5) == 101.0
    assert waiting.take(100.9) is None
    assert [waiting.is_due(now) for now in (100.9, 101.0)] == [False, True]
    assert waiting.next_due(101.0) == 701.0  # its deadline: what can be done now is no matter of time
    assert not waiting.add(encoded(where), at(101.0))  # to look does not close it
    batch = waiting.take(101.0)
    assert batch is not None
    assert batch.events == 3
    assert waiting.take(200.0) is None


def test_a_full_batch_is_due_at_once() -> None:
    waiting, where = buffer(batch_size=2), envelope()
    waiting.add(encoded(where), at(100.0))
    assert not waiting.is_due(100.0)
    assert waiting.add(encoded(where), at(100.0))
    assert waiting.is_due(100.0)
    assert waiting.next_due(100.0) == 701.0  # its deadline, with what expires being looked for now and then


def test_an_event_with_more_visitors_than_a_batch_goes_alone() -> None:
    waiting, where = buffer(batch_size=10), envelope()
    for visitors in (1, 11, 1):
        waiting.add(encoded(where, visitors), at(100.0))
    waiting.hurry()
    assert taken_sizes(waiting) == [1, 1, 1]


def test_a_request_is_cut_before_it_grows_past_its_bytes() -> None:
    waiting, where = buffer(max_request_bytes=1_000), envelope()
    for _ in range(5):
        waiting.add(encoded(where, data=b"x" * 300), at(100.0))
    waiting.hurry()
    assert taken_sizes(waiting) == [3, 2]


@pytest.mark.parametrize(("last", "sizes"), [(485, [2]), (486, [1, 1])])
def test_a_request_may_be_as_large_as_its_bytes(last: int, sizes: list[int]) -> None:
    waiting, where = buffer(max_request_bytes=1_000), envelope()
    assert where.overhead == 15
    for size in (500, last):
        waiting.add(encoded(where, data=b"x" * (size - 1)), at(100.0))
    waiting.hurry()
    assert taken_sizes(waiting) == sizes


def test_what_is_settled_makes_room_for_as_much() -> None:
    waiting, where = buffer(buffer_events=10, buffer_bytes=1_000), envelope()
    assert waiting.full is False
    for size in (600, 399, 1):
        assert not waiting.full
        waiting.add(encoded(where, data=b"x" * (size - 1)), at(100.0))
    assert (waiting.full, waiting.bytes) == (True, 1_000)
    waiting.settle(sent_and_answered(waiting, 101.0))
    assert (waiting.full, waiting.bytes, waiting.events) == (False, 0, 0)


def test_a_single_event_may_be_larger_than_a_request() -> None:
    waiting, where = buffer(max_request_bytes=1_000), envelope()
    waiting.add(encoded(where, data=b"x" * 5_000), at(100.0))
    waiting.add(encoded(where), at(100.0))
    assert taken_sizes(waiting) == [1]


def taken_sizes(waiting: Buffer) -> list[int]:
    sizes = []
    while True:
        batch = waiting.take(100.0)
        if batch is None:
            return sizes
        sizes.append(batch.events)


def test_it_waits_in_vain_while_all_that_is_pending_is_for_origins_that_are_left_alone() -> None:
    waiting = buffer(batch_size=1)
    assert not waiting.waits_in_vain(102.0)
    waiting.add(encoded(envelope(ORIGINS[0])), at(100.0))
    batch = sent_and_failed(waiting, 100.0, asked=5.0)
    assert not waiting.waits_in_vain(102.0)  # it is with somebody who has not said yet what becomes of it
    waiting.put_back(batch, 105.0, asked=True)
    assert waiting.waits_in_vain(102.0)
    assert not waiting.waits_in_vain(105.0)
    waiting.add(encoded(envelope(ORIGINS[1])), at(100.0))
    assert not waiting.waits_in_vain(102.0)
    well = waiting.take(100.0)
    assert well is not None
    assert not waiting.waits_in_vain(102.0)  # it is under way
    waiting.answered(well)
    waiting.settle(well)
    assert waiting.waits_in_vain(102.0)
    waiting.settle(batch)
    assert not waiting.waits_in_vain(102.0)


def test_it_does_not_wait_in_vain_while_a_batch_gathers_events() -> None:
    waiting, us, eu = buffer(batch_size=2), envelope(ORIGINS[0]), envelope(ORIGINS[1])
    for where in (us, us, eu):
        waiting.add(encoded(where), at(100.0))
    waiting.put_back(sent_and_failed(waiting, 100.0, asked=5.0), 105.0, asked=True)
    assert not waiting.waits_in_vain(102.0)


def test_origins_take_turns() -> None:
    waiting = buffer(batch_size=1)
    us, eu = envelope(ORIGINS[0]), envelope(ORIGINS[1])
    for where in (us, us, us, eu, eu):
        waiting.add(encoded(where), at(100.0))
    hosts = [batch.envelope.origin.host for batch in iter(lambda: waiting.take(100.0), None)]
    assert hosts == ["us.example", "eu.example", "us.example", "eu.example", "us.example"]


def test_a_batch_that_was_put_back_waits_and_keeps_its_place_in_the_bounds() -> None:
    waiting, where = buffer(batch_size=1, buffer_events=2), envelope()
    waiting.add(encoded(where), at(100.0))
    batch = sent_and_failed(waiting, 100.0)
    waiting.put_back(batch, 105.0, asked=False)
    waiting.add(encoded(where), at(100.0))
    assert waiting.full
    assert not waiting.fits(1)
    assert waiting.take(100.0) is not batch
    assert waiting.next_due(100.0) == 105.0
    assert waiting.take(104.9) is None
    assert waiting.take(105.0) is batch


def test_hurry_ends_our_own_waits_but_not_what_the_endpoint_asked_for() -> None:
    waiting, where = buffer(batch_size=1), envelope()
    for _ in range(2):
        waiting.add(encoded(where), at(100.0))
    own, asked = sent_and_failed(waiting, 100.0), sent_and_failed(waiting, 100.0)
    waiting.put_back(own, 150.0, asked=False)
    waiting.put_back(asked, 140.0, asked=True)
    waiting.hurry()
    assert sent_and_answered(waiting, 100.0) is own
    assert waiting.take(100.0) is None
    waiting.hurry(even_asked=True)
    assert waiting.take(100.0) is asked


def test_a_retry_makes_the_same_request() -> None:
    waiting, where = buffer(), envelope()
    for number in range(3):
        waiting.add(encoded(where, data=b'{"n":%d}' % number), at(100.0))
    batch = sent_and_failed(waiting, 101.0)
    first = batch.request()
    waiting.put_back(batch, 102.0, asked=False)
    again = waiting.take(102.0)
    assert again is batch
    assert again.request() == first
    assert first.body is not None
    assert json.loads(first.body) == {"visitors": [{"n": 0}, {"n": 1}, {"n": 2}]}


def test_an_idle_buffer_has_nothing_due() -> None:
    waiting = buffer()
    assert (waiting.next_due(0.0), waiting.oldest, waiting.is_due(1e9), waiting.take(1e9)) == (None, None, False, None)


def test_a_batch_reads_without_its_payload() -> None:
    waiting = buffer(batch_size=1)
    waiting.add(encoded(envelope(), data=b'{"secret":1}'), at(100.0))
    assert "secret" not in repr(waiting.take(100.0))


def test_an_origin_that_was_never_heard_of_gets_half_of_the_slots() -> None:
    waiting, where = buffer(batch_size=1, pool_size=10), envelope()
    for _ in range(20):
        waiting.add(encoded(where), at(100.0))
    assert taken_sizes(waiting) == [1] * 5


def test_the_last_slot_is_for_an_origin_that_has_none() -> None:
    waiting = buffer(batch_size=1, pool_size=4)
    us, eu = envelope(ORIGINS[0]), envelope(ORIGINS[1])
    for where in (us, us, us, us, eu):
        waiting.add(encoded(where), at(100.0))
    for _ in range(3):  # both are known and well
        waiting.settle(sent_and_answered(waiting, 100.0))
    for _ in range(9):
        waiting.add(encoded(us), at(100.0))
    hosts = [batch.envelope.origin.host for batch in iter(lambda: waiting.take(100.0), None)]
    assert hosts == ["us.example"] * 3
    waiting.add(encoded(eu), at(100.0))
    batch = waiting.take(100.0)
    assert batch is not None
    assert batch.envelope.origin.host == "eu.example"


def test_behind_an_open_breaker_everything_waits_for_one_probe_and_then_starts_slowly() -> None:
    waiting, where = buffer(batch_size=1, pool_size=10), envelope()
    for _ in range(30):
        waiting.add(encoded(where), at(100.0))
    for now in (96.0, 97.0, 98.0, 99.0, 100.0):
        waiting.put_back(sent_and_failed(waiting, now), now, asked=False)
    assert waiting.is_resting(where.origin)
    assert not waiting.is_due(100.7)
    assert waiting.next_due(100.0) == 100.75
    assert taken_sizes(waiting) == []
    probe = waiting.take(103.0)
    assert probe is not None
    assert waiting.take(103.0) is None
    assert waiting.next_due(103.0) == 701.0
    waiting.answered(probe)
    waiting.settle(probe)
    assert not waiting.is_resting(where.origin)
    growing = []
    for _ in range(4):
        batches = list(iter(lambda: waiting.take(103.0), None))
        growing.append(len(batches))
        for batch in batches:
            waiting.answered(batch)
            waiting.settle(batch)
    assert growing == [1, 2, 4, 8]


def test_what_waits_behind_an_open_breaker_expires_and_what_is_in_flight_does_not() -> None:
    waiting, where = buffer(batch_size=1, delivery_timeout=20.0, backoff_base=30.0), envelope()
    waiting.add(encoded(envelope(ORIGINS[1])), at(100.0))
    in_flight = waiting.take(100.0)
    for _ in range(6):
        waiting.add(encoded(where), at(100.0))
    waiting.add(encoded(where), at(110.0))
    for _ in range(5):
        waiting.put_back(sent_and_failed(waiting, 100.0), 1_000.0, asked=True)
    assert waiting.expired(119.9) == []
    over = waiting.expired(121.0)
    assert [batch.number for batch in over] == [2, 3, 4, 5, 6, 7]
    for batch in over:
        waiting.settle(batch)
    assert (waiting.events, waiting.oldest) == (2, 1)
    assert waiting.next_due(121.0) == 131.0
    assert in_flight is not None


def test_waiting_for_company_leaves_time_to_be_sent() -> None:
    waiting = buffer(flush_interval=100.0, delivery_timeout=10.0)
    waiting.add(encoded(envelope()), at(100.0))
    assert waiting.next_due(100.0) == 105.0
    assert waiting.take(105.0) is not None


def test_an_open_batch_expires_too() -> None:
    waiting = buffer(flush_interval=100.0, delivery_timeout=10.0)
    waiting.add(encoded(envelope()), at(100.0))
    (batch,) = waiting.expired(111.0)
    waiting.settle(batch)
    assert waiting.take(300.0) is None
    assert waiting.next_due(300.0) is None


def test_the_halves_of_a_batch_go_next_and_keep_its_place() -> None:
    waiting, where = buffer(batch_size=3, buffer_events=6), envelope()
    for number in range(6):
        waiting.add(encoded(where, data=b"%d" % number), at(100.0))
    batch = sent_and_answered(waiting, 100.0)
    waiting.halve(batch)
    assert (waiting.events, waiting.bytes, waiting.full, waiting.oldest) == (6, 12, True, batch.number)
    taken = [each.parts for each in iter(lambda: waiting.take(100.0), None)]
    assert taken == [[b"0"], [b"1", b"2"], [b"3", b"4", b"5"]]


def test_one_event_of_a_batch_goes_ahead_and_the_rest_waits_for_its_fate() -> None:
    waiting, where = buffer(batch_size=5), envelope()
    for number in range(5):
        waiting.add(encoded(where, data=b"%d" % number), at(100.0))
    waiting.send_one_of(sent_and_answered(waiting, 100.0))
    one = sent_and_answered(waiting, 100.0)
    assert one.parts == [b"2"]
    assert waiting.take(100.0) is None
    waiting.release_rest(one)
    waiting.settle(one)
    assert [each.parts for each in iter(lambda: waiting.take(100.0), None)] == [[b"0", b"1"], [b"3", b"4"]]


def test_the_other_of_two_goes_on_whole_when_the_fate_of_the_one_is_known() -> None:
    waiting, where = buffer(batch_size=2), envelope()
    for number in range(2):
        waiting.add(encoded(where, data=b"%d" % number), at(100.0))
    waiting.send_one_of(sent_and_answered(waiting, 100.0))
    one = sent_and_answered(waiting, 100.0)
    waiting.release_rest(one)
    waiting.settle(one)
    assert (one.parts, one.rest, waiting.splits) == ([b"1"], None, 1)
    assert sent_and_answered(waiting, 100.0).parts == [b"0"]


def test_what_waited_for_the_fate_of_another_may_have_ended_meanwhile() -> None:
    waiting, where = buffer(batch_size=3), envelope()
    for _ in range(3):
        waiting.add(encoded(where), at(100.0))
    waiting.send_one_of(sent_and_answered(waiting, 100.0))
    one = sent_and_answered(waiting, 100.0)
    assert one.rest is not None
    waiting.settle(one.rest)
    waiting.release_rest(one)
    waiting.settle(one)
    assert (waiting.events, waiting.bytes, waiting.take(100.0)) == (0, 0, None)


def test_one_event_of_what_is_stuck_behind_an_open_breaker_goes_ahead() -> None:
    waiting, where = buffer(batch_size=5), envelope()
    for number in range(5):
        waiting.add(encoded(where, data=b"%d" % number), at(100.0))
    for _ in range(5):
        waiting.put_back(sent_and_failed(waiting, 100.0), 100.0, asked=False)
    scout = waiting.take(101.0)
    assert scout is not None
    assert (scout.parts, scout.failures, scout.is_probe, waiting.splits) == ([b"2"], 5, True, 1)
    waiting.answered(scout)
    waiting.settle(scout)
    rest = waiting.take(101.0)
    assert rest is not None
    assert (rest.parts, rest.failures) == ([b"0", b"1", b"3", b"4"], 5)
    waiting.failed(rest, 101.0, 0.0, may_be_its_fault=True)
    assert rest.is_suspect  # its scout came through, and it did not


def test_what_is_stuck_goes_whole_where_the_breaker_is_closed() -> None:
    waiting, where = buffer(batch_size=2), envelope()
    for _ in range(2):
        waiting.add(encoded(where), at(100.0))
    for _ in range(4):
        waiting.put_back(sent_and_failed(waiting, 100.0), 100.0, asked=False)
    assert sent_and_answered(waiting, 100.0).events == 2


def test_what_came_to_nothing_goes_next_and_says_nothing_of_its_origin() -> None:
    waiting, where = buffer(batch_size=1, pool_size=2), envelope()
    for _ in range(3):
        waiting.add(encoded(where), at(100.0))
    batch = waiting.take(100.0)
    assert batch is not None
    assert waiting.take(100.0) is None
    waiting.return_unsent(batch)
    assert (batch.failures, waiting.is_resting(where.origin)) == (0, False)
    assert waiting.take(100.0) is batch


def test_what_comes_back_after_its_time_is_found_expired() -> None:
    waiting, where = buffer(batch_size=2), envelope()
    for _ in range(2):
        waiting.add(encoded(where), at(100.0))
    batch = waiting.take(100.0)
    assert batch is not None
    assert waiting.expired(800.0) == []
    waiting.return_unsent(batch)
    assert waiting.expired(800.0) == [batch]
    assert waiting.next_due(800.0) == float("inf")
    waiting.halve(sent_and_answered(waiting, 800.0))
    assert [each.events for each in waiting.expired(800.0)] == [1, 1]
    waiting.put_back(sent_and_failed(waiting, 800.0), 900.0, asked=False)
    assert len(waiting.expired(801.0)) == 2


def test_what_fits_is_what_stays_within_both_bounds() -> None:
    waiting = buffer(buffer_events=3, buffer_bytes=1_000)
    waiting.add(encoded(envelope(), data=b"x" * 99), at(100.0))
    assert [waiting.fits(size) for size in (900, 901)] == [True, False]
    assert [waiting.fits(1, events) for events in (2, 3)] == [True, False]
    waiting.add(encoded(envelope(), data=b"x"), at(100.0))
    assert waiting.fits(1)
    waiting.add(encoded(envelope(), data=b"x"), at(100.0))
    assert not waiting.fits(1)


def test_an_open_batch_is_due_only_where_its_origin_may_be_asked() -> None:
    waiting, us, eu = buffer(pool_size=4), envelope(ORIGINS[0]), envelope(ORIGINS[1])
    for _ in range(2):
        waiting.add(encoded(us), at(100.0))
        assert waiting.take(101.0) is not None
    waiting.add(encoded(us), at(101.0))
    assert not waiting.is_due(102.0)  # half of the slots, until it has answered
    waiting.add(encoded(eu), at(101.5))
    assert [waiting.is_due(now) for now in (102.4, 102.5)] == [False, True]
    assert waiting.next_due(102.0) == 102.5
    full = buffer(pool_size=1)
    full.add(encoded(us), at(100.0))
    assert full.is_due(101.0)
    assert full.take(101.0) is not None
    full.add(encoded(eu), at(100.0))
    assert not full.is_due(101.0)


def test_an_open_batch_waits_for_the_breaker_of_its_origin() -> None:
    waiting, where = buffer(), envelope()
    waiting.add(encoded(where), at(95.0))
    for now in (96.0, 97.0, 98.0, 99.0, 100.0):
        batch = sent_and_failed(waiting, now)
        if now < 100.0:
            waiting.put_back(batch, now, asked=False)
    waiting.settle(batch)
    waiting.add(encoded(where), at(99.0))
    assert not waiting.is_due(100.0)
    assert waiting.next_due(100.0) == 100.75
    assert waiting.is_due(100.75)


@pytest.mark.parametrize("ends", ["answered", "failed", "unsent"])
def test_each_end_of_a_request_makes_room_for_one(ends: str) -> None:
    waiting = buffer(batch_size=1, pool_size=3)
    for number in range(6):
        waiting.add(encoded(envelope(f"http://{number}.example")), at(100.0))
    taken = list(iter(lambda: waiting.take(100.0), None))
    assert len(taken) == 3
    if ends == "answered":
        waiting.answered(taken[0])
    elif ends == "failed":
        waiting.failed(taken[0], 100.0, 0.0, may_be_its_fault=False)
    else:
        waiting.return_unsent(taken[0])
    assert taken_sizes(waiting) == [1]


def test_the_rest_goes_on_as_two_halves() -> None:
    waiting, where = buffer(batch_size=3), envelope()
    for number in range(3):
        waiting.add(encoded(where, data=b"%d" % number), at(100.0))
    waiting.send_one_of(sent_and_answered(waiting, 100.0))
    one = sent_and_answered(waiting, 100.0)
    waiting.release_rest(one)
    waiting.settle(one)
    assert [each.parts for each in iter(lambda: waiting.take(100.0), None)] == [[b"0"], [b"2"]]
    assert waiting.splits == 2


def test_nothing_is_known_of_an_origin_that_was_never_heard_of() -> None:
    waiting = buffer()
    assert not waiting.is_resting(envelope().origin)
    assert not waiting.waits_in_vain(by=0.0)
    assert waiting.pieces(1) == ()


# -- what came whole ---------------------------------------------------------------------------------------------------

BODY = b'{"visitors":[{"n":0},{"n":1},{"n":2}],"a":1}'


def accepted(waiting: Buffer, body: bytes | None = BODY, events: int = 3, now: float = 100.0) -> Batch:
    """A request that was merged before, and its batch."""
    request = Request("POST", parse(ORIGINS[0]).origin, "/v1/events", {"X-A": "b"}, body, events)
    batch = waiting.accept(request, "ticket", now)
    assert batch.request() == request
    return batch


def test_a_request_that_was_merged_before_goes_as_it_came() -> None:
    waiting = buffer(buffer_events=5, buffer_bytes=1_000)
    batch = accepted(waiting)
    assert (batch.number, batch.opened, batch.ticket, batch.events, batch.size) == (1, 100.0, "ticket", 3, len(BODY))
    assert (waiting.newest, waiting.events, waiting.bytes, waiting.full) == (1, 3, len(BODY), False)
    assert waiting.next_due(100.0) == 701.0
    assert (waiting.is_due(100.0), waiting.take(100.0)) == (True, batch)
    accepted(waiting, events=2)
    assert waiting.full


def test_many_bytes_that_were_merged_before_fill_the_buffer_too() -> None:
    waiting = buffer(buffer_bytes=1_000)
    accepted(waiting, b"x" * 999)
    assert not waiting.full
    waiting.settle(accepted(waiting, b"x"))
    assert not waiting.full
    accepted(waiting, b"x")
    assert waiting.full


def test_a_request_without_a_body_weighs_nothing() -> None:
    waiting = buffer()
    request = Request("GET", parse(ORIGINS[0]).origin, "/x?a=b", {}, None, 1)
    batch = waiting.accept(request, None, 100.0)
    assert (batch.parts, batch.size, waiting.bytes, waiting.events) == ([b""], 0, 0, 1)
    assert batch.request() == request


def test_what_came_whole_weighs_what_its_events_do_once_it_is_opened() -> None:
    waiting = buffer()
    accepted(waiting)
    batch = sent_and_answered(waiting, 100.0)
    assert waiting.unseal(batch)
    assert (waiting.events, waiting.bytes) == (3, 3 * len(b'{"n":0},'))
    waiting.halve(batch)
    one, rest = sent_and_answered(waiting, 100.0), sent_and_answered(waiting, 100.0)
    assert (one.parts, rest.parts) == ([b'{"n":0}'], [b'{"n":1}', b'{"n":2}'])
    assert one.request().body == b'{"visitors":[{"n":0}],"a":1}'
    for each in (one, rest):
        waiting.settle(each)
    assert (waiting.events, waiting.bytes) == (0, 0)


def test_what_cannot_be_opened_stays_whole() -> None:
    waiting = buffer()
    accepted(waiting, b"not JSON")
    batch = sent_and_answered(waiting, 100.0)
    assert not waiting.unseal(batch)
    assert (waiting.events, waiting.bytes) == (3, 8)


# -- lent --------------------------------------------------------------------------------------------------------------


def test_the_oldest_are_lent_until_it_is_enough_and_go_next_when_they_come_back() -> None:
    waiting = buffer(batch_size=1)
    us, eu = envelope(ORIGINS[0]), envelope(ORIGINS[1])
    for where in (us, us, eu, us, eu):
        waiting.add(encoded(where, data=b"x" * 9), at(100.0))
    first = waiting.take(100.0)
    assert first is not None
    lent = waiting.lend_oldest(30)
    assert [batch.number for batch in lent] == [2, 3, 4]
    assert [batch.in_flight for batch in lent] == [True, True, True]
    assert [batch.number for batch in waiting.lend_oldest(1)] == [5]
    assert waiting.lend_oldest(1) == []
    assert (waiting.events, waiting.take(100.0)) == (5, None)
    waiting.take_back(lent)
    assert [batch.in_flight for batch in lent] == [False, False, False]
    taken = list(iter(lambda: waiting.take(100.0), None))
    assert sorted(batch.number for batch in taken) == [2, 3, 4]
    assert [batch.number for batch in taken if batch.envelope is us] == [2, 4]


def test_one_byte_more_than_a_batch_has_takes_another() -> None:
    waiting, where = buffer(batch_size=1), envelope()
    for _ in range(3):
        waiting.add(encoded(where), at(100.0))
    (one,) = waiting.lend_oldest(1)
    waiting.take_back([one])
    assert len(waiting.lend_oldest(one.size + 1)) == 2


def test_what_is_lent_neither_expires_nor_is_sent_and_may_be_settled() -> None:
    waiting, where = buffer(batch_size=1), envelope()
    for _ in range(2):
        waiting.add(encoded(where), at(100.0))
    one, other = waiting.lend_oldest(1_000)
    assert waiting.expired(701.0) == []
    assert waiting.next_due(701.0) == float("inf")
    waiting.settle(one)
    waiting.take_back([other])
    assert waiting.next_due(100.0) == 701.0
    assert waiting.expired(701.0) == [other]
    assert (waiting.events, waiting.pieces(one.number), waiting.pieces(other.number)) == (1, (), (other,))


def test_an_open_batch_can_be_lent_too_and_takes_nothing_more_in() -> None:
    waiting, where = buffer(), envelope()
    waiting.add(encoded(where), at(100.0))
    assert waiting.lend_oldest(1) == []  # not while it gathers
    (batch,) = waiting.everything()
    waiting.lend(batch)
    assert batch.in_flight
    assert waiting.add(encoded(where), at(100.5))
    assert [each.number for each in waiting.everything()] == [1, 2]
    assert sent_and_answered(waiting, 200.0).number == 2
    assert waiting.take(200.0) is None


def test_to_look_for_what_expires_can_be_put_off() -> None:
    waiting = buffer(batch_size=1)
    waiting.add(encoded(envelope()), at(100.0))
    assert waiting.take(100.0) is not None
    waiting.put_off_expiry(800.0)
    assert waiting.next_due(800.0) == 801.0


# -- origins -----------------------------------------------------------------------------------------------------------


def test_origins_are_remembered_as_long_as_there_is_something_to_remember() -> None:
    waiting = buffer(batch_size=1)
    bad = envelope("http://bad.example")
    waiting.add(encoded(bad), at(100.0))
    waiting.settle(sent_and_failed(waiting, 100.0))
    for number in range(98):
        through(waiting, f"http://{number}.example")
    waiting.add(encoded(envelope("http://busy.example")), at(100.0))
    assert origins_of(waiting) == {"http://bad.example", "http://busy.example", *others(0, 98)}
    through(waiting, "http://98.example")
    assert origins_of(waiting) == {"http://bad.example", "http://busy.example", "http://98.example"}


def test_many_origins_that_are_in_use_are_not_looked_through_at_each_new_one() -> None:
    waiting = buffer(batch_size=1)
    for number in range(120):
        waiting.add(encoded(envelope(f"http://{number}.example")), at(100.0))
    for _ in range(120):
        waiting.settle(sent_and_answered(waiting, 100.0))
    for number in range(120, 200):
        through(waiting, f"http://{number}.example")
    assert origins_of(waiting) == others(0, 200)  # a hundred were in use when it looked, so twice as many may be
    through(waiting, "http://200.example")
    assert origins_of(waiting) == others(200, 201)


def others(first: int, behind: int) -> set[str]:
    return {f"http://{number}.example" for number in range(first, behind)}


def through(waiting: Buffer, url: str) -> None:
    """An event goes to an origin and is delivered."""
    waiting.add(encoded(envelope(url)), at(100.0))
    batch = next(each for each in iter(lambda: waiting.take(100.0), None) if each.envelope.origin == parse(url).origin)
    waiting.answered(batch)
    waiting.settle(batch)


def origins_of(waiting: Buffer) -> set[str]:
    return {each.origin for each in waiting.health(100.0).origins}


def test_its_health_is_what_is_pending_and_how_each_origin_answers() -> None:
    waiting = buffer(batch_size=1)
    for where in (envelope(ORIGINS[0]), envelope(ORIGINS[1])):
        waiting.add(encoded(where, data=b"xyz"), at(100.0))
    for now in (96.0, 97.0, 98.0, 99.0, 100.0):
        batch = waiting.take(now)
        assert batch is not None
        if batch.envelope.origin.host == "us.example":
            waiting.failed(batch, now, 0.0, may_be_its_fault=False)
            waiting.put_back(batch, now, asked=False)
    bad, well = OriginHealth(ORIGINS[0], BreakerState.CLOSED, 4), OriginHealth(ORIGINS[1], BreakerState.CLOSED, 0)
    assert waiting.health(100.0) == Health(2, 8, origins=(well, bad))
    waiting.put_back(sent_and_failed(waiting, 100.0), 100.0, asked=False)
    (_, bad) = waiting.health(100.0).origins
    assert bad == OriginHealth(ORIGINS[0], BreakerState.OPEN, 5)
    assert waiting.health(102.0).origins[1].state is BreakerState.HALF_OPEN


class Conservation(RuleBasedStateMachine):
    """Any sequence of steps: every event stays in exactly one batch, and the counts are those of a plain list."""

    taken = Bundle("taken")

    @initialize(
        size=st.integers(1, 4),
        events=st.integers(1, 12),
        interval=st.sampled_from([0.0, 1.0, 5.0]),
        timeout=st.sampled_from([3.0, 600.0]),
        slots=st.integers(1, 6),
        chance=st.randoms(use_true_random=False),
    )
    def start(self, size: int, events: int, interval: float, timeout: float, slots: int, chance: Any) -> None:
        self.config = Config(
            batch_size=size,
            buffer_events=events,
            flush_interval=interval,
            max_request_bytes=1_000,
            buffer_bytes=3_000,
            delivery_timeout=timeout,
            pool_size=slots,
        )
        self.buffer = Buffer(self.config, chance.uniform)
        self.envelopes = [envelope(url) for url in ORIGINS for _ in range(2)]
        self.now = 1_000.0
        self.added = 0
        self.pending: dict[bytes, float] = {}
        self.in_flight: list[Batch] = []
        self.held: dict[int, Batch] = {}

    @rule(which=st.integers(0, 3), visitors=st.integers(0, 6), padding=st.integers(0, 700))
    def add(self, which: int, visitors: int, padding: int) -> None:
        self.added += 1
        data = b"%d:" % self.added + b"x" * padding
        event = encoded(self.envelopes[which], visitors, data)
        weight = sum(len(each) + 1 for each in self.pending)
        fits = len(self.pending) < self.config.buffer_events and weight + event[3] <= self.config.buffer_bytes
        assert self.buffer.fits(event[3]) == fits
        if fits:
            self.buffer.add(event, lambda: self.now)
            self.pending[data] = self.now

    @rule(target=taken)
    def take(self) -> Any:
        due = self.buffer.is_due(self.now)
        batch = self.buffer.take(self.now)
        assert (batch is not None) == due
        if batch is None:
            return multiple()
        assert batch not in self.in_flight
        assert batch not in self.held.values()
        self.check_size(batch)
        self.in_flight.append(batch)
        assert len(self.in_flight) <= self.config.pool_size
        return batch

    def check_size(self, batch: Batch) -> None:
        within = batch.envelope.overhead + batch.size <= self.config.max_request_bytes
        assert batch.events == 1 or (within and batch.visitors <= self.config.batch_size)
        numbers = [int(part.split(b":")[0]) for part in batch.parts]
        assert numbers == sorted(numbers)

    @rule(batch=consumes(taken), delay=floats(0, 10), asked=st.booleans(), fault=st.booleans())
    def fail(self, batch: Batch, delay: float, asked: bool, fault: bool) -> None:
        self.in_flight.remove(batch)
        self.buffer.failed(batch, self.now, delay if asked else 0.0, fault)
        if batch.is_suspect:
            self.buffer.halve(batch)
        else:
            self.buffer.put_back(batch, self.now + delay, asked)

    @rule(batch=consumes(taken))
    def return_unsent(self, batch: Batch) -> None:
        self.in_flight.remove(batch)
        self.buffer.return_unsent(batch)

    @rule(batch=consumes(taken), alone=st.booleans())
    def refuse(self, batch: Batch, alone: bool) -> None:
        self.in_flight.remove(batch)
        self.buffer.answered(batch)
        if batch.events == 1:
            self.end(batch)
        elif alone:
            self.buffer.send_one_of(batch)
        else:
            self.buffer.halve(batch)

    @rule(batch=consumes(taken))
    def deliver(self, batch: Batch) -> None:
        self.in_flight.remove(batch)
        self.buffer.answered(batch)
        self.buffer.release_rest(batch)
        self.end(batch)

    def end(self, batch: Batch) -> None:
        if batch.rest is not None and not batch.rest.is_settled:
            self.forget(batch.rest)
        self.forget(batch)

    def forget(self, batch: Batch) -> None:
        self.buffer.settle(batch)
        for part in batch.parts:
            del self.pending[part]

    @rule()
    def expire(self) -> None:
        for batch in self.buffer.expired(self.now):
            assert batch.opened + self.config.delivery_timeout <= self.now
            assert batch not in self.in_flight
            self.forget(batch)

    @rule(even_asked=st.booleans())
    def hurry(self, even_asked: bool) -> None:
        self.buffer.hurry(even_asked)

    @rule(seconds=floats(0, 6))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_are_those_of_a_plain_list(self) -> None:
        assert self.buffer.events == len(self.pending)
        assert self.buffer.bytes == sum(len(each) + 1 for each in self.pending)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """While nothing is under way, what is pending is due now or has a time at which something will happen."""
        if self.pending and not self.in_flight and not self.buffer.is_due(self.now):
            due = self.buffer.next_due(self.now)
            assert due is not None
            assert due > self.now or self.buffer.expired(self.now) or self.buffer.next_due(self.now) > self.now

    def teardown(self) -> None:
        if hasattr(self, "buffer"):
            parts = [part for batch in self.buffer.everything() for part in batch.parts]
            assert sorted(parts) == sorted(self.pending)


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_addresses_of_the_examples_are_what_they_seem() -> None:
    assert parse(ORIGINS[0]) == Address(Origin("http", "us.example", 80), "/", None)
