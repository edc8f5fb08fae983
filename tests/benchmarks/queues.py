"""What queues cost: CPU per event by spool, by queue and by worker, beside the direct path.

    python -m tests.benchmarks.queues

Each way runs in a fresh process under monkey patching, in turns; medians of the repetitions. For Amazon SQS a stand-in
answers, in a process of its own and after 5 ms. The last line says how late the hub is at 2 000 events/s while another
process keeps the file locked, as a slow disk would.
"""

# ruff: noqa: E402  # the patch comes first, as in the servers
from gevent import monkey

monkey.patch_all()

import sys

_HIDE = "--without-orjson"
if _HIDE in sys.argv:
    hidden: dict = sys.modules  # type: ignore[type-arg,assignment]
    hidden["orjson"] = None

import argparse
import json
import os
import sqlite3
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Callable, Iterator

import gevent

from gevent_dispatcher import Consumer, GeventEventDispatcher, QueueTransport, SqliteQueue
from tests.benchmarks import payloads, programs

_AT_ONCE = 100
# How long the other process holds the lock, and leaves it, in seconds.
_LOCKED, _FREE = 0.1, 0.02
_TICK = 0.001
# Three seconds at 2 000 events/s.
_STEPS, _PER_STEP, _STEP = 600, 10, 0.005


def _dispatch_all(dispatcher: GeventEventDispatcher, task: dict[str, Any]) -> None:
    events = payloads.Events(task["params"], task["url"])
    for number in range(task["count"]):
        dispatcher.dispatch_event(events.one())
        if number % _AT_ONCE == 0:
            gevent.sleep(0)


def _cpu(task: dict[str, Any], work: Callable[[], object]) -> float:
    """CPU microseconds per event."""
    before = time.process_time()
    work()
    return (time.process_time() - before) * 1e6 / task["count"]


def _making(task: dict[str, Any]) -> dict[str, float]:
    """What making the events costs, which the others include."""
    nobody: Any = _Nobody()
    return {"cpu": _cpu(task, lambda: _dispatch_all(nobody, task))}


class _Nobody:
    def dispatch_event(self, event: object) -> None:
        """Nothing."""


def _through(dispatcher: GeventEventDispatcher, task: dict[str, Any]) -> dict[str, float]:
    def work() -> None:
        _dispatch_all(dispatcher, task)
        dispatcher.flush(60)

    used = _cpu(task, work)
    assert dispatcher.stats().delivered == task["count"], dispatcher.stats()
    return {"cpu": used}


def _dispatcher(**settings: Any) -> GeventEventDispatcher:
    return GeventEventDispatcher(buffer_events=200_000, buffer_bytes=1 << 30, **settings)


def _direct(task: dict[str, Any]) -> dict[str, float]:
    return _through(_dispatcher(proxy=""), task)


def _queue(task: dict[str, Any]) -> dict[str, float]:
    return _through(_dispatcher(transport=QueueTransport(SqliteQueue(task["path"]))), task)


def _spool(task: dict[str, Any]) -> dict[str, float]:
    """The endpoint is away, and all goes to the spool."""
    dispatcher = GeventEventDispatcher(proxy="", spool=task["path"], buffer_events=task["count"] // 4)

    def work() -> None:
        _dispatch_all(dispatcher, task)
        dispatcher.close(10)

    used = _cpu(task, work)
    return {"cpu": used, "spooled": dispatcher.stats().spooled / task["count"]}


def _worker(task: dict[str, Any]) -> dict[str, float]:
    _through(_dispatcher(transport=QueueTransport(SqliteQueue(task["path"]))), task)
    consumer = Consumer(SqliteQueue(task["path"]), destinations=[task["url"]], proxy="", poll_interval=0.01)
    used = _cpu(task, lambda: consumer.run(until_empty=True))
    assert consumer.stats().delivered_events == task["count"], consumer.stats()
    return {"cpu": used}


def _sqs(task: dict[str, Any]) -> dict[str, float]:
    queue = _sqs_queue(task)
    return _through(_dispatcher(transport=QueueTransport(queue)), task)


def _sqs_worker(task: dict[str, Any]) -> dict[str, float]:
    queue = _sqs_queue(task)
    _through(_dispatcher(transport=QueueTransport(queue)), task)
    consumer = Consumer(queue, destinations=[task["url"]], proxy="")
    _stop_after(consumer, task["count"])
    used = _cpu(task, consumer.run)
    assert consumer.stats().delivered_events == task["count"], consumer.stats()
    return {"cpu": used}


def _sqs_queue(task: dict[str, Any]) -> Any:
    """With a client that is there: making one costs 0.1 s once in a process's life, which is not for each event."""
    import botocore.config
    import botocore.session

    from gevent_dispatcher.queues.sqs import SqsQueue

    session = botocore.session.Session()
    session.set_credentials("test", "test")
    config = botocore.config.Config(
        retries={"total_max_attempts": 1}, parameter_validation=False, max_pool_connections=20, proxies={}
    )
    endpoint = task["queue"].rpartition("/1/")[0]
    client = session.create_client("sqs", region_name="eu-west-1", endpoint_url=endpoint, config=config)
    return SqsQueue(task["queue"], client=lambda: client)


def _stop_after(consumer: Consumer, events: int) -> None:
    def watch() -> None:
        while consumer.stats().delivered_events < events or consumer.stats().held:
            gevent.sleep(0.05)
        consumer.stop(5)

    gevent.spawn(watch)


def _slow_disk(task: dict[str, Any]) -> dict[str, float]:
    dispatcher = _dispatcher(transport=QueueTransport(SqliteQueue(task["path"])))
    events = payloads.Events(task["params"], task["url"])
    late: list[float] = []
    ticker = gevent.spawn(_tick, late)
    for _ in range(_STEPS):
        for _ in range(_PER_STEP):
            dispatcher.dispatch_event(events.one())
        gevent.sleep(_STEP)
    ticker.kill()
    late.sort()
    return {"p99_ms": late[int(len(late) * 0.99)], "max_ms": late[-1]}


def _tick(late: list[float]) -> None:
    while True:
        due = time.perf_counter() + _TICK
        gevent.sleep(_TICK)
        late.append((time.perf_counter() - due) * 1e3)


def _lock(task: dict[str, Any]) -> dict[str, float]:
    """Another process: hold the file's lock again and again until it is ended."""
    connection = sqlite3.connect(task["path"], isolation_level=None, timeout=10)
    deadline = time.monotonic() + 60
    print("locking", flush=True)
    while time.monotonic() < deadline:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(_LOCKED)
        connection.execute("ROLLBACK")
        time.sleep(_FREE)
    return {}


WAYS: dict[str, Callable[[dict[str, Any]], dict[str, float]]] = {
    "making": _making,
    "direct": _direct,
    "queue": _queue,
    "spool": _spool,
    "worker": _worker,
    "sqs": _sqs,
    "sqs worker": _sqs_worker,
    "slow disk": _slow_disk,
}
_LABELS = {
    "direct": "dispatcher, straight to the endpoint",
    "queue": "dispatcher, each batch to a SqliteQueue",
    "spool": "dispatcher, endpoint away, to the spool",
    "worker": "worker, from the SqliteQueue to the endpoint",
    "sqs": "dispatcher, to a SqsQueue",
    "sqs worker": "worker, from the SqsQueue to the endpoint",
}


def measure(way: str, count: int, params: dict[str, Any], tools: programs.Tools) -> dict[str, float]:
    """Run one way in a process of its own."""
    with tempfile.TemporaryDirectory() as directory, tools.sink() as sink, programs.refusing_port() as port:
        url = f"http://127.0.0.1:{port}/v1/events" if way == "spool" else sink.url
        task = {"way": way, "path": str(Path(directory) / "queue.db"), "url": url, "count": count, "params": params}
        if way.startswith("sqs"):
            with _stand_in() as queue:
                return _in_a_process({**task, "queue": queue})
        if way != "slow disk":
            return _in_a_process(task)
        opened = SqliteQueue(task["path"]).open()
        opened.put([])
        opened.receive(1, 1)  # makes the file
        opened.close()
        lock = [sys.executable, "-m", "tests.benchmarks.queues", "--task", json.dumps({**task, "way": "lock"})]
        with programs.started(lock, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            return _in_a_process(task)


@contextmanager
def _stand_in() -> Iterator[str]:
    """The url of a queue."""
    program = [sys.executable, "-m", "tests.benchmarks.sqs_stand_in", "300"]
    with programs.started(program, stdout=subprocess.PIPE) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/1/events"


def _in_a_process(task: dict[str, Any]) -> dict[str, float]:
    arguments = [sys.executable, "-m", "tests.benchmarks.queues", "--task", json.dumps(task)]
    arguments += [_HIDE] * (_HIDE in sys.argv)
    return dict(json.loads(programs.run(arguments, 120.0)))


def report(results: dict[str, list[dict[str, float]]]) -> str:
    """A table in markdown."""
    making = median(each["cpu"] for each in results["making"])
    labels = {way: label for way, label in _LABELS.items() if way in results}
    used = {way: median(each["cpu"] for each in results[way]) - making * ("worker" not in way) for way in labels}
    lines = ["| | CPU µs/event | ratio to the direct path |", "|---|---:|---:|"]
    lines += [f"| {label} | {used[way]:.1f} | {used[way] / used['direct']:.2f} |" for way, label in labels.items()]
    slow = results.get("slow disk")
    if not slow:
        return "\n".join(lines)
    p99, most = (median(each[name] for each in slow) for name in ("p99_ms", "max_ms"))
    return "\n".join([*lines, "", f"Hub late while the file is locked: p99 {p99:.1f} ms, max {most:.1f} ms."])


def main() -> None:
    """Measure, and print the table; or do one task as a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="events of one run")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(WAYS), help="these ways, beside making and direct")
    parser.add_argument(_HIDE, action="store_true", help="as if it were not installed")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        task = json.loads(given.task)
        print(json.dumps(({**WAYS, "lock": _lock})[task["way"]](task)), flush=True)
        os._exit(0)  # at once: exit handlers belong to no measurement
    with tempfile.TemporaryDirectory() as directory:
        tools, params = programs.Tools(Path(directory)), payloads.captured()
        ways = [way for way in WAYS if given.only is None or way in ("making", "direct", *given.only)]
        results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for repetition in range(given.repetitions):
            for way in ways:
                print(f"{repetition + 1}/{given.repetitions} {way}", file=sys.stderr)
                results[way].append(measure(way, given.count, params, tools))
    print(report(results))


if __name__ == "__main__":
    main()
