"""Events come from wherever Python code can run: all are delivered, in patched processes and in others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

from gevent_dispatcher.collector import Collector

ROOT = Path(__file__).resolve().parent.parent

PRELUDE = """
import sys
if sys.argv[2] == "patched":
    from gevent import monkey
    monkey.patch_all()
import gc, json, os, signal, threading, time
import gevent
from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event
from tests.waiting import wait_until
url = sys.argv[1]
dispatcher = GeventEventDispatcher(flush_interval=0.05, proxy="")

def dispatch(times=1):
    for _ in range(times):
        dispatcher.dispatch_event(log_event(url))

def finish():
    flushed = dispatcher.flush(20)
    stats = dispatcher.stats()
    print(json.dumps({"flushed": flushed, "dispatched": stats.dispatched, "delivered": stats.delivered,
                      "dropped": sum(stats.dropped.values()), "pending": stats.pending}))
"""

SCRIPTS = {
    # A signal comes at any bytecode, in the middle of a dispatch included.
    "signal handler": (
        3_000,
        """
left = [1_000]
def handler(*_):
    if left[0]:
        left[0] -= 1
        dispatch()
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0002)
dispatch(2_000)
wait_until(lambda: not left[0], 30)
signal.setitimer(signal.ITIMER_REAL, 0)
""",
    ),
    "destructor": (
        1_000,
        """
class Visitor:
    def __init__(self):
        self.me = self  # a cycle, so that the garbage collector chooses the moment
    def __del__(self):
        dispatch()
        gone.append(1)
gone = []
gc.set_threshold(50)
for _ in range(500):
    Visitor()
    dispatch()
wait_until(lambda: gc.collect() >= 0 and len(gone) == 500, 30)  # another thread may be the one that collects
""",
    ),
    "native threads, the first event included": (
        8_000,
        """
from gevent.monkey import get_original
start, allocate = get_original("_thread", "start_new_thread"), get_original("_thread", "allocate_lock")
locks = [allocate() for _ in range(8)]
def work(lock):
    dispatch(1_000)
    lock.release()
for lock in locks:
    lock.acquire()
    start(work, (lock,))
wait_until(lambda: not any(lock.locked() for lock in locks), 30)
""",
    ),
    "threads of the threading module": (
        4_000,
        """
threads = [threading.Thread(target=dispatch, args=(1_000,)) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
""",
    ),
    "greenlets": (
        2_000,
        """
def slowly():
    for _ in range(20):
        dispatch(5)
        gevent.sleep(0)
gevent.joinall([gevent.spawn(slowly) for _ in range(20)])
""",
    ),
    "a hub of a native thread's own": (
        1_000,
        """
from gevent.monkey import get_original
lock = get_original("_thread", "allocate_lock")()
lock.acquire()
def work():
    gevent.joinall([gevent.spawn(dispatch, 100) for _ in range(10)])
    lock.release()
get_original("_thread", "start_new_thread")(work, ())
wait_until(lambda: not lock.locked(), 30)
""",
    ),
    "callbacks of the hub": (
        100,
        """
for _ in range(100):
    gevent.get_hub().loop.run_callback(dispatch)
wait_until(lambda: dispatcher.stats().dispatched == 100, 30)
""",
    ),
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def run(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script in an interpreter of its own, and return what it says of itself."""
    command = [sys.executable, "-c", PRELUDE + script + "\nfinish()\n", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "Traceback" not in done.stderr, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
@pytest.mark.parametrize("caller", SCRIPTS)
def test_events_from_anywhere_are_delivered_once(collector: Collector, caller: str, patched: str) -> None:
    events, script = SCRIPTS[caller]
    said = run(script, collector.url, patched)
    assert said == {"flushed": True, "dispatched": events, "delivered": events, "dropped": 0, "pending": 0}
    counts = collector.counts()
    assert (counts["unique"], counts["duplicated"]) == (events, 0)


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_the_hand_over_of_other_threads_is_bounded_like_everything_else(collector: Collector, patched: str) -> None:
    collector.change(latency=30.0)
    script = """
dispatcher.close(0)
dispatcher = GeventEventDispatcher(flush_interval=0, proxy="", buffer_bytes=100_000, close_timeout=0.1)
threads = [threading.Thread(target=dispatch, args=(1_000,)) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
before = dispatcher.stats()
assert before.dispatched == 4_000, before
assert 200 < before.pending < 1_000, before
assert before.pending + before.dropped["buffer_full"] == 4_000, before
dispatcher.close(0.1)
"""
    said = run(script, collector.url, patched)
    assert (said["dispatched"], said["dropped"], said["pending"]) == (4_000, 4_000, 0)


def test_native_threads_that_never_stop_dispatching_do_not_hold_the_hub(collector: Collector) -> None:
    collector.change(latency=30.0)
    script = """
from gevent.monkey import get_original
start, allocate = get_original("_thread", "start_new_thread"), get_original("_thread", "allocate_lock")
dispatcher.close(0)
dispatcher = GeventEventDispatcher(flush_interval=0, proxy="", buffer_events=10, close_timeout=0.1)
dispatch(10)
locks, enough, event = [allocate() for _ in range(4)], [], log_event(url)
def work(lock):
    while not enough:
        dispatcher.dispatch_event(event)
    lock.release()
for lock in locks:
    lock.acquire()
    start(work, (lock,))
for _ in range(20):
    gevent.sleep(0.001)
enough.append(True)
wait_until(lambda: not any(lock.locked() for lock in locks), 30)
dispatcher.close(0.1)
"""
    said = run(script, collector.url, "patched")
    assert said["dispatched"] == said["dropped"] > 10


def test_a_native_thread_wakes_an_idle_hub_at_once(collector: Collector) -> None:
    script = """
from gevent.monkey import get_original
dispatch()
dispatcher.flush(10)
dispatcher.close(0)
arrived = gevent.event.Event()
dispatcher = GeventEventDispatcher(flush_interval=0, proxy="", on_delivery=lambda _: arrived.set())
started = time.monotonic()
get_original("_thread", "start_new_thread")(dispatch, ())
assert arrived.wait(10), "the hub was not woken"
"""
    assert run(script, collector.url, "patched")["delivered"] == 1
