"""What is said in the log, how often, and with which counts."""

from __future__ import annotations

from gevent_dispatcher._notices import REPEAT_AFTER, Notice, Notices


def test_the_first_drop_of_a_reason_is_news() -> None:
    notices = Notices()
    assert notices.is_news("invalid", "no url")
    assert not notices.is_news("invalid", "NaN")
    assert notices.is_news("buffer_full", "full")


def test_drops_are_said_once_with_their_count_and_the_last_detail() -> None:
    notices = Notices()
    notices.is_news("invalid", "no url")
    notices.is_news("invalid", "NaN")
    assert notices.take({"invalid": 3}, 100.0) == [Notice("invalid", 3, "NaN")]
    assert notices.take({"invalid": 3}, 1_000.0) == []


def test_a_reason_that_keeps_coming_is_said_again_only_after_a_while() -> None:
    notices = Notices()
    notices.is_news("invalid", "x")
    notices.take({"invalid": 1}, 100.0)
    assert not notices.is_news("invalid", "y")
    assert notices.take({"invalid": 6}, 100.0 + REPEAT_AFTER - 1) == []
    assert notices.take({"invalid": 6}, 100.0 + REPEAT_AFTER) == [Notice("invalid", 5, "y")]


def test_at_the_end_everything_is_said() -> None:
    notices = Notices()
    notices.is_news("invalid", "x")
    notices.take({"invalid": 1}, 100.0)
    assert notices.take({"invalid": 3}, 100.0, everything=True) == [Notice("invalid", 2, "x")]


def test_nothing_is_said_of_what_did_not_happen() -> None:
    assert Notices().take({"invalid": 0}, 100.0, everything=True) == []
