"""`python -m gevent_dispatcher queue`: what operators ask of a queue, and do to it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

from gevent_dispatcher.commands._queues import Watched
from gevent_dispatcher.commands.queue import _as_table
from gevent_dispatcher.queues import QueueUnavailable, Status
from tests.commands import QueueFile, Terminal, environ, request, run

URL = "http://127.0.0.1:9/v1/events?token=s3cret"

ACTIONS = [
    ("status",),
    ("dead",),
    ("requeue", "--all"),
    ("requeue", "nonsense"),
    ("purge", "--yes"),
    ("purge", "--dead", "--yes"),
]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueFile]:
    with QueueFile(tmp_path / "queue.db") as opened:
        yield opened


@pytest.fixture
def buried(queue: QueueFile) -> QueueFile:
    """A queue with three dead letters and two messages."""
    queue.put(URL, "a", "b", "c")
    queue.bury("rejected: status 400")
    queue.put(URL, "d", "e")
    return queue


def ids(queue: QueueFile) -> list[str]:
    return [letter.id for letter in queue.opened.dead()]


# -- a queue that is looked at while something works with it -----------------------------------------------------------


class Looks:
    """A queue that counts how often it was asked, and is away at the second time."""

    asked = 0

    def status(self) -> Status:
        self.asked += 1
        if self.asked == 2:
            raise QueueUnavailable("away")
        return Status(self.asked, 0, 0, 0, None, None, None)


@pytest.mark.parametrize(("is_paid", "seen", "asked"), [(False, [1, None, 3], 3), (True, [1, 1, 1], 1)])
def test_a_look_that_is_paid_for_is_rare(is_paid: bool, seen: list[int | None], asked: int) -> None:
    queue: Any = Looks()
    watched = Watched(queue, is_paid)
    found = [watched.status() for _ in range(3)]
    assert [each and each.waiting for each in found] == seen
    assert queue.asked == asked


# -- queues that cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_makes_a_file(tmp_path: Path, action: tuple[str, ...]) -> None:
    done = run("queue", action[0], tmp_path / "none.db", *action[1:])
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"gevent_dispatcher: there is no queue at {tmp_path / 'none.db'}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", ACTIONS)
def test_a_file_of_another_application_is_refused_and_stays_as_it_is(tmp_path: Path, action: tuple[str, ...]) -> None:
    foreign = tmp_path / "shop.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE message (id INTEGER)")
    connection.close()
    before = foreign.read_bytes()
    done = run("queue", action[0], foreign, *action[1:])
    assert (done.returncode, done.stdout) == (3, "")
    assert "a SQLite file of another application; it was not touched" in done.stderr
    assert foreign.read_bytes() == before
    assert list(tmp_path.iterdir()) == [foreign]


@pytest.mark.parametrize("content", [b"x", b"no database " * 500])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    done = run("queue", "status", path)
    assert done.returncode == 3
    assert "no SQLite file" in done.stderr
    assert path.read_bytes() == content


def test_a_corrupt_queue_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    with QueueFile(path) as queue:
        queue.put(URL, *(f"v{n}" for n in range(100)))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    path.write_bytes(data)
    done = run("queue", "status", path)
    assert done.returncode == 3
    assert "is corrupt" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_is_no_queue(tmp_path: Path) -> None:
    done = run("queue", "status", tmp_path)
    assert (done.returncode, done.stderr) == (3, f"gevent_dispatcher: {tmp_path} is not a file\n")


# -- status ------------------------------------------------------------------------------------------------------------


def test_status(queue: QueueFile) -> None:
    queue.opened.put([request(URL, "a", "b", "c"), request(URL, "d"), request(URL, "e"), request(URL, "f")])
    first, second, third, _ = queue.opened.receive(4, 60)
    queue.opened.release([second.receipt], 60)
    queue.opened.release([third.receipt])
    queue.opened.bury([first.receipt], "tired of it")
    shown = json.loads(run("queue", "status", "--json", queue.path).stdout)
    size, age = shown.pop("bytes"), shown.pop("oldest_age")
    assert shown == {"waiting": 1, "delayed": 1, "leased": 1, "dead": 1, "events": 3}
    assert size > 0
    assert age > 0
    table = run("queue", "status", queue.path).stdout
    assert [line.split()[:2] for line in table.splitlines()[:4]] == [
        ["waiting", "1"],
        ["delayed", "1"],
        ["leased", "1"],
        ["events", "3"],
    ]


def test_status_while_others_write(queue: QueueFile) -> None:
    queue.put(URL, "a")
    writer = sqlite3.connect(queue.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert json.loads(run("queue", "status", "--json", queue.path).stdout)["waiting"] == 1
    writer.execute("ROLLBACK")
    writer.close()


# -- dead letters ------------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_without_what_they_hold(buried: QueueFile) -> None:
    done = run("queue", "dead", buried.path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    for line, id in zip(done.stdout.splitlines(), ids(buried)):
        assert line.startswith(f"{id}  ")
        assert line.endswith("s ago  1 event  http://127.0.0.1:9  rejected: status 400")
    assert "s3cret" not in done.stdout
    assert "visitor_id" not in done.stdout


def test_dead_letters_as_json(buried: QueueFile) -> None:
    letters = json.loads(run("queue", "dead", "--json", buried.path).stdout)
    assert [letter["id"] for letter in letters] == ids(buried)
    for letter in letters:
        assert letter["reason"] == "rejected: status 400"
        assert letter["origin"] == "http://127.0.0.1:9"
        assert letter["events"] == 1
        assert 0 <= letter["age"] <= letter["age_since_put"]
        assert letter.keys() == {"id", "reason", "age", "age_since_put", "events", "origin"}


def test_bodies_are_shown_when_asked_for(buried: QueueFile) -> None:
    (letter,) = json.loads(run("queue", "dead", "--json", "--bodies", "--limit", 1, buried.path).stdout)
    assert (letter["verb"], letter["url"]) == ("POST", URL)
    assert json.loads(letter["body"])["visitors"][0]["visitor_id"] == "a"
    text = run("queue", "dead", "--bodies", buried.path).stdout
    assert f"    POST {URL}\n" in text
    assert '"visitor_id":"a"' in text


def test_when_not_all_are_shown_it_is_said(buried: QueueFile) -> None:
    done = run("queue", "dead", "--limit", 2, buried.path)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "2 of 3 are shown; --limit shows more.\n"


def test_no_dead_letters(queue: QueueFile) -> None:
    queue.put(URL, "a")
    assert run("queue", "dead", queue.path).stdout == "There are no dead letters.\n"
    assert json.loads(run("queue", "dead", "--json", queue.path).stdout) == []


def test_what_a_terminal_obeys_is_not_printed(queue: QueueFile) -> None:
    queue.put(URL, "a")
    queue.bury("\x1b[2Jred\nand more \u202e")
    done = run("queue", "dead", queue.path)
    assert done.stdout.endswith("\\x1b[2Jred\\nand more \\u202e\n")
    assert len(done.stdout.splitlines()) == 1


def test_a_letter_that_cannot_be_read_is_listed(queue: QueueFile) -> None:
    queue.put(URL, "a")
    connection = sqlite3.connect(queue.path)
    with connection:
        connection.execute("UPDATE message SET envelope = 'nonsense'")
    connection.close()
    queue.opened.receive(1, 60)  # buries it
    assert "unreadable  its envelope is unreadable" in run("queue", "dead", "--bodies", queue.path).stdout
    (letter,) = json.loads(run("queue", "dead", "--json", "--bodies", queue.path).stdout)
    assert (letter["origin"], letter["url"], letter["body"]) == (None, None, None)


# -- requeue and purge -------------------------------------------------------------------------------------------------


def test_requeue_some(buried: QueueFile) -> None:
    first, second, third = ids(buried)
    done = run("queue", "requeue", buried.path, first, third)
    assert (done.returncode, done.stdout) == (0, "2 dead letters are messages again.\n")
    assert ids(buried) == [second]
    assert buried.status().waiting == 4


def test_requeue_all(buried: QueueFile) -> None:
    done = run("queue", "requeue", buried.path, "--all")
    assert (done.returncode, done.stdout) == (0, "3 dead letters are messages again.\n")
    assert (buried.status().waiting, buried.status().dead) == (5, 0)


def test_requeue_what_is_not_there(buried: QueueFile) -> None:
    done = run("queue", "requeue", buried.path, ids(buried)[0], "4711", "nonsense")
    assert (done.returncode, done.stdout) == (1, "1 dead letters are messages again.\n")
    assert done.stderr == "There is no dead letter with 2 of these ids.\n"


@pytest.mark.parametrize("arguments", [(), ("1", "--all")])
def test_requeue_wants_to_know_which(buried: QueueFile, arguments: tuple[str, ...]) -> None:
    done = run("queue", "requeue", buried.path, *arguments)
    assert done.returncode == 2
    assert "give the ids of dead letters, or --all" in done.stderr
    assert buried.status().dead == 3


def test_requeue_knows_an_option_that_there_is_not(buried: QueueFile) -> None:
    done = run("queue", "requeue", buried.path, "--everything", ids(buried)[0])
    assert done.returncode == 2
    assert "unrecognized arguments: --everything" in done.stderr
    assert buried.status().dead == 3


def test_purge(buried: QueueFile) -> None:
    done = run("queue", "purge", buried.path, "--yes")
    assert (done.returncode, done.stdout) == (0, "2 messages deleted.\n")
    assert (buried.left(), buried.status().dead) == (0, 3)
    done = run("queue", "purge", buried.path, "--dead", "--yes")
    assert (done.returncode, done.stdout) == (0, "3 dead letters deleted.\n")
    assert buried.status().dead == 0


def test_purge_where_nobody_can_be_asked(buried: QueueFile) -> None:
    done = run("queue", "purge", buried.path, input="yes\n")
    assert done.returncode == 2
    assert "2 messages (2 events) would be deleted, and nobody can be asked: give --yes" in done.stderr
    assert buried.left() == 2


@pytest.mark.parametrize(("answer", "code", "left"), [("yes", 0, 0), ("y", 1, 2), ("no", 1, 2), ("", 1, 2)])
def test_purge_asks(buried: QueueFile, answer: str, code: int, left: int) -> None:
    terminal = Terminal("-m", "gevent_dispatcher", "queue", "purge", str(buried.path))
    terminal.write(f"{answer}\n")
    shown = terminal.read()
    assert "Delete 2 messages (2 events) in " in shown
    assert (terminal.process.returncode, buried.left()) == (code, left)
    assert ("2 messages deleted." in shown) == (code == 0)
    assert ("Nothing was deleted." in shown) == (code == 1)


# -- usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "ACTION"),
        (["look", "queue.db"], "invalid choice"),
        (["status"], "QUEUE"),
        (["status", "https://sqs.eu-central-1.amazonaws.com/1/queue.fifo"], "is a FIFO queue"),
        (["status", "queue.db", "--region", "eu-west-1"], "--region: is for queues of Amazon SQS"),
        (["status", ""], "it is empty"),
        (["dead", "queue.db", "--limit", "0"], "must be from 1 to 10000"),
        (["dead", "queue.db", "--limit", "few"], "--limit: must be from 1 to 10000"),
        (["status", "queue.db", "--bodies"], "unrecognized arguments: --bodies"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    done = run("queue", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    with QueueFile(tmp_path / "queue.db") as queue:
        queue.put(URL, "a" * 200_000)  # more than a pipe holds
        queue.bury("too much")
        command = [sys.executable, "-m", "gevent_dispatcher", "queue", "dead", "--bodies", str(queue.path)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environ(), **pipes) as process:  # type: ignore[call-overload]
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(30) == 1


def test_it_teaches() -> None:
    assert "queue status queue.db" in run("queue", "--help").stdout
    for action in ("status", "dead", "requeue", "purge"):
        assert f"python -m gevent_dispatcher queue {action} " in run("queue", action, "--help").stdout


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "?"), (-1.0, "0 s"), (119.0, "119 s"), (150.0, "2 min"), (3 * 3_600.0, "3 h"), (6 * 86_400.0, "6 d")],
)
def test_an_age_is_shown_in_the_largest_unit_that_tells_something(seconds: float | None, shown: str) -> None:
    table = _as_table(Status(waiting=1, delayed=0, leased=0, dead=0, events=1, bytes=1, oldest_age=seconds))
    assert f" {shown}  since the oldest of them" in table
