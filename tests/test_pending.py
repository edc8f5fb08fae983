"""Batches by age, and which of them have expired."""

from __future__ import annotations

from gevent_dispatcher._event import Envelope
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._pending import Pending
from gevent_dispatcher._url import parse

ENVELOPE = Envelope("POST", parse("http://us.example"), {})
NEVER = float("inf")


def opened(pending: Pending, *times: float) -> list[Batch]:
    """Open a batch at each of these times."""
    batches = [Batch(ENVELOPE, pending.next_number(), time) for time in times]
    for batch in batches:
        pending.add(batch)
    return batches


def split(pending: Pending, batch: Batch, number: int) -> list[Batch]:
    """Have some pieces in place of a batch."""
    pieces = [batch.piece([b"%d" % each]) for each in range(number)]
    pending.replace(batch, tuple(pieces))
    return pieces


def test_batches_are_numbered_as_they_are_opened() -> None:
    pending = Pending(600.0)
    assert (pending.newest, pending.oldest) == (0, None)
    assert [batch.number for batch in opened(pending, 100.0, 100.0, 101.0)] == [1, 2, 3]
    assert (pending.newest, pending.oldest) == (3, 1)


def test_pieces_keep_number_and_place_of_their_batch() -> None:
    pending = Pending(600.0)
    first, second, third = opened(pending, 100.0, 101.0, 102.0)
    one, other = split(pending, second, 2)
    assert second.is_settled
    assert pending.pieces(second.number) == (one, other)
    assert pending.everything() == [first, one, other, third]
    smaller = split(pending, one, 2)
    assert pending.pieces(second.number) == (other, *smaller)
    assert not any(each.is_settled for each in (other, *smaller))


def test_a_batch_that_is_settled_leaves_nothing_behind() -> None:
    pending = Pending(600.0)
    first, second = opened(pending, 100.0, 101.0)
    one, other = split(pending, first, 2)
    pending.replace(one)
    assert one.is_settled
    assert (pending.pieces(first.number), pending.oldest) == ((other,), first.number)
    pending.replace(other)
    assert (pending.pieces(first.number), pending.oldest) == ((), second.number)
    assert pending.everything() == [second]


def test_there_are_no_pieces_of_a_number_that_was_never_given() -> None:
    assert Pending(600.0).pieces(7) == ()


def test_what_has_expired_is_looked_for_now_and_then() -> None:
    pending = Pending(600.0)
    assert (pending.next_expiry, pending.expired(1e9)) == (NEVER, [])
    first, second, third = opened(pending, 100.0, 101.0, 102.0)
    assert pending.deadline(first) == 700.0
    assert pending.next_expiry == 701.0
    assert pending.expired(700.9) == []
    assert pending.expired(701.0) == [first, second]  # the second's deadline is over at this very moment
    assert pending.next_expiry == 703.0
    assert pending.expired(703.0) == [first, second, third]  # nobody has settled them
    assert pending.next_expiry == NEVER


def test_a_short_time_is_looked_at_more_often() -> None:
    pending = Pending(10.0)
    opened(pending, 100.0)
    assert pending.next_expiry == 110.5


def test_what_is_in_flight_does_not_expire_before_it_is_back() -> None:
    pending = Pending(600.0)
    first, second, third = opened(pending, 100.0, 100.0, 500.0)
    first.in_flight = True
    assert pending.expired(701.0) == [second]
    assert pending.next_expiry == 1_101.0
    pending.replace(second)
    first.in_flight = False
    pending.may_expire(first)
    assert pending.next_expiry == 701.0
    assert pending.expired(702.0) == [first]
    assert pending.expired(1_101.0) == [first, third]


def test_the_pieces_of_one_batch_expire_together_but_for_those_in_flight() -> None:
    pending = Pending(600.0)
    batch, later = opened(pending, 100.0, 500.0)
    one, two, three = split(pending, batch, 3)
    two.in_flight = True
    assert pending.expired(701.0) == [one, three]
    later.in_flight = True
    pending.may_expire(two)
    assert pending.expired(701.0) == [one, three]
    assert pending.next_expiry == NEVER


def test_a_look_can_be_put_off_and_not_put_forward() -> None:
    pending = Pending(600.0)
    opened(pending, 100.0)
    pending.put_off(699.0)
    assert pending.next_expiry == 701.0
    pending.put_off(705.0)
    assert pending.next_expiry == 706.0


def test_where_nothing_is_pending_nothing_expires() -> None:
    pending = Pending(600.0)
    opened(pending, 100.0)
    pending.forget_expiry()
    assert pending.next_expiry == NEVER
