"""What is said in the log, how often, and with which counts."""

from __future__ import annotations

from gevent_dispatcher._notices import REPEAT_AFTER, Notice, Notices


def test_the_first_drop_of_a_reason_asks_to_be_said() -> None:
    notices = Notices()
    assert notices.dropped("invalid", 1, "no url")
    assert not notices.dropped("invalid", 1, "NaN")
    assert notices.dropped("buffer_full", 1, "full")


def test_drops_are_said_once_with_their_count_and_the_last_detail() -> None:
    notices = Notices()
    notices.dropped("invalid", 1, "no url")
    notices.dropped("invalid", 2, "NaN")
    assert notices.take(100.0) == [Notice("invalid", 3, "NaN")]
    assert notices.take(100.0) == []


def test_a_reason_that_keeps_coming_is_said_again_only_after_a_while() -> None:
    notices = Notices()
    notices.dropped("invalid", 1, "x")
    notices.take(100.0)
    assert not notices.dropped("invalid", 5, "y")
    assert notices.take(100.0 + REPEAT_AFTER - 1) == []
    assert notices.take(100.0 + REPEAT_AFTER) == [Notice("invalid", 5, "y")]


def test_at_the_end_everything_is_said() -> None:
    notices = Notices()
    notices.dropped("invalid", 1, "x")
    notices.take(100.0)
    notices.dropped("invalid", 2, "y")
    assert notices.take(100.0, everything=True) == [Notice("invalid", 2, "y")]
