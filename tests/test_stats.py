"""What became of the events: the counts, and the record that a hook gets."""

from __future__ import annotations

import pytest

from gevent_dispatcher import Stats
from gevent_dispatcher._stats import REASONS, Counters, Delivery, Outcome


def counted() -> Counters:
    """Each count another one."""
    counters = Counters()
    counters.dispatched, counters.delivered, counters.spooled = 31, 3, 2
    counters.requests, counters.retries = 11, 7
    counters.dropped["expired"] = 6
    return counters


def test_nothing_has_happened_at_first() -> None:
    assert Counters().snapshot(0, 0) == Stats()
    assert Stats().dropped == dict.fromkeys(REASONS, 0)


def test_a_snapshot_has_each_count_under_its_name() -> None:
    stats = counted().snapshot(pending=20, splits=5)
    assert (stats.dispatched, stats.delivered, stats.spooled, stats.pending) == (31, 3, 2, 20)
    assert (stats.requests, stats.retries, stats.splits) == (11, 7, 5)
    assert stats.dropped == {**dict.fromkeys(REASONS, 0), "expired": 6}


def test_a_snapshot_stays_as_it_is() -> None:
    counters = counted()
    stats = counters.snapshot(20, 5)
    counters.dropped["expired"] += 1
    counters.delivered += 1
    assert (stats.dropped["expired"], stats.delivered) == (6, 3)
    with pytest.raises(TypeError):
        stats.dropped["expired"] = 0  # type: ignore[index]


def test_each_event_of_a_delivery_can_be_sent_alone() -> None:
    record = Delivery(Outcome.DROPPED, "rejected", "http://h", 2, 400, 1, 0.5, parts=(b"1", b"2"), around=(b"[", b"]"))
    assert record.bodies == (b"[1]", b"[2]")
