"""The end of a program: what was dispatched is sent, within its time, and what could not be is counted and said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Iterator

import pytest

from gevent_dispatcher.collector import Collector
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent

PRELUDE = """
import sys
if sys.argv[2] == "patched":
    from gevent import monkey
    monkey.patch_all()
import atexit, logging, os, signal, time
import gevent
from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event
from tests.waiting import wait_until
logging.basicConfig(format="%(message)s")
url = sys.argv[1]

def dispatch(times):
    for _ in range(times):
        dispatcher.dispatch_event(log_event(url))

"""

both = pytest.mark.parametrize("patched", ["patched", "unpatched"])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def start(script: str, *arguments: str, before: str = "") -> subprocess.Popen[str]:
    # Python 3.12 and later warn of any fork beside a thread, which an unpatched process has.
    warnings = ["-W", "ignore:This process:DeprecationWarning"]
    command = [sys.executable, *warnings, "-c", before + PRELUDE + script, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(program: subprocess.Popen[str]) -> tuple[str, str]:
    """What a program printed, once it has ended."""
    try:
        return program.communicate(timeout=60)
    finally:
        program.kill()
        program.communicate()


@both
def test_events_from_another_exit_handler_are_delivered_too(collector: Collector, patched: str) -> None:
    script = """
dispatcher = GeventEventDispatcher(proxy="")
dispatch(10)
dispatcher.flush(10)
atexit.register(dispatch, 5)  # runs before ours, which was there first
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == 15


@both
def test_events_from_exit_handlers_that_run_after_ours_are_delivered_too(collector: Collector, patched: str) -> None:
    script = """
import weakref
dispatcher = GeventEventDispatcher(proxy="")
atexit.register(dispatch, 2)
class Client:
    pass
client = Client()
weakref.finalize(client, dispatch, 3)
dispatch(1)  # from now on our handler runs before theirs, and urllib3's between
assert dispatcher.flush(10)
dispatch(4)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert (collector.counts()["unique"], collector.counts()["duplicated"]) == (10, 0)


@both
def test_the_time_that_other_exit_handlers_take_is_not_that_of_the_events(collector: Collector, patched: str) -> None:
    script = """
dispatcher = GeventEventDispatcher(proxy="", close_timeout=0.5)
def take_long():
    time.sleep(0.6)
    dispatch(2)
atexit.register(take_long)
dispatch(1)
assert dispatcher.flush(10)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == 3


@both
def test_events_of_greenlets_that_still_run_are_delivered_while_it_drains(collector: Collector, patched: str) -> None:
    collector.change(latency=0.2)
    script = """
dispatcher = GeventEventDispatcher(proxy="", flush_interval=0)
def slowly():
    for _ in range(5):
        dispatch(1)
        gevent.sleep(0.02)
if sys.argv[2] == "patched":
    gevent.spawn(slowly)
else:
    import threading
    threading.Thread(target=slowly, daemon=True).start()
dispatch(1)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == 6


@both
def test_what_cannot_be_sent_in_time_is_counted_and_said_in_one_line(collector: Collector, patched: str) -> None:
    collector.change(latency=30.0)
    script = """
dispatcher = GeventEventDispatcher(proxy="", close_timeout=0.3)
dispatch(7)
"""
    started = monotonic()
    _, errors = ended(start(script, collector.url, patched))
    assert errors == "7 events dropped as closed: not sent before the end\n"
    assert monotonic() - started < 20


def test_a_thread_that_comes_late_to_the_end_still_says_what_was_lost(collector: Collector) -> None:
    collector.change(latency=30.0)
    script = """
dispatcher = GeventEventDispatcher(proxy="", close_timeout=0.1)
dispatch(7)
from gevent_dispatcher import _home
(home,) = _home._thread_homes.values()
home.soon(lambda: time.sleep(0.7))  # as on a machine that is too busy to run it
"""
    _, errors = ended(start(script, collector.url, "unpatched"))
    assert errors == "7 events dropped as closed: not sent before the end\n"


def test_what_repeats_is_said_with_its_count_at_the_end(collector: Collector) -> None:
    script = """
def hook(delivery):
    raise LookupError
dispatcher = GeventEventDispatcher(proxy="", batch_size=1, on_delivery=hook)
dispatch(5)
"""
    _, errors = ended(start(script, collector.url, "patched"))
    assert errors.startswith("on_delivery raised: LookupError, raised at")
    assert errors.endswith("hook_raised: 4 more since it was last said\n")


def test_what_fails_in_the_sdk_is_counted_to_the_end_where_nobody_stops_it(collector: Collector) -> None:
    pytest.importorskip("optimizely.event.event_processor", reason="SDK 2 has no processors")
    script = """
from gevent_dispatcher.sdk import GeventEventProcessor
processor = GeventEventProcessor()
for _ in range(5):
    processor.process({})
"""
    _, errors = ended(start(script, collector.url, "patched"))
    assert errors.splitlines() == [
        "event not built: the SDK makes nothing of a dict",
        "sdk_failed: event not built: 4 more since it was last said",
    ]


@both
def test_an_endpoint_that_is_not_there_costs_its_time_and_no_traceback(patched: str) -> None:
    script = """
dispatcher = GeventEventDispatcher(proxy="", close_timeout=1.5)
dispatch(1)
"""
    _, errors = ended(start(script, "http://127.0.0.1:1/", patched))
    assert "1 events dropped as closed" in errors
    assert "Traceback" not in errors


@both
def test_a_signal_that_exits_within_the_drain_is_counted_and_not_said_twice(collector: Collector, patched: str) -> None:
    collector.change(latency=30.0)
    script = """
def leave(*_):
    sys.exit(3)
signal.signal(signal.SIGTERM, leave)
dispatcher = GeventEventDispatcher(proxy="", close_timeout=30)
dispatch(7)
atexit.register(print, "the end begins", flush=True)
"""
    program = start(script, collector.url, patched)
    assert program.stdout is not None
    assert program.stdout.readline() == "the end begins\n"
    wait_until(lambda: collector.counts()["requests"] == 1)
    os.kill(program.pid, signal.SIGTERM)
    _, errors = ended(program)
    assert errors == "7 events dropped as closed: not sent before the end\n"


@both
def test_the_first_event_of_a_process_may_come_from_its_exit_handler(collector: Collector, patched: str) -> None:
    script = """
dispatcher = GeventEventDispatcher(proxy="")
atexit.register(dispatch, 2)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == 2


@both
def test_the_first_event_of_a_dispatcher_may_come_while_another_is_drained(collector: Collector, patched: str) -> None:
    script = """
def hook(delivery):
    late.dispatch_event(log_event(url))
dispatcher = GeventEventDispatcher(proxy="", flush_interval=60, on_delivery=hook)
late = GeventEventDispatcher(proxy="")
dispatch(1)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == 2


@both
def test_close_in_a_signal_handler_loses_nothing(collector: Collector, patched: str) -> None:
    collector.change(latency=0.05)
    script = """
def leave(*_):
    dispatcher.close(5)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
dispatcher = GeventEventDispatcher(proxy="", flush_interval=60)
dispatch(50)
print("dispatched", flush=True)
while True:
    time.sleep(0.1)  # Python does not see before its end a signal that comes just before a sleep begins
"""
    program = start(script, collector.url, patched)
    assert program.stdout is not None
    assert program.stdout.readline() == "dispatched\n"
    os.kill(program.pid, signal.SIGTERM)
    _, errors = ended(program)
    assert errors == ""
    assert collector.counts()["unique"] == 50


def test_events_whose_thread_does_not_answer_at_the_end_are_said(collector: Collector) -> None:
    script = """
told = []
def hang(delivery):
    told.append(delivery)
    gevent.monkey.get_original("time", "sleep")(60)
dispatcher = GeventEventDispatcher(proxy="", flush_interval=0, pool_size=1, close_timeout=0.3, on_delivery=hang)
dispatch(1)
wait_until(lambda: told)
dispatch(2)
"""
    started = monotonic()
    program = start("import gevent.monkey\n" + script, collector.url, "unpatched")
    _, errors = ended(program)
    assert errors.startswith("the exit handler failed: 2 events have no outcome")
    assert errors.count("\n") == 1
    assert program.returncode == 0
    assert monotonic() - started < 15


@both
@pytest.mark.parametrize("events", [0, 1])
def test_a_destructor_may_dispatch_while_the_interpreter_takes_its_modules_apart(
    collector: Collector, patched: str, events: int
) -> None:
    script = f"""
class Visitor:
    def __init__(self):
        self.dispatcher, self.event = dispatcher, log_event(url)
    def __del__(self):
        self.dispatcher.dispatch_event(self.event)
dispatcher = GeventEventDispatcher(proxy="")
dispatch({events})
sys.visitor = Visitor()  # of all modules sys is the last to go
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == events


@pytest.mark.parametrize("argument", ["", "destroy_loop=True"])
@pytest.mark.parametrize("before", ["dispatch(1); assert dispatcher.flush(10)", "dispatch(1)", "gevent.get_hub()"])
def test_a_program_that_destroys_its_hub_goes_on_with_another(collector: Collector, before: str, argument: str) -> None:
    script = f"""
dispatcher = GeventEventDispatcher(proxy="")
{before}
gevent.get_hub().destroy({argument})
if {bool(argument)}:
    dispatch(2)
"""
    _, errors = ended(start(script, collector.url, "patched"))
    assert errors == ""
    assert collector.counts()["unique"] == before.count("dispatch(") + 2 * bool(argument)


ENDPOINT = """
from gevent_dispatcher import Answer, SqliteQueue, _spool

class Endpoint:
    hangs, takes, taken = False, True, 0
    def open(self, connections):
        return self
    def send(self, request):
        if self.hangs:
            gevent.sleep(60)
        self.taken += request.events * self.takes
        return Answer(204 if self.takes else 503)
    def close(self):
        pass

class Slow(SqliteQueue):  # it does not store on the first hub
    is_putting = was_read = False
    def open(self):
        opened = super().open()
        put, close = opened.put, opened.close
        def put_slowly(requests):
            if gevent.get_hub() is hub:
                self.is_putting = True
                gevent.sleep(60)
            put(requests)
        def close_and_say_so():
            close()
            self.was_read = True
        opened.put, opened.close = put_slowly, close_and_say_so
        return opened

endpoint, hub = Endpoint(), gevent.get_hub()
_spool._INTERVAL = 0.2

def make(**settings):
    return GeventEventDispatcher(**{
        "transport": endpoint, "flush_interval": 0.01, "backoff_base": 0.01, "backoff_max": 0.05, "close_timeout": 1,
        **settings
    })

def pending():
    return dispatcher.stats().pending

"""

destroyed = pytest.mark.parametrize("argument", ["", "destroy_loop=True"])


def complaints(errors: str) -> str:
    """What a program complained of, but for what gevent says of waits that a destroyed hub left on a loop it kept."""
    lines = errors.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("AssertionError: Can only use Waiter.switch method from the Hub greenlet"):
            lines[number - 2 : number + 3] = [""] * 5
    return "\n".join(line for line in lines if line)


def hub_destroyer(script: str, *arguments: str) -> str:
    """What a program complained of that ended well."""
    program = start(ENDPOINT + script, "http://127.0.0.1:9", "patched", *arguments)
    printed, errors = ended(program)
    assert (printed, program.returncode) == ("done\n", 0), errors
    return complaints(errors)


@destroyed
def test_what_was_under_way_when_a_hub_is_destroyed_goes_again_on_the_next(argument: str) -> None:
    script = f"""
dispatcher, endpoint.hangs = make(pool_size=3), True
for port in range(3):
    dispatcher.dispatch_event(log_event(f"http://127.0.0.1:{{port + 1}}"))
wait_until(lambda: dispatcher.stats().requests == 3)
hub.destroy({argument})
endpoint.hangs = False
dispatch(1)
assert dispatcher.flush(10)
assert (endpoint.taken, dispatcher.stats().delivered, dispatcher.stats().requests) == (4, 4, 7)
print("done")
"""
    assert hub_destroyer(script) == ""


@destroyed
def test_what_a_timeout_wakes_of_a_destroyed_hub_ends_and_harms_nobody(collector: Collector, argument: str) -> None:
    script = f"""
import socket
several = [socket.socket() for _ in range(2)]
dispatcher = GeventEventDispatcher(
    proxy="", pool_size=2, read_timeout=0.2, flush_interval=0.01, backoff_base=0.01, backoff_max=0.05, close_timeout=0.3
)
for each in several:  # it lets connect, and says nothing
    each.bind(("127.0.0.1", 0))
    each.listen()
    dispatcher.dispatch_event(log_event("http://127.0.0.1:%d" % each.getsockname()[1]))
wait_until(lambda: dispatcher.stats().requests == 2)
gevent.get_hub().destroy({argument})
dispatch(3)
wait_until(lambda: dispatcher.stats().delivered == 3)
wait_until(lambda: dispatcher.stats().requests >= 6)
"""
    program = start(script, collector.url, "patched")
    _, errors = ended(program)
    assert "2 events dropped as closed" in errors
    assert "Traceback" not in complaints(errors)
    assert "handler failed" not in errors
    assert (program.returncode, collector.counts()["unique"]) == (0, 3)


def test_what_a_timeout_wakes_of_a_destroyed_hub_is_the_first_to_see_it(collector: Collector) -> None:
    collector.change(latency=30.0)
    script = """
dispatcher = GeventEventDispatcher(proxy="", read_timeout=0.2, backoff_base=0.01, backoff_max=0.05, close_timeout=0.1)
dispatch(1)
dispatcher.flush(0)
wait_until(lambda: dispatcher.stats().requests == 1)
gevent.get_hub().destroy()
wait_until(lambda: dispatcher.stats().requests >= 3)
"""
    program = start(script, collector.url, "patched")
    _, errors = ended(program)
    assert "1 events dropped as closed" in errors
    assert "Traceback" not in complaints(errors)
    assert "handler failed" not in errors
    assert program.returncode == 0


def test_the_timer_of_a_destroyed_hub_may_go_off_on_the_loop_that_it_kept() -> None:
    script = """
dispatcher = make(flush_interval=0.1)
dispatch(1)
gevent.sleep(0)
assert pending() == 1
hub.destroy()
wait_until(lambda: endpoint.taken == 1)
print("done")
"""
    assert hub_destroyer(script) == ""


@pytest.mark.parametrize(("argument", "dispatched"), [("", 0), ("", 1), ("destroy_loop=True", 1)])
def test_a_spool_is_read_although_the_hub_was_destroyed(tmp_path: Path, argument: str, dispatched: int) -> None:
    script = f"""
dispatcher = make(spool=sys.argv[3], buffer_events=40, batch_size=1)
endpoint.takes = False
dispatch(35)
wait_until(lambda: dispatcher.stats().spooled and pending() <= 20)
hub.destroy({argument})
endpoint.takes = True
dispatch({dispatched})
wait_until(lambda: endpoint.taken == 35 + {dispatched})
print("done")
"""
    assert "handler failed" not in hub_destroyer(script, str(tmp_path / "spool.db"))


@destroyed
def test_who_reads_the_spool_when_a_hub_is_destroyed_is_left_with_what_was_read(tmp_path: Path, argument: str) -> None:
    """Its messages come again when their leases have ended."""
    script = f"""
class Choking(Endpoint):
    def send(self, request):
        self.hangs = self.takes and self.taken > 0 and gevent.get_hub() is hub
        return super().send(request)

endpoint, queue = Choking(), SqliteQueue(sys.argv[3])
dispatcher = make(transport=endpoint, spool=queue, buffer_events=4, batch_size=1)
endpoint.takes = False
dispatch(4)
wait_until(lambda: dispatcher.stats().spooled and pending() <= 3)
endpoint.takes = True
looked_at = queue.open()
dispatch(1)
wait_until(lambda: looked_at.status().leased)
hub.destroy({argument})
dispatch(2)
wait_until(lambda: not pending())
stats = dispatcher.stats()
assert stats.dispatched == stats.delivered + stats.spooled == 7
assert looked_at.status().leased, looked_at.status()
print("done")
"""
    assert "handler failed" not in hub_destroyer(script, str(tmp_path / "spool.db"))


@destroyed
@pytest.mark.parametrize("settings", ["buffer_events=4", "delivery_timeout=0.1"])
def test_what_was_being_stored_when_a_hub_is_destroyed_is_not_lost(
    tmp_path: Path, settings: str, argument: str
) -> None:
    script = f"""
queue = Slow(sys.argv[3])
dispatcher = make(spool=queue, batch_size=1, {settings})
dispatch(1)
wait_until(lambda: queue.was_read and not pending())
endpoint.takes = False
dispatch(3)
wait_until(lambda: queue.is_putting)
hub.destroy({argument})
dispatch(1)
wait_until(lambda: dispatcher.stats().spooled)
endpoint.takes = True
wait_until(lambda: endpoint.taken == 5)
assert (pending(), sum(dispatcher.stats().dropped.values())) == (0, 0)
print("done")
"""
    assert "handler failed" not in hub_destroyer(script, str(tmp_path / "spool.db"))


@destroyed
def test_observers_are_told_although_the_hub_was_destroyed(argument: str) -> None:
    script = f"""
class Observer:
    delivered = 0
    def report(self, settled):
        self.delivered += sum(each.events for each in settled)
dispatcher, observer = make(), Observer()
dispatcher.observe(observer)
dispatch(1)
wait_until(lambda: observer.delivered == 1)
hub.destroy({argument})
for number in (2, 3):
    dispatch(1)
    wait_until(lambda: observer.delivered == number)
print("done")
"""
    assert hub_destroyer(script) == ""


@destroyed
def test_a_hook_that_waits_on_a_destroyed_hub_does_not_keep_the_end_from_its_spool(
    tmp_path: Path, argument: str
) -> None:
    script = f"""
heard = []
def hook(delivery):
    heard.append(delivery)
    if len(heard) == 1:
        gevent.sleep(60)
dispatcher = make(spool=sys.argv[3], on_delivery=hook, close_timeout=3)
dispatch(1)
wait_until(lambda: heard)
hub.destroy({argument})
endpoint.takes = False
dispatch(2)
started = time.monotonic()
assert not dispatcher.close(1)
assert (dispatcher.stats().spooled, pending()) == (2, 0)
assert time.monotonic() - started < 3
print("done")
"""
    assert "Traceback" not in hub_destroyer(script, str(tmp_path / "spool.db"))


@both
def test_several_dispatchers_share_the_time_at_the_end(collector: Collector, patched: str) -> None:
    collector.change(latency=30.0)
    script = """
several = [GeventEventDispatcher(proxy="", close_timeout=3) for _ in range(6)]
for dispatcher in several:
    dispatch(1)
"""
    started = monotonic()
    _, errors = ended(start(script, collector.url, patched))
    assert errors == "1 events dropped as closed: not sent before the end\n" * 6
    assert monotonic() - started < 15


@both
def test_the_id_of_an_ancestor_that_has_ended_may_be_given_again(collector: Collector, patched: str) -> None:
    script = """
from gevent_dispatcher import Stats
ask = os.getpid
given = {ask(): 1_000_001}
os.getpid = lambda: given.get(ask(), ask())
several = [GeventEventDispatcher(proxy="", flush_interval=60) for _ in range(3)]
for dispatcher in several:
    dispatch(1)
    assert dispatcher.flush(10)

def fork(pid):
    child = os.fork()
    if child:
        os._exit(os.waitpid(child, 0)[1] >> 8)
    given[ask()] = pid

fork(1_000_002)
dispatcher = several[0]
dispatch(1)
assert dispatcher.flush(10)
fork(1_000_001)
assert [each.stats() for each in several] == [Stats()] * 3
for dispatcher in several:
    dispatch(1)
    assert dispatcher.flush(10)
    assert dispatcher.stats().delivered == 1, dispatcher.stats()
"""
    program = start(script, collector.url, patched)
    _, errors = ended(program)
    assert errors == ""
    assert program.returncode == 0
    assert (collector.counts()["unique"], collector.counts()["events"]) == (7, 7)


@both
def test_a_fork_with_events_in_flight_ends_what_the_child_inherited(collector: Collector, patched: str) -> None:
    collector.change(latency=0.2)
    script = """
several = [GeventEventDispatcher(proxy="", flush_interval=0) for _ in range(3)]
for dispatcher in several:
    dispatch(1)
wait_until(lambda: all(dispatcher.stats().requests == 1 for dispatcher in several))
for dispatcher in several:
    dispatch(1)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    assert [dispatcher.stats().dispatched for dispatcher in several] == [0, 0, 0]
    dispatch(1)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    counts = collector.counts()
    assert (counts["unique"], counts["duplicated"]) == (7, 0)


@both
def test_gunicorns_hooks_leave_to_the_end_what_running_requests_need(collector: Collector, patched: str) -> None:
    script = """
from gevent_dispatcher import _process
from gevent_dispatcher.gunicorn import worker_exit, worker_int
class Client:
    def end(self):
        print("ended", flush=True)
        dispatch(1)
        sys.exit("a signal's, in the middle of it")
client = Client()
dispatcher = GeventEventDispatcher(proxy="")
dispatch(1)
_process.before_drain(client.end)
worker_int(None)
worker_exit(None, None)
print("delivered", dispatcher.stats().delivered, flush=True)
"""
    output, errors = ended(start(script, collector.url, patched))
    assert (output, errors) == ("delivered 1\nended\n", "")
    assert collector.counts()["unique"] == 2


@both
def test_a_dispatcher_that_was_closed_has_nothing_left_to_do(collector: Collector, patched: str) -> None:
    script = """
with GeventEventDispatcher(proxy="") as dispatcher:
    dispatch(3)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == 3


@both
def test_what_fails_at_the_end_is_said_and_the_others_are_drained(collector: Collector, patched: str) -> None:
    script = """
from gevent_dispatcher import _process

class Failing:
    def open(self):
        return self
    def put(self, requests):
        pass
    def close(self):
        raise ZeroDivisionError

queue = Failing()
spooling = GeventEventDispatcher(proxy="", spool=queue, close_timeout=1)
spooling.dispatch_event(log_event("http://127.0.0.1:1/"))
dispatcher = GeventEventDispatcher(proxy="")
dispatch(5)
_process.before_drain(queue.close)
"""
    _, errors = ended(start(script, collector.url, patched))
    assert "what was to be done before the last events are sent failed: ZeroDivisionError" in errors
    assert "the exit handler failed: ZeroDivisionError" in errors
    assert collector.counts()["unique"] == 5


@both
def test_a_hook_that_drains_at_the_end_does_nothing(collector: Collector, patched: str) -> None:
    script = """
from gevent_dispatcher.uwsgi import at_exit

dispatcher = GeventEventDispatcher(proxy="", on_delivery=lambda delivery: print(at_exit()))
dispatch(3)
"""
    output, errors = ended(start(script, collector.url, patched))
    assert (output, errors) == ("None\n", "")
    assert collector.counts()["unique"] == 3


@both
def test_uwsgis_own_exit_hook_drains_and_calls_what_was_there(collector: Collector, patched: str) -> None:
    script = """
import types
uwsgi = sys.modules["uwsgi"] = types.ModuleType("uwsgi")
uwsgi.atexit = lambda: print("the application's")
dispatcher = GeventEventDispatcher(proxy="")
dispatch(5)
another = GeventEventDispatcher(proxy="")
another.dispatch_event(log_event(url))
uwsgi.atexit()
sys.stdout.flush()
os._exit(0)  # Python's own exit handlers do not run there
"""
    output, errors = ended(start(script, collector.url, patched))
    assert (output, errors) == ("the application's\n", "")
    assert collector.counts()["unique"] == 6


@both
@pytest.mark.parametrize("previous", ["", "uwsgi.atexit = None"])
def test_uwsgis_own_exit_hook_drains_where_there_was_none(collector: Collector, patched: str, previous: str) -> None:
    script = f"""
import types
uwsgi = sys.modules["uwsgi"] = types.ModuleType("uwsgi")
{previous}
dispatcher = GeventEventDispatcher(proxy="")
dispatch(5)
uwsgi.atexit()
os._exit(0)
"""
    output, errors = ended(start(script, collector.url, patched))
    assert (output, errors) == ("", "")
    assert collector.counts()["unique"] == 5


@both
def test_where_no_thread_can_be_had_the_last_events_are_delivered(collector: Collector, patched: str) -> None:
    script = """
from gevent import monkey
dispatcher = GeventEventDispatcher(proxy="")

def late():
    monkey.get_original("_thread", "stack_size")(1 << 46)  # more than there is address space for
    dispatch(3)

atexit.register(late)
"""
    _, errors = ended(start(script, collector.url.replace("127.0.0.1", "localhost"), patched))
    assert errors == ""
    assert collector.counts()["unique"] == 3


def test_an_end_in_a_callback_of_the_hub_waits_for_nothing_and_counts_all(collector: Collector) -> None:
    script = """
from gevent_dispatcher.uwsgi import at_exit

told = []
dispatcher = GeventEventDispatcher(proxy="", on_delivery=told.append)
dispatch(3)
gevent.get_hub().loop.run_callback(at_exit)
wait_until(lambda: told)
print(told[0].outcome.value, told[0].reason, told[0].events, dispatcher.stats().pending)
"""
    output, errors = ended(start(script, collector.url, "patched"))
    assert output == "dropped closed 3 0\n"
    assert errors == "3 events dropped as closed: not sent before the end\n"


def test_a_hook_may_fork_in_a_process_that_is_not_patched(collector: Collector) -> None:
    script = """
forked = []
def hook(delivery):
    if not forked:
        forked.append(os.fork())
        if not forked[0]:
            os._exit(0)

dispatcher = GeventEventDispatcher(proxy="", on_delivery=hook)
dispatch(3)
assert dispatcher.flush(20)
dispatch(3)
assert dispatcher.flush(20)
print(os.waitpid(forked[0], 0)[1])
"""
    output, errors = ended(start(script, collector.url, "unpatched"))
    assert (output, errors) == ("0\n", "")
    assert collector.counts()["unique"] == 6


@both
def test_the_spool_has_its_share_of_the_time_to_close_at_the_end_of_a_process(
    collector: Collector, patched: str
) -> None:
    collector.change(latency=30.0)
    script = """
class Slow:
    def open(self):
        return self
    def put(self, requests):
        gevent.sleep(0.6)
        print(sum(each.events for each in requests))
    def receive(self, most, lease):
        return []
    def close(self):
        pass
dispatcher = GeventEventDispatcher(proxy="", spool=Slow(), close_timeout=3)
dispatch(7)
"""
    output, errors = ended(start(script, collector.url, patched))
    assert output == "7\n", errors
