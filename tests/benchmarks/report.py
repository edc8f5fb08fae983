"""Medians, ratios and tables of what the runs gave."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib import metadata
from os import cpu_count
from pathlib import Path
from statistics import median
from typing import Any, Callable, Mapping, Sequence

from tests.benchmarks.contestants import ENTRIES
from tests.benchmarks.metrics import METRICS
from tests.benchmarks.runner import Outcome
from tests.benchmarks.web import ENDPOINTS

_DISTRIBUTIONS = (
    "gevent-dispatcher", "gevent", "urllib3", "optimizely-sdk", "requests", "launchdarkly-server-sdk", "sentry-sdk",
    "orjson", "Flask", "gunicorn",
)  # fmt: skip


def summary(outcome: Outcome) -> dict[str, Any]:
    """Everything as JSON: medians by metric, scenario and contestant, each run, and what could not be run."""
    medians: dict[str, Any] = {}
    for key, runs in outcome.runs.items():
        metric, scenario, contestant = key.split("|")
        medians.setdefault(metric, {}).setdefault(scenario, {})[contestant] = _medians(runs)
    return {
        "environment": environment(),
        "tools": outcome.tools,
        "payload_bytes": outcome.payload_bytes,
        "sink": outcome.sink,
        "medians": medians,
        "problems": outcome.problems,
        "runs": dict(outcome.runs),
    }


def earlier(path: Path) -> dict[str, Any]:
    """The runs of a file that was written before.

    Args:
        path: of JSON.

    Raises:
        ValueError: it is none, or was measured with other versions.
    """
    try:
        summarised = json.loads(path.read_text("utf-8"))
        versions, runs = summarised["environment"], dict(summarised["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--add {path}: is no file of --json ({type(error).__name__})") from None
    if versions != environment():
        raise ValueError(f"--add {path}: was measured with other versions")
    return runs


def environment() -> dict[str, Any]:
    """Versions that the figures depend on."""
    versions = {}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"python": platform.python_version(), "cores": cpu_count(), "versions": versions}


def _medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: median(run[name] for run in runs) for name in runs[0] if all(name in run for run in runs)}


class Figures:
    """Looks medians up; None for what was not measured."""

    def __init__(self, summarised: Mapping[str, Any]) -> None:
        self._medians = summarised["medians"]
        self.problems = summarised["problems"]

    def get(self, metric: str, scenario: str, contestant: str, name: str) -> float | None:
        """One figure."""
        found = self._medians.get(metric, {}).get(scenario, {}).get(contestant, {}).get(name)
        return None if found is None else float(found)

    def contestants(self, *metrics: str) -> list[str]:
        """Those that a table needs a row for: they have a figure of one of these metrics, or a problem."""
        measured = {name for metric in metrics for each in self._medians.get(metric, {}).values() for name in each}
        measured |= {key.split("|")[-1] for key in self.problems if key.split("|")[0] in (*metrics, key)}
        return [name for name in ENTRIES if name in measured]

    def problem(self, metric: str, scenario: str, contestant: str) -> str:
        """Why there is no figure; empty when that is not because something failed."""
        return str(self.problems.get(contestant) or self.problems.get(f"{metric}|{scenario}|{contestant}", ""))


# What stands where nothing was measured.
_NONE = "-"


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    metric: str
    scenario: str
    figure: str
    form: str = "{:,.1f}"
    scale: float = 1.0

    def cell(self, figures: Figures, contestant: str) -> str:
        """The figure, a dash where there is none, a word where it failed."""
        value = figures.get(self.metric, self.scenario, contestant, self.figure)
        if value is not None:
            return self.form.format(value * self.scale)
        return "failed" if figures.problem(self.metric, self.scenario, contestant) else _NONE


@dataclass(frozen=True)
class Table:
    """One table of the report."""

    title: str
    metrics: tuple[str, ...]
    columns: tuple[Column, ...]

    def markdown(self, figures: Figures) -> str:
        """Its text; empty when nothing of it was asked for."""
        rows = [name for name in figures.contestants(*self.metrics) if self._has_cells(figures, name)]
        if not rows:
            return ""
        lines = [f"### {self.title}\n", "| | " + " | ".join(column.title for column in self.columns) + " |"]
        lines.append("|---|" + "---:|" * len(self.columns))
        for name in rows:
            cells = [column.cell(figures, name) for column in self.columns]
            lines.append(f"| {ENTRIES[name].label} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _has_cells(self, figures: Figures, contestant: str) -> bool:
        return any(column.cell(figures, contestant) != _NONE for column in self.columns)


def _web_table(name: str) -> Table:
    columns = [
        Column("requests/s", "web", name, "requests_per_s", "{:,.0f}"),
        Column("p50 ms", "web", name, "p50_ms"),
        Column("p99 ms", "web", name, "p99_ms"),
        Column("worker's CPU µs/request", "web", name, "cpu_us_per_request", "{:,.0f}"),
    ]
    if name in ("5 ms", "1 s"):
        columns.append(Column("events that got in, %", "web", name, "share_in", "{:.1f}", 100.0))
    title = f"Flask under gunicorn, one gevent worker, flat out, one event a request; the endpoint: {name}"
    return Table(title, ("web",), tuple(columns))


TABLES = (
    Table(
        "What an event costs",
        ("caller", "burst"),
        (
            Column("caller p50 µs", "caller", "", "dispatch_us_p50"),
            Column("p99 µs", "caller", "", "dispatch_us_p99"),
            Column("max µs", "caller", "", "dispatch_us_max", "{:,.0f}"),
            Column("p50 / encoding alone", "caller", "", "ratio_to_encode", "{:.2f}"),
            Column("switches", "caller", "", "switches", "{:,.0f}"),
            Column("CPU µs/event", "burst", "0 ms", "cpu_us_per_event"),
            Column("events/s at 0 ms", "burst", "0 ms", "events_per_s", "{:,.0f}"),
            Column("at 50 ms", "burst", "50 ms", "events_per_s", "{:,.0f}"),
            Column("at 1 s", "burst", "1 s", "events_per_s", "{:,.0f}"),
            Column("requests/event", "burst", "0 ms", "requests_per_event", "{:.3f}"),
            Column("connections", "burst", "0 ms", "connections", "{:,.0f}"),
        ),
    ),
    Table(
        "A steady 2 000 events/s: how late the hub is, and CPU beyond the producer's",
        ("lateness", "steady"),
        (
            *(
                Column(f"{scheme}: {part} ms", "lateness", scheme, f"late_ms_{part}", "{:.2f}")
                for scheme in ("http", "https")
                for part in ("p50", "p99", "max")
            ),
            Column("CPU µs/event", "steady", "", "cpu_us_per_event"),
        ),
    ),
    *map(_web_table, ENDPOINTS),
    Table(
        "Memory while the endpoint hangs, and idle",
        ("memory", "beyond", "idle"),
        (
            Column("events", "memory", "", "count", "{:,.0f}"),
            Column("bytes/event", "memory", "", "bytes_per_event", "{:,.0f}"),
            Column("/ encoded bytes", "memory", "", "ratio", "{:.2f}"),
            Column("growth beyond the bound, KiB", "beyond", "", "grown_bytes", "{:,.0f}", 1 / 1024),
            Column("idle: wake-ups/s", "idle", "", "wakeups_per_s"),
            Column("idle: CPU %", "idle", "", "cpu_share", "{:.3f}", 100.0),
        ),
    ),
)


def markdown(summarised: Mapping[str, Any], targets: Callable[[Figures], str]) -> str:
    """The whole report."""
    figures = Figures(summarised)
    parts = [_setting(summarised), *(table.markdown(figures) for table in TABLES), targets(figures), _problems(figures)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _setting(summarised: Mapping[str, Any]) -> str:
    place, sink = summarised["environment"], summarised["sink"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    parts = [f"Python {place['python']}, {place['cores']} cores; {versions}."]
    parts.append(f"Events of {summarised['payload_bytes']:,} bytes; {summarised['tools']}.")
    if sink:
        single, merged = sink["single_events_per_s"], sink["merged_events_per_s"]
        parts.append(f"From a client that does next to nothing the endpoint took {single:,.0f} events/s one by one and")
        parts.append(f"{merged:,.0f} merged; in the busiest burst it used {_busiest(summarised):.0%} of a core.")
    return " ".join(parts)


def _busiest(summarised: Mapping[str, Any]) -> float:
    """The endpoint's highest share of a core in any burst."""
    runs = (run for each in summarised["runs"].values() for run in each)
    return max((run.get("sink_cpu_share", 0.0) for run in runs), default=0.0)


def _problems(figures: Figures) -> str:
    lines = [f"- {key.replace('|', ' ')}: {reason}" for key, reason in figures.problems.items()]
    return "\n".join(["Not measured:\n", *lines]) if lines else ""


def metrics_of(names: str | None) -> list[str]:
    """The metrics that were asked for; all of them by default.

    Raises:
        ValueError: there is no such metric.
    """
    return _known(names, METRICS, "metric")


def contestants_of(names: str | None, default: Sequence[str]) -> list[str]:
    """The contestants that were asked for.

    Raises:
        ValueError: there is no such contestant.
    """
    return _known(names, ENTRIES, "contestant") if names else list(default)


def _known(names: str | None, known: Mapping[str, Any], what: str) -> list[str]:
    chosen = names.split(",") if names else list(known)
    strange = [name for name in chosen if name not in known]
    if strange:
        raise ValueError(f"no {what} {', '.join(strange)}; there are {', '.join(known)}")
    return chosen
