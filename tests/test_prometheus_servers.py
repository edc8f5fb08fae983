"""Metrics of several processes: the sums over workers, dead ones included, are what the endpoint has received."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Iterator

import gevent
import pytest

from gevent_dispatcher.collector import Collector
from tests.lifetimes._processes import ROOT, Program
from tests.waiting import wait_until

pytest.importorskip("gunicorn")
pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families as parse

EXAMPLES = ROOT / "examples"
PREFIX = "gevent_dispatcher_"


class Server:
    """gunicorn with gevent workers and the examples' configuration.

    Args:
        app: what it serves.
        directory: where its output and its metrics go.
        collector: where events go.
        options: of gunicorn.
    """

    def __init__(self, app: str, directory: Path, collector: Collector, *options: str) -> None:
        self.metrics = directory / "metrics"
        self.metrics.mkdir()
        environ = {
            "BIND": "127.0.0.1:0",
            "EVENTS_URL": collector.url,
            "PROMETHEUS_MULTIPROC_DIR": str(self.metrics),
            "PYTHONPATH": str(ROOT),
        }
        config = f"--config={EXAMPLES / 'gunicorn.conf.py'}"
        self.program = Program(["-m", "gunicorn", config, *options, app], directory, environ)
        self.workers: Counter[int] = Counter()
        self._port = 0

    def __enter__(self) -> Server:
        with ExitStack() as ended:  # where the wait is in vain
            self._port = ended.enter_context(self.program).port()
            ended.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.program.__exit__()

    def ready(self) -> set[int]:
        """The workers that were ever ready to serve."""
        return {int(pid) for pid in re.findall(r"Worker ready \(pid: (\d+)\)", self.program.output())}

    def get(self, path: str) -> str:
        """Ask for something."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, body
        return body

    def dispatch(self, good: int = 0, bad: int = 0) -> None:
        """Have a worker dispatch events."""
        self.workers[int(self.get(f"/?good={good}&bad={bad}"))] += 1

    def scraped(self, name: str, **labels: str) -> float:
        """What a scrape says of a metric."""
        return total(self.get("/metrics"), name, **labels)

    def stop(self) -> None:
        """SIGTERM, as a deployment sends it."""
        self.program.signal(signal.SIGTERM)
        assert self.program.wait_for_end() == 0

    def left(self, name: str, **labels: str) -> float:
        """What its files say of a metric when all its processes have ended."""
        return total(collected(self.metrics), name, **labels)


def collected(directory: Path) -> str:
    """What is in the files of processes that may have ended."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))
    return generate_latest(registry).decode()


def total(text: str, name: str, **labels: str) -> float:
    """The sum over all series of a metric that have these labels."""
    samples = [sample for metric in parse(text) for sample in metric.samples]
    return sum(each.value for each in samples if each.name == PREFIX + name and labels.items() <= each.labels.items())


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def test_the_example_exports_what_its_workers_have_done(tmp_path: Path, collector: Collector) -> None:
    with Server("metrics:app", tmp_path, collector) as server:
        wait_until(lambda: len(server.ready()) == 2, 30)
        for number in range(20):
            server.get(f"/checkout?user={number}")
        wait_until(lambda: server.scraped("events_total", outcome="delivered") == 40)
        assert collector.counts()["unique"] == 40
        assert server.scraped("events_dispatched_total") == 40
        assert server.scraped("batch_events_sum") == 40
        assert server.scraped("pending_events") == 0
        server.stop()


def test_counts_survive_a_worker_that_is_killed_and_what_it_held_does_not(tmp_path: Path, collector: Collector) -> None:
    with Server("tests.metrics_app:app", tmp_path, collector) as server:
        wait_until(lambda: len(server.ready()) == 2, 30)
        while len(server.workers) < 2:
            server.dispatch(good=5, bad=1)
        good = 5 * sum(server.workers.values())
        bad = sum(server.workers.values())
        wait_until(lambda: server.scraped("events_total", outcome="delivered") == good)
        wait_until(lambda: server.scraped("events_total", outcome="dropped", reason="invalid") == bad)
        collector.change(status=503)
        before = Counter(server.workers)
        while any(server.workers[each] == before[each] for each in before):
            server.dispatch(good=5)
        held = {each: 5 * (server.workers[each] - before[each]) for each in before}
        wait_until(lambda: server.scraped("pending_events") == sum(held.values()))
        wait_until(lambda: server.scraped("breaker_state", state="closed") == 0)
        victim = min(held)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(server.ready()) == 3, 30)
        wait_until(lambda: server.scraped("pending_events") == sum(held.values()) - held[victim])
        assert server.scraped("events_total", outcome="delivered") == good
        assert server.scraped("events_dispatched_total") == good + bad + sum(held.values())
        collector.change(status=204)
        wait_until(lambda: server.scraped("pending_events") == 0)
        assert server.scraped("events_total", outcome="delivered") == collector.counts()["unique"]
        server.stop()


def test_the_sums_are_right_though_workers_come_and_go(tmp_path: Path, collector: Collector) -> None:
    options = ("--workers=3", "--max-requests=10", "--preload", "--graceful-timeout=10")
    collector.change(latency=0.05)
    answered = 0
    with Server("tests.metrics_app:app", tmp_path, collector, *options) as server:
        wait_until(lambda: len(server.ready()) == 3, 30)
        while len(server.ready()) < 9:
            with suppress(OSError, HTTPException):  # a worker that ends may not answer
                server.dispatch(good=3, bad=1)
                answered += 1
            gevent.sleep(0.002)
        server.stop()
        assert answered >= 60
        delivered = server.left("events_total", outcome="delivered")
        assert delivered == collector.counts()["unique"] == collector.counts()["events"] >= 3 * answered
        dropped = server.left("events_total", outcome="dropped", reason="invalid")
        assert dropped == delivered / 3
        assert server.left("events_dispatched_total") == delivered + dropped
        assert server.left("batch_events_sum") == delivered
        assert server.left("requests_total") == collector.counts()["requests"]
        assert server.left("pending_events") == 0


PROGRAM = """
import sys
if sys.argv[2] == "patched":
    from gevent import monkey
    monkey.patch_all()
import os
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.prometheus import instrument
from tests.events import log_event
if sys.argv[2] == "late":
    from gevent import monkey
    monkey.patch_all()
from tests.test_prometheus_servers import collected, total
from tests.waiting import wait_until
dispatcher, other = [instrument(GeventEventDispatcher(proxy="", flush_interval=0.5)) for _ in range(2)]

def dispatch(times, dispatcher=dispatcher):
    for _ in range(times):
        dispatcher.dispatch_event(log_event(sys.argv[1]))

dispatch(5)
assert dispatcher.flush(10)
dispatch(3, other)
wait_until(lambda: total(collected(os.environ["PROMETHEUS_MULTIPROC_DIR"]), "pending_events") == 3)
if os.fork():
    os.wait()
else:
    dispatch(2)
"""


@pytest.mark.parametrize("patched", ["patched", "late", "never"])
def test_a_fork_counts_its_own(tmp_path: Path, collector: Collector, patched: str) -> None:
    # Late patches warn, and Python 3.12 and later warn of any fork beside a thread, which an unpatched process has.
    arguments = ["-W", "ignore", "-c", PROGRAM, collector.url, patched]
    (tmp_path / "metrics").mkdir()
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"), "PYTHONPATH": str(ROOT)}
    with Program(arguments, tmp_path, environ) as program:
        assert program.wait_for_end() == 0, program.output()
        assert program.output() == ""
    assert collector.counts()["unique"] == collector.counts()["events"] == 10
    text = collected(tmp_path / "metrics")
    assert total(text, "events_total", outcome="delivered") == total(text, "events_dispatched_total") == 10
    assert total(text, "batch_events_sum") == 10
    assert total(text, "pending_events") == 0


TWICE = """
import sys
from gevent import monkey
monkey.patch_all()
import os
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.prometheus import instrument
from tests.events import log_event
from tests.test_prometheus_servers import collected, total
from tests.waiting import wait_until

made = [instrument(GeventEventDispatcher(proxy="", flush_interval=30), name=name) for name in ("a", "a", "b")]

def dispatch(*times):
    for dispatcher, number in zip(made, times):
        for _ in range(number):
            dispatcher.dispatch_event(log_event(sys.argv[1]))

def pending(name):
    return total(collected(os.environ["PROMETHEUS_MULTIPROC_DIR"]), "pending_events", dispatcher=name)

if len(sys.argv) < 3:
    dispatch(2, 3, 4)
    wait_until(lambda: (pending("a"), pending("b")) == (5, 4))
    os.execv(sys.executable, [sys.executable, __file__, sys.argv[1], "again"])  # as a kill, and its pid given anew
dispatch(1, 1, 1)
"""


def test_a_process_with_the_pid_of_one_that_was_killed_counts_on_and_holds_what_it_holds(
    tmp_path: Path, collector: Collector
) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "program.py").write_text(TWICE, "utf-8")
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"), "PYTHONPATH": str(ROOT)}
    with Program(["-u", str(tmp_path / "program.py"), collector.url], tmp_path, environ) as program:
        assert program.wait_for_end() == 0, program.output()
    text = collected(tmp_path / "metrics")
    assert len(list((tmp_path / "metrics").glob("counter_*.db"))) == 1
    assert total(text, "events_dispatched_total", dispatcher="a") == 7
    assert total(text, "events_dispatched_total", dispatcher="b") == 5
    assert total(text, "events_total", outcome="delivered") == collector.counts()["unique"] == 3
    assert total(text, "pending_events") == 0
    assert total(text, "pending_events_limit", dispatcher="a") == 20_000
