"""kill -9 of producers and of `worker` processes at random moments, and what became of every event.

By hand, with the figures printed: `python -m tests.command_crashes --events 60000 --seed 7`. What it runs beside
workers, `python -m tests.command_crashes produce PATH URL NAME`, puts messages until it is killed, and says each event
once its put has returned.
"""

# ruff: noqa: E402  # a producer is patched first, as servers are
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Callable

import gevent

from gevent_dispatcher import Request
from gevent_dispatcher._url import parse
from gevent_dispatcher.collector import Collector
from gevent_dispatcher.queues import SqliteQueue
from tests.commands import environ
from tests.lifetimes._processes import ROOT, Program
from tests.waiting import wait_until

EVENTS_PER_MESSAGE = 5
MAX_HELD = 20
# Long enough that heartbeats are not late on a machine under load, short enough to wait for what the killed held.
LEASE = 6.0
PRODUCERS, WORKERS = 2, 2
# Most events between two kills, the start of the next process aside.
BETWEEN_KILLS = 600
# Of each kind, however fast the machine is beside the killing.
LEAST_KILLED = 2


@dataclass(frozen=True)
class Figures:
    """What became of the events.

    Attributes:
        committed: events whose put had returned.
        delivered: events that arrived, once or more often.
        lost: events that were committed and have not arrived.
        duplicated: arrivals beyond the first.
        dead: dead letters.
        producers_killed: with SIGKILL.
        workers_killed: with SIGKILL.
        seconds: all of it.
    """

    committed: int
    delivered: int
    lost: int
    duplicated: int
    dead: int
    producers_killed: int
    workers_killed: int
    seconds: float

    @property
    def most_duplicates(self) -> int:
        """What may come twice: all that the killed workers held."""
        return self.workers_killed * MAX_HELD * EVENTS_PER_MESSAGE


def crash(directory: Path, events: int, seed: int, limit: float) -> Figures:
    """Let producers and workers work, kill one after the other, and let the last workers finish.

    Args:
        directory: for the queue and for what the workers say.
        events: how many must have been committed, and some of both kinds killed, before the end.
        seed: of the moments and the victims.
        limit: seconds.
    """
    begin = monotonic()
    with Collector(latency=0.01) as collector, ExitStack() as stack:
        crew = _Crew(directory, collector.url, stack)
        chance, deadline = random.Random(seed), begin + limit
        while crew.committed() < events or crew.fewest_killed() < LEAST_KILLED:
            aim, victim = crew.committed() + chance.randint(1, BETWEEN_KILLS), chance.randrange(PRODUCERS + WORKERS)
            _wait(lambda aim=aim: crew.committed() >= aim, deadline)  # type: ignore[misc]
            crew.replace(victim)
            _wait(lambda victim=victim: crew.is_at_work(victim), deadline)  # type: ignore[misc]
        crew.end_producers()
        queue = SqliteQueue(directory / "queue.db", timeout=30).open()
        stack.callback(queue.close)
        _wait(lambda: queue.status().events == 0, deadline)
        crew.end_workers()
        return _figures(crew, collector.uuids(), queue.status().dead, monotonic() - begin)


def _wait(condition: Callable[[], Any], deadline: float) -> None:
    wait_until(condition, max(deadline - monotonic(), 0.0))


def _figures(crew: _Crew, arrived: dict[str, int], dead: int, seconds: float) -> Figures:
    committed = {uuid for producer in crew.producers for uuid in producer.said}
    return Figures(
        committed=len(committed),
        delivered=len(arrived),
        lost=len(committed - arrived.keys()),
        duplicated=sum(arrived.values()) - len(arrived),
        dead=dead,
        producers_killed=crew.killed["producer"],
        workers_killed=crew.killed["worker"],
        seconds=seconds,
    )


class _Crew:
    """Those that work now, and what the former ones have said."""

    def __init__(self, directory: Path, url: str, stack: ExitStack) -> None:
        self.producers: list[Producer] = []
        self.killed: Counter[str] = Counter()
        self._directory = directory
        self._url = url
        self._stack = stack
        self._workers = 0
        self._members: list[Any] = [
            *(self._produce() for _ in range(PRODUCERS)),
            *(self._work() for _ in range(WORKERS)),
        ]

    def fewest_killed(self) -> int:
        """Of producers or of workers."""
        return min(self.killed["producer"], self.killed["worker"])

    def committed(self) -> int:
        """Events whose put has returned."""
        return sum(len(producer.said) for producer in self.producers)

    def replace(self, place: int) -> None:
        """Kill one, and have another in its place."""
        is_producer = place < PRODUCERS
        self._members[place].kill()
        self.killed["producer" if is_producer else "worker"] += 1
        self._members[place] = self._produce() if is_producer else self._work()

    def is_at_work(self, place: int) -> bool:
        """Whether one has begun, so that killing it means something."""
        member = self._members[place]
        return bool(member.said) if place < PRODUCERS else "delivering from" in member.output()

    def end_producers(self) -> None:
        """Kill those that put."""
        for producer in self._members[:PRODUCERS]:
            producer.kill()
            self.killed["producer"] += 1

    def end_workers(self) -> None:
        """End those that deliver, as a deployment would."""
        for worker in self._members[PRODUCERS:]:
            worker.signal(signal.SIGTERM)
        for worker in self._members[PRODUCERS:]:
            code = worker.wait_for_end()
            assert code == 0, (code, worker.output())

    def _produce(self) -> Producer:
        producer = Producer(self._directory / "queue.db", self._url, f"p{len(self.producers)}")
        self._stack.callback(producer.kill)
        self.producers.append(producer)
        return producer

    def _work(self) -> Program:
        self._workers += 1
        directory = self._directory / f"worker{self._workers}"
        directory.mkdir()
        options = ["--allow", self._url, "--lease", LEASE, "--max-held", MAX_HELD, "--poll-interval", 0.05]
        command = ["worker", self._directory / "queue.db", *options, "--proxy", ""]
        program = Program(["-m", "gevent_dispatcher", *map(str, command)], directory)
        return self._stack.enter_context(program)


class Producer:
    """A process that puts messages until it is killed.

    Attributes:
        said: the events whose put has returned.
    """

    def __init__(self, path: Path, url: str, name: str) -> None:
        command = [sys.executable, "-m", "tests.command_crashes", "produce", str(path), url, name]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environ(), stdout=subprocess.PIPE)
        self.said: list[str] = []
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.said.append(line.decode().strip())

    def kill(self) -> None:
        """End it with SIGKILL, and read what it had said."""
        if self._process.stdout and not self._process.stdout.closed:
            self._process.kill()
            self._process.wait()
            self._reader.join(10)
            self._process.stdout.close()


def produce(path: str, url: str, name: str) -> None:
    """Put messages for ever, some at once, and say each event when it is certain."""
    queue, chance, number = SqliteQueue(path, timeout=60).open(), random.Random(name), 0
    while True:
        messages = []
        for _ in range(chance.randint(1, 4)):
            messages.append([f"{name}-{number + each}" for each in range(EVENTS_PER_MESSAGE)])
            number += EVENTS_PER_MESSAGE
        queue.put([_request(url, uuids) for uuids in messages])
        # A line of a pipe is written whole or not at all, and outlives its writer.
        os.write(1, "".join(f"{uuid}\n" for uuids in messages for uuid in uuids).encode())
        gevent.sleep(0.005)


def _request(url: str, uuids: list[str]) -> Request:
    visitors = ",".join(
        f'{{"visitor_id":"{uuid}","snapshots":[{{"decisions":[],"events":[{{"uuid":"{uuid}","key":"k"}}]}}]}}'
        for uuid in uuids
    )
    address = parse(url)
    body = f'{{"visitors":[{visitors}],"account_id":"1"}}'.encode()
    return Request("POST", address.origin, address.target, {"Content-Type": "application/json"}, body, len(uuids))


def main() -> None:
    """Crash as the arguments say, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--limit", type=float, default=900.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = crash(Path(directory), options.events, options.seed, options.limit)
    print(f"{figures}\nmay be duplicated: {figures.most_duplicates}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["produce"]:
        produce(*sys.argv[2:])
    else:
        main()
