"""The plan: which metrics there are, under which circumstances, for which contestants, and how long each may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from tests.benchmarks.contestants import ENTRIES
from tests.benchmarks.web import ENDPOINTS

# What a run may take beside its own time, to start and to make its events, in seconds.
START = 30.0

_AT_RATE = (
    "noop", "sdk_batch10", "requests_pool", "urlopen_pool", "launchdarkly", "sentry",
    "ours", "ours_orjson", "ours_batch1", "raw_linger", "raw_linger_orjson", "raw_unmerged",
)  # fmt: skip
_IN_WEB = ("noop", "sdk_default", "sdk_batch10", "urlopen_pool", "launchdarkly", "ours", "ours_orjson", "ours_pool50")
# A pool that has its caller wait holds no more than its size, so it has no row.
_HOLDING = ("thread_per_event", "launchdarkly", "sentry", "ours", "ours_orjson")
_UNLIMITED = {"buffer_events": 200_000, "buffer_bytes": 1 << 30}


@dataclass(frozen=True)
class Scenario:
    """One circumstance of a metric.

    Args:
        delay: of the endpoint's answers, in seconds.
        hang: the endpoint never answers.
        tls: over https.
        once: one repetition is enough: the figure is ruled by the delay.
        in_short: it belongs to the short form, too.
        options: for the measure.
    """

    delay: float = 0.0
    hang: bool = False
    tls: bool = False
    once: bool = False
    in_short: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """One thing that is measured.

    Args:
        measure: its name in `measures`; "web" is run by the runner itself.
        scenarios: by name.
        contestants: in the order of the table.
        options: for the measure; `short` ones replace them in the short form.
        deadline: of a run, in seconds.
    """

    measure: str
    scenarios: Mapping[str, Scenario]
    contestants: tuple[str, ...]
    options: Mapping[str, Any]
    short: Mapping[str, Any]
    deadline: float = 20.0


def _all_but(*names: str) -> tuple[str, ...]:
    return tuple(name for name in ENTRIES if name not in names)


METRICS: dict[str, Metric] = {
    "caller": Metric(
        "caller", {"": Scenario()}, _all_but("ours_pool50"), {"count": 3_000}, {"count": 500}, deadline=30.0
    ),
    "burst": Metric(
        "burst",
        {"0 ms": Scenario(), "50 ms": Scenario(0.05, once=True), "1 s": Scenario(1.0, once=True, in_short=False)},
        _all_but("noop", "raw_linger", "raw_linger_orjson"),
        {"count": 10_000, "deadline": 8.0},
        {"count": 2_000, "deadline": 1.5},
    ),
    "lateness": Metric(
        "lateness",
        {"http": Scenario(), "https": Scenario(tls=True)},
        _AT_RATE,
        {"rate": 2_000, "seconds": 3.0},
        {"rate": 2_000, "seconds": 0.5},
    ),
    "steady": Metric(
        "steady", {"": Scenario()}, _AT_RATE, {"rate": 2_000, "seconds": 3.0}, {"rate": 2_000, "seconds": 0.5}
    ),
    "web": Metric(
        "web",
        {name: Scenario(in_short=name in ("5 ms", "hanging")) for name in ENDPOINTS},
        _IN_WEB,
        {"count": 8_000, "deadline": 10.0},
        {"count": 300, "deadline": 2.0},
        deadline=60.0,
    ),
    "memory": Metric(
        "memory",
        {"": Scenario(hang=True, options={"settings": _UNLIMITED})},
        _HOLDING,
        {"count": 100_000},
        {"count": 5_000},
        deadline=60.0,
    ),
    "beyond": Metric(
        "beyond", {"": Scenario(hang=True)}, ("ours", "ours_orjson"), {"count": 100_000}, {"count": 25_000},
        deadline=60.0,
    ),
    "idle": Metric(
        "idle", {"": Scenario(once=True)}, ("noop", "sdk_default", "launchdarkly", "sentry", "ours", "ours_orjson"),
        {"seconds": 3.0}, {"seconds": 0.5},
    ),
}  # fmt: skip

# The short form has one of each kind.
SHORT = ("noop", "sdk_builtin", "sdk_default", "urlopen_pool", "launchdarkly", "ours", "ours_orjson", "raw_merged",
         "raw_merged_orjson", "raw_linger")  # fmt: skip
