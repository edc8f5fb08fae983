"""The breaker of one origin as a state machine: what it lets through, for how long it rests, how it recovers."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gevent_dispatcher import BreakerState
from gevent_dispatcher._breaker import LONGEST_REST, OPENS_AFTER, SHORTEST_REST, Breaker
from tests.floats import floats


def longest(low: float, high: float) -> float:
    return high


def breaker(slots: int = 10) -> Breaker:
    return Breaker(slots, 30.0, longest)


def opened() -> Breaker:
    """One that has been failing for four seconds."""
    made = breaker()
    for seconds in range(OPENS_AFTER):
        made.failed(96.0 + seconds, made.sent())
    return made


def allowance(made: Breaker, now: float = 1e9) -> int:
    return next(number for number in range(1_000) if not made.permits(now, number))


def test_an_origin_gets_half_until_it_answers_and_all_after_some_answers() -> None:
    made = breaker(slots=10)
    assert allowance(made) == 5
    growing = []
    for _ in range(7):
        made.answered(made.sent())
        growing.append(allowance(made))
    assert growing == [6, 7, 8, 9, 10, 10, 10]


def test_one_slot_is_enough_to_be_heard_of() -> None:
    assert allowance(breaker(slots=1)) == 1


def test_of_an_odd_number_of_slots_it_gets_the_smaller_half() -> None:
    made = breaker(slots=5)
    assert allowance(made) == 2
    for _ in range(5):
        made.answered(made.sent())
    assert allowance(made) == 5


def test_a_failure_halves_and_some_in_a_row_open() -> None:
    made = breaker(slots=10)
    seen = []
    for _ in range(OPENS_AFTER):
        made.failed(100.0, made.sent())
        seen.append((made.is_open, allowance(made, 100.0)))
    assert seen == [(False, 2), (False, 1), (False, 1), (False, 1), (True, 0)]


def test_its_state_and_its_failures_can_be_seen() -> None:
    made = breaker()
    assert (made.state(0.0), made.failures) == (BreakerState.CLOSED, 0)
    made = opened()  # rests for a second
    assert (made.state(100.5), made.failures) == (BreakerState.OPEN, OPENS_AFTER)
    assert made.state(101.1) is BreakerState.HALF_OPEN
    probe = made.sent()
    assert made.state(100.5) is BreakerState.HALF_OPEN
    made.answered(probe)
    assert (made.state(101.2), made.failures) == (BreakerState.CLOSED, 0)


def test_an_answer_in_between_keeps_it_closed() -> None:
    made = breaker()
    for _ in range(10):
        for _ in range(OPENS_AFTER - 1):
            made.failed(100.0, made.sent())
        made.answered(made.sent())
    assert not made.is_open


def test_after_its_rest_one_probe_goes_and_an_answer_starts_slowly() -> None:
    made = opened()
    assert made.rests_until == 101.0
    assert not made.permits(100.9, 0)
    assert made.permits(101.0, 7)  # what else is under way was sent before and may hang
    assert made.sent()
    assert not made.permits(200.0, 0)
    assert made.rests_until is None
    made.answered(True)
    assert not made.is_open
    assert allowance(made) == 1


def test_it_rests_a_quarter_of_the_time_that_it_has_been_failing_within_bounds() -> None:
    made, now, rests = opened(), 100.0, []
    for later in (100.0, 104.0, 112.0, 136.0, 1_000.0):
        now = later
        made.failed(now, made.sent())
        assert made.rests_until is not None
        rests.append(made.rests_until - now)
    assert rests == [1, 2, 4, LONGEST_REST, LONGEST_REST]
    made.answered(made.sent())
    for _ in range(OPENS_AFTER):
        made.failed(now, made.sent())
    assert made.rests_until == now + SHORTEST_REST


def test_a_rest_is_not_shorter_than_what_the_endpoint_asked_for() -> None:
    made = breaker()
    for _ in range(OPENS_AFTER):
        made.failed(100.0, made.sent(), asked=60.0)
    assert made.rests_until == 160.0
    made.failed(110.0, False, asked=100.0)
    assert made.rests_until == 210.0


def test_a_failure_of_what_was_sent_before_it_opened_tells_nothing_new() -> None:
    made = opened()
    made.failed(100.5, False)
    assert made.rests_until == 101.0


def test_it_is_half_open_from_the_moment_that_its_rest_is_over() -> None:
    made = opened()
    assert made.state(100.9) is BreakerState.OPEN
    assert made.state(101.0) is BreakerState.HALF_OPEN


def test_a_probe_that_came_to_nothing_is_given_back() -> None:
    made = opened()
    made.unsent(made.sent())
    assert made.permits(101.0, 0)


def test_the_last_attempt_goes_at_once() -> None:
    made = opened()
    made.end_rest()
    assert made.permits(100.0, 0)
    probe = made.sent()
    assert probe
    assert not made.permits(100.0, 1)
    made.failed(100.0, probe)
    assert not made.permits(100.0, 0)
    closed = breaker()
    closed.end_rest()
    assert allowance(closed) == 5


class Behaviour(RuleBasedStateMachine):
    """Any sequence of requests and answers: at least one request may go sooner or later, and never too many."""

    @initialize(slots=st.integers(1, 20), chance=st.randoms(use_true_random=False))
    def start(self, slots: int, chance: Any) -> None:
        self.slots = slots
        self.breaker = Breaker(slots, 30.0, chance.uniform)
        self.now = 1_000.0
        self.under_way: list[bool] = []

    @precondition(lambda self: self.breaker.permits(self.now, len(self.under_way)))
    @rule()
    def send(self) -> None:
        self.under_way.append(self.breaker.sent())

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100))
    def answer(self, which: int) -> None:
        self.breaker.answered(self.under_way.pop(which % len(self.under_way)))
        assert not self.breaker.is_open

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100), asked=st.sampled_from([0.0, 0.0, 5.0, 300.0]))
    def fail(self, which: int, asked: float) -> None:
        self.breaker.failed(self.now, self.under_way.pop(which % len(self.under_way)), asked)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100))
    def come_to_nothing(self, which: int) -> None:
        self.breaker.unsent(self.under_way.pop(which % len(self.under_way)))

    @rule(seconds=floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_more_than_the_slots(self) -> None:
        if hasattr(self, "breaker"):
            assert len(self.under_way) <= self.slots + 1  # one probe beside what hangs
            assert not self.breaker.permits(self.now, self.slots) or self.breaker.is_open
            assert sum(self.under_way) <= 1

    @invariant()
    def never_shut_for_good(self) -> None:
        if hasattr(self, "breaker") and not self.under_way:
            rest = self.breaker.rests_until
            assert rest is None or rest <= self.now + 300.0
            assert self.breaker.permits(max(self.now, rest or 0.0), 0)


TestBehaviour = Behaviour.TestCase
TestBehaviour.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
