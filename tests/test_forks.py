"""Forks from unusual places: by native threads, in other people's hooks, into daemons that close what they find."""

from __future__ import annotations

from pathlib import Path

import pytest

from gevent_dispatcher.collector import Collector
from tests.test_exit import both, ended, start
from tests.test_exit import collector as collector  # a fixture

FORKS = """
from gevent import monkey
fork_as_native_threads_do = monkey.get_original("os", "fork")

def in_a_native_thread(work):
    lock = monkey.get_original("_thread", "allocate_lock")()
    lock.acquire()
    def run():
        work()
        lock.release()
    monkey.get_original("_thread", "start_new_thread")(run, ())
    wait_until(lambda: lock.acquire(False), 30)

def in_a_child(work, fork=os.fork):
    child = fork()
    if child == 0:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def deliver(times):
    dispatch(times)
    assert dispatcher.flush(10), dispatcher.stats()

"""


@both
def test_a_native_thread_forks_before_the_first_event(collector: Collector, patched: str) -> None:
    script = """
gevent.sleep(0)  # a patched main thread has its hub by now
dispatcher = GeventEventDispatcher(proxy="")
def fork_again():
    deliver(2)
    in_a_child(lambda: deliver(3), fork_as_native_threads_do)
in_a_native_thread(lambda: in_a_child(fork_again, fork_as_native_threads_do))
dispatch(1)
"""
    _, errors = ended(start(FORKS + script, collector.url, patched))
    assert errors == ""
    assert (collector.counts()["unique"], collector.counts()["duplicated"]) == (6, 0)


def test_a_hub_that_is_made_later_imports_nothing_that_a_fork_could_cut_in_two(
    collector: Collector,
) -> None:
    script = """
dispatcher = GeventEventDispatcher(proxy="")
before = set(sys.modules)
gevent.get_hub()
assert set(sys.modules) == before, set(sys.modules) - before
"""
    program = start(script, collector.url, "patched")
    _, errors = ended(program)
    assert (program.returncode, errors) == (0, "")


@both
def test_what_another_hook_dispatches_in_the_child_before_ours_is_called_is_kept(
    collector: Collector, patched: str
) -> None:
    hook = "import os\nos.register_at_fork(after_in_child=lambda: dispatch(1))\n"
    script = """
dispatcher = GeventEventDispatcher(proxy="")
dispatch(1)
in_a_child(lambda: deliver(2))
"""
    _, errors = ended(start(FORKS + script, collector.url, patched, before=hook))
    assert errors == ""
    assert (collector.counts()["unique"], collector.counts()["duplicated"]) == (4, 0)


@both
def test_a_daemon_closes_the_descriptors_that_it_inherits_before_the_first_event(
    collector: Collector, patched: str
) -> None:
    script = """
dispatcher = GeventEventDispatcher(proxy="")
def become_a_daemon():
    os.setsid()
    os.closerange(3, 1024)
    deliver(2)
in_a_child(become_a_daemon)
dispatch(1)
"""
    _, errors = ended(start(FORKS + script, collector.url, patched))
    assert errors == ""
    assert collector.counts()["unique"] == 3


def test_a_daemon_keeps_what_it_opens_in_the_place_of_what_it_inherits(collector: Collector) -> None:
    script = """
opened = []
atexit.register(lambda: [os.fstat(each) for each in opened])  # runs after urllib3 has closed its pools
dispatcher = GeventEventDispatcher(proxy="")
deliver(1)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os.closerange(3, 1024)
    opened += [os.dup(2) for _ in range(20)]
"""
    _, errors = ended(start(FORKS + script, collector.url, "unpatched"))
    assert errors == ""
    assert collector.counts()["unique"] == 1


def test_a_fork_right_after_the_first_event_is_no_half_of_one_for_the_standard_library(collector: Collector) -> None:
    script = """
sys.setswitchinterval(60)  # no other thread runs unless this one waits
dispatcher = GeventEventDispatcher(proxy="")
dispatch(1)
os.register_at_fork(before=lambda: wait_until(lambda: "concurrent.futures.thread" in sys.modules))
in_a_child(lambda: deliver(1))
"""
    _, errors = ended(start(FORKS + script, collector.url, "unpatched"))
    assert errors == ""
    assert collector.counts()["unique"] == 2


def test_where_only_sockets_are_not_patched_the_first_event_makes_the_hub_before_the_thread(
    collector: Collector,
) -> None:
    # With threads, gevent has patched the locks of imports. Who is just importing what a hub needs has no hub that
    # could wait for one, and stands still for ever when another thread imports at that moment.
    partly = "from gevent import monkey\nmonkey.patch_all(socket=False)\n"
    script = """
import threading
from gevent._hub_local import get_hub_if_exists
dispatcher = GeventEventDispatcher(proxy="")
assert get_hub_if_exists() is None
dispatch(1)
assert get_hub_if_exists() is not None
threading.Thread(target=dispatch, args=(2,)).start()
"""
    _, errors = ended(start(script, collector.url, "unpatched", before=partly))
    assert errors.startswith("partly-patched: ")
    assert errors.count("\n") == 1
    assert collector.counts()["unique"] == 3


# A child is given the id of its grandparent, which has ended.
RECYCLED = """
ask = os.getpid
given = {ask(): 1_000_001}
os.getpid = lambda: given.get(ask(), ask())

def go_on_as(pid):
    child = os.fork()
    if child:
        os._exit(os.waitpid(child, 0)[1] >> 8)
    given[ask()] = pid

"""


@both
def test_a_queue_has_a_thread_of_its_own_under_the_id_of_an_ancestor(
    collector: Collector, patched: str, tmp_path: Path
) -> None:
    script = """
from gevent_dispatcher import SqliteQueue
queue = SqliteQueue(sys.argv[3]).open()
assert queue.purge() == 0
go_on_as(1_000_002)
go_on_as(1_000_001)
assert queue.purge() == 0
"""
    program = start(FORKS + RECYCLED + script, collector.url, patched, str(tmp_path / "queue.db"))
    _, errors = ended(program)
    assert errors == ""
    assert program.returncode == 0


@both
def test_the_sdks_loops_are_started_under_the_id_of_an_ancestor(collector: Collector, patched: str) -> None:
    pytest.importorskip("optimizely.odp", reason="the SDK before 5 has no ODP")
    script = """
from optimizely.odp.odp_config import OdpConfig
from gevent_dispatcher.sdk._odp import GeventOdpEventManager
from gevent_dispatcher.sdk._polling import GeventPollingConfigManager
manager = GeventPollingConfigManager(sdk_key="key", url=url, update_interval=60, blocking_timeout=0)
sender = GeventOdpEventManager()
sender.start(OdpConfig())
def loops():
    manager.get_config()
    sender.start(OdpConfig())
    return [manager._poller(), sender._sender().thread]
def start_all():
    started = loops()
    assert all(each.is_alive() and each.is_ours() for each in started), started
    return started
first = start_all()
go_on_as(1_000_002)
start_all()
go_on_as(1_000_001)
assert not any(each.is_ours() for each in first)
assert not set(start_all()) & set(first)
os._exit(0)
"""
    program = start(FORKS + RECYCLED + script, collector.url, patched)
    _, errors = ended(program)
    assert program.returncode == 0, errors


@both
def test_a_hook_that_is_called_before_the_pollers_own_may_start_one(collector: Collector, patched: str) -> None:
    pytest.importorskip("optimizely", reason="needs the SDK")
    script = """
from gevent_dispatcher.sdk._polling import GeventPollingConfigManager
def poller():
    manager.get_config()
    return manager._poller()
started = []
os.register_at_fork(after_in_child=lambda: started.append(poller()))
manager = GeventPollingConfigManager(sdk_key="key", url=url, update_interval=60, blocking_timeout=0)
first = poller()
def look():
    assert poller() is started[0] is not first
    assert started[0].is_alive()
in_a_child(look)
os._exit(0)
"""
    program = start(FORKS + script, collector.url, patched)
    _, errors = ended(program)
    assert program.returncode == 0, errors


@both
def test_a_child_may_have_its_parents_id(collector: Collector, patched: str) -> None:
    """As where both are the first of their namespaces."""
    script = """
os.getpid = lambda: 1
dispatcher = GeventEventDispatcher(proxy="", flush_interval=5)
dispatch(1)
in_a_child(lambda: deliver(2))
print(dispatcher.stats().pending)
deliver(4)
"""
    output, errors = ended(start(FORKS + script, collector.url, patched))
    assert (output, errors) == ("1\n", "")
    assert (collector.counts()["unique"], collector.counts()["duplicated"]) == (7, 0)


@both
def test_a_hook_that_is_called_before_the_queues_own_may_use_the_queue(
    collector: Collector, patched: str, tmp_path: Path
) -> None:
    script = """
from gevent_dispatcher import SqliteQueue
from gevent_dispatcher.queues import _thread
queue = SqliteQueue(sys.argv[3]).open()
os.register_at_fork(after_in_child=lambda: print(queue.purge(), flush=True))
queue.purge()
def use_and_close():
    assert [guard.process[0] for guard in _thread._guards] == [os.getpid()]
    queue.close()
    wait_until(lambda: not _thread._guards)
in_a_child(use_and_close)
"""
    output, errors = ended(start(FORKS + script, collector.url, patched, str(tmp_path / "queue.db")))
    assert (output, errors) == ("0\n", "")


@both
def test_what_the_last_steps_of_a_multiprocessing_child_dispatch_is_delivered(
    collector: Collector, patched: str
) -> None:
    script = """
import multiprocessing
from multiprocessing.util import Finalize
dispatcher = GeventEventDispatcher(proxy="")
def work():
    Finalize(None, dispatch, (2,), exitpriority=0)
    Finalize(None, dispatch, (4,), exitpriority=-10)
    dispatch(1)
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
print(child.exitcode)
"""
    output, errors = ended(start(script, collector.url, patched))
    assert (output, errors) == ("0\n", "")
    assert (collector.counts()["unique"], collector.counts()["duplicated"]) == (7, 0)
