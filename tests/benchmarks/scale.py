"""How cost grows with rate, latency, payload and workers, which setting to turn: `python -m tests.benchmarks.scale`.

The model has three measured costs: CPU of the caller's encoding per byte, of the rest of an event, and of a request.
They are measured twice: in a burst, when everything is in the processor's caches, and at a steady 1 000 events/s, when
it is not; a worker's truth lies between. All else follows from the settings:

    events per request   min(batch_size, 1 + rate x flush_interval), and what max_request_bytes allows
    requests/s           rate / events per request
    senders busy         requests/s x latency                            (Little's law)
    CPU share            rate x CPU per event + requests/s x CPU per request
    pending              rate x (wait for company + latency), and rate x outage while the endpoint is away
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from tests.benchmarks.runner import Runner, temporary_directory

RATES = (10, 100, 1_000, 10_000)

# How long an endpoint may be away without a loss, in seconds, for the suggested buffer.
_OUTAGE = 10.0
# Senders for each that is busy on average: latencies vary.
_SPARE = 2.0
# Bounds of what is suggested, and the defaults.
_BATCH_SIZES = (1, 100, 500)
_POOL_SIZE, _BUFFER_EVENTS, _FLUSH_INTERVAL, _REQUEST_BYTES = 10, 10_000, 1.0, 1_000_000
_BUFFER_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Costs:
    """What was measured, in µs of CPU.

    Args:
        per_byte: of encoding text that an event has more; the structure of an event is in `per_event`.
        per_event: of an event, but for its encoding.
        per_request: of a request.
        event_bytes: of an encoded event.
    """

    per_byte: float
    per_event: float
    per_request: float
    event_bytes: int


@dataclass(frozen=True)
class Settings:
    """Of a dispatcher."""

    flush_interval: float = _FLUSH_INTERVAL
    batch_size: int = 100
    pool_size: int = _POOL_SIZE
    buffer_events: int = _BUFFER_EVENTS
    buffer_bytes: int = _BUFFER_BYTES


@dataclass(frozen=True)
class Load:
    """What one worker has to carry: events/s, the endpoint's latency in seconds, bytes of an event."""

    rate: float
    latency: float
    event_bytes: int


@dataclass(frozen=True)
class Prediction:
    """What the model says of a load under settings."""

    events_per_request: float
    requests_per_s: float
    senders_busy: float
    cpu_share: float
    capacity: float
    pending: float


def predict(load: Load, settings: Settings, costs: Costs) -> Prediction:
    """Apply the model."""
    gathered = 1 + load.rate * settings.flush_interval
    room = max(_REQUEST_BYTES / load.event_bytes, 1.0)
    per_request = min(settings.batch_size, gathered, room)
    requests = load.rate / per_request
    event_us = costs.per_event + costs.per_byte * load.event_bytes
    cpu = (load.rate * event_us + requests * costs.per_request) / 1e6
    capacity = settings.pool_size * per_request / load.latency if load.latency else math.inf
    pending = load.rate * (per_request / load.rate + load.latency)
    return Prediction(per_request, requests, requests * load.latency, cpu, capacity, pending)


def suggest(load: Load) -> Settings:
    """Settings that carry a load: bigger batches first, as each costs one request, then more senders."""
    batch_size = _BATCH_SIZES[1]
    if load.rate * load.latency / batch_size * _SPARE > _POOL_SIZE * 4:
        batch_size = _BATCH_SIZES[2]
    batch_size = min(batch_size, int(_REQUEST_BYTES / load.event_bytes) or 1)
    per_request = min(batch_size, 1 + load.rate * _FLUSH_INTERVAL)
    busy = load.rate / per_request * load.latency
    buffer = max(_BUFFER_EVENTS, round(load.rate * (_OUTAGE + load.latency + _FLUSH_INTERVAL), -3))
    pool = max(_POOL_SIZE, math.ceil(busy * _SPARE))
    return Settings(_FLUSH_INTERVAL, batch_size, pool, int(buffer), max(_BUFFER_BYTES, int(buffer) * load.event_bytes))


# -- tables ------------------------------------------------------------------------------------------------------------


def by_rate(both: Sequence[Costs], latency: float) -> str:
    """What to expect and to set for each rate."""
    size = both[0].event_bytes
    lines = [
        f"### Events per second and worker, endpoint at {latency * 1e3:g} ms, {size:,} bytes an event\n",
        "| events/s | flush_interval | batch_size | pool_size | buffer_events | buffer_bytes "
        "| events/request | requests/s | senders busy | CPU share, warm - cold |",
        "|" + "---:|" * 10,
    ]
    for rate in RATES:
        load = Load(rate, latency, size)
        settings = suggest(load)
        told, cold = (predict(load, settings, costs) for costs in both)
        lines.append(
            f"| {rate:,} | {settings.flush_interval:g} s | {settings.batch_size} | {settings.pool_size} "
            f"| {settings.buffer_events:,} | {settings.buffer_bytes / 2**20:.0f} MiB "
            f"| {told.events_per_request:.0f} | {told.requests_per_s:.1f} "
            f"| {told.senders_busy:.1f} | {told.cpu_share:.1%} - {cold.cpu_share:.1%} |"
        )
    return "\n".join(lines)


def by_latency(costs: Costs) -> str:
    """What the default settings carry, and what a pool must be for more."""
    lines = [
        "### The endpoint's latency: what the defaults carry, and the pool_size for 1 000 and 10 000 events/s\n",
        "| latency | most events/s with the defaults | pool_size for 1 000/s | for 10 000/s |",
        "|---:|---:|---:|---:|",
    ]
    for latency in (0.005, 0.05, 0.2, 1.0, 5.0):
        told = predict(Load(1_000, latency, costs.event_bytes), Settings(), costs)
        pools = [suggest(Load(rate, latency, costs.event_bytes)) for rate in (1_000, 10_000)]
        cells = [f"{pool.pool_size} (batch_size {pool.batch_size})" for pool in pools]
        lines.append(f"| {latency * 1e3:,.0f} ms | {told.capacity:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_payload(costs: Costs) -> str:
    """CPU share and memory for events of several sizes."""
    lines = [
        "### The size of an event, at 1 000 events/s\n",
        "| bytes | events/request | CPU share | a full buffer of 10 000, MiB |",
        "|---:|---:|---:|---:|",
    ]
    for size in (500, costs.event_bytes, 5_000, 50_000):
        told = predict(Load(1_000, 0.05, size), Settings(), costs)
        full = min(_BUFFER_EVENTS * size / 2**20, 32.0)
        lines.append(f"| {size:,} | {told.events_per_request:.0f} | {told.cpu_share:.1%} | {full:.0f} |")
    return "\n".join(lines)


def by_workers(costs: Costs) -> str:
    """The same 10 000 events/s, spread over workers: each gathers for itself, so batches shrink where each has few."""
    lines = [
        "### 10 000 events/s and 100 events/s over several workers: requests/s and connections of all\n",
        "| workers | requests/s of 10 000/s | of 100/s | connections, at most |",
        "|---:|---:|---:|---:|",
    ]
    for workers in (1, 4, 16, 64):
        requests = [
            workers * predict(Load(rate / workers, 0.05, costs.event_bytes), Settings(), costs).requests_per_s
            for rate in (10_000, 100)
        ]
        lines.append(f"| {workers} | {requests[0]:,.0f} | {requests[1]:,.1f} | {workers * _POOL_SIZE} |")
    return "\n".join(lines)


# -- measuring ---------------------------------------------------------------------------------------------------------


class Measured:
    """Runs the dispatcher to learn its costs, and to compare.

    Args:
        runner: for fresh processes and endpoints.
        contestant: ours, with or without orjson.
    """

    def __init__(self, runner: Runner, contestant: str = "ours") -> None:
        self._runner = runner
        self._contestant = contestant

    def costs(self, is_warm: bool) -> Costs:
        """Two batch sizes tell a request's cost from an event's, and two payloads a byte's.

        Args:
            is_warm: in bursts; otherwise at a steady rate.
        """
        small, large = self._encoding(0), self._encoding(4_000)
        per_byte = (large["us"] - small["us"]) / (large["bytes"] - small["bytes"])
        size = round(small["bytes"])
        cost = self._burst if is_warm else self._at_rate
        hundred, ten = cost(100), cost(10)
        per_request = max(ten - hundred, 0.0) / (1 / 10 - 1 / 100)
        per_event = max(hundred - per_request / 100 - per_byte * size, 0.0)
        return Costs(per_byte, per_event, per_request, size)

    def _encoding(self, padding: int) -> dict[str, Any]:
        return self._run(0.0, {"measure": "encoding", "padding": padding})

    def _burst(self, batch_size: int) -> float:
        options = {"measure": "burst", "count": 8_000, "deadline": 15.0, "settings": {"batch_size": batch_size}}
        return min(float(self._run(0.0, options)["cpu_us_per_event"]) for _ in range(3))

    def _at_rate(self, batch_size: int) -> float:
        options = {"measure": "steady", "rate": 1_000, "seconds": 4.0, "settings": {"batch_size": batch_size}}
        return min(float(self._run(0.0, options)["cpu_us_per_event"]) for _ in range(3))

    def steady(self, load: Load, settings: Settings, seconds: float) -> dict[str, Any]:
        """A load on this machine: what the model predicts too."""
        options = {"measure": "steady", "rate": load.rate, "seconds": seconds, "settings": asdict(settings)}
        return self._run(load.latency, options)

    def _run(self, delay: float, options: dict[str, Any]) -> dict[str, Any]:
        with self._runner.tools.sink(delay) as sink:
            return self._runner.measured(sink, {"contestant": self._contestant, **options}, 60.0)


def check(measured: Measured, both: Sequence[Costs], latency: float, seconds: float) -> Iterator[str]:
    """Lines of a table: predicted beside measured, for each rate."""
    yield "### Predicted / measured on this machine\n"
    yield "| events/s | carried | events/request | CPU share: predicted warm - cold / measured |"
    yield "|---:|---:|---:|---:|"
    for rate in RATES:
        load = Load(rate, latency, both[0].event_bytes)
        settings = suggest(load)
        warm, cold = (predict(load, settings, costs) for costs in both)
        seen = measured.steady(load, settings, seconds)
        share = seen["cpu_us_per_event"] * seen["sent"] / seconds / 1e6
        per_request = seen["events"] / max(seen["requests"], 1)
        yield (
            f"| {rate:,} | {seen['events'] / seconds:,.0f} | {warm.events_per_request:.0f} / {per_request:.0f} "
            f"| {warm.cpu_share:.2%} - {cold.cpu_share:.2%} / {share:.2%} |"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    with temporary_directory() as directory:
        measured = Measured(Runner(Path(directory), short=False), options.contestant)
        both = (measured.costs(is_warm=True), measured.costs(is_warm=False))
        _print_tables(both, options.latency)
        if options.check:
            print()
            for line in check(measured, both, options.latency, options.seconds):
                print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(costs) for costs in both], indent=1) + "\n", "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--check", action="store_true", help="run the dispatcher at these rates, too")
    parser.add_argument("--latency", type=float, default=0.05, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each checked rate (default: %(default)s)")
    parser.add_argument("--contestant", choices=("ours", "ours_orjson"), default="ours", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the measured costs there")
    return parser


def _print_tables(both: Sequence[Costs], latency: float) -> None:
    for name, costs in zip(("In a burst", "At a steady rate"), both):
        print(f"{name}: {costs.per_byte * 1e3:.1f} µs per 1 000 bytes of an event,", end=" ")
        print(f"{costs.per_event:.1f} µs beside that, {costs.per_request:.0f} µs per request.")
    warm = both[0]
    print("\n" + "\n\n".join((by_rate(both, latency), by_latency(warm), by_payload(warm), by_workers(warm))))


if __name__ == "__main__":
    sys.exit(main())
