"""Whole outages, poison and recoveries, acted out in a world in which time is a number."""

from __future__ import annotations

import random
from email.utils import formatdate
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gevent_dispatcher._breaker import OPENS_AFTER, SHORTEST_REST
from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._event import merge
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._policy import End, Policy
from gevent_dispatcher._retry import LONGEST_RETRY_AFTER, Answer
from gevent_dispatcher._stats import Outcome
from tests.world import EPOCH, EU, US, Endpoint, Sent, World, envelope

GONE = Answer(error="ConnectionRefusedError")


def events(number: int) -> list[bytes]:
    return [b'{"n":%d}' % each for each in range(number)]


def refusing(poison: set[bytes], status: int) -> Endpoint:
    """An endpoint that refuses each request with a bad event in it."""
    return lambda sent: (0.05, Answer(status if poison.intersection(sent.parts) else 204))


def crashing(poison: set[bytes], answer: Answer) -> Endpoint:
    """An endpoint that fails over each request with a bad event in it."""
    return lambda sent: (0.05, answer if poison.intersection(sent.parts) else Answer(204))


def dropped(world: World, reason: str) -> set[bytes]:
    return set(world.dropped.get(reason, ()))


# -- poison ------------------------------------------------------------------------------------------------------------


@given(
    number=st.integers(1, 60),
    chosen=st.sets(st.integers(0, 59), max_size=60),
    size=st.sampled_from([1, 2, 7, 25, 100]),
    case=st.sampled_from([(400, "rejected"), (413, "too_large"), (422, "rejected"), (405, "rejected")]),
)
@settings(deadline=None, max_examples=150)
def test_exactly_the_refused_events_are_dropped(
    number: int, chosen: set[int], size: int, case: tuple[int, str]
) -> None:
    status, reason = case
    names = events(number)
    poison = {name for index, name in enumerate(names) if index in chosen}
    world = World(refusing(poison, status), batch_size=size)
    # Several refused in a row might speak against their envelope, so each batch has one of its own here.
    for start in range(0, number, size):
        world.dispatch_all(names[start : start + size])
    world.run()
    assert dropped(world, reason) == poison
    assert set(world.delivered) == set(names) - poison
    assert set(world.delivered.values()) <= {1}
    assert world.buffer.events == world.buffer.bytes == 0
    assert len(world.sent) < 2 * number + len(names) / size + 1


def test_a_few_refused_events_among_many_cost_few_requests() -> None:
    names = events(5_000)
    poison = set(random.Random(3).sample(names, 5))
    world = World(refusing(poison, 400), batch_size=100)
    world.dispatch_all(names)
    world.run()
    assert dropped(world, "rejected") == poison
    assert len(world.delivered) == 4_995
    assert len(world.sent) <= 50 + 5 * 14


def test_an_envelope_that_is_refused_whatever_it_holds_is_not_taken_apart_again_and_again() -> None:
    names = events(1_000)
    world = World(refusing(set(names), 400), batch_size=100, pool_size=1)
    world.dispatch_all(names)
    world.run()
    assert dropped(world, "rejected") == set(names)
    assert len(world.sent) == 199 + 9 * 2


def test_an_envelope_that_was_refused_is_taken_again_once_one_of_its_events_is() -> None:
    names = events(300)
    bad = {*names[:100], names[120]}
    world = World(refusing(bad, 400), batch_size=100, pool_size=1)
    world.dispatch_all(names)
    world.run()
    assert dropped(world, "rejected") == bad
    assert set(world.delivered) == set(names) - bad


def test_refused_events_in_a_row_do_not_speak_against_the_good_ones_beside_them() -> None:
    names = events(200)
    bad = {*names[85:100], names[150]}  # the end of one batch, and the event by which the next would be judged
    world = World(refusing(bad, 400), batch_size=100, pool_size=1)
    world.dispatch_all(names)
    world.run()
    assert dropped(world, "rejected") == bad
    assert set(world.delivered) == set(names) - bad


@pytest.mark.parametrize("slots", [1, 10])
@pytest.mark.parametrize(("size", "share"), [(5, 0.5), (10, 0.7), (100, 0.9)])
def test_the_few_good_events_among_many_bad_ones_are_delivered(slots: int, size: int, share: float) -> None:
    chance = random.Random(5)
    names = events(2_000)
    bad = {name for name in names if chance.random() < share}
    world = World(refusing(bad, 400), batch_size=size, pool_size=slots)
    world.dispatch_all(names)
    world.run()
    assert dropped(world, "rejected") == bad
    assert set(world.delivered) == set(names) - bad


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 407, 410])
def test_what_concerns_the_address_splits_nothing(status: int) -> None:
    names = events(500)
    world = World(lambda sent: (0.05, Answer(status)), batch_size=100)
    for name in names:
        world.dispatch(name, envelope())
    world.run()
    assert dropped(world, "rejected") == set(names)
    assert world.buffer.splits == 0


@pytest.mark.parametrize("answer", [Answer(500), Answer(503), Answer(error="ConnectionResetError")])
@pytest.mark.parametrize("where_it_is", [0, 49, 50, 99])
def test_one_event_that_crashes_the_endpoint_costs_only_itself(answer: Answer, where_it_is: int) -> None:
    names = events(100)
    poison = {names[where_it_is]}
    world = World(crashing(poison, answer), batch_size=100)
    where = envelope()
    world.dispatch_all(names, where)
    for step in range(60):  # others come and go meanwhile
        world.dispatch(b'{"other":%d}' % step, where)
        world.run(until=world.now + 1.0)
    assert set(names) - set(world.delivered) == poison
    world.run()
    assert dropped(world, "expired") == poison
    assert set(world.delivered.values()) == {1}


@pytest.mark.parametrize("where_it_is", [0, 50, 99])
def test_one_event_that_crashes_the_endpoint_costs_only_itself_when_nothing_else_is_sent(where_it_is: int) -> None:
    names = events(100)
    poison = {names[where_it_is]}
    world = World(crashing(poison, Answer(500)), batch_size=100)
    world.dispatch_all(names)
    world.run(until=world.now + 120.0)
    assert set(names) - set(world.delivered) == poison
    world.run()
    assert dropped(world, "expired") == poison


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [10, 100])
@pytest.mark.parametrize("number", [3, 8, 12])
def test_several_events_that_crash_the_endpoint_cost_only_themselves_when_nothing_else_is_sent(
    number: int, size: int, seed: int
) -> None:
    names = events(500)
    poison = set(random.Random(seed).sample(names, number))
    world = World(crashing(poison, Answer(500)), seed=seed, batch_size=size)
    world.dispatch_all(names)
    world.run(until=world.now + 300.0)
    assert set(names) - set(world.delivered) == poison
    world.run()
    assert dropped(world, "expired") == poison
    assert set(world.delivered.values()) == {1}


def test_an_outage_takes_hardly_any_batch_apart() -> None:
    ends_at = 1_000.0 + 300.0
    world = World(lambda sent: (0.05, GONE if sent.at < ends_at else Answer(204)), batch_size=100)
    names = events(5_000)
    world.dispatch_all(names)
    world.run()
    assert set(world.delivered) == set(names)
    assert world.buffer.splits <= 3


# -- what was merged before -------------------------------------------------------------------------------------------


def merged(names: list[bytes], size: int) -> list[list[bytes]]:
    return [names[at : at + size] for at in range(0, len(names), size)]


@given(
    st.integers(1, 60), st.sets(st.integers(0, 59)), st.sampled_from([1, 2, 7, 60]), st.sampled_from([400, 413, 500])
)
@settings(deadline=None, max_examples=100)
def test_a_request_from_a_queue_is_opened_only_when_it_must_be(
    number: int, chosen: set[int], size: int, status: int
) -> None:
    names = events(number)
    poison = {name for index, name in enumerate(names) if index in chosen}
    if status == 500:  # more than a few that crash the endpoint are an endpoint that is down
        poison = set(sorted(poison)[:1])
    world = World(refusing(poison, status), pool_size=3)
    for parts in merged(names, size):
        world.accept(parts, envelope())
    for step in range(60):
        world.dispatch(b'{"other":%d}' % step, envelope())
        world.run(until=world.now + 1.0)
    world.run()
    assert set(names) - set(world.delivered) == poison
    assert set(world.delivered.values()) == {1}
    assert {name for drops in world.dropped.values() for name in drops} == poison
    assert world.buffer.events == world.buffer.bytes == 0
    assert poison or world.buffer.splits == 0


def test_a_body_that_cannot_be_opened_is_dropped_whole() -> None:
    world = World(lambda sent: (0.01, Answer(400)))
    request = merge(envelope(), [b"{}"])
    world.buffer.accept(request._replace(body=b"not json", events=7), "ticket", world.now)
    world.run()
    assert world.dropped == {"rejected": {b"not json": 1}}
    assert (world.buffer.events, len(world.sent)) == (0, 1)


# -- outages -----------------------------------------------------------------------------------------------------------


def outage(seconds: float, answer: Answer, latency: float = 0.01) -> Endpoint:
    def endpoint(sent: Sent) -> tuple[float, Answer]:
        is_down = 1_010.0 <= sent.at < 1_010.0 + seconds
        return (latency, answer) if is_down else (0.05, Answer(204))

    return endpoint


def dispatch_steadily(world: World, per_second: int, seconds: int, where: Any) -> list[bytes]:
    names = []
    for tick in range(seconds * 10):
        for each in range(per_second // 10):
            names.append(b'{"n":"%d-%d"}' % (tick, each))
            world.dispatch(names[-1], where)
        world.run(until=world.now + 0.1)
    return names


@pytest.mark.parametrize(
    ("answer", "latency"), [(GONE, 0.001), (Answer(503), 0.01), (Answer(error="no answer within 15 s"), 15.0)]
)
def test_an_outage_of_a_minute_loses_nothing_and_ends_without_a_stampede(answer: Answer, latency: float) -> None:
    world = World(outage(60.0, answer, latency), buffer_events=50_000, buffer_bytes=64 * 1024 * 1024)
    names = dispatch_steadily(world, 500, 80, envelope())
    world.run()
    assert set(world.delivered) == set(names)
    assert set(world.delivered.values()) == {1}
    during = [sent for sent in world.sent if 1_012.0 + latency <= sent.at < 1_070.0]
    assert len(during) <= 40  # a probe now and then, however many events wait
    after = sorted(sent.at for sent in world.sent if sent.at >= 1_070.0)
    assert sum(at < after[0] + 0.05 for at in after) == 1  # one probe, and nothing until it is answered
    assert sum(at < after[0] + 0.10 for at in after) <= 2
    assert after[0] < 1_070.0 + 10.0 + latency  # and it comes soon


def test_an_outage_of_one_origin_leaves_the_other_untouched_from_its_first_moment() -> None:
    def endpoint(sent: Sent) -> tuple[float, Answer]:
        is_down = sent.origin == "us.example" and sent.at >= 1_010.0
        return (15.0, Answer(error="no answer within 15 s")) if is_down else (0.05, Answer(204))

    world = World(endpoint, delivery_timeout=60.0, buffer_events=100_000)
    us, eu = envelope(US), envelope(EU)
    late: list[float] = []
    for tick in range(400):
        for each in range(50):
            world.dispatch(b'{"us":"%d-%d"}' % (tick, each), us)
        name = b'{"eu":%d}' % tick
        world.dispatch(name, eu)
        dispatched_at = world.now
        world.run(until=world.now + 0.1)
        late.append(dispatched_at)
    world.run()
    delays = [world.delivered_at[b'{"eu":%d}' % tick] - at for tick, at in enumerate(late)]
    assert max(delays) <= 1.0 + 0.05 + 0.01  # linger and latency
    assert set(world.dropped) == {"expired"}
    assert not any(name.startswith(b'{"eu"') for name in world.dropped["expired"])


def test_an_origin_that_hangs_from_the_start_leaves_half_of_the_slots() -> None:
    world = World(
        lambda sent: (15.0, GONE) if sent.origin == "us.example" else (0.05, Answer(204)),
        flush_interval=0,
        batch_size=1,
    )
    us, eu = envelope(US), envelope(EU)
    world.dispatch_all(events(200), us)
    world.run(until=world.now + 0.001)
    assert len(world.sent) == 5
    world.dispatch(b"eu", eu)
    world.run(until=world.now + 0.1)
    assert world.delivered[b"eu"] == 1


def test_events_behind_an_open_breaker_expire_in_time() -> None:
    world = World(lambda sent: (0.01, GONE), delivery_timeout=30.0)
    started = world.now
    for name in events(1_000):
        world.dispatch(name, envelope())
    world.run()
    assert len(dropped(world, "expired")) == 1_000
    assert started + 30.0 <= world.now <= started + 32.0


@pytest.mark.parametrize(("value", "seconds"), [("20", 20.0), ("99999999", LONGEST_RETRY_AFTER)])
def test_retry_after_is_a_lower_bound_and_cannot_park_events_for_ever(value: str, seconds: float) -> None:
    def endpoint(sent: Sent) -> tuple[float, Answer]:
        return 0.05, Answer(503, value) if len(world.sent) == 1 else Answer(204)

    world = World(endpoint)
    world.dispatch(b"{}", envelope())
    world.run()
    first, second = world.sent
    assert seconds <= second.at - first.at <= seconds + 1.0
    assert world.delivered[b"{}"] == 1


def test_a_retry_is_the_same_batch_and_is_not_merged_anew() -> None:
    world = World(lambda sent: (0.05, Answer(503) if len(world.sent) < 4 else Answer(204)), batch_size=100)
    where = envelope()
    world.dispatch_all(events(10), where)
    world.run(until=world.now + 1.2)
    world.dispatch(b"later", where)
    world.run()
    assert {sent.parts for sent in world.sent} == {tuple(events(10)), (b"later",)}


@pytest.mark.parametrize("failing", [0.2, 0.5, 0.8])
def test_an_endpoint_that_fails_at_random_takes_everything_in_the_end(failing: float) -> None:
    chance = random.Random(7)

    def endpoint(sent: Sent) -> tuple[float, Answer]:
        return 0.01, chance.choice([GONE, Answer(500), Answer(429)]) if chance.random() < failing else Answer(204)

    world = World(endpoint, batch_size=50, buffer_events=50_000)
    names = events(20_000)
    world.dispatch_all(names)
    world.run()
    assert set(world.delivered) == set(names)
    assert set(world.delivered.values()) == {1}
    assert len(world.sent) < 4 * 400 / (1 - failing)


@given(st.randoms(use_true_random=False), st.integers(1, 300), st.sampled_from([1, 3, 100]), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_whatever_an_endpoint_does_each_event_has_one_outcome(
    chance: random.Random, number: int, size: int, slots: int
) -> None:
    answers = [Answer(status) for status in (200, 204, 301, 400, 404, 408, 413, 425, 429, 500, 503)]
    answers += [GONE, Answer(503, "3"), Answer(429, "99999999"), Answer(503, "soon")]
    world = World(
        lambda sent: (chance.choice([0.0, 0.01, 15.0]), chance.choice(answers)),
        batch_size=size,
        pool_size=slots,
        delivery_timeout=60.0,
    )
    names = events(number)
    places = [envelope(US), envelope(US), envelope(EU)]
    for name in names:
        world.dispatch(name, chance.choice(places))
        if chance.random() < 0.05:
            world.run(until=world.now + 1.0)
    world.run()
    outcomes = [world.delivered, *world.dropped.values()]
    assert sorted(name for outcome in outcomes for name in outcome.elements()) == sorted(names)
    assert world.buffer.events == world.buffer.bytes == 0
    assert world.most_in_flight <= slots
    assert world.buffer.next_due(world.now) is None


# -- one decision at a time --------------------------------------------------------------------------------------------


def longest(low: float, high: float) -> float:
    return high


class Desk:
    """One batch of one event, opened and taken at 100 s, and the policy that decides on it."""

    def __init__(self, chance: Callable[[float, float], float] = longest, **settings: Any) -> None:
        config = Config(batch_size=1, **settings)
        self.buffer = Buffer(config, chance)
        self.policy = Policy(config, self.buffer, chance)
        self.batch = self.taken(100.0)

    def taken(self, now: float) -> Batch:
        self.buffer.add((envelope(), b"{}", 1, 3), lambda: now)
        batch = self.buffer.take(now)
        assert batch is not None
        return batch

    def conclude(self, answer: Answer, now: float = 100.0) -> list[End]:
        return self.policy.conclude(self.batch, answer, now, EPOCH)


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (204, Outcome.DELIVERED, ""),
        (404, Outcome.DROPPED, "rejected"),
        (400, Outcome.DROPPED, "rejected"),
        (413, Outcome.DROPPED, "too_large"),
    ],
)
def test_an_end_says_which_batch_has_ended_how_and_what_for(status: int, outcome: Outcome, reason: str) -> None:
    desk = Desk()
    assert desk.conclude(Answer(status)) == [End(desk.batch, outcome, reason, Answer(status))]
    assert (desk.batch.is_settled, desk.buffer.events) == (True, 0)


def test_a_failure_at_the_deadline_is_the_last_and_the_end_has_its_answer() -> None:
    for now in (109.9, 110.0):
        desk = Desk(delivery_timeout=10.0)
        end = End(desk.batch, Outcome.DROPPED, "expired", GONE)
        assert desk.conclude(GONE, now) == ([end] if now == 110.0 else [])


def test_what_waited_in_vain_ends_without_an_answer() -> None:
    desk = Desk(delivery_timeout=10.0)
    assert desk.conclude(GONE) == []
    assert desk.policy.expire(110.4) == []
    assert desk.policy.expire(110.5) == [
        End(desk.batch, Outcome.DROPPED, "expired", Answer(error="not delivered in time"))
    ]


def test_a_wait_of_our_own_ends_at_the_deadline_so_that_there_is_one_more_attempt() -> None:
    desk = Desk(delivery_timeout=10.0, backoff_base=30.0)
    desk.conclude(GONE)
    assert desk.buffer.take(109.9) is None
    assert desk.buffer.take(110.0) is desk.batch


@pytest.mark.parametrize("value", ["60", formatdate(EPOCH + 60, usegmt=True)])
def test_a_wait_that_was_asked_for_lasts_whatever_the_deadline_and_a_flush_say(value: str) -> None:
    desk = Desk(lambda low, high: low, delivery_timeout=10.0)
    desk.conclude(Answer(503, value))
    desk.buffer.hurry()
    assert desk.buffer.take(159.9) is None
    assert desk.buffer.take(160.0) is desk.batch


def test_an_origin_that_asks_for_nothing_rests_no_longer_than_its_breaker_wants() -> None:
    desk = Desk(backoff_base=0.001)
    for _ in range(OPENS_AFTER):
        assert desk.conclude(GONE) == []
        desk.batch = desk.taken(100.0) if not desk.buffer.is_resting(envelope().origin) else desk.batch
    assert desk.buffer.next_due(100.0) == 100.0 + SHORTEST_REST


# -- rescue ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_taken", [True, False])
def test_what_is_taken_over_when_its_time_is_up_has_no_end_here(is_taken: bool) -> None:
    config, chance = Config(delivery_timeout=10), random.Random(1).uniform
    buffer = Buffer(config, chance)
    lent: list[Batch] = []

    def rescue(batch: Batch) -> bool:
        lent.append(batch)
        return is_taken

    policy = Policy(config, buffer, chance, rescue)
    buffer.add((envelope(), b"{}", 1, 3), lambda: 100.0)
    ends = policy.expire(111.0)
    assert len(lent) == 1
    assert [(end.batch, end.reason) for end in ends] == ([] if is_taken else [(lent[0], "expired")])
