"""The runs: contestants in turns, each in a process of its own against an endpoint of its own."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Iterator, NamedTuple, Sequence
from urllib.request import ProxyHandler, build_opener

from gevent_dispatcher._programs import Problem, Program

# Milliseconds that the endpoint takes to answer.
LATENCY = 50
# Runs of each contestant but the SDK's, whose one takes as long as those of the others.
ROUNDS = 3
# More would take gigabytes.
MOST_EVENTS = 100_000

# Seconds: how long a run dispatches, the SDK's one too; how long a process lives in any case.
_SECONDS, _SECONDS_OF_SDK, _LIFE = 10.0, 2.0, 60
# How long an answer of the endpoint to us may take, in seconds.
_TIMEOUT = 10.0


class Contestant(NamedTuple):
    """Who is measured.

    Attributes:
        name: in `_child`.
        label: in tables.
        rounds: how many runs it gets.
        seconds: that a run dispatches at most.
    """

    name: str
    label: str
    rounds: int
    seconds: float = _SECONDS


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of one contestant, by the median of its runs; delivered is the least. None is not measured."""

    contestant: str
    events: int
    delivered: int | None
    caller_p50_us: float
    caller_p99_us: float
    cpu_us_per_event: float | None
    events_per_s: float | None


class Runs:
    """All runs of one benchmark.

    Args:
        events: that a run dispatches.
        directory: where the output of what it starts goes.
        rounds: how many runs each contestant gets.

    Attributes:
        total: how many runs there are.
    """

    def __init__(self, events: int, directory: Path, rounds: int = ROUNDS) -> None:
        self._events = events
        self._rounds = rounds
        self._directory = directory
        encoder = "orjson" if find_spec("orjson") else "json"
        self._contestants = [
            Contestant("noop", "no-op", rounds),
            Contestant("ours", f"gevent_dispatcher, {encoder}", rounds),
        ]
        if find_spec("optimizely"):
            self._contestants.append(Contestant("sdk", "the SDK's dispatcher", 1, _SECONDS_OF_SDK))
        self.total = sum(each.rounds for each in self._contestants)
        self._figures: dict[str, list[dict[str, Any]]] = {each.name: [] for each in self._contestants}

    def run(self) -> Iterator[str]:
        """Do them all, each contestant in turn, and tell whose run has ended.

        Raises:
            Problem: a process could not be started, or ended before its time.
        """
        for number in range(self._rounds):
            for contestant in self._contestants:
                if number < contestant.rounds:
                    self._figures[contestant.name].append(self._run(contestant))
                    yield contestant.label

    def rows(self) -> list[Row]:
        """What came of them."""
        idle = median(each["cpu"] / each["events"] for each in self._figures["noop"])
        return [_row(each, self._figures[each.name], idle) for each in self._contestants]

    def _run(self, contestant: Contestant) -> dict[str, Any]:
        endpoint = ["-m", "gevent_dispatcher.bench._endpoint", str(LATENCY / 1_000), str(_LIFE)]
        with Program("endpoint", endpoint, self._directory) as program:
            url = f"http://127.0.0.1:{program.says('port ([0-9]+)')}/v1/events"
            task = [contestant.name, url, str(self._events), str(contestant.seconds), str(_LIFE)]
            figures = self._measured(["-m", "gevent.monkey", "--module", "gevent_dispatcher.bench._child", *task])
            # The first event of the process is none of them.
            return {**figures, "delivered": max(_answered(url) - 1, 0)}

    def _measured(self, command: Sequence[str]) -> dict[str, Any]:
        with Program("contestant", command, self._directory) as program:
            if program.wait(_LIFE) != 0:
                raise Problem(f"a run failed:\n{program.errors()}")
            figures: dict[str, Any] = json.loads(program.output().splitlines()[-1])
            return figures


def _answered(url: str) -> int:
    with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT) as answer:
        return int(answer.read())


def _row(contestant: Contestant, runs: Sequence[dict[str, Any]], idle: float) -> Row:
    """Its row; of what an event costs, what the loop alone takes is none of its own."""
    is_real = contestant.name != "noop"
    cpu = median(each["cpu"] / each["events"] for each in runs) - idle
    return Row(
        contestant=contestant.label,
        events=round(median(each["events"] for each in runs)),
        delivered=min(each["delivered"] for each in runs) if is_real else None,
        caller_p50_us=round(median(each["p50_us"] for each in runs), 2),
        caller_p99_us=round(median(each["p99_us"] for each in runs), 2),
        cpu_us_per_event=round(cpu * 1e6, 2) if is_real else None,
        events_per_s=round(median(each["delivered"] / each["seconds"] for each in runs), 1) if is_real else None,
    )
