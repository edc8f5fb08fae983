"""Metrics of one process: what a scrape says is what the dispatcher and the consumer say."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import urlsplit
from urllib.request import urlopen

import gevent
import pytest

from gevent_dispatcher import Consumer, Delivery, GeventEventDispatcher, Health, SqliteQueue
from gevent_dispatcher._event import Encoder, merge
from gevent_dispatcher._health import BreakerState, OriginHealth
from gevent_dispatcher.collector import Collector
from tests import commands
from tests.commands import QUICK, QueueFile, start
from tests.events import LogEvent, log_event
from tests.hostile import refusing_port
from tests.measuring import inherited
from tests.waiting import wait_until

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from gevent_dispatcher.prometheus import instrument, serve
from gevent_dispatcher.prometheus._families import CONSUMERS, DISPATCHERS, OTHER, Origins

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "gevent_dispatcher_"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def dispatcher(**settings: Any) -> GeventEventDispatcher:
    quick = {"proxy": "", "flush_interval": 0.01, "backoff_base": 0.001, "backoff_max": 0.01, "batch_size": 10}
    return GeventEventDispatcher(**{**quick, **settings})


def scraped(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """The sum over all series of a metric that have these labels, as a scrape gives them."""
    samples = [sample for metric in parse(generate_latest(registry).decode()) for sample in metric.samples]
    return sum(each.value for each in samples if each.name == PREFIX + name and labels.items() <= each.labels.items())


def test_a_scrape_says_what_stats_and_health_say(registry: CollectorRegistry, collector: Collector) -> None:
    instrumented = instrument(dispatcher(), registry=registry)
    for _ in range(25):
        instrumented.dispatch_event(log_event(collector.url))
    instrumented.dispatch_event(LogEvent("nonsense", {}))
    assert scraped(registry, "events_dispatched_total") == 26
    assert scraped(registry, "pending_events") == 25
    assert scraped(registry, "pending_bytes") == instrumented.health().pending_bytes > 25 * 100
    assert scraped(registry, "pending_events_limit") == 10_000
    assert scraped(registry, "pending_bytes_limit") == 32 * 1024 * 1024
    assert instrumented.flush(5)
    assert scraped(registry, "events_total", outcome="delivered") == 25
    assert scraped(registry, "events_total", outcome="dropped", reason="invalid") == 1
    assert scraped(registry, "events_total") == 26
    assert scraped(registry, "requests_total") == instrumented.stats().requests == 3
    assert scraped(registry, "pending_events") == scraped(registry, "pending_bytes") == 0
    assert scraped(registry, "breaker_state", origin=collector.base_url, state="closed") == 1
    assert scraped(registry, "breaker_state") == 1


def test_settled_requests_are_in_the_histograms(registry: CollectorRegistry, collector: Collector) -> None:
    instrumented = instrument(dispatcher(), registry=registry)
    assert scraped(registry, "delivery_seconds_count", outcome="delivered") == 0
    for _ in range(25):
        instrumented.dispatch_event(log_event(collector.url))
    wait_until(lambda: scraped(registry, "delivery_seconds_count", outcome="delivered") == 3)
    assert scraped(registry, "batch_events_sum") == 25
    assert scraped(registry, "batch_events_bucket", le="5.0") == 1
    assert scraped(registry, "batch_events_bucket", le="10.0") == 3
    assert 0 < scraped(registry, "delivery_seconds_sum") < 30


def test_refusals_retries_and_splits_are_counted(registry: CollectorRegistry, collector: Collector) -> None:
    instrumented = instrument(dispatcher(), registry=registry)
    collector.change(status=400)
    for _ in range(4):
        instrumented.dispatch_event(log_event(collector.url))
    assert instrumented.flush(5)
    assert scraped(registry, "events_total", reason="rejected") == 4
    assert scraped(registry, "splits_total") == instrumented.stats().splits > 0
    assert scraped(registry, "retries_total") == instrumented.stats().retries > 0
    instrumented.close()
    wait_until(lambda: scraped(registry, "delivery_seconds_count", outcome="dropped") == 4)


def test_an_outage_is_seen_in_the_breaker_and_in_what_is_pending(registry: CollectorRegistry) -> None:
    instrumented = instrument(dispatcher(), registry=registry)
    with refusing_port() as port:
        origin = f"http://127.0.0.1:{port}"
        instrumented.dispatch_event(log_event(f"{origin}/v1/events?secret=1"))
        wait_until(lambda: scraped(registry, "breaker_state", origin=origin, state="open") == 1)
        assert scraped(registry, "pending_events") == 1
        assert b"secret" not in generate_latest(registry)
        instrumented.close(0.05)
    assert scraped(registry, "events_total", reason="closed") == 1


def test_what_is_spooled_at_the_end_is_counted_and_in_the_histograms(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    instrumented = instrument(dispatcher(spool=tmp_path / "events.db"), registry=registry)
    with refusing_port() as port:
        for _ in range(3):
            instrumented.dispatch_event(log_event(f"http://127.0.0.1:{port}/v1/events"))
        instrumented.close(1)
    assert scraped(registry, "events_total", outcome="spooled") == 3
    assert scraped(registry, "events_total") == scraped(registry, "events_dispatched_total") == 3
    assert scraped(registry, "batch_events_sum") == 3
    assert scraped(registry, "delivery_seconds_count", outcome="spooled") == scraped(registry, "batch_events_count") > 0


def test_what_the_off_switch_stops_has_a_reason_of_its_own(registry: CollectorRegistry, collector: Collector) -> None:
    instrumented = instrument(dispatcher(enabled=False), registry=registry)
    instrumented.dispatch_event(log_event(collector.url))
    assert scraped(registry, "events_total", outcome="dropped", reason="disabled") == 1
    assert scraped(registry, "events_total") == scraped(registry, "events_dispatched_total") == 1
    assert scraped(registry, "pending_events_limit") == 0
    instrumented.close()


def test_dispatchers_of_one_name_are_added_up_and_others_told_apart(
    registry: CollectorRegistry, collector: Collector
) -> None:
    made = [instrument(dispatcher(), registry=registry, name=name) for name in ("a", "a", "b")]
    for number, each in enumerate(made, 1):
        for _ in range(number):
            each.dispatch_event(log_event(collector.url))
    assert scraped(registry, "pending_events", dispatcher="a") == 3
    assert scraped(registry, "pending_events", dispatcher="b") == 3
    assert all(each.flush(5) for each in made)
    assert scraped(registry, "events_total", dispatcher="a", outcome="delivered") == 3
    wait_until(lambda: scraped(registry, "batch_events_sum", dispatcher="a") == 3)


def test_it_may_be_asked_for_twice_but_not_for_two_things(registry: CollectorRegistry, collector: Collector) -> None:
    instrumented = instrument(dispatcher(), registry=registry)
    assert instrument(instrumented, registry=registry) is instrumented
    instrumented.dispatch_event(log_event(collector.url))
    assert instrumented.flush(5)
    assert scraped(registry, "events_dispatched_total") == 1
    wait_until(lambda: scraped(registry, "batch_events_sum") == 1)
    for different in ({"name": "other", "registry": registry}, {}):
        with pytest.raises(ValueError, match="exported as 'default' already; instrument it once"):
            instrument(instrumented, **different)  # type: ignore[arg-type]  # both are what it takes


def test_a_hook_of_the_users_own_hears_what_it_heard(registry: CollectorRegistry, collector: Collector) -> None:
    heard: list[Delivery] = []
    instrumented = instrument(dispatcher(on_delivery=heard.append), registry=registry)
    instrumented.dispatch_event(log_event(collector.url))
    wait_until(lambda: scraped(registry, "batch_events_sum") == 1)
    assert [each.events for each in heard] == [1]


def test_a_scrape_from_a_native_thread_gets_the_same(registry: CollectorRegistry, collector: Collector) -> None:
    instrumented = instrument(dispatcher(flush_interval=5), registry=registry)
    instrumented.dispatch_event(log_event(collector.url))
    text = gevent.get_hub().threadpool.apply(generate_latest, (registry,)).decode()
    assert 'gevent_dispatcher_pending_events{dispatcher="default"} 1.0' in text
    instrumented.close()


def test_a_consumer_is_exported_too(registry: CollectorRegistry, collector: Collector, tmp_path: Path) -> None:
    recipe = SqliteQueue(tmp_path / "queue.db")
    opened = recipe.open()
    for url in [collector.url] * 3 + ["http://elsewhere.example/"]:
        event = Encoder().encode(log_event(url))
        opened.put([merge(event[0], [event[1]])])
    opened.close()
    consumer = instrument(Consumer(recipe, destinations=[collector.url], proxy=""), registry=registry)
    consumer.run(until_empty=True)
    assert scraped(registry, "consumer_messages_received_total") == 4
    assert scraped(registry, "consumer_messages_total", outcome="acked") == 3
    assert scraped(registry, "consumer_messages_total", outcome="dead") == 1
    assert scraped(registry, "consumer_messages_total") == 4
    assert scraped(registry, "consumer_held_messages") == 0
    assert scraped(registry, "consumer_events_total", outcome="delivered") == 3
    assert scraped(registry, "consumer_requests_total") == 3
    assert scraped(registry, "consumer_breaker_state", state="closed") == 1
    assert scraped(registry, "consumer_delivery_seconds_count", outcome="delivered") == 3


FORK = """
import os
from prometheus_client import REGISTRY
from tests.events import log_event
from tests.waiting import wait_until
dispatcher = instrument(GeventEventDispatcher(proxy="", flush_interval=0, batch_size=1))
labels = {{"dispatcher": "default", "outcome": "delivered"}}

def dispatch(times):
    for _ in range(times):
        dispatcher.dispatch_event(log_event({url!r}))
    wait_until(lambda: REGISTRY.get_sample_value("gevent_dispatcher_delivery_seconds_count", labels) == times)
    print(REGISTRY.get_sample_value("gevent_dispatcher_events_total", {{**labels, "reason": ""}}), flush=True)

dispatch(3)
if os.fork():
    os.wait()
else:
    dispatch(2)
"""


def test_a_fork_s_child_exports_its_own(collector: Collector) -> None:
    program = INSTRUMENT.replace("instrument(GeventEventDispatcher()%s)", "")
    assert run(program + FORK.format(url=collector.url)).splitlines() == ["3.0", "2.0"]


def test_origins_have_a_bounded_number_of_labels() -> None:
    origins = Origins()
    closed = [OriginHealth(f"http://{number}.example", BreakerState.CLOSED, 0) for number in range(100)]
    series = origins.states(Health(origins=tuple(closed)))
    labels = {origin for origin, _ in series}
    assert len(labels) == 21
    assert series[OTHER, "closed"] == 80
    assert sum(series.values()) == 100
    forgotten = origins.states(Health())
    assert forgotten == dict.fromkeys(series, 0.0)


# -- names -------------------------------------------------------------------------------------------------------------


def test_both_formats_of_a_scrape_can_be_read(registry: CollectorRegistry, collector: Collector) -> None:
    instrumented = instrument(dispatcher(), registry=registry)
    instrumented.dispatch_event(log_event(collector.url))
    assert instrumented.flush(5)
    plain = {metric.name for metric in parse(generate_latest(registry).decode())}
    strict = {metric.name for metric in parse_openmetrics(generate_openmetrics(registry).decode())}
    assert strict == {name for name in plain if not name.endswith("_created")}
    assert len(strict) == len(DISPATCHERS.families) + 2


@pytest.mark.parametrize("kind", [DISPATCHERS, CONSUMERS], ids=lambda kind: str(kind.label))
def test_names_follow_the_conventions(kind: Any) -> None:
    for family in kind.families:
        assert family.help.endswith(".")
        assert family.name == family.name.lower()
        assert not family.name.endswith(("_count", "_sum", "_bucket", "_info", "_created"))
        assert not set(family.name.split("_")) & {"gauge", "counter", "histogram", "ms", "milliseconds", "kb", "mb"}
        assert not set(family.labels) & {"le", "quantile", kind.label}


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, GeventEventDispatcher, "dispatcher"])
def test_what_cannot_be_exported_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a GeventEventDispatcher or a Consumer, not .*default_dispatcher"):
        instrument(wrong)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_name_is_a_text(name: Any, registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match=f"name={name!r}: must be a string that is not empty"):
        instrument(dispatcher(), name=name, registry=registry)


def error_of(code: str, **environ: str) -> str:
    """The last line that a fresh, unpatched interpreter prints."""
    return run(code, **environ).splitlines()[-1]


def run(code: str, **environ: str) -> str:
    """What a fresh, unpatched interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code],  # of forks beside a thread
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**inherited(), **environ},
    )
    return done.stdout.strip()


INSTRUMENT = """
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.prometheus import instrument
from prometheus_client import REGISTRY
instrument(GeventEventDispatcher()%s)
"""


def test_without_the_extra_the_error_names_it() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None\nimport gevent_dispatcher.prometheus"
    assert error_of(code) == (
        "ImportError: gevent_dispatcher.prometheus needs prometheus_client: pip install 'gevent-dispatcher[prometheus]'"
    )


def test_the_dispatcher_itself_does_not_know_the_extra() -> None:
    code = "import sys\nfrom gevent_dispatcher import *\nprint([m for m in sys.modules if m.startswith('prometheus')])"
    assert error_of(code) == "[]"


def test_a_directory_for_several_processes_must_be_there(tmp_path: Path) -> None:
    error = error_of(INSTRUMENT % "", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "absent"))
    assert error.startswith("ValueError: PROMETHEUS_MULTIPROC_DIR='")
    assert error.endswith("absent': must be a directory; make it before the server starts, empty")


def test_a_directory_for_several_processes_must_be_named_in_time(tmp_path: Path) -> None:
    code = f"import os, prometheus_client\nos.environ['PROMETHEUS_MULTIPROC_DIR'] = {str(tmp_path)!r}\n"
    error = error_of(code + INSTRUMENT % "")
    assert "was set after prometheus_client was imported, which is too late" in error


def test_a_registry_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    error = error_of(INSTRUMENT % ", registry=REGISTRY", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert "must be None with PROMETHEUS_MULTIPROC_DIR" in error


# -- an endpoint of its own --------------------------------------------------------------------------------------------


def fetch(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(ValueError, match=f"port={port}: must be from 0 to 65535"):
        serve(port)


SERVED = """
from gevent import monkey
monkey.patch_all()
import logging, os
from urllib.request import urlopen
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.prometheus import instrument, serve
from tests.events import LogEvent

logging.getLogger("gevent_dispatcher").addHandler(logging.NullHandler())
dispatcher = instrument(GeventEventDispatcher(proxy=""))
pid = os.fork()
dispatcher.dispatch_event(LogEvent("nonsense", {}))
assert dispatcher.close(10)
if not pid:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
server = serve(0)
with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
    print(answer.read().decode())
"""


def test_what_several_processes_have_counted_is_answered_by_one(tmp_path: Path) -> None:
    metrics = parse(run(SERVED, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) + "\n")
    samples = [each for metric in metrics for each in metric.samples if each.name == PREFIX + "events_total"]
    assert [(each.labels["reason"], each.value) for each in samples if each.value] == [("invalid", 2)]


def test_a_worker_answers_scrapes(collector: Collector, tmp_path: Path) -> None:
    with QueueFile(tmp_path / "queue.db") as queue:
        queue.put(collector.url, "a", "b", "c")
        options = ("--allow", collector.url, "--metrics-port", 0, *QUICK)
        with start(tmp_path, "worker", queue.path, *options) as worker:
            pattern = re.compile(r"metrics are at (\S+)")
            found = worker.wait_for("its port", lambda: pattern.search(worker.output()))
            assert found is not None
            acked = 'gevent_dispatcher_consumer_messages_total{consumer="default",outcome="acked"} 3.0'
            worker.wait_for("all to be acknowledged", lambda: acked in fetch(found.group(1)))
            worker.signal(signal.SIGTERM)
            assert worker.wait_for_end() == 0


def test_a_worker_whose_port_is_taken_says_so(collector: Collector, tmp_path: Path) -> None:
    with QueueFile(tmp_path / "queue.db") as queue:
        assert queue.left() == 0
        done = commands.run("worker", queue.path, "--once", "--metrics-port", urlsplit(collector.url).port)
    assert done.returncode == 3
    assert "--metrics-port: [Errno 98] Address already in use" in done.stderr.splitlines()[-1]


def test_a_worker_is_told_which_ports_there_are(tmp_path: Path) -> None:
    with QueueFile(tmp_path / "queue.db") as queue:
        assert queue.left() == 0
        done = commands.run("worker", queue.path, "--once", "--metrics-port", 70_000)
    assert done.returncode == 2
    assert "--metrics-port: " in done.stderr.splitlines()[-1]
    assert "65535" in done.stderr.splitlines()[-1]


def test_a_worker_without_the_extra_says_which(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('absent')", "utf-8")
    command = [sys.executable, "-m", "gevent_dispatcher", "worker", "queue.db", "--metrics-port", "0"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={**inherited(), "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith("pip install 'gevent-dispatcher[prometheus]'")
