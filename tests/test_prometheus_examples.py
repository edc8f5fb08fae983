"""The dashboard and the alerts name metrics and labels that are exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest

from gevent_dispatcher import Consumer, GeventEventDispatcher, SqliteQueue
from gevent_dispatcher._event import Encoder, merge
from gevent_dispatcher.collector import Collector
from tests.events import LogEvent, log_event
from tests.waiting import wait_until

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from gevent_dispatcher.prometheus import instrument

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD: dict[str, Any] = json.loads((ROOT / "examples" / "grafana.json").read_text("utf-8"))
ALERTS = ROOT / "examples" / "alerts.yml"
PROMTOOL = shutil.which("promtool")

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
RULES = re.findall(r"^ +expr: (.+)$", ALERTS.read_text("utf-8"), re.M)

# A metric, and what it must match in braces.
SELECTOR = re.compile(r"(gevent_dispatcher_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPS = re.compile(r"\bby \(([^)]*)\)")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    """The labels of each series that a scrape brings, and their values."""
    registry = CollectorRegistry()
    with Collector() as collector:
        dispatcher = instrument(GeventEventDispatcher(proxy="", flush_interval=0), registry=registry)
        dispatcher.dispatch_event(log_event(collector.url))
        dispatcher.dispatch_event(LogEvent("nonsense", {}))
        assert dispatcher.flush(5)
        queue = SqliteQueue(tmp_path_factory.mktemp("queue") / "queue.db")
        opened = queue.open()
        event = Encoder().encode(log_event(collector.url))
        opened.put([merge(event[0], [event[1]])])
        opened.close()
        instrument(Consumer(queue, destinations=[collector.url], proxy=""), registry=registry).run(until_empty=True)
        wait_until(lambda: registry.get_sample_value("gevent_dispatcher_batch_events_sum", {"dispatcher": "default"}))
    found: dict[str, dict[str, set[str]]] = {}
    for sample in samples(registry):
        labels = found.setdefault(sample.name, {"job": set()})  # Prometheus adds it
        for label, value in sample.labels.items():
            labels.setdefault(label, set()).add(value)
    return found


def samples(registry: CollectorRegistry) -> Iterator[Any]:
    for metric in parse(generate_latest(registry).decode()):
        yield from metric.samples


@pytest.mark.parametrize("query", [*QUERIES, *RULES])
def test_queries_name_what_is_exported(query: str, exported: dict[str, dict[str, set[str]]]) -> None:
    selectors = SELECTOR.findall(query)
    assert selectors
    for metric, matchers in selectors:
        assert metric in exported
        for label, _, value in MATCHER.findall(matchers):
            assert label in exported[metric]
            assert value.startswith("$") or value in exported[metric][label]
        for group in GROUPS.findall(query):
            assert set(group.split(", ")) <= set(exported[metric])


def test_everything_that_is_exported_is_on_the_dashboard(exported: dict[str, dict[str, set[str]]]) -> None:
    named = {metric for query in QUERIES for metric, _ in SELECTOR.findall(query)}
    families = {re.sub("_(bucket|sum|count|created)$", "", each) for each in exported}
    dispatchers = {each for each in families if not each.startswith("gevent_dispatcher_consumer")}
    assert dispatchers == {re.sub("_(bucket|sum|count)$", "", each) for each in named if "consumer" not in each}


def test_the_dashboard_can_be_imported() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"]))) - {"__rate_interval"}
    assert used == variables
    boxes = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    squares = [(x, y) for box in boxes for x in _span(box, "x", "w") for y in _span(box, "y", "h")]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24


def _span(box: dict[str, int], start: str, length: str) -> range:
    return range(box[start], box[start] + box[length])


def test_each_alert_says_what_to_do() -> None:
    text = ALERTS.read_text("utf-8")
    alerts = re.findall(r"^ +- alert: (\w+)$", text, re.M)
    assert len(alerts) == len(set(alerts)) == len(RULES) == text.count("summary:") == text.count("description:")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool comes with Prometheus")
def test_prometheus_can_read_alerts_and_queries(tmp_path: Path) -> None:
    queries = [query.replace("$__rate_interval", "5m") for query in QUERIES]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    panels = tmp_path / "panels.yml"  # JSON is YAML, too
    panels.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    done = subprocess.run([str(PROMTOOL), "check", "rules", str(ALERTS), str(panels)], stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout.decode()
