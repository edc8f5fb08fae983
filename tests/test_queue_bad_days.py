"""What a disk, an operator or another program can do to a queue's file: a clear error in time, never a hang."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, Sequence

import pytest

from gevent_dispatcher.queues import (
    OpenQueue,
    QueueError,
    QueueFull,
    QueueRefused,
    QueueUnavailable,
    QueueUncertain,
    QueueUnusable,
    SqliteQueue,
)
from tests.documents import read
from tests.queues import request

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def fill(path: Path, messages: int = 200) -> None:
    queue = SqliteQueue(path).open()
    queue.put([request(b"x" * 5_000)] * messages)
    queue.close()


def opened(path: Path, **settings: Any) -> closing[OpenQueue]:
    """The queue at a path, to be entered."""
    return closing(SqliteQueue(path, **settings).open())


def alter(path: Path, statement: str) -> None:
    """What another program does to the file."""
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(statement)


def drain(queue: OpenQueue) -> int:
    total = 0
    while True:
        messages = queue.receive(50, 600)
        queue.ack([message.receipt for message in messages])
        total += len(messages)
        if not messages:
            return total


def drained(path: Path) -> int:
    """How many messages a file holds; then it holds none."""
    with opened(path) as queue:
        return drain(queue)


def test_a_file_of_another_application_is_refused_untouched(path: Path) -> None:
    alter(path, "CREATE TABLE accounts (id)")
    before = path.read_bytes()
    with opened(path) as queue, pytest.raises(QueueUnusable, match="another application"):
        queue.put([request()])
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["queue.db"]


@pytest.mark.parametrize("content", [b"x", b"not a database\n" * 10, b"\0" * 4_096, os.urandom(70_000)])
def test_a_file_that_is_not_sqlites_is_refused_untouched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with opened(path) as queue, pytest.raises(QueueUnusable, match="no SQLite file"):
        queue.put([request()])
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_queue(path: Path) -> None:
    path.touch()
    fill(path)
    assert drained(path) == 200


def test_a_file_that_another_process_made_a_moment_ago_stays_as_it_is(path: Path) -> None:
    """Between the look at an empty file and the lock that is taken to make it a queue."""
    from gevent_dispatcher.queues import _file

    fill(path, 1)
    connection = sqlite3.connect(path, isolation_level=None)
    _file._create(connection, str(path))
    assert not connection.in_transaction
    connection.close()
    assert drained(path) == 1


def test_a_newer_schema_is_refused_untouched(path: Path) -> None:
    fill(path, 1)
    alter(path, "PRAGMA user_version = 2")
    before = path.read_bytes()
    why = "has schema 2; this version of the library knows 1"
    with opened(path) as queue, pytest.raises(QueueUnusable, match=why):
        queue.status()
    assert path.read_bytes() == before


def test_a_queue_that_lacks_a_table_is_refused(path: Path) -> None:
    fill(path, 1)
    alter(path, "DROP TABLE dead")
    with opened(path) as queue, pytest.raises(QueueUnusable, match="lacks a part"):
        queue.status()


def overwrite(path: Path, first: int = 1) -> None:
    """Every other page, from some on."""
    with path.open("r+b") as file:
        for at in range(first * 4_096, path.stat().st_size, 8_192):
            file.seek(at)
            file.write(os.urandom(4_096))


def truncate(path: Path) -> None:
    os.truncate(path, 3 * 4_096 + 100)


@pytest.mark.parametrize("damage", [overwrite, truncate])
def test_a_damaged_file_is_an_error_and_works_again_once_it_is_moved_away(
    path: Path, damage: Callable[[Path], None]
) -> None:
    fill(path)
    damage(path)
    with opened(path) as queue:
        with pytest.raises(QueueUnusable, match="corrupt"):
            drain(queue)
        with pytest.raises(QueueError):
            drain(queue)
        path.rename(path.with_suffix(".damaged"))
        queue.put([request()])
        assert drain(queue) == 1


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs SQLite's own program")
def test_what_can_still_be_read_of_a_damaged_file_is_saved_as_the_documents_say(tmp_path: Path) -> None:
    fill(tmp_path / "events.db", 100)
    overwrite(tmp_path / "events.db", first=40)
    text = read("examples/OPERATING.md").partition("<!-- rescue -->\n```sh\n")[2].partition("```")[0]
    *script, worker = text.splitlines()
    assert worker == "python -m gevent_dispatcher worker saved.db --once"
    subprocess.run("\n".join(script), shell=True, cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    assert not (tmp_path / "events.db").exists()
    saved = tmp_path / "saved.db"
    assert saved.stat().st_mode & 0o777 == 0o600
    with opened(saved) as queue:
        assert 20 < drain(queue) < 100


def test_a_file_cut_within_its_last_page_is_not_taken_for_a_whole_one(path: Path) -> None:
    fill(path, 40)
    os.truncate(path, path.stat().st_size - 1_000)
    before = path.read_bytes()
    with opened(path) as queue, pytest.raises(QueueUnusable, match="cut short"):
        drain(queue)
    assert path.read_bytes() == before


def test_a_schema_that_is_no_text_is_corrupt(path: Path) -> None:
    fill(path, 1)
    path.write_bytes(path.read_bytes().replace(b"ready_at REAL NOT NULL", b"ready_at REAL NOT \xff\xff\xff\xff", 1))
    with opened(path) as queue, pytest.raises(QueueUnusable, match="corrupt"):
        queue.status()


def test_a_number_that_has_become_something_else_is_no_other_error(path: Path) -> None:
    fill(path, 2)
    alter(path, "UPDATE message SET put_at = 'yesterday', received = x'ff'")
    with opened(path) as queue:
        assert queue.status().oldest_age > 0
        assert [(message.received, message.put_at) for message in queue.receive(10, 60)] == [(1, 0.0)] * 2


def test_a_message_whose_body_is_gone_is_a_dead_letter(path: Path) -> None:
    fill(path, 3)
    alter(path, "DELETE FROM body WHERE id = 2")
    with opened(path) as queue:
        assert drain(queue) == 2
        [letter] = queue.dead()
        assert (letter.reason, letter.request) == ("its body is missing from the file", None)
        assert queue.status().waiting == 0
        assert queue.requeue() == 1
        assert drain(queue) == 0


def test_the_number_of_a_message_whose_body_is_gone_is_not_given_again(path: Path) -> None:
    fill(path, 3)
    alter(path, "DELETE FROM body WHERE id = 3")
    with opened(path) as queue:
        queue.put([request("before it is found")])
        assert len(queue.receive(10, 60)) == 3
        queue.put([request("after that")])
        [message] = queue.receive(10, 60)
        assert queue.bury([message.receipt], "refused") == []
        assert [letter.request and letter.request.body for letter in queue.dead()] == [None, b"after that"]


def test_damage_while_in_use_is_an_error(path: Path) -> None:
    fill(path)
    with opened(path) as queue:
        assert len(queue.receive(1, 60)) == 1
        truncate(path)
        overwrite(path)
        with pytest.raises(QueueError):
            drain(queue)


@pytest.mark.parametrize("with_companions", [True, False])
def test_a_file_deleted_while_in_use_is_made_anew(path: Path, with_companions: bool) -> None:
    queue, other = SqliteQueue(path).open(), SqliteQueue(path).open()
    queue.put([request("lost with the file")])
    assert other.status().waiting == 1
    for each in list(path.parent.iterdir()) if with_companions else [path]:
        each.unlink()
    queue.put([request("kept")])
    # The other lets go of the deleted file only now; that must not take away the new one's log.
    assert [message.request.body for message in other.receive(10, 60)] == [b"kept"]
    queue.put([request("kept too")])
    queue.close()
    assert [message.request.body for message in other.receive(10, 60)] == [b"kept too"]
    other.close()


@pytest.mark.parametrize("companions", [("-wal",), ("-wal", "-shm")])
def test_a_log_deleted_while_in_use_takes_nothing_along_that_is_put_later(
    path: Path, companions: tuple[str, ...]
) -> None:
    script = """
queue.put([request("before")])
for companion in sys.argv[2:]:
    os.unlink(sys.argv[1] + companion)
queue.put([request("after")])
other = SqliteQueue(sys.argv[1]).open()
other.put([request("the other's")])
print(queue.status().waiting, other.status().waiting, flush=True)
os._exit(0)
"""
    assert run(script, path, *companions) == "3 3\n"
    with opened(path) as queue:
        bodies = [message.request.body for message in queue.receive(10, 60)]
        assert bodies == [b"before", b"after", b"the other's"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a name has to be UTF-8")
def test_a_log_is_found_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.db")
    with opened(path) as queue, opened(path) as other:
        queue.put([request()])
        path.with_name(f"{path.name}-wal").unlink()
        queue.put([request()])
        other.put([request()])
        assert queue.status().waiting == 3


def test_what_others_do_to_a_log_does_not_make_anything_be_done_twice(path: Path) -> None:
    with opened(path) as queue:
        for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "REINDEX"):
            queue.put([request(statement)])
            with closing(sqlite3.connect(path)) as other:
                other.execute(statement)
        queue.put([request("the last")])
        assert drain(queue) == 4


def test_a_file_deleted_in_the_middle_of_a_put_does_not_take_it_along(path: Path) -> None:
    moments: list[Callable[[], object]] = []

    def clock() -> float:  # read within the transaction
        if moments:
            moments.pop()()
        return 1_700_000_000.0

    with opened(path, clock=clock) as queue:
        queue.put([request("lost with the file")])
        moments.append(path.unlink)
        queue.put([request("kept")])
        assert [message.request.body for message in queue.receive(10, 60)] == [b"kept"]
        moments.extend([path.unlink] * 3)
        with pytest.raises(QueueUncertain, match="replaced again and again"):
            queue.put([request()])


def test_a_file_deleted_while_it_must_exist_is_unavailable(path: Path) -> None:
    fill(path, 1)
    with opened(path, create=False) as queue:
        assert queue.status().waiting == 1
        for each in path.parent.iterdir():
            each.unlink()
        with pytest.raises(QueueUnavailable, match="there is no queue"):
            queue.status()
        assert list(path.parent.iterdir()) == []


def test_a_directory_that_is_not_there_is_not_made(path: Path) -> None:
    with opened(path / "queue.db") as queue:
        with pytest.raises(QueueUnavailable, match="its directory does not exist"):
            queue.put([request()])
        path.mkdir()
        queue.put([request()])


@pytest.mark.parametrize("beneath", [False, True])
def test_something_else_in_its_place_is_unavailable(path: Path, beneath: bool) -> None:
    if beneath:
        path.touch()
        place, why = path / "queue.db", "Not a directory"
    else:
        path.mkdir()
        place, why = path, "is not a file"
    with opened(place) as queue, pytest.raises(QueueUnavailable, match=why):
        queue.put([request()])


# What comes behind it sees a small disk in a place, and nobody else does.
SMALL_DISK = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=512k none "$0" && exec "$@"']


def may_mount(place: str) -> bool:
    """Whether this system lets us have such a disk."""
    with suppress(OSError):
        done = subprocess.run([*SMALL_DISK, place, "true"], capture_output=True, timeout=60, check=False)
        return done.returncode == 0
    return False


def run(script: str, *arguments: object, on: Sequence[str] = ()) -> str:
    """What a process of its own says.

    Args:
        on: what its command comes behind.
    """
    prelude = """
import os, resource, sys
from gevent import monkey
monkey.patch_all()
from gevent_dispatcher.queues import *
from tests.queues import request
queue = SqliteQueue(sys.argv[1]).open()
def attempt(work):
    try:
        return work() or "done"
    except QueueError as error:
        return f"{type(error).__name__}: {error}"
"""
    command = [*on, sys.executable, "-c", prelude + script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout


def test_a_disk_that_takes_no_more_is_an_error_and_what_was_stored_stays(path: Path) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
stored, answer = 0, "done"
while answer == "done":
    answer = attempt(lambda: queue.put([request(b"x" * 50_000)] * 5))
    stored += 5 if answer == "done" else 0
print(stored, answer)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
print(queue.status().waiting, attempt(lambda: queue.put([request()])))
"""
    first, second = run(script, path).splitlines()
    stored, error = first.split(" ", 1)
    assert error.startswith(("QueueFull: ", "QueueUncertain: ", "QueueUnavailable: ")), error
    assert int(stored) >= 20
    assert second in (f"{stored} done", f"{int(stored) + 5} done")
    assert drained(path) == int(second.split()[0]) + 1


@pytest.mark.parametrize("room", [5_000, 12_000, 20_000])  # for a file; for some pages of its log
def test_a_disk_that_is_full_from_the_start_leaves_a_file_that_becomes_a_queue(path: Path, room: int) -> None:
    script = """
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limit[1]))
print(attempt(lambda: queue.put([request()])))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit[1], limit[1]))
print(attempt(lambda: queue.put([request()])))
"""
    first, second = run(script, path, room).splitlines()
    assert first.startswith(("QueueFull: ", "QueueUncertain: ", "QueueUnavailable: ")), first
    assert second == "done"
    assert drain(SqliteQueue(path).open()) == 1


@pytest.mark.parametrize("room", [0, 48])  # KiB: for nothing, for a part of the file
def test_a_full_disk_is_called_full_and_takes_the_file_when_there_is_room_again(path: Path, room: int) -> None:
    if not may_mount(str(path.parent)):
        pytest.skip("needs a disk of its own: unshare -rm, and mount")
    script = """
ballast = os.path.join(os.path.dirname(sys.argv[1]), "ballast")
with open(ballast, "wb") as file:
    file.write(bytes((512 - int(sys.argv[2])) * 1024))
print(attempt(lambda: queue.put([request(b"x" * 5_000)])))
os.unlink(ballast)
print(attempt(lambda: queue.put([request()])))
print(len(queue.receive(100, 60)))
"""
    said = run(script, path, room, on=[*SMALL_DISK, str(path.parent)]).splitlines()
    assert said == [f"QueueFull: the disk of {path} is full", "done", "1"]


def test_a_disk_that_others_fill_keeps_what_is_stored_until_there_is_room_again(path: Path) -> None:
    if not may_mount(str(path.parent)):
        pytest.skip("needs a disk of its own: unshare -rm, and mount")
    script = """
stored = 0
while attempt(lambda: queue.put([request(b"x" * 5_000)])) == "done":
    stored += 1
ballast = os.path.join(os.path.dirname(sys.argv[1]), "ballast")
try:
    with open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass  # full
print(attempt(lambda: queue.receive(100, 60)))
os.unlink(ballast)
messages = queue.receive(100, 60)
queue.ack([each.receipt for each in messages])
print(len(messages) == stored > 0, attempt(lambda: queue.put([request()])))
"""
    said = run(script, path, on=[*SMALL_DISK, str(path.parent)]).splitlines()
    assert said == [f"QueueFull: the disk of {path} is full", "True done"]


def test_a_disk_that_became_read_only_is_unavailable_and_loses_nothing(path: Path) -> None:
    if not may_mount(str(path.parent)):
        pytest.skip("needs a disk of its own: unshare -rm, and mount")
    script = """
import subprocess
def remount(how):
    subprocess.run(["mount", "-o", f"remount,{how}", os.path.dirname(sys.argv[1])], check=True)
print(attempt(lambda: queue.put([request()])))
queue.close()
remount("ro")
queue = SqliteQueue(sys.argv[1]).open()
print(attempt(lambda: queue.put([request()])))
remount("rw")
print(attempt(lambda: queue.put([request()])))
print(len(queue.receive(100, 60)))
"""
    first, second, *others = run(script, path, on=[*SMALL_DISK, str(path.parent)]).splitlines()
    assert (first, *others) == ("done", "done", "2")
    assert second.startswith(f"QueueUnavailable: {path}: "), second


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], check=False)
    if mounting.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root can mount a disk that is small")
@pytest.mark.parametrize("size", [2_000, 300_000])
def test_a_disk_that_was_filled_can_be_emptied_and_filled_again(small_disk: Path, size: int) -> None:
    with opened(small_disk / "queue.db") as queue:

        def put_one() -> int:
            queue.put([request(b"x" * size)])
            return size

        def fill() -> int:
            with pytest.raises(QueueFull, match=r"the disk of .* is full"):
                sum(iter(put_one, 0))
            return queue.status().waiting

        other = sqlite3.connect(str(small_disk / "queue.db"), isolation_level=None)
        with closing(other):  # or the log would go each time that the queue closes the file
            queue.status()
            other.execute("SELECT * FROM message").fetchall()
            for _ in range(3):
                stored = fill()
                assert stored * size > 500_000
                assert drain(queue) == stored


def test_a_disk_that_is_nearly_full_takes_nothing_and_gives_back_what_it_has(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as queue:
        queue.put([request()] * 3)

        def disk(blocks: int, free: int) -> Any:
            found = SimpleNamespace(f_blocks=blocks, f_bavail=free, f_bfree=free, f_frsize=4_096)
            return lambda path: found

        monkeypatch.setattr(os, "statvfs", disk(blocks=1_000_000, free=200))
        with pytest.raises(QueueFull, match=r"the disk of .* is full"):
            queue.put([request()])
        assert drain(queue) == 3
        monkeypatch.setattr(os, "statvfs", disk(blocks=0, free=0))  # it does not say
        queue.put([request()])
        assert drain(queue) == 1


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="looks for a directory of Linux that takes no file")
def test_a_place_that_takes_no_file_is_said() -> None:
    queue = SqliteQueue("/sys/kernel/queue.db").open()
    with pytest.raises(QueueUnavailable, match=r"/sys/kernel/queue\.db cannot be made: "):
        queue.put([request()])
    queue.close()


def test_what_was_done_in_a_file_that_is_taken_away_meanwhile_is_uncertain(path: Path) -> None:
    fill(path, 1)

    def clock() -> float:
        """Asked within the transaction."""
        path.unlink(missing_ok=True)
        return time.time()

    queue = SqliteQueue(path, create=False, clock=clock).open()
    with pytest.raises(QueueUncertain, match="there is no queue at"):
        queue.put([request()])
    queue.close()


def test_a_link_that_leads_nowhere_is_unavailable(path: Path) -> None:
    path.symlink_to(path.parent / "no" / "queue.db")
    queue = SqliteQueue(path).open()
    with pytest.raises(QueueUnavailable):
        queue.put([request()])
    queue.close()


def test_a_link_may_be_there_before_what_it_leads_to(path: Path) -> None:
    (path.parent / "volume").mkdir()
    path.symlink_to(Path("volume") / "real.db")
    fill(path, 3)
    assert (path.parent / "volume" / "real.db").stat().st_mode & 0o777 == 0o600
    assert drained(path) == 3


def test_the_log_of_a_link_is_beside_what_it_leads_to(path: Path) -> None:
    real = path.parent / "volume" / "real.db"
    real.parent.mkdir()
    path.symlink_to(real)
    run("queue.put([request()]); os._exit(0)", path)
    assert real.with_name("real.db-wal").stat().st_size
    with real.open("ab") as file:  # a page that a power failure did not let be written: the log has it whole
        file.write(b"\0" * 1_000)
    assert drained(path) == 1


def test_sqlites_own_word_for_a_full_disk_is_ours(path: Path) -> None:
    from gevent_dispatcher.queues import _file

    bounded = sqlite3.connect(":memory:")
    bounded.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        bounded.execute("CREATE TABLE body AS SELECT randomblob(100000)")
    bounded.close()
    assert isinstance(_file.explain(caught.value, str(path)), QueueFull)


@pytest.mark.unmeasured("who it becomes may not write what coverage has found")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
@pytest.mark.parametrize("what", ["file", "directory", "new"])
def test_what_may_not_be_written_is_unavailable(path: Path, what: str) -> None:
    if what != "new":
        fill(path, 1)
    path.parent.chmod(0o777 if what == "file" else 0o755)
    for each in path.parents:
        if "pytest-of" in str(each):
            each.chmod(each.stat().st_mode | 0o055)
    if what != "new":
        path.chmod(0o444)
    script = """
import gevent
from gevent_dispatcher.queues import _store, _tasks
gevent.sleep(0)  # whoever this becomes may not be allowed to import what a hub needs
os.setgid(65534)
os.setuid(65534)
print(attempt(lambda: queue.put([request()])))
"""
    answer = run(script, path)
    assert answer.startswith("QueueUnavailable: ")
    assert what == "new" or "must be able to read and write it" in answer


def test_the_errors_are_one_small_tree() -> None:
    assert QueueError.__subclasses__() == [QueueFull, QueueUnavailable, QueueUnusable, QueueRefused]
