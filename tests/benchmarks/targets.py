"""What the project aims at, as ratios within one run, beside what was measured. Nothing fails when one is missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Union

from tests.benchmarks.report import Figures

PEERS = ("sdk_builtin", "sdk_default", "sdk_batch10", "thread_per_event", "requests_pool", "urlopen_pool",
         "launchdarkly", "sentry")  # fmt: skip

Number = Union[float, None]


@dataclass(frozen=True)
class Target:
    """One aim.

    Args:
        what: in words.
        aim: the bound.
        value: what was measured; None when it was not.
        at_least: the bound is a lower one.
    """

    what: str
    aim: float
    value: Number
    at_least: bool = False

    @property
    def row(self) -> str:
        """Its row of the table."""
        value = self.value or 0.0
        reached = value >= self.aim if self.at_least else value <= self.aim
        sign = "≥" if self.at_least else "≤"
        return f"| {self.what} | {sign} {self.aim:g} | {value:.2f} | {'yes' if reached else '**no**'} |"


def table(figures: Figures) -> str:
    """All aims of which something was measured."""
    rows = [target.row for target in _targets(figures) if target.value is not None]
    if not rows:
        return ""
    return "\n".join(["### What is aimed at\n", "| | aim | measured | reached |", "|---|---:|---:|---|", *rows])


def _targets(figures: Figures) -> Iterator[Target]:
    yield from _burst(figures)
    yield from _caller(figures)
    yield from _steady(figures)
    yield from _web(figures)
    yield from _rest(figures)


def _cpu(figures: Figures) -> Callable[[str], Number]:
    return lambda name: figures.get("burst", "0 ms", name, "cpu_us_per_event")


def _burst(figures: Figures) -> Iterator[Target]:
    cpu = _cpu(figures)
    yield Target("burst, CPU per event / merged limit", 1.25, _ratio(cpu("ours"), cpu("raw_merged")))
    yield Target("the same, both with orjson", 1.25, _ratio(cpu("ours_orjson"), cpu("raw_merged_orjson")))
    best = min((value for value in map(cpu, PEERS) if value is not None), default=None)
    yield Target("burst, CPU per event / the best peer's", 1.0, _ratio(cpu("ours"), best))
    yield Target("burst, CPU per event with orjson / without", 0.7, _ratio(cpu("ours_orjson"), cpu("ours")))
    single = _ratio(cpu("ours_batch1"), cpu("urlopen_pool"))
    yield Target("batch_size=1, CPU per event / PoolManager.urlopen per event", 0.85, single)


def _caller(figures: Figures) -> Iterator[Target]:
    for name, label in (("ours", ""), ("ours_orjson", ", orjson")):
        p50 = figures.get("caller", "", name, "dispatch_us_p50")
        p99 = figures.get("caller", "", name, "dispatch_us_p99")
        yield Target(
            f"caller p50 / encoding the visitors alone{label}", 1.3, figures.get("caller", "", name, "ratio_to_encode")
        )
        yield Target(f"caller p99 / p50{label}", 2.5, _ratio(p99, p50))
        yield Target(f"greenlet switches in the caller{label}", 0, figures.get("caller", "", name, "switches"))


def _steady(figures: Figures) -> Iterator[Target]:
    for ours, limit, label in (("ours", "raw_linger", ""), ("ours_orjson", "raw_linger_orjson", ", both with orjson")):
        ratio = _ratio(*(figures.get("steady", "", name, "cpu_us_per_event") for name in (ours, limit)))
        yield Target(f"steady 2 000/s, CPU per event / merged limit with linger{label}", 1.5, ratio)
    for scheme, bound in (("http", 1.0), ("https", 2.0)):
        for part in ("p99", "max"):
            late = [figures.get("lateness", scheme, name, f"late_ms_{part}") for name in ("ours", "noop")]
            yield Target(f"hub lateness {part} over {scheme}, ms beyond no-op", bound, _difference(*late))


def _web(figures: Figures) -> Iterator[Target]:
    def web(endpoint: str, name: str, figure: str) -> Number:
        return figures.get("web", endpoint, name, figure)

    for endpoint, name, label in (("5 ms", "ours", ""), ("1 s", "ours_pool50", ", pool_size=50")):
        rate = _ratio(web(endpoint, name, "requests_per_s"), web(endpoint, "noop", "requests_per_s"))
        yield Target(f"Flask, endpoint {endpoint}{label}: requests/s / no-op's", 0.9, rate, at_least=True)
        share = web(endpoint, name, "share_in")
        yield Target(f"Flask, endpoint {endpoint}{label}: share of events in", 0.99, share, at_least=True)
    for endpoint in ("hanging", "refusing"):
        p99 = _ratio(web(endpoint, "ours", "p99_ms"), web(endpoint, "noop", "p99_ms"))
        yield Target(f"Flask, endpoint {endpoint}: p99 / no-op's", 1.1, p99)


def _rest(figures: Figures) -> Iterator[Target]:
    yield Target("memory per pending event / encoded bytes", 1.25, figures.get("memory", "", "ours", "ratio"))
    grown = figures.get("beyond", "", "ours", "grown_bytes")
    yield Target("growth beyond the bound, MiB", 1.0, None if grown is None else grown / 2**20)
    wakeups = [figures.get("idle", "", name, "wakeups_per_s") for name in ("ours", "noop")]
    yield Target("idle: wake-ups/s beyond no-op", 0.1, _difference(*wakeups))
    yield Target("idle: CPU %", 0.1, _times(figures.get("idle", "", "ours", "cpu_share"), 100.0))


def _ratio(value: Number, other: Number) -> Number:
    return None if value is None or not other else value / other


def _difference(value: Number, other: Number) -> Number:
    return None if value is None or other is None else value - other


def _times(value: Number, factor: float) -> Number:
    return None if value is None else value * factor
