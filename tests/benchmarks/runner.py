"""Runs the plan: each contestant in a process of its own, A B C A B C, each run with a deadline."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from tests.benchmarks import payloads
from tests.benchmarks.contestants import ENTRIES
from tests.benchmarks.metrics import METRICS, START
from tests.benchmarks.programs import Sink, Tools, Trouble, environ, run
from tests.benchmarks.web import web


@dataclass(frozen=True)
class Job:
    """One run of one contestant."""

    metric: str
    scenario: str
    contestant: str

    @property
    def key(self) -> str:
        """Names it in results."""
        return f"{self.metric}|{self.scenario}|{self.contestant}"

    def __str__(self) -> str:
        return " ".join(filter(None, (self.metric, self.scenario, self.contestant)))


@dataclass
class Outcome:
    """What all runs gave.

    Args:
        runs: the figures of each repetition, by the job's key.
        problems: why a job gave none, by its key or by the contestant's name.
        sink: what the endpoint itself can take.
        tools: what endpoint and load generator were.
        payload_bytes: of an event as JSON.
    """

    runs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    problems: dict[str, str] = field(default_factory=dict)
    sink: dict[str, float] = field(default_factory=dict)
    tools: str = ""
    payload_bytes: int = 0

    def add(self, runs: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """Count other runs with these."""
        for key, others in runs.items():
            self.runs[key].extend(others)


def plan(metrics: Sequence[str], contestants: Sequence[str], repetitions: int, short: bool) -> list[Job]:
    """All jobs in their order: within a metric's scenario, the contestants take turns."""
    jobs = []
    for name in metrics:
        metric = METRICS[name]
        chosen = [each for each in metric.contestants if each in contestants]
        for scenario, circumstance in metric.scenarios.items():
            if short and not circumstance.in_short:
                continue
            for _ in range(1 if circumstance.once else repetitions):
                jobs += [Job(name, scenario, each) for each in chosen if _fits(each, scenario)]
    return jobs


def _fits(contestant: str, scenario: str) -> bool:
    """The wide pool is there for the slow endpoint."""
    return contestant != "ours_pool50" or scenario == "1 s"


class Runner:
    """Runs jobs.

    Args:
        directory: where compiled programs, certificates and output go.
        short: the short form of each measure.
        compiler: for the endpoint; "" for the one in Python.
    """

    def __init__(self, directory: Path, short: bool, compiler: str = "cc") -> None:
        self._directory = directory
        self._short = short
        self._params = payloads.captured()
        self.tools = Tools(directory, compiler)
        size = len(json.dumps(self._params, separators=(",", ":")))
        self.outcome = Outcome(tools=self.tools.describe(), payload_bytes=size)

    def run(self, jobs: Sequence[Job], progress: Callable[[Job], None]) -> Outcome:
        """Run all, telling each before it begins. Who failed once is not tried again."""
        for job in jobs:
            progress(job)
            missing = ENTRIES[job.contestant].missing()
            if missing:
                self.outcome.problems[job.contestant] = missing
            elif job.key not in self.outcome.problems:
                self._try(job)
        return self.outcome

    def _try(self, job: Job) -> None:
        try:
            self.outcome.runs[job.key].append(self._run(job))
        except Trouble as trouble:
            self.outcome.problems[job.key] = str(trouble)

    def _run(self, job: Job) -> dict[str, Any]:
        metric = METRICS[job.metric]
        options = {**metric.options, **(metric.short if self._short else {})}
        task = {"contestant": job.contestant, "measure": metric.measure, "params": self._params, **options}
        if metric.measure == "web":
            return web(self.tools, {**task, "scenario": job.scenario}, self._directory)
        circumstance = metric.scenarios[job.scenario]
        with self.tools.sink(circumstance.delay, circumstance.hang, circumstance.tls) as sink:
            return self.measured(sink, {**task, **circumstance.options}, metric.deadline + START)

    def measured(self, sink: Sink, task: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Run one task in a fresh process against an endpoint."""
        more = {"REQUESTS_CA_BUNDLE": sink.authority} if sink.authority else {}
        given = json.dumps({"params": self._params, **task, "url": sink.url, "authority": sink.authority}).encode()
        before = sink.counts()["cpu_us"]
        printed = run([sys.executable, "-m", "tests.benchmarks.child"], seconds, environ(**more), given)
        figures = json.loads(printed.splitlines()[-1])
        return {**figures, **_delivery(figures, sink.counts(), before)}

    def probe_sink(self) -> None:
        """What the endpoint takes from a client that does next to nothing: it must be far more than any contestant."""
        body = json.dumps(self._params).encode()
        merged = json.dumps({**self._params, "visitors": self._params["visitors"] * 100}).encode()
        count = 2_000 if self._short else 20_000
        for name, content, events, requests in (("single", body, 1, count), ("merged", merged, 100, count // 10)):
            with self.tools.sink() as sink:
                load = self.tools.load(sink.port, 10, requests, 10, _post(content))
                self.outcome.sink[f"{name}_events_per_s"] = load["answered"] * events / load["seconds"]
                cpu = sink.counts()["cpu_us"] / max(load["answered"] * events, 1)
                self.outcome.sink[f"{name}_cpu_us_per_event"] = cpu


def _post(body: bytes) -> bytes:
    return b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _delivery(figures: dict[str, Any], counts: dict[str, int], cpu_before: int) -> dict[str, Any]:
    """What the endpoint saw of a run."""
    warm = figures.get("warm", 0)
    events, requests = counts["events"] - warm, counts["requests"] - warm
    seen: dict[str, Any] = {"requests": requests, "events": events, "connections": counts["connections"]}
    if events <= 0:
        return seen
    seen["requests_per_event"] = requests / max(counts["received"] - warm, 1)
    if "start_us" in figures:
        seconds = max(counts["last_us"] - figures["start_us"], 1) / 1e6
        seen["events_per_s"] = events / seconds
        seen["sink_cpu_share"] = (counts["cpu_us"] - cpu_before) / 1e6 / seconds
        seen["cpu_us_per_event"] = figures["cpu_us"] / events
    return seen


def temporary_directory() -> Any:
    """Where compiled programs, certificates and output go."""
    return tempfile.TemporaryDirectory(prefix="benchmarks-")
