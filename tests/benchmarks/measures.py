"""What is measured inside the process that has the contestant. Each measure returns numbers by name."""

from __future__ import annotations

import gc
import os
import socket
import time
from pathlib import Path
from statistics import median
from typing import Any, Callable
from urllib.parse import urlsplit

import gevent
import greenlet

from tests.benchmarks import encoders
from tests.benchmarks.contestants import ENTRIES, Contestant, Endpoint
from tests.benchmarks.payloads import Events, LogEvent

# Events between two turns of the hub, where the caller is measured: a request or two of an application.
_TURN = 10
# How often the ticker looks at the clock, in seconds.
_TICK = 0.001
# How often the steady producer dispatches, in seconds.
_STEP = 0.005

perf_ns = time.perf_counter_ns


class Bench:
    """A task's contestant and events.

    Args:
        task: `contestant`, `measure`, `url`, `params` of an event, `count`, and what the measure needs.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.entry = ENTRIES[task["contestant"]]
        self.endpoint = Endpoint(task["url"], task.get("authority"), task.get("settings", {}))
        self.events = Events(task["params"], task["url"], task.get("padding", 0))
        self.count = min(task.get("count", 0), self.entry.most)
        self.deadline = task.get("deadline", 20.0)

    def contestant(self) -> Contestant:
        """Set up."""
        return self.entry.make(self.endpoint)

    def prepared(self, contestant: Contestant, count: int) -> list[Any]:
        """Inputs, made beforehand, and out of the garbage collector's sight: an application's events do not pile up."""
        inputs = [contestant.prepare(event) for event in self.events.many(count)]
        gc.collect()
        gc.freeze()
        return inputs

    def wait_for_events(self, count: int, seconds: float) -> bool:
        """Wait, without asking again and again, until the endpoint has answered so many."""
        with gevent.Timeout(seconds, False):
            _ask(self.endpoint, f"/wait?events={count}")
            return True
        return False


def _ask(endpoint: Endpoint, target: str) -> None:
    parts = urlsplit(endpoint.url)
    sock = socket.create_connection((parts.hostname, parts.port))
    if endpoint.authority:
        from gevent.ssl import create_default_context

        sock = create_default_context(cafile=endpoint.authority).wrap_socket(sock, server_hostname=parts.hostname)
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    sock.recv(4096)


def quantiles(values: list[float], name: str) -> dict[str, float]:
    """p50, p99 and max."""
    values = sorted(values)
    last = len(values) - 1
    return {f"{name}_{part}": values[round(share * last)] for part, share in _QUANTILES.items()}


_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


# -- the caller --------------------------------------------------------------------------------------------------------


def caller(bench: Bench) -> dict[str, Any]:
    """What one dispatch costs its caller, beside encoding another event's visitors alone; and whether it switches."""
    contestant = bench.contestant()
    encode = encoders.named(bench.entry.encoder)
    others = bench.events.many(bench.count)
    inputs = bench.prepared(contestant, bench.count)
    _warm_up(bench, contestant)
    alone, dispatching = _time_each(contestant, inputs, encode, others)
    switches = _count_switches(contestant, bench.prepared(contestant, min(300, bench.count)))
    figures = {**quantiles(dispatching, "dispatch_us"), **quantiles(alone, "encode_us"), "switches": switches}
    return {**figures, "ratio_to_encode": figures["dispatch_us_p50"] / figures["encode_us_p50"]}


def _warm_up(bench: Bench, contestant: Contestant) -> None:
    """The first event of a process imports and opens; users meet that once."""
    for event in bench.prepared(contestant, 5):
        contestant.dispatch(event)
    contestant.finish(2.0)
    gevent.sleep(0.05)


def _time_each(
    contestant: Contestant, inputs: list[Any], encode: Callable[[Any], bytes], others: list[LogEvent]
) -> tuple[list[float], list[float]]:
    alone, dispatching, dispatch = [], [], contestant.dispatch
    for number, (event, other) in enumerate(zip(inputs, others)):
        visitors = other.params["visitors"]
        begin = perf_ns()
        encode(visitors)
        middle = perf_ns()
        dispatch(event)
        end = perf_ns()
        alone.append((middle - begin) / 1e3)
        dispatching.append((end - middle) / 1e3)
        if number % _TURN == _TURN - 1:
            gevent.sleep(0)
    return alone, dispatching


def _count_switches(contestant: Contestant, inputs: list[Any]) -> int:
    switches = 0

    def trace(kind: str, _: Any) -> None:
        nonlocal switches
        switches += kind in ("switch", "throw")

    for number, event in enumerate(inputs):
        greenlet.settrace(trace)
        contestant.dispatch(event)
        greenlet.settrace(None)
        if number % _TURN == _TURN - 1:
            gevent.sleep(0)
    return switches


# -- bursts ------------------------------------------------------------------------------------------------------------


def burst(bench: Bench) -> dict[str, Any]:
    """All events at once: CPU of the whole process, and when the endpoint had answered them."""
    contestant = bench.contestant()
    inputs = bench.prepared(contestant, bench.count)
    _load_lazily(bench)
    warm = _deliver_one(bench, contestant)
    cpu, start = time.process_time(), time.monotonic()
    deadline = start + bench.deadline
    sent = _dispatch_until(contestant, inputs, deadline)
    contestant.finish(max(deadline - time.monotonic(), 0.01))
    delivered = bench.wait_for_events(warm + sent, max(deadline - time.monotonic(), 0.01))
    used = time.process_time() - cpu
    return {"sent": sent, "warm": warm, "complete": delivered, "cpu_us": used * 1e6, "start_us": start * 1e6}


def _deliver_one(bench: Bench, contestant: Contestant) -> int:
    """What the first event of a process opens and imports is not a cost of the others."""
    if bench.task["contestant"] == "noop":
        return 0
    contestant.dispatch(contestant.prepare(bench.events.one()))
    contestant.finish(5.0)
    bench.wait_for_events(1, 5.0)
    return 1


def _load_lazily(bench: Bench) -> None:
    """What an application with the SDK has imported anyway is not a cost of its events."""
    import optimizely.optimizely  # noqa: F401  # as an application has
    import urllib3  # noqa: F401  # as the SDK has

    bench.wait_for_events(0, 1.0)


def _dispatch_until(contestant: Contestant, inputs: list[Any], deadline: float) -> int:
    """Dispatch until all are or the time is over, for contestants that have the caller wait."""
    dispatch = contestant.dispatch
    with gevent.Timeout(deadline - time.monotonic(), False):
        for number, event in enumerate(inputs):
            if not number % 50 and time.monotonic() >= deadline:
                return number
            dispatch(event)
    return len(inputs)


# -- a steady rate -----------------------------------------------------------------------------------------------------


def lateness(bench: Bench) -> dict[str, Any]:
    """How late a greenlet that sleeps 1 ms wakes while events come steadily, the first event included."""
    contestant = bench.contestant()
    inputs = bench.prepared(contestant, 1_000)
    _load_lazily(bench)
    late: list[float] = []
    ticker = gevent.spawn(_tick, late)
    sent = _produce(contestant, inputs, bench.task["rate"], bench.task["seconds"])
    ticker.kill()
    return {"sent": sent, **quantiles(late, "late_ms")}


def _tick(late: list[float]) -> None:
    while True:
        due = perf_ns() + _TICK * 1e9
        gevent.sleep(_TICK)
        late.append((perf_ns() - due) / 1e6)


def steady(bench: Bench) -> dict[str, Any]:
    """CPU per event at a steady rate, less that of the producer alone, which is measured before."""
    contestant = bench.contestant()
    inputs = bench.prepared(contestant, 1_000)
    _load_lazily(bench)
    warm = _deliver_one(bench, contestant)
    rate, seconds = bench.task["rate"], bench.task["seconds"]
    idle = _cpu_of(lambda: _produce(Contestant(lambda event: None), inputs, rate, seconds / 2)) * 2
    sent = 0

    def work() -> None:
        nonlocal sent
        sent = _produce(contestant, inputs, rate, seconds)
        contestant.finish(3.0)

    busy = _cpu_of(work)
    per_event = (busy - idle) * 1e6 / max(sent, 1)
    return {"sent": sent, "warm": warm, "cpu_us_per_event": per_event, "cpu_share": busy / seconds}


def _cpu_of(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _produce(contestant: Contestant, inputs: list[Any], rate: float, seconds: float) -> int:
    """Dispatch so many events a second in small steps; a contestant that has the producer wait gets fewer."""
    start, sent, dispatch = time.monotonic(), 0, contestant.dispatch
    with gevent.Timeout(seconds + 5.0, False):
        while True:
            passed = time.monotonic() - start
            for _ in range(min(round(min(passed, seconds) * rate) - sent, round(rate))):
                dispatch(inputs[sent % len(inputs)])
                sent += 1
            if passed >= seconds:
                break
            gevent.sleep(_STEP)
    return sent


# -- memory ------------------------------------------------------------------------------------------------------------


def memory(bench: Bench) -> dict[str, Any]:
    """Peak memory for each pending event while the endpoint hangs, and beyond the bound."""
    contestant = bench.contestant()
    size = len(encoders.stdlib()(bench.events.one().params["visitors"])) - 2
    _load_lazily(bench)
    for _ in range(200):
        contestant.dispatch(contestant.prepare(bench.events.one()))
    gevent.sleep(0.3)
    gc.collect()
    before = _reset_peak()
    _fill(bench, contestant, bench.count)
    peak = _status_kb("VmHWM")
    per_event = (peak - before) * 1024 / max(bench.count, 1)
    return {"count": bench.count, "bytes_per_event": per_event, "encoded_bytes": size, "ratio": per_event / size}


def beyond(bench: Bench) -> dict[str, Any]:
    """How much memory grows once the bound is reached: the second half of the events meets a full buffer."""
    contestant = bench.contestant()
    _load_lazily(bench)
    _fill(bench, contestant, bench.count // 2)
    before = _reset_peak()
    _fill(bench, contestant, bench.count - bench.count // 2)
    return {"grown_bytes": max(_status_kb("VmHWM") - before, 0) * 1024, "refused": bench.count // 2}


def _fill(bench: Bench, contestant: Contestant, count: int) -> None:
    for number in range(count):
        contestant.dispatch(contestant.prepare(bench.events.one()))
        if number % 100 == 0:
            gevent.sleep(0)
    gevent.sleep(0.5)  # what is under way gets as far as it will
    gc.collect()


def _reset_peak() -> int:
    """Let the high-water mark start anew where the kernel allows it; return what is resident now, in KiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _status_kb("VmHWM")
    return _status_kb("VmRSS")


def _status_kb(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


# -- idle --------------------------------------------------------------------------------------------------------------


def idle(bench: Bench) -> dict[str, Any]:
    """CPU and wake-ups of a process that has delivered something and has nothing more to send."""
    contestant = bench.contestant()
    for event in bench.prepared(contestant, 50):
        contestant.dispatch(event)
    contestant.finish(5.0)
    gevent.sleep(1.5)  # longer than any linger, so that what was armed has fired
    seconds = bench.task["seconds"]
    switched, cpu = _voluntary_switches(), time.process_time()
    gevent.sleep(seconds)
    cpu = time.process_time() - cpu
    # One wake-up is the measurement's own.
    return {"wakeups_per_s": (_voluntary_switches() - switched - 1) / seconds, "cpu_share": cpu / seconds}


def _voluntary_switches() -> int:
    total = 0
    for task in os.listdir("/proc/self/task"):
        for line in Path(f"/proc/self/task/{task}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def encoding(bench: Bench) -> dict[str, Any]:
    """What encoding the visitors of one event costs, alone."""
    encode, events = encoders.named(bench.entry.encoder), bench.events.many(1_000)
    times = []
    for _ in range(5):
        begin = perf_ns()
        for event in events:
            encode(event.params["visitors"])
        times.append((perf_ns() - begin) / 1e3 / len(events))
    return {"us": median(times), "bytes": len(encode(events[0].params["visitors"]))}


MEASURES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    measure.__name__: measure for measure in (caller, burst, lateness, steady, memory, beyond, idle, encoding)
}
