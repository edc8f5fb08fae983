"""What is exported: the names, and where the values come from. Names follow Prometheus's document on naming.

No socket, no file and no prometheus_client here.
"""

from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Tuple

from gevent_dispatcher._health import BreakerState, Health
from gevent_dispatcher._held import ConsumerStats
from gevent_dispatcher._stats import Stats

# Origins that get a label of their own; an application has one or two. All others share one.
_MOST_ORIGINS = 20
OTHER = "other"

# Bounds of histograms. An event waits for company for up to a second and is given up after ten minutes by default.
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
EVENTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 75.0, 100.0, 200.0, 500.0, 1000.0)


class Family(NamedTuple):
    """One metric: its name, what it says, and its labels beside the one that tells sources apart."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def is_counter(self) -> bool:
        """Whether it only grows."""
        return self.name.endswith("_total")


# The value of each of its series, by the values of its labels.
Series = Dict[Tuple[str, ...], float]
Values = Dict[Family, Series]


class Kind(NamedTuple):
    """What is exported of one kind of source.

    Attributes:
        prefix: of all its names.
        label: the name of the label that tells its sources apart.
        families: what is read from it.
    """

    prefix: str
    label: str
    families: tuple[Family, ...]


class Origins:
    """The labels of origins: a bounded number, and none that was given is forgotten."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}

    def label(self, origin: str) -> str:
        """Its own, or the one that it shares."""
        if origin not in self._known and len(self._known) >= _MOST_ORIGINS:
            origin = OTHER
        self._known[origin] = None
        return origin

    def states(self, health: Health) -> Series:
        """Of each origin that was ever heard of, in which state its breaker is: 1 for that, 0 for the others."""
        labels = [(self.label(each.origin), each.state) for each in health.origins]
        series: Series = {(origin, state.value): 0.0 for origin in self._known for state in BreakerState}
        for origin, state in labels:
            series[origin, state.value] += 1.0
        return series


# -- of what both kinds have -------------------------------------------------------------------------------------------

_REQUESTS = Family("requests_total", "Requests sent, repeated ones included.")
_RETRIES = Family("retries_total", "Requests whose events had been sent before.")
_SPLITS = Family("splits_total", "Requests that were taken apart, because they were refused or failed again and again.")
_BYTES = Family("pending_bytes", "What pending events weigh in memory.")
_BREAKER = Family(
    "breaker_state",
    "Whether the circuit breaker of an origin is in a state; in multiprocess mode, in how many processes.",
    ("origin", "state"),
)
_IN_COMMON = (_REQUESTS, _RETRIES, _SPLITS, _BYTES, _BREAKER)


def _in_common(stats: Stats | ConsumerStats, health: Health, origins: Origins) -> Values:
    return {
        _REQUESTS: _one(stats.requests),
        _RETRIES: _one(stats.retries),
        _SPLITS: _one(stats.splits),
        _BYTES: _one(health.pending_bytes),
        _BREAKER: origins.states(health),
    }


def _one(value: float) -> Series:
    return {(): value}


def _by(values: Mapping[str, float]) -> Series:
    return {(label,): value for label, value in values.items()}


# -- of dispatchers ----------------------------------------------------------------------------------------------------

_DISPATCHED = Family("events_dispatched_total", "Events handed over.")
_ENDED = Family(
    "events_total", "Events by how they ended, and for what reason they were dropped.", ("outcome", "reason")
)
_PENDING = Family("pending_events", "Events that wait, are in flight or in backoff.")
_MOST = Family("pending_events_limit", "Most events that may be pending: buffer_events.")
_MOST_BYTES = Family("pending_bytes_limit", "Most bytes that may be pending: buffer_bytes.")

DISPATCHERS = Kind("gevent_dispatcher_", "dispatcher", (_DISPATCHED, _ENDED, _PENDING, _MOST, _MOST_BYTES, *_IN_COMMON))


def of_dispatcher(stats: Stats, health: Health, origins: Origins) -> Values:
    """What is exported of a dispatcher."""
    dropped: Series = {("dropped", reason): float(events) for reason, events in stats.dropped.items()}
    return {
        _DISPATCHED: _one(stats.dispatched),
        _ENDED: {("delivered", ""): stats.delivered, ("spooled", ""): stats.spooled, **dropped},
        _PENDING: _one(stats.pending),
        _MOST: _one(health.buffer_events),
        _MOST_BYTES: _one(health.buffer_bytes),
        **_in_common(stats, health, origins),
    }


# -- of consumers ------------------------------------------------------------------------------------------------------

_RECEIVED = Family("messages_received_total", "Messages taken from the queue.")
_MESSAGES = Family("messages_total", "Messages by what the queue was told of them.", ("outcome",))
_HELD = Family("held_messages", "Messages that wait, are in flight, or are not yet confirmed by the queue.")
_EVENTS = Family("events_total", "Events by how they ended.", ("outcome",))

CONSUMERS = Kind("gevent_dispatcher_consumer_", "consumer", (_RECEIVED, _MESSAGES, _HELD, _EVENTS, *_IN_COMMON))


def of_consumer(stats: ConsumerStats, health: Health, origins: Origins) -> Values:
    """What is exported of a consumer."""
    return {
        _RECEIVED: _one(stats.received),
        _MESSAGES: _by({"acked": stats.acked, "released": stats.released, "dead": stats.dead}),
        _HELD: _one(stats.held),
        _EVENTS: _by({"delivered": stats.delivered_events, "dead": stats.dead_events}),
        **_in_common(stats, health, origins),
    }
