"""What is said in the log, how often, and with which counts."""

from __future__ import annotations

from gevent_dispatcher._notices import REPEAT_AFTER, Notice, Notices, Repeats, often


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


def test_what_repeats_is_said_at_once_and_then_with_its_count() -> None:
    repeats = Repeats()
    assert [repeats.count("x", 100.0 + second) for second in (0, 1, REPEAT_AFTER - 1)] == [1, 0, 0]
    assert repeats.count("x", 100.0 + REPEAT_AFTER) == 3
    assert repeats.count("x", 101.0 + REPEAT_AFTER) == 0


def test_each_thing_that_repeats_is_counted_by_itself() -> None:
    repeats = Repeats(after=5)
    assert (repeats.count("x", 100.0), repeats.count("y", 101.0), repeats.count("x", 105.0)) == (1, 1, 1)


def test_several_can_be_counted_at_once() -> None:
    repeats = Repeats()
    assert (repeats.count("x", 100.0, 3), repeats.count("x", 101.0, 4), repeats.count("x", 170.0)) == (3, 0, 5)


def test_what_was_not_said_is_left_for_the_end_once() -> None:
    repeats = Repeats()
    for what, more in (("x", 1), ("y", 1), ("x", 3), ("x", 4)):
        repeats.count(what, 100.0, more)
    assert repeats.rest() == {"x": 7}
    assert repeats.rest() == {}
    assert repeats.count("x", 100.0 + REPEAT_AFTER) == 1


def test_of_what_is_told_apart_the_oldest_is_forgotten() -> None:
    repeats = Repeats()
    first, *others = map(str, range(1_001))
    assert [repeats.count(each, 100.0) for each in (first, *others)] == [1] * 1_001
    assert [repeats.count(each, 100.0) for each in others] == [0] * 1_000
    assert repeats.count(first, 100.0) == 1
    assert len(repeats.rest()) == 999  # the first of the others made room


def test_once_is_not_counted_in_words() -> None:
    assert often(1) == ""
    assert "7 times" in often(7)
