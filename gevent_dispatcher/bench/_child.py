"""The measured process: one contestant, fresh and patched.

    python -m gevent.monkey --module gevent_dispatcher.bench._child NAME URL EVENTS SECONDS SECONDS_TO_LIVE

It prints what it measured as JSON: events dispatched, the callers' times in µs, CPU and duration in seconds.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any, Callable, Sequence

import gevent

from gevent_dispatcher.bench._events import Event

# So many events are dispatched between two turns of the hub, as requests would be.
_TURN = 50
# How long what was dispatched may take to be delivered, in seconds.
_PATIENCE = 20.0
# What one event takes at most in the buffer, in bytes.
_ROOM = 4_096

Dispatch = Callable[[Any], object]
Finish = Callable[[float], object]


def _noop(_: int) -> tuple[Dispatch, Finish]:
    return lambda event: None, lambda timeout: None


def _sdk(_: int) -> tuple[Dispatch, Finish]:
    from optimizely.event_dispatcher import EventDispatcher

    return EventDispatcher.dispatch_event, lambda timeout: None


def _ours(events: int) -> tuple[Dispatch, Finish]:
    from gevent_dispatcher import GeventEventDispatcher

    # Room for all of them: no application has so many at once.
    room = max(32 * 1024 * 1024, _ROOM * events)
    dispatcher = GeventEventDispatcher(buffer_events=max(10_000, events + 1), buffer_bytes=room)
    return dispatcher.dispatch_event, dispatcher.flush


CONTESTANTS = {"noop": _noop, "sdk": _sdk, "ours": _ours}


def measure(name: str, url: str, count: int, seconds: float) -> dict[str, Any]:
    """Dispatch events as fast as they go, and wait until they are delivered.

    Args:
        name: of the contestant.
        url: where events go.
        count: of events.
        seconds: after which no more is dispatched.
    """
    dispatch, finish = CONTESTANTS[name](count)
    events = [Event(url, number) for number in range(count)]
    dispatch(Event(url, count))  # what the first event imports and opens is not a cost of the others
    finish(_PATIENCE)
    begin, cpu = time.monotonic(), time.process_time()
    times = _dispatch_all(dispatch, events, begin + seconds)
    finish(_PATIENCE)
    cpu, duration = time.process_time() - cpu, time.monotonic() - begin
    times.sort()
    return {
        "events": len(times),
        "p50_us": times[len(times) // 2] / 1e3,
        "p99_us": times[len(times) * 99 // 100] / 1e3,
        "cpu": cpu,
        "seconds": duration,
    }


def _dispatch_all(dispatch: Dispatch, events: Sequence[Event], deadline: float) -> list[int]:
    """How long each call took, in ns."""
    times = []
    for number, event in enumerate(events):
        begin = time.perf_counter_ns()
        dispatch(event)
        times.append(time.perf_counter_ns() - begin)
        if number % _TURN == _TURN - 1:
            gevent.sleep(0)
        if time.monotonic() >= deadline:
            break
    return times


if __name__ == "__main__":  # pragma: no branch  # a program, imported by nobody
    signal.alarm(int(sys.argv[5]))  # whoever started it may have been killed
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
