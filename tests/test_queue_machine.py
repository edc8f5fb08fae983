"""`SqliteQueue` beside a model in plain Python: whatever is done, in whatever order, both say the same."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gevent_dispatcher.queues import SqliteQueue, Status
from tests.queues import Clock, request

seconds = st.sampled_from([0.5, 10.0, 60.0, 600.0])


@dataclass
class Held:
    """A message in the model."""

    number: int
    put_at: float
    ready_at: float
    since: float
    events: int
    held: float = 0.0
    receipt: str | None = None
    received: int = 0


class Machine(RuleBasedStateMachine):
    """The queue, and what it should hold."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.recipe = SqliteQueue(Path(self.directory.name) / "queue.db", clock=self.clock)
        self.queue = self.recipe.open()
        self.live: list[Held] = []
        self.graves: list[tuple[float, Held, str]] = []
        self.receipts: list[str] = ["7-7", "nonsense"]
        self.numbers = 0

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.queue.close()
            self.directory.cleanup()

    @rule(count=st.integers(0, 4), events=st.integers(1, 9))
    def put(self, count: int, events: int) -> None:
        fresh = [Held(self.numbers + n, self.clock.now, self.clock.now, self.clock.now, events) for n in range(count)]
        self.numbers += count
        self.live.extend(fresh)
        self.queue.put([request(str(each.number), events) for each in fresh])

    @rule(most=st.integers(1, 5), lease=seconds)
    def receive(self, most: int, lease: float) -> None:
        now = self.clock.now
        for each in self.live:
            if each.since > now:
                each.ready_at, each.since = now + each.held, now
        ready = [each for each in self.live if each.ready_at <= now]
        ready = sorted(ready, key=lambda each: (each.ready_at, each.number))[:most]
        messages = self.queue.receive(most, lease)
        for each, message in zip(ready, messages):
            each.ready_at, each.since, each.held, each.receipt = now + lease, now, lease, message.receipt
            each.received += 1
            self.receipts.append(message.receipt)
        expected = [(str(each.number).encode(), each.received, each.put_at, each.events) for each in ready]
        assert [(m.request.body, m.received, m.put_at, m.request.events) for m in messages] == expected

    def holders(self, receipts: list[str]) -> tuple[list[Held], list[str]]:
        found = [each for receipt in receipts for each in self.live if each.receipt == receipt]
        return found, [receipt for receipt in receipts if receipt not in {each.receipt for each in found}]

    @rule(data=st.data(), lease=seconds)
    def extend(self, data: st.DataObject, lease: float) -> None:
        found, stale = self.holders(chosen := self.choose(data))
        for each in found:
            each.ready_at, each.since, each.held = self.clock.now + lease, self.clock.now, lease
        assert self.queue.extend(chosen, lease) == stale

    @rule(data=st.data(), delay=st.just(0.0) | seconds)
    def release(self, data: st.DataObject, delay: float) -> None:
        found, stale = self.holders(chosen := self.choose(data))
        for each in found:
            each.ready_at, each.since, each.held = self.clock.now + delay, self.clock.now, delay
            each.receipt = None
        assert self.queue.release(chosen, delay) == stale

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        found, stale = self.holders(chosen := self.choose(data))
        self.live = [each for each in self.live if each not in found]
        assert self.queue.ack(chosen) == stale

    @rule(data=st.data(), reason=st.text(max_size=20))
    def bury(self, data: st.DataObject, reason: str) -> None:
        reason = reason.encode("utf-8", "replace").decode()
        found, stale = self.holders(chosen := self.choose(data))
        self.live = [each for each in self.live if each not in found]
        self.graves.extend((self.clock.now, each, reason) for each in found)
        assert self.queue.bury(chosen, reason) == stale

    @rule(data=st.data(), again=st.integers(0, 3), dead=st.integers(0, 3), delay=st.just(0.0) | seconds)
    def replace(self, data: st.DataObject, again: int, dead: int, delay: float) -> None:
        receipt = data.draw(st.sampled_from(self.receipts[-12:]))
        found, _ = self.holders([receipt])
        numbers = range(self.numbers, self.numbers + again + dead)
        self.numbers += again + dead
        requests = [request(str(number), 2) for number in numbers]
        letters = [(each, "replaced") for each in requests[again:]]
        assert self.queue.replace(receipt, requests[:again], letters, delay) == bool(found)
        for each in found:
            self.live.remove(each)
            now = self.clock.now
            made = [Held(number, each.put_at, now + delay, now, 2, delay) for number in numbers]
            self.live.extend(made[:again])
            self.graves.extend((now, one, "replaced") for one in made[again:])

    def choose(self, data: st.DataObject) -> list[str]:
        return data.draw(st.lists(st.sampled_from(self.receipts[-12:]), max_size=4, unique=True))

    @rule(all_of_them=st.booleans(), first=st.integers(0, 3))
    def requeue(self, all_of_them: bool, first: int) -> None:
        letters = self.queue.dead()
        revived = sorted(self.graves, key=lambda grave: (grave[0], grave[1].number))
        revived = revived if all_of_them else revived[:first]
        for grave in revived:
            self.graves.remove(grave)
            dead, now = grave[1], self.clock.now
            self.live.append(Held(dead.number, dead.put_at, now, now, dead.events))
        ids = None if all_of_them else [letter.id for letter in letters[:first]] + ["0", "nonsense"]
        assert self.queue.requeue(ids) == len(revived)

    @rule(dead=st.booleans())
    def purge(self, dead: bool) -> None:
        if dead:
            assert self.queue.purge_dead() == len(self.graves)
            self.graves.clear()
        else:
            assert self.queue.purge() == len(self.live)
            self.live.clear()

    @rule(passed=st.sampled_from([0.1, 5.0, 11.0, 61.0, 3_600.0, -5.0, -3_600.0]))
    def time_passes_or_is_set_back(self, passed: float) -> None:
        self.clock.now += passed

    @rule()
    def restart(self) -> None:
        self.queue.close()
        self.queue = self.recipe.open()

    @invariant()
    def the_status_is_the_same(self) -> None:
        if not hasattr(self, "queue"):
            return
        now, status = self.clock.now, self.queue.status()
        later = [each for each in self.live if each.ready_at > now]
        leased = sum(each.receipt is not None for each in later)
        oldest = min((each.put_at for each in self.live), default=now)
        assert status == Status(
            waiting=len(self.live) - len(later),
            delayed=len(later) - leased,
            leased=leased,
            dead=len(self.graves),
            events=sum(each.events for each in self.live),
            bytes=status.bytes,
            oldest_age=max(0.0, now - oldest),
        )

    @invariant()
    def the_dead_letters_are_the_same(self) -> None:
        if not hasattr(self, "queue"):
            return
        expected = sorted(self.graves, key=lambda grave: (grave[0], grave[1].number))
        got = [(each.died_at, each.request and each.request.body, each.reason) for each in self.queue.dead()]
        assert got == [(died, str(each.number).encode(), reason) for died, each, reason in expected]


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
