"""What an answer means, and how long to wait."""

from __future__ import annotations

import random
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher._retry import (
    LONGEST_RETRY_AFTER,
    Answer,
    Verdict,
    answer_problem,
    judge,
    may_be_the_events_fault,
    parse_retry_after,
    wait,
)
from tests.floats import floats

NOW = 1_700_000_000.0


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_one_meaning(status: int) -> None:
    if 200 <= status < 300:
        expected = Verdict.DELIVERED
    elif status in (408, 425, 429) or status >= 500:
        expected = Verdict.RETRY
    elif status in (401, 403, 404, 407, 410) or status < 400:
        expected = Verdict.REJECTED
    else:
        expected = Verdict.REFUSED
    assert judge(Answer(status)) is expected


def test_no_answer_is_retried() -> None:
    assert judge(Answer(error="ConnectionRefusedError")) is Verdict.RETRY


@pytest.mark.parametrize(
    ("answer", "may_be"),
    [
        (Answer(500), True),
        (Answer(503), True),
        (Answer(error="ConnectionResetError"), True),
        (Answer(503, "10"), False),
        (Answer(429), False),
        (Answer(408), False),
        (Answer(425), False),
    ],
)
def test_a_failure_may_be_the_fault_of_an_event_unless_the_endpoint_asks_for_time(answer: Answer, may_be: bool) -> None:
    assert may_be_the_events_fault(answer) is may_be


def test_an_answer_reads_as_what_happened() -> None:
    assert str(Answer(503)) == "status 503"
    assert str(Answer(error="timeout")) == "timeout"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(), None),
        (Answer(204, "5", "late"), None),
        (None, "NoneType"),
        ((204, None, ""), "tuple"),
        (Answer("204"), "one whose status is str"),  # type: ignore[arg-type]  # as a careless transport might
        (Answer(503, 5), "one whose retry_after is int"),  # type: ignore[arg-type]
        (Answer(error=OSError()), "one whose error is OSError"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_answer_is_told(answer: object, problem: str | None) -> None:
    assert answer_problem(answer) == problem


bases = floats(0.001, 100)


@given(st.integers(1, 10_000), st.none() | floats(-1e9, 1e9), bases, bases, st.randoms(use_true_random=False))
def test_waits_stay_within_their_bounds(
    failures: int, retry_after: float | None, base: float, longer: float, chance: random.Random
) -> None:
    pause = wait(failures, retry_after, base, base + longer, chance.uniform)
    asked = min(max(retry_after or 0.0, 0.0), LONGEST_RETRY_AFTER)
    assert asked <= pause.seconds <= asked + min(base + longer, base * 2.0 ** min(failures - 1, 60))
    assert pause.asked == (retry_after is not None)


def test_the_bound_doubles_with_each_failure_up_to_the_maximum() -> None:
    def longest(low: float, high: float) -> float:
        return high

    waits = [wait(failures, None, 0.5, 30.0, longest).seconds for failures in range(1, 9)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("99999999", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        (formatdate(NOW + 60, usegmt=True), 60.0),
        (formatdate(NOW - 60, usegmt=True), 0.0),
        (formatdate(NOW + 7_260).replace("-0000", "+0200"), 60.0),
        (formatdate(NOW + 1e9, usegmt=True), LONGEST_RETRY_AFTER),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("\u0665", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_in_its_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has no tzset")
@pytest.mark.parametrize("zone", ["UTC", "EST+5", "JST-9"])
def test_a_date_without_a_zone_is_in_utc_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after(time.asctime(time.gmtime(NOW + 60)), NOW) == 60.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_any_retry_after_is_understood_or_ignored(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER
