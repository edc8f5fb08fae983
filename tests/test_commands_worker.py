"""`python -m gevent_dispatcher worker`: delivers what is in a queue, and ends as it is asked to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Iterator

import pytest

from gevent_dispatcher.commands import _progress
from tests.commands import QUICK, QueueFile, Terminal, environ, request, run, start
from tests.events import names
from tests.hostile import HostileServer, refusing_port
from tests.picky import Gate, PickyServer
from tests.waiting import wait_until


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueFile]:
    with QueueFile(tmp_path / "queue.db") as opened:
        yield opened


def accept(visitors: list[str]) -> int:
    return 204


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_delivers_and_ends_at_a_signal_while_idle(tmp_path: Path, queue: QueueFile, number: int) -> None:
    with PickyServer(accept) as server:
        queue.put(server.url, *names(30))
        with start(tmp_path, "worker", queue.path, "--allow", server.url, *QUICK) as worker:
            worker.wait_for("the queue to be empty", lambda: queue.left() == 0)
            queue.put(server.url, "late")
            worker.wait_for("the queue to be empty again", lambda: queue.left() == 0)
            worker.signal(number)
            assert worker.wait_for_end(5) == 0
        assert dict(server.accepted) == dict.fromkeys([*names(30), "late"], 1)
        assert "at the end: 31 events delivered, 0 in the queue" in worker.output()


def test_a_signal_while_busy_finishes_what_was_sent_and_gives_the_rest_back(tmp_path: Path, queue: QueueFile) -> None:
    gate = Gate()
    with PickyServer(gate.answer) as server:
        queue.put(server.url, *names(40))
        with start(tmp_path, "worker", queue.path, "--allow", server.url, "--close-timeout", 30, *QUICK) as worker:
            worker.wait_for("half of the senders to be busy", lambda: gate.waiting == 5 and queue.status().leased == 40)
            worker.signal(signal.SIGTERM)
            worker.wait_for("the rest to be given back", lambda: queue.status().waiting == 35)
            gate.opened.set()
            assert worker.wait_for_end() == 0
        assert (queue.status().waiting, queue.status().leased, gate.waiting) == (35, 0, 5)
        assert set(server.accepted.values()) == {1}
        assert run("worker", queue.path, "--once", "--allow", server.url, *QUICK).returncode == 0
        assert dict(server.accepted) == dict.fromkeys(names(40), 1)


def test_the_time_to_stop_is_kept(tmp_path: Path, queue: QueueFile) -> None:
    gate = Gate()
    with PickyServer(gate.answer) as server:
        queue.put(server.url, *names(3))
        with start(tmp_path, "worker", queue.path, "--allow", server.url, "--close-timeout", 1, *QUICK) as worker:
            worker.wait_for("it to be busy", lambda: gate.waiting == 3)
            worker.signal(signal.SIGTERM)
            begin = monotonic()
            assert worker.wait_for_end() == 0
            assert monotonic() - begin < 3
        assert (queue.status().waiting, queue.status().leased) == (3, 0)
        gate.opened.set()


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, queue: QueueFile, second: int, code: int) -> None:
    gate = Gate()
    with PickyServer(gate.answer) as server:
        queue.put(server.url, *names(3))
        with start(tmp_path, "worker", queue.path, "--allow", server.url, "--close-timeout", 60, *QUICK) as worker:
            worker.wait_for("it to be busy", lambda: gate.waiting == 3)
            worker.signal(signal.SIGTERM)
            worker.wait_for("it to say so", lambda: "stopping: 3 messages are held" in worker.output())
            worker.signal(second)
            begin = monotonic()
            assert worker.wait_for_end() == code
            assert monotonic() - begin < 2
        assert "ended at once; 3 messages were held" in worker.output()
        assert queue.status().leased == 3
        gate.opened.set()


# -- once --------------------------------------------------------------------------------------------------------------


def test_once_ends_when_the_queue_is_empty(queue: QueueFile) -> None:
    with PickyServer(accept) as server:
        queue.put(server.url, *names(250))
        done = run("worker", queue.path, "--once", "--allow", server.url)
        assert (done.returncode, done.stdout) == (0, "")
        assert dict(server.accepted) == dict.fromkeys(names(250), 1)


def test_once_ends_with_1_when_something_died(queue: QueueFile) -> None:
    with PickyServer(lambda visitors: 400 if "v3" in visitors else 204) as server:
        queue.put(server.url, *names(5))
        assert run("worker", queue.path, "--once", "--allow", server.url).returncode == 1
        assert len(server.accepted) == 4
        assert queue.status().dead == 1


def test_once_ends_with_1_when_the_endpoint_is_away(queue: QueueFile) -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/v1/events"
        queue.put(url, *names(20))
        done = run("worker", queue.path, "--once", "--allow", url, *QUICK)
        assert done.returncode == 1
        assert "20 messages (20 events) are left in the queue" in done.stderr
        assert (queue.left(), queue.status().leased, queue.status().dead) == (20, 0, 0)


# -- where requests go -------------------------------------------------------------------------------------------------


def test_requests_go_only_where_they_may(queue: QueueFile) -> None:
    with PickyServer(accept) as server, PickyServer(accept) as second, HostileServer() as elsewhere:
        queue.put(server.url, "a")
        queue.put(second.url, "b")
        queue.put(elsewhere.url("v1/events"), "c")
        done = run("worker", queue.path, "--once", "--allow", server.url, "--allow", second.url)
        assert done.returncode == 1
        assert (dict(server.accepted), dict(second.accepted), elsewhere.received) == ({"a": 1}, {"b": 1}, [])
        (letter,) = queue.opened.dead()
        assert letter.reason.startswith("not an allowed destination: http://127.0.0.1:")


def test_the_event_api_is_always_allowed(queue: QueueFile) -> None:
    queue.put("https://logx.optimizely.com/v1/events", "a")
    queue.put("https://eu.logx.optimizely.com/v1/events", "b")
    done = run("worker", queue.path, "--once", *QUICK)  # by way of a proxy that refuses
    assert done.returncode == 1
    assert (queue.left(), queue.status().dead) == (2, 0)


def test_headers_are_added(queue: QueueFile) -> None:
    with HostileServer() as server:
        queue.put(server.url("status/204"), "a")
        arguments = ["--header", "X-Optimizely-Strict: true", "--header", "X-Other:a:b", "--proxy", ""]
        assert run("worker", queue.path, "--once", "--allow", server.url(), *arguments).returncode == 0
        (received,) = server.received
        assert (received.header("X-Optimizely-Strict"), received.header("X-Other")) == ("true", "a:b")


def test_one_bad_event_is_buried_alone(queue: QueueFile) -> None:
    with PickyServer(lambda visitors: 400 if "v7" in visitors else 204) as server:
        queue.opened.put([request(server.url, *names(20))])
        assert run("worker", queue.path, "--once", "--allow", server.url).returncode == 1
        assert dict(server.accepted) == dict.fromkeys({*names(20)} - {"v7"}, 1)
        assert [letter.events for letter in queue.opened.dead()] == [1]


# -- queues that cannot be used ----------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_waited_for_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "late.db"
    with PickyServer(accept) as server, start(tmp_path, "worker", path, "--allow", server.url, *QUICK) as worker:
        worker.wait_for("it to say so", lambda: "there is no queue at" in worker.output())
        assert not path.exists()
        with QueueFile(path) as queue:
            queue.put(server.url, "v")
            worker.wait_for("the queue to be empty", lambda: queue.left() == 0)
        assert dict(server.accepted) == {"v": 1}


def test_once_does_not_wait_for_a_file(tmp_path: Path) -> None:
    done = run("worker", tmp_path / "none.db", "--once")
    assert done.returncode == 3
    assert done.stderr.startswith("gevent_dispatcher: there is no queue at ")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("nothing like a queue" * 100)
    done = run("worker", foreign)
    assert done.returncode == 3
    assert "no SQLite file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_foreign_file_in_the_place_of_the_queue_ends_it(tmp_path: Path, queue: QueueFile) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("nothing like a queue" * 100)
    queue.status()
    with start(tmp_path, "worker", queue.path, *QUICK) as worker:
        worker.wait_for("it to begin", lambda: "delivering" in worker.output())
        Path(f"{queue.path}-wal").unlink()  # or SQLite would read the queue from it
        foreign.replace(queue.path)
        assert worker.wait_for_end() == 3
        assert "no SQLite file" in worker.output()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["https://sqs.eu-central-1.amazonaws.com/1/queue.fifo"], "is a FIFO queue"),
        (["https://sqs.eu-central-1.amazonaws.com/1/queue", "--account-id", "1"], "--project-id: is needed, too"),
        (["queue.db", "--dead-letter-url", "https://sqs"], "--dead-letter-url: is for queues of Amazon SQS"),
        (["redis://127.0.0.1"], "a queue is a file"),
        (["queue.db", "--lease", "0.5"], "lease=0.5: must be a number of seconds from 1.0 to 43200"),
        (["queue.db", "--pool-size", "many"], "argument --pool-size: invalid int value"),
        (["queue.db", "--backoff-max", "nan"], "backoff_max=nan"),
        (["queue.db", "--allow", "nonsense"], "destinations: the url's scheme is not http or https"),
        (["queue.db", "--header", "X: a\rb"], "the value of header X has a control character"),
        (["queue.db", "--report-interval", "0"], "--report-interval=0: must be"),
        (["queue.db", "--metrics-host", "127.0.0.1"], "--metrics-host=127.0.0.1: is for metrics"),
        (["queue.db", "--leese", "3"], "unrecognized arguments: --leese 3"),
        ([], "QUEUE"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    done = run("worker", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_which(tmp_path: Path) -> None:
    code = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "botocore" else find(name, package)
from gevent_dispatcher.__main__ import run
sys.exit(run())
"""
    command = [sys.executable, "-c", code, "worker", "https://sqs.eu-west-1.amazonaws.com/123456789012/events"]
    done = subprocess.run(command, env=environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr.endswith("pip install 'gevent-dispatcher[sqs]'\n")


def test_a_header_without_a_colon_is_not_shown(tmp_path: Path) -> None:
    done = run("worker", "queue.db", "--header", "Bearer-s3cret", cwd=tmp_path)
    assert done.returncode == 2
    assert "NAME:VALUE" in done.stderr
    assert "s3cret" not in done.stderr


# -- what is seen of it ------------------------------------------------------------------------------------------------


def test_where_there_is_no_terminal_a_line_is_logged_now_and_then(tmp_path: Path, queue: QueueFile) -> None:
    gate = Gate()
    options = ["--report-interval", "0.05", *QUICK]
    with PickyServer(gate.answer) as server:
        queue.put(server.url, *names(3))
        with start(tmp_path, "worker", queue.path, "--allow", server.url, *options) as worker:
            waits = r"INFO 0 events delivered, 3 in the queue; messages: .* 3 held; 3 requests, .*; 0 events/s"
            worker.wait_for("two lines", lambda: len(re.findall(waits, worker.output())) >= 2)
            gate.opened.set()
            done = r"INFO 3 events delivered, 0 in the queue; messages: 3 acknowledged"
            worker.wait_for("news", lambda: re.search(done, worker.output()))


def test_on_a_terminal_there_is_a_bar(queue: QueueFile) -> None:
    pytest.importorskip("tqdm")
    with PickyServer(accept) as server:
        queue.put(server.url, *names(30))
        terminal = Terminal("-m", "gevent_dispatcher", "worker", str(queue.path), "--once", "--allow", server.url)
        shown = terminal.read()
        assert "100%|" in shown
        assert "30/30" in shown
        assert "0 waiting, 0 dead" in shown
        assert "INFO at the end: 30 events delivered" in shown


def test_on_a_terminal_without_tqdm_there_are_lines(queue: QueueFile) -> None:
    without = (
        "import runpy, sys; sys.modules['tqdm'] = None; runpy.run_module('gevent_dispatcher', run_name='__main__')"
    )
    with PickyServer(accept) as server:
        queue.put(server.url, *names(3))
        terminal = Terminal("-c", without, "worker", str(queue.path), "--once", "--allow", server.url)
        shown = terminal.read()
        assert "gevent-dispatcher[progress]" in shown
        assert "INFO at the end: 3 events delivered" in shown
        assert terminal.process.returncode == 0


def test_the_rate_is_that_since_the_last_line(caplog: pytest.LogCaptureFixture) -> None:
    lines = _progress.LogLines(60, "events")
    with caplog.at_level("INFO", "gevent_dispatcher"):
        lines.show(_progress.Work(1_000_000, None, "all"))
        lines.show(_progress.Work(1_000_000, None, "all"))
    first, second = [float(re.findall(r"([\d.]+) events/s", record.getMessage())[0]) for record in caplog.records]
    assert first > 0
    assert second == 0


def test_it_teaches() -> None:
    shown = run("worker", "--help").stdout
    assert "python -m gevent_dispatcher worker queue.db --once" in shown
    assert "--close-timeout SECONDS" in shown
    listed = run("--help").stdout
    for command in ("worker", "queue", "send", "doctor", "collector"):
        assert re.search(rf"^    {command}\b", listed, re.MULTILINE)


def test_nothing_is_logged_of_what_is_sent(tmp_path: Path, queue: QueueFile) -> None:
    with PickyServer(lambda visitors: 400) as server:
        queue.opened.put([request(server.url + "?token=s3cret", "s3cret-visitor")])
        done = run("worker", queue.path, "--once", "--allow", server.url, "--header", "Authorization: s3cret")
        assert done.returncode == 1
        assert "s3cret" not in done.stdout + done.stderr


def test_workers_share_a_queue(tmp_path: Path, queue: QueueFile) -> None:
    with PickyServer(accept) as server:
        queue.put(server.url, *names(400))
        command = ["worker", queue.path, "--allow", server.url, "--max-held", "20", *QUICK]
        with start(tmp_path / "a", *command) as one, start(tmp_path / "b", *command) as two:
            wait_until(lambda: queue.left() == 0, 30)
            for worker in (one, two):
                worker.wait_for("it to be there", lambda worker=worker: "delivering" in worker.output())
                worker.signal(signal.SIGTERM)
            assert (one.wait_for_end(), two.wait_for_end()) == (0, 0)
        assert dict(server.accepted) == dict.fromkeys(names(400), 1)
