"""A queue in every kind of process: patched or not, forked, in native threads, and at the interpreter's end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gevent_dispatcher.queues import SqliteQueue

ROOT = Path(__file__).resolve().parent.parent

PRELUDE = """
import sys
if sys.argv[2] == "patched":
    from gevent import monkey
    monkey.patch_all()
import atexit, gc, os, sqlite3, time
import gevent
from gevent.monkey import get_original
from gevent_dispatcher.queues import QueueError, SqliteQueue
from tests.queues import request
from tests.waiting import wait_until
recipe = SqliteQueue(sys.argv[1], timeout=20)
queue = recipe.open()
start_new_thread = get_original("_thread", "start_new_thread")

def exit_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if sys.version_info > (3, 9) else os.waitpid(pid, 0)[1]
"""

# How many messages there are afterwards, and what puts them.
SCRIPTS = {
    "the main greenlet": (1, "queue.put([request()])"),
    "greenlets": (50, "gevent.joinall([gevent.spawn(queue.put, [request()]) for _ in range(50)], raise_error=True)"),
    "a native thread": (
        10,
        """
done = []
def work():
    for _ in range(10):
        queue.put([request()])
    done.append(True)
start_new_thread(work, ())
wait_until(lambda: done)
""",
    ),
    "a hub of a native thread's own, which goes on meanwhile": (
        20,
        """
done, turns = [], []
def tick():
    while not done:
        turns.append(1)
        gevent.sleep(0)
def work():
    gevent.spawn(tick)
    before = len(turns)
    gevent.joinall([gevent.spawn(queue.put, [request()]) for _ in range(20)], raise_error=True)
    assert len(turns) > before
    done.append(True)
gevent.sleep(0)  # two threads that make their first hubs at once hang in gevent's own imports
start_new_thread(work, ())
wait_until(lambda: done)
""",
    ),
    "an exit handler, with a thread from before": (
        2,
        "queue.put([request()]); atexit.register(queue.put, [request()])",
    ),
    "an exit handler, first of all": (1, "atexit.register(queue.put, [request()])"),
    "an exit handler that closes": (
        1,
        """
@atexit.register
def end():
    queue.put([request()])
    queue.close()
    assert not os.path.exists(sys.argv[1] + "-wal")
""",
    ),
    "an exit handler, in greenlets": (
        10,
        """
@atexit.register
def end():
    gevent.joinall([gevent.spawn(queue.put, [request()]) for _ in range(10)], timeout=20, raise_error=True)
""",
    ),
    "a fork's child, after its parent used it": (
        21,
        """
queue.put([request()])
children = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        queue.put([request()])
        recipe.open().put([request()])
        gc.collect()
        queue.close()
        os._exit(0)
    children.append(pid)
    queue.put([request()])
queue.put([request() for _ in range(5)])
assert [exit_of(pid) for pid in children] == [0] * 5
assert os.path.exists(sys.argv[1] + "-wal"), "a child has closed what belongs to its parent"
""",
    ),
    "a fork's child that ends in the ordinary way": (
        2,
        """
queue.put([request()])
pid = os.fork()
if pid == 0:
    del queue
    gc.collect()
    sys.exit(0)
assert exit_of(pid) == 0
assert os.path.exists(sys.argv[1] + "-wal"), "a child has closed what belongs to its parent"
queue.put([request()])
""",
    ),
    "forks while the thread works": (
        60,
        """
busy = True
def keep_busy():
    other = SqliteQueue(sys.argv[1] + ".other", timeout=20).open()
    while busy:
        other.put([request(b"x" * 20_000)] * 5)
        other.ack([each.receipt for each in other.receive(10, 600)])
start_new_thread(keep_busy, ())
wait_until(lambda: os.path.exists(sys.argv[1] + ".other-wal"))
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        queue.put([request()])
        os._exit(0)
    queue.put([request()])
    assert exit_of(pid) == 0
busy = False
""",
    ),
}


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
@pytest.mark.parametrize("caller", SCRIPTS)
def test_everyone_can_put(tmp_path: Path, caller: str, patched: str) -> None:
    stored, script = SCRIPTS[caller]
    path = tmp_path / "queue.db"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + script, str(path), patched]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    queue = SqliteQueue(path).open()
    assert queue.status().waiting == stored
    queue.close()


@pytest.mark.unmeasured("coverage itself imports sqlite3")
def test_sqlite_is_imported_by_the_first_call_and_not_before(tmp_path: Path) -> None:
    script = """
import sys
from gevent_dispatcher.queues import SqliteQueue
queue = SqliteQueue(sys.argv[1]).open()
print([name for name in ("sqlite3", "ssl", "urllib3") if name in sys.modules])
queue.status()
print([name for name in ("sqlite3", "ssl", "urllib3") if name in sys.modules])
"""
    command = [sys.executable, "-c", script, str(tmp_path / "queue.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["[]", "['sqlite3']"]
