"""The buffer conserves events and bytes, keeps batches whole and sends in time."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from gevent_dispatcher._buffer import Batch, Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._event import Encoded, Envelope
from gevent_dispatcher._url import Address, Origin, parse

ORIGINS = ("http://us.example", "http://eu.example")


def envelope(url: str = ORIGINS[0], verb: str = "POST") -> Envelope:
    return Envelope(verb, parse(url), {}, b'{"visitors":[', b"]}")


def encoded(where: Envelope, visitors: int = 1, data: bytes = b"{}") -> Encoded:
    return where, data, visitors, len(data) + 1


def at(now: float) -> Any:
    return lambda: now


def buffer(**changes: Any) -> Buffer:
    return Buffer(Config(**changes))


def test_an_event_waits_for_company_until_its_linger_is_over() -> None:
    waiting, where = buffer(flush_interval=1.0), envelope()
    assert waiting.add(encoded(where), at(100.0))
    assert not waiting.add(encoded(where), at(100.5))
    assert waiting.next_due() == 101.0
    assert waiting.take(100.9) is None
    batch = waiting.take(101.0)
    assert batch is not None
    assert batch.events == 2
    assert waiting.take(200.0) is None


def test_a_full_batch_is_due_at_once() -> None:
    waiting, where = buffer(batch_size=2), envelope()
    waiting.add(encoded(where), at(100.0))
    assert not waiting.is_due(100.0)
    assert waiting.add(encoded(where), at(100.0))
    assert waiting.is_due(100.0)
    assert waiting.next_due() is None


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
    batch = waiting.take(100.0)
    assert batch is not None
    waiting.put_back(batch, 105.0, asked=False)
    waiting.add(encoded(where), at(100.0))
    assert waiting.full
    assert not waiting.fits(1)
    assert waiting.take(100.0) is not batch
    assert waiting.next_due() == 105.0
    assert waiting.take(104.9) is None
    assert waiting.take(105.0) is batch


def test_hurry_ends_our_own_waits_but_not_what_the_endpoint_asked_for() -> None:
    waiting, where = buffer(batch_size=1), envelope()
    for _ in range(2):
        waiting.add(encoded(where), at(100.0))
    own, asked = waiting.take(100.0), waiting.take(100.0)
    assert own is not None
    assert asked is not None
    waiting.put_back(own, 150.0, asked=False)
    waiting.put_back(asked, 140.0, asked=True)
    waiting.hurry()
    assert waiting.take(100.0) is own
    assert waiting.take(100.0) is None
    waiting.hurry(even_asked=True)
    assert waiting.take(100.0) is asked


def test_a_retry_makes_the_same_request() -> None:
    waiting, where = buffer(), envelope()
    for number in range(3):
        waiting.add(encoded(where, data=b'{"n":%d}' % number), at(100.0))
    batch = waiting.take(101.0)
    assert batch is not None
    first = batch.request()
    waiting.put_back(batch, 102.0, asked=False)
    again = waiting.take(102.0)
    assert again is batch
    assert again.request() == first
    assert first.body is not None
    assert json.loads(first.body) == {"visitors": [{"n": 0}, {"n": 1}, {"n": 2}]}


def test_an_idle_buffer_has_nothing_due() -> None:
    waiting = buffer()
    assert (waiting.next_due(), waiting.oldest, waiting.is_due(1e9), waiting.take(1e9)) == (None, None, False, None)


def test_a_batch_reads_without_its_payload() -> None:
    waiting = buffer(batch_size=1)
    waiting.add(encoded(envelope(), data=b'{"secret":1}'), at(100.0))
    assert "secret" not in repr(waiting.take(100.0))


class Conservation(RuleBasedStateMachine):
    """Any sequence of steps: every event stays in exactly one batch, and the counts are those of a plain list."""

    taken = Bundle("taken")

    @initialize(size=st.integers(1, 4), events=st.integers(1, 12), interval=st.sampled_from([0.0, 1.0, 5.0]))
    def start(self, size: int, events: int, interval: float) -> None:
        self.config = Config(
            batch_size=size, buffer_events=events, flush_interval=interval, max_request_bytes=1_000, buffer_bytes=3_000
        )
        self.buffer = Buffer(self.config)
        self.envelopes = [envelope(url) for url in ORIGINS for _ in range(2)]
        self.now = 1_000.0
        self.added = 0
        self.pending: dict[bytes, float] = {}
        self.in_flight: list[Batch] = []
        self.asked: dict[int, float] = {}

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
        assert self.asked.pop(batch.number, 0.0) <= self.now
        self.check_size(batch)
        self.in_flight.append(batch)
        return batch

    def check_size(self, batch: Batch) -> None:
        within = batch.envelope.overhead + batch.size <= self.config.max_request_bytes
        assert batch.events == 1 or (within and batch.visitors <= self.config.batch_size)
        numbers = [int(part.split(b":")[0]) for part in batch.parts]
        assert numbers == sorted(numbers)

    @rule(batch=consumes(taken), delay=st.floats(0, 10), asked=st.booleans())
    def put_back(self, batch: Batch, delay: float, asked: bool) -> None:
        self.in_flight.remove(batch)
        self.buffer.put_back(batch, self.now + delay, asked)
        if asked:
            self.asked[batch.number] = self.now + delay

    @rule(batch=consumes(taken))
    def return_unsent(self, batch: Batch) -> None:
        self.in_flight.remove(batch)
        self.buffer.return_first(batch)
        assert self.buffer.is_due(self.now)

    @rule(batch=consumes(taken))
    def settle(self, batch: Batch) -> None:
        self.in_flight.remove(batch)
        self.buffer.settle(batch)
        for part in batch.parts:
            del self.pending[part]

    @rule()
    def hurry(self) -> None:
        self.buffer.hurry()

    @rule(seconds=st.floats(0, 6))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_are_those_of_a_plain_list(self) -> None:
        assert self.buffer.events == len(self.pending)
        assert self.buffer.bytes == sum(len(each) + 1 for each in self.pending)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """What is neither in flight nor due has a time at which it will be due."""
        in_flight = sum(batch.events for batch in self.in_flight)
        if len(self.pending) > in_flight and not self.buffer.is_due(self.now):
            due = self.buffer.next_due()
            assert due is not None
            assert due > self.now

    def teardown(self) -> None:
        if hasattr(self, "buffer"):
            parts = [part for batch in self.buffer.drain() for part in batch.parts]
            assert sorted(parts) == sorted(self.pending)


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_addresses_of_the_examples_are_what_they_seem() -> None:
    assert parse(ORIGINS[0]) == Address(Origin("http", "us.example", 80), "/", None)
