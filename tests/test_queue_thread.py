"""A disk that hangs holds its own thread only: the hub goes on, callers hear in time, and what was asked has a fate."""

from __future__ import annotations

import gc
import sqlite3
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Iterator

import gevent
import pytest
from gevent import monkey

from gevent_dispatcher.queues import QueueUnavailable, QueueUncertain, SqliteQueue
from gevent_dispatcher.queues._job import Job, Withdrawn
from gevent_dispatcher.queues._thread import Worker, _collect_if_starved
from tests.measuring import inherited
from tests.queues import request
from tests.waiting import wait_until

allocate_lock = monkey.get_original("_thread", "allocate_lock")
get_ident = monkey.get_original("_thread", "get_ident")
start_new_thread = monkey.get_original("_thread", "start_new_thread")


class Disk:
    """A session whose work hangs until it is told to go on."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.is_waited_for = False
        self.done: list[object] = []
        self.withdrawn = 0
        self.closed = 0
        self.sessions = 0

    def make(self) -> Disk:
        self.sessions += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def hang_before(self, _: Any, job: Job) -> str:
        self._hang()
        self._claim(job)
        return "answer"

    def hang_in_the_commit(self, _: Any, job: Job) -> str:
        self._claim(job)
        self._hang()
        return "answer"

    def _claim(self, job: Job) -> None:
        try:
            job.claim()
        except Withdrawn:
            self.withdrawn += 1
            raise
        self.done.append(job)

    def _hang(self) -> None:
        self.is_waited_for = True
        with self.lock:
            self.is_waited_for = False


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    if disk.lock.locked():
        disk.lock.release()


@pytest.fixture
def worker(disk: Disk) -> Iterator[Worker]:
    worker = Worker(disk.make, 0.2)
    yield worker
    worker.close()


class Ticker:
    """Counts the turns of the hub."""

    def __init__(self) -> None:
        self.ticks = 0
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            gevent.sleep(0.001)
            self.ticks += 1

    def stop(self) -> None:
        self._greenlet.kill()


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    ticker = Ticker()
    yield ticker
    ticker.stop()


def test_what_was_not_committed_when_time_ran_out_is_not_done(worker: Worker, disk: Disk, ticker: Ticker) -> None:
    disk.lock.acquire()
    with pytest.raises(QueueUnavailable, match=r"did not answer within 0\.2 s") as caught:
        worker.call(disk.hang_before)
    assert not isinstance(caught.value, QueueUncertain)
    assert ticker.ticks > 10
    disk.lock.release()
    wait_until(lambda: disk.withdrawn == 1)
    assert disk.done == []


def test_what_was_being_committed_when_time_ran_out_is_uncertain(worker: Worker, disk: Disk, ticker: Ticker) -> None:
    disk.lock.acquire()
    with pytest.raises(QueueUncertain, match=r"did not finish a commit within 0\.2 s"):
        worker.call(disk.hang_in_the_commit)
    assert (len(disk.done), disk.withdrawn) == (1, 0)
    assert ticker.ticks > 10
    disk.lock.release()
    assert worker.call(disk.hang_before) == "answer"


def test_what_waits_behind_it_is_never_begun_and_keeps_nothing_in_memory(worker: Worker, disk: Disk) -> None:
    disk.lock.acquire()
    with pytest.raises(QueueUnavailable):
        worker.call(disk.hang_before)

    class Body:
        """Stands for the bytes of requests."""

    def call(body: Body) -> None:
        with suppress(QueueUnavailable):
            worker.call(lambda *_: disk.done.append(body))

    body = Body()
    gone = weakref.ref(body)
    caller = gevent.spawn(call, body)
    del body
    wait_until(lambda: caller.dead)
    wait_until(lambda: gc.collect() >= 0 and gone() is None)
    disk.lock.release()
    assert worker.call(disk.hang_before) == "answer"
    assert len(disk.done) == 1


def test_callers_without_end_are_refused_at_once(disk: Disk) -> None:
    worker = Worker(disk.make, 30)
    disk.lock.acquire()
    refused: list[QueueUnavailable] = []

    def call() -> None:
        try:
            worker.call(disk.hang_before)
        except QueueUnavailable as error:
            refused.append(error)

    callers = [gevent.spawn(call) for _ in range(1_010)]
    wait_until(lambda: refused)
    with pytest.raises(QueueUnavailable, match="too many"):
        worker.call(disk.hang_before)
    gevent.killall(callers)
    disk.lock.release()
    worker.close()
    assert len(disk.done) <= 1


def test_a_caller_that_is_killed_takes_its_work_along(worker: Worker, disk: Disk) -> None:
    disk.lock.acquire()
    caller = gevent.spawn(worker.call, disk.hang_before)
    wait_until(lambda: disk.is_waited_for)
    caller.kill()
    disk.lock.release()
    wait_until(lambda: disk.withdrawn == 1)
    assert disk.done == []


def test_a_timeout_of_the_callers_own_is_honoured(disk: Disk) -> None:
    worker = Worker(disk.make, 30)
    disk.lock.acquire()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        worker.call(disk.hang_before)
    disk.lock.release()
    worker.close()
    assert disk.done == []


def test_the_garbage_collector_does_not_wait_for_a_disk_that_hangs(worker: Worker, disk: Disk) -> None:
    disk.lock.acquire()
    caller = gevent.spawn(worker.call, disk.hang_in_the_commit)
    wait_until(lambda: disk.is_waited_for)
    assert not gc.isenabled()
    wait_until(lambda: caller.dead)
    assert gc.isenabled()
    disk.lock.release()
    assert isinstance(caller.exception, QueueUncertain)


# Objects that the collector knows; it runs, where it is on, whenever there are some more than its threshold says.
MANY = 30 * gc.get_threshold()[0]


class Cycle:
    """Garbage that only the collector finds; what it belongs to may be finalized in the thread of its hub alone."""

    def __init__(self, finalized_in: list[int]) -> None:
        self._itself = self
        self._finalized_in = finalized_in

    def __del__(self) -> None:
        self._finalized_in.append(get_ident())


unfollowed = pytest.mark.skipif(bool(inherited()), reason="what follows a thread's lines makes objects in it")


@unfollowed
def test_what_became_garbage_meanwhile_is_not_finalized_by_the_thread(disk: Disk) -> None:
    worker, finalized_in = Worker(disk.make, 30), []
    worker.call(disk.hang_before)
    disk.lock.acquire()
    caller = gevent.spawn(worker.call, disk.hang_before)
    wait_until(lambda: disk.is_waited_for)
    Cycle(finalized_in)
    many: list[list[None]] = [[] for _ in range(MANY)]
    disk.lock.release()
    assert caller.get(timeout=10) == "answer"
    wait_until(lambda: finalized_in)
    assert finalized_in == [get_ident()]
    assert len(many) == MANY
    worker.close()


@unfollowed
def test_a_thread_that_is_never_idle_does_not_keep_the_garbage(disk: Disk) -> None:
    worker, finalized_in, many = Worker(disk.make, 30), [], []
    found: list[list[int]] = []

    def fill(*_: Any) -> None:
        many.extend([[] for _ in range(MANY)])  # type: ignore[var-annotated]  # the collector would have run often
        Cycle(finalized_in)

    def call() -> None:
        worker.call(fill)
        found.append(list(finalized_in))

    disk.lock.acquire()
    calls = [gevent.spawn(each) for each in (call, lambda: worker.call(disk.hang_before))]
    wait_until(lambda: found and disk.is_waited_for)
    assert not gc.isenabled()
    disk.lock.release()
    gevent.joinall(calls, timeout=10, raise_error=True)
    assert found == [[get_ident()]]
    worker.close()


def test_only_where_the_collector_was_kept_from_much_a_caller_does_its_work() -> None:
    finalized_in: list[int] = []
    gc.collect()
    gc.disable()
    try:
        Cycle(finalized_in)
        _collect_if_starved()
        assert finalized_in == []
        many: list[list[None]] = [[] for _ in range(MANY)]
        _collect_if_starved()
        assert finalized_in == [get_ident()]
        assert len(many) == MANY
    finally:
        gc.enable()


def test_a_collector_that_the_application_has_switched_off_stays_off(worker: Worker) -> None:
    gc.disable()
    try:
        assert [worker.call(lambda *_: gc.isenabled()) for _ in range(3)] == [False] * 3
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_greenlets_at_once_make_one_thread(worker: Worker, disk: Disk) -> None:
    callers = [gevent.spawn(worker.call, disk.hang_before) for _ in range(50)]
    wait_until(lambda: all(caller.value == "answer" for caller in callers))
    assert disk.sessions == 1


def test_native_threads_at_once_make_one_thread() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            call_at_once(8)
    finally:
        sys.setswitchinterval(interval)


def call_at_once(threads: int) -> None:
    disk, answers, start = Disk(), [], allocate_lock()
    worker = Worker(disk.make, 20)

    def call() -> None:
        with start:
            pass
        answers.append(worker.call(disk.hang_before))

    start.acquire()
    for _ in range(threads):
        start_new_thread(call, ())
    start.release()
    wait_until(lambda: len(answers) == threads)
    worker.close()
    assert disk.sessions == 1


def test_closing_waits_for_what_was_asked_before_and_refuses_what_comes_after(disk: Disk) -> None:
    worker = Worker(disk.make, 10)
    disk.lock.acquire()
    caller = gevent.spawn(worker.call, disk.hang_before)
    wait_until(lambda: disk.is_waited_for)
    closing = gevent.spawn(worker.close)
    gevent.sleep(0)
    disk.lock.release()
    wait_until(lambda: closing.dead)
    assert caller.get(timeout=10) == "answer"
    assert disk.closed >= 1
    with pytest.raises(QueueUnavailable, match="closed"):
        worker.call(disk.hang_before)


def test_closing_does_not_wait_longer_than_the_timeout(worker: Worker, disk: Disk) -> None:
    disk.lock.acquire()
    caller = gevent.spawn(worker.call, disk.hang_in_the_commit)
    wait_until(lambda: disk.is_waited_for)
    worker.close()
    assert disk.closed == 0
    wait_until(lambda: caller.dead)
    disk.lock.release()
    wait_until(lambda: disk.closed)


def in_a_callback(work: Callable[[], object]) -> object:
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)

    gevent.get_hub().loop.run_callback(run)
    return wait_until(lambda: outcomes)[0]


def test_a_callback_of_the_hub_is_told_that_it_cannot_wait(worker: Worker, disk: Disk) -> None:
    error = in_a_callback(lambda: worker.call(disk.hang_before))
    assert isinstance(error, QueueUnavailable)
    assert "callback of the hub" in str(error)
    assert in_a_callback(worker.close) is None


def test_a_thread_that_works_is_closed_from_a_callback_of_the_hub_without_a_wait(worker: Worker, disk: Disk) -> None:
    assert worker.call(lambda *_: "answer") == "answer"
    assert in_a_callback(worker.close) is None
    wait_until(lambda: disk.closed == 2)


def test_where_the_system_has_no_thread_to_give_that_is_said(disk: Disk) -> None:
    stack_size = monkey.get_original("_thread", "stack_size")
    worker = Worker(disk.make, 1)
    before = stack_size(1 << 46)  # more than there is address space for
    try:
        with pytest.raises(QueueUnavailable, match="no thread can be had"):
            worker.call(disk.hang_before)
    finally:
        stack_size(before)
    assert worker.call(lambda *_: "answer") == "answer"
    worker.close()


def test_what_the_work_raises_reaches_the_caller_and_prints_nothing(
    worker: Worker, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda *_: 1 // 0)
    assert capfd.readouterr() == ("", "")


class TestALockedFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "queue.db"

    @pytest.fixture
    def locker(self, path: Path) -> Iterator[sqlite3.Connection]:
        """Somebody else, in the middle of a transaction."""
        queue = SqliteQueue(path).open()
        queue.put([request("first")])
        queue.close()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield other
        other.close()

    def test_a_put_waits_for_it_and_the_hub_does_not(
        self, path: Path, locker: sqlite3.Connection, ticker: Ticker
    ) -> None:
        queue = SqliteQueue(path, timeout=20).open()
        putting = gevent.spawn(queue.put, [request("second")])
        before = ticker.ticks
        wait_until(lambda: ticker.ticks > before + 100)
        assert not putting.dead
        locker.execute("ROLLBACK")
        putting.get(timeout=10)
        assert len(queue.receive(10, 60)) == 2
        queue.close()

    def test_one_that_stays_locked_is_unavailable_in_time_and_nothing_was_done(
        self, path: Path, locker: sqlite3.Connection
    ) -> None:
        queue = SqliteQueue(path, timeout=0.3).open()
        with pytest.raises(QueueUnavailable, match="locked by another process"):
            queue.put([request("second")])
        locker.execute("ROLLBACK")
        assert queue.status().waiting == 1
        queue.close()

    def test_looking_needs_no_lock(self, path: Path, locker: sqlite3.Connection) -> None:
        queue = SqliteQueue(path, timeout=0.3).open()
        assert (queue.status().waiting, queue.dead()) == (1, [])
        locker.execute("UPDATE message SET ready_at = ready_at + 1000")
        locker.execute("COMMIT")
        locker.execute("BEGIN IMMEDIATE")
        assert queue.receive(10, 60) == []
        queue.close()


def test_the_thread_ends_with_the_queue(tmp_path: Path) -> None:
    count = monkey.get_original("_thread", "_count")
    before = count()
    for _ in range(20):
        queue = SqliteQueue(tmp_path / "queue.db").open()
        queue.put([request()])
        queue.close()
    wait_until(lambda: count() <= before)
