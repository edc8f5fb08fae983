"""`SqliteQueue`: what it keeps, how much, for whom, and among how many processes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import gevent
import pytest

from gevent_dispatcher import QueueTransport, Request
from gevent_dispatcher.queues import OpenQueue, QueueFull, QueueUnavailable, SqliteQueue
from tests.queues import Clock, request
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(path: Path, clock: Clock) -> Iterator[OpenQueue]:
    opened = SqliteQueue(path, clock=clock).open()
    yield opened
    opened.close()


def receive_bodies(queue: OpenQueue, most: int = 100, lease: float = 60.0) -> list[bytes | None]:
    return [message.request.body for message in queue.receive(most, lease)]


def test_a_message_comes_as_it_was_put_and_is_gone_once_it_is_acknowledged(queue: OpenQueue, clock: Clock) -> None:
    original = request(b'{"visitors":[1,2]}', events=2)
    queue.put([original])
    (message,) = queue.receive(10, 60)
    assert (message.request, message.received, message.put_at) == (original, 1, clock.now)
    assert queue.ack([message.receipt]) == []
    assert queue.status().waiting == queue.status().leased == 0


def test_a_get_request_has_no_body(queue: OpenQueue) -> None:
    original = request()._replace(verb="GET", body=None)
    queue.put([original])
    assert queue.receive(1, 60)[0].request == original


def test_an_empty_body_is_not_none(queue: OpenQueue) -> None:
    queue.put([request(b"")])
    assert queue.receive(1, 60)[0].request.body == b""


def test_putting_and_settling_nothing_does_nothing(queue: OpenQueue, path: Path) -> None:
    queue.put([])
    assert queue.ack([]) == []
    assert not path.exists()


def test_what_is_leased_is_hidden_until_the_lease_is_over(queue: OpenQueue, clock: Clock) -> None:
    queue.put([request("a")])
    queue.receive(1, 60)
    clock.now += 59
    assert receive_bodies(queue) == []
    clock.now += 1
    assert receive_bodies(queue) == [b"a"]


def test_a_former_holder_can_do_nothing(queue: OpenQueue, clock: Clock) -> None:
    queue.put([request("a")])
    (first,) = queue.receive(1, 60)
    clock.now += 60
    (second,) = queue.receive(1, 60)
    stale = [first.receipt]
    assert (queue.ack(stale), queue.extend(stale, 60), queue.release(stale), queue.bury(stale, "no")) == (stale,) * 4
    assert queue.status().leased == 1
    assert (second.received, queue.ack([second.receipt])) == (2, [])


def test_a_lease_that_is_over_can_be_extended_while_nobody_else_has_the_message(queue: OpenQueue, clock: Clock) -> None:
    queue.put([request("a")])
    (message,) = queue.receive(1, 60)
    clock.now += 100
    assert queue.extend([message.receipt], 60) == []
    assert receive_bodies(queue) == []


def test_what_is_released_comes_again_after_its_delay(queue: OpenQueue, clock: Clock) -> None:
    queue.put([request("a")])
    (message,) = queue.receive(1, 60)
    queue.release([message.receipt], 10)
    assert (receive_bodies(queue), queue.status().delayed) == ([], 1)
    clock.now += 10
    assert receive_bodies(queue) == [b"a"]


def test_the_dead_are_received_again_only_when_they_are_requeued(queue: OpenQueue, clock: Clock) -> None:
    queue.put([request("a", 7)])
    put_at = clock.now
    (message,) = queue.receive(1, 60)
    clock.now += 1
    queue.bury([message.receipt], "status 400" + "!" * 1_000 + "\udcff")
    (letter,) = queue.dead()
    assert (letter.request, letter.events, letter.put_at) == (message.request, 7, put_at)
    assert (letter.died_at, len(letter.reason)) == (clock.now, 500)
    clock.now += 1_000
    assert receive_bodies(queue) == []
    assert queue.requeue([letter.id]) == 1
    (again,) = queue.receive(1, 60)
    assert (again.request, again.received, queue.dead()) == (message.request, 1, [])


def test_what_cannot_be_read_is_buried_with_its_reason(queue: OpenQueue, path: Path) -> None:
    queue.put([request("a"), request("b"), request("c")])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE message SET envelope = '{}' WHERE id = 1")
        other.execute("UPDATE message SET envelope = CAST(x'ff7b' AS TEXT) WHERE id = 2")
    other.close()
    assert receive_bodies(queue) == [b"c"]
    assert [(letter.request, letter.reason) for letter in queue.dead()] == [(None, "its envelope is unreadable")] * 2


def test_many_are_purged_and_requeued_in_portions(queue: OpenQueue) -> None:
    queue.put([request(str(n)) for n in range(1_200)])
    queue.bury([message.receipt for message in queue.receive(1_100, 60)], "poison")
    assert (queue.status().waiting, queue.status().dead) == (100, 1_100)
    assert queue.requeue() == 1_100
    assert queue.purge() == 1_200
    assert queue.purge_dead() == 0


class TestTheClock:
    def test_set_back_a_lease_lasts_no_longer_than_its_length_from_then(self, queue: OpenQueue, clock: Clock) -> None:
        queue.put([request("a"), request("b")])
        queue.receive(1, 60)
        clock.now -= 86_400
        assert receive_bodies(queue, lease=600) == [b"b"]
        clock.now += 60
        assert receive_bodies(queue) == [b"a"]

    def test_set_back_does_not_hide_what_waits(self, queue: OpenQueue, clock: Clock) -> None:
        queue.put([request("a")])
        clock.now -= 86_400
        assert receive_bodies(queue) == [b"a"]
        assert queue.status().oldest_age == 0

    def test_set_forward_ends_leases_and_the_holder_may_still_acknowledge(self, queue: OpenQueue, clock: Clock) -> None:
        queue.put([request("a")])
        (message,) = queue.receive(1, 60)
        clock.now += 86_400
        assert queue.status().waiting == 1
        assert queue.ack([message.receipt]) == []


def takes(queue: OpenQueue, requests: list[Request]) -> bool:
    try:
        queue.put(requests)
    except QueueFull:
        return False
    return True


class TestRoom:
    def test_a_full_queue_takes_nothing_more_and_can_be_emptied(self, path: Path) -> None:
        queue = SqliteQueue(path, max_bytes=1_000_000).open()
        batch = [request(b"x" * 10_000)] * 10
        puts = 0
        while puts < 20 and takes(queue, batch):
            puts += 1
        assert puts in (8, 9)
        with pytest.raises(QueueFull, match="max_bytes=1000000 are used"):
            queue.put(batch)
        assert queue.status().waiting == puts * 10
        messages = queue.receive(100, 60)
        assert queue.ack([message.receipt for message in messages]) == []
        queue.put(batch)
        assert queue.status().waiting == 10
        queue.close()
        assert path.stat().st_size <= 1_050_000

    def test_more_than_fits_is_refused_as_a_whole(self, path: Path) -> None:
        queue = SqliteQueue(path, max_bytes=1_000_000).open()
        with pytest.raises(QueueFull):
            queue.put([request(b"x" * 100_000)] * 10)
        assert queue.status().waiting == 0
        queue.close()


class TestTheFile:
    def test_it_and_its_companions_are_their_owners_only(self, queue: OpenQueue, path: Path) -> None:
        mask = os.umask(0)
        try:
            queue.put([request()])
        finally:
            os.umask(mask)
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        assert modes == dict.fromkeys(["queue.db", "queue.db-shm", "queue.db-wal"], 0o600)

    def test_one_that_exists_keeps_its_mode(self, path: Path) -> None:
        path.touch()
        path.chmod(0o640)
        queue = SqliteQueue(path).open()
        queue.put([request()])
        assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o640}
        queue.close()

    @pytest.mark.parametrize("name", ["a b.db", "50%.db", "what?mode=memory#x.db", "größe.db"])
    def test_any_name_is_a_name(self, tmp_path: Path, name: str) -> None:
        queue = SqliteQueue(tmp_path / name).open()
        queue.put([request()])
        queue.close()
        assert [each.name for each in tmp_path.iterdir()] == [name]

    def test_a_relative_path_stays_where_it_was_when_the_queue_was_made(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(path.parent)
        queue = SqliteQueue(path.name).open()
        monkeypatch.chdir("/")
        queue.put([request()])
        monkeypatch.chdir(path.parent.parent)
        assert queue.status().waiting == 1
        queue.close()

    def test_nothing_is_made_when_it_must_exist(self, path: Path) -> None:
        queue = SqliteQueue(path, create=False).open()
        with pytest.raises(QueueUnavailable, match="there is no queue"):
            queue.status()
        assert list(path.parent.iterdir()) == []
        queue.close()

    def test_closed_it_is_whole_by_itself_and_can_be_opened_again(self, queue: OpenQueue, path: Path) -> None:
        queue.put([request("a")])
        queue.close()
        queue.close()
        with pytest.raises(QueueUnavailable, match="closed"):
            queue.status()
        assert [each.name for each in path.parent.iterdir()] == ["queue.db"]
        again = SqliteQueue(path).open()
        assert receive_bodies(again) == [b"a"]
        again.close()


WORKER = """
import sys
from gevent import monkey
monkey.patch_all()
from gevent_dispatcher.queues import SqliteQueue
from tests.queues import request
queue = SqliteQueue(sys.argv[1], timeout=60).open()
print("ready", flush=True)
sys.stdin.readline()
for n in range(100):
    queue.put([request(f"{sys.argv[2]}-{n}")])
got = []
for _ in range(20):
    messages = queue.receive(5, 600)
    queue.ack([each.receipt for each in messages])
    got += [each.request.body.decode() for each in messages]
queue.close()
print(*got)
"""


def test_many_processes_make_one_file_at_once_and_share_what_is_in_it(path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*command, str(n)], cwd=ROOT, **pipes) for n in range(4)]  # type: ignore[call-overload]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    got = [body for worker in workers for body in worker.communicate(timeout=60)[0].split()]
    assert [worker.returncode for worker in workers] == [0] * 4
    queue = SqliteQueue(path).open()
    rest = [message.request.body.decode() for message in queue.receive(400, 60) if message.request.body]
    queue.close()
    assert sorted(got + rest) == sorted(f"{process}-{n}" for process in range(4) for n in range(100))


def test_two_queues_on_one_file_in_one_process_do_not_disturb_each_other(path: Path) -> None:
    one, other = SqliteQueue(path).open(), SqliteQueue(path).open()
    jobs = [gevent.spawn(queue.put, [request(str(n))]) for n in range(50) for queue in (one, other)]
    wait_until(lambda: all(job.dead for job in jobs))
    assert all(job.successful() for job in jobs)
    one.close()
    assert len(other.receive(200, 60)) == 100
    other.close()


def test_what_is_no_queue_is_no_transport() -> None:
    with pytest.raises(ValueError, match=r"queue=3: must have open\(\), as SqliteQueue\(path\) does"):
        QueueTransport(3)  # type: ignore[arg-type]  # as users may


def test_a_transport_into_a_queue_reads_like_its_queue(path: Path) -> None:
    queue = SqliteQueue(path)
    assert repr(QueueTransport(queue)) == f"QueueTransport({queue!r})"


def test_closing_a_queue_whose_file_was_never_opened_makes_none(path: Path) -> None:
    queue = SqliteQueue(path).open()
    with pytest.raises(ValueError, match="most"):
        queue.receive(0, 60)
    queue.close()
    assert not path.exists()
