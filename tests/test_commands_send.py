"""`python -m gevent_dispatcher send`: replays events, and loses none to a bad line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any, Iterator

import gevent
import pytest

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.commands._lines import BadLine, Lines, event_of
from gevent_dispatcher.commands._replay import ROOM_BYTES, ROOM_EVENTS, Replay
from gevent_dispatcher.testing import FakeTransport
from tests.commands import QueueFile, environ, run, start
from tests.events import names, params, visitor
from tests.hostile import HostileServer, refusing_port
from tests.picky import Gate, PickyServer
from tests.waiting import wait_until

URL = "http://127.0.0.1:9/v1/events"


@pytest.fixture
def server() -> Iterator[PickyServer]:
    with PickyServer(lambda visitors: 204) as running:
        yield running


def ndjson(*visitors: str) -> str:
    """The bare params of an event on each line."""
    return "".join(json.dumps(params(visitor(name))) + "\n" for name in visitors)


def whole(url: str, name: str, **others: Any) -> str:
    return json.dumps({"url": url, "params": params(visitor(name)), **others}) + "\n"


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The counts that were printed, without what is 0."""
    found: dict[str, Any] = json.loads(done.stdout)
    found["dropped"] = {reason: count for reason, count in found["dropped"].items() if count}
    return {name: value for name, value in found.items() if value}


# -- where lines come from, and where events go ------------------------------------------------------------------------


def test_a_file_is_sent_merged(tmp_path: Path, server: PickyServer) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(ndjson(*names(1_000)))
    done = run("send", file, "--url", server.url)
    assert done.returncode == 0
    assert dict(server.accepted) == dict.fromkeys(names(1_000), 1)
    assert len(server.requests) <= 11
    assert done.stdout.startswith("1000 lines, 0 of them bad; 1000 of 1000 events delivered in ")
    assert done.stdout.endswith("; dropped: none\n")


@pytest.mark.parametrize("file", [[], ["-"]])
def test_standard_input_is_sent(server: PickyServer, file: list[str]) -> None:
    done = run("send", *file, "--url", server.url, "--json", input=ndjson(*names(30)))
    assert done.returncode == 0
    assert dict(server.accepted) == dict.fromkeys(names(30), 1)
    assert counts(done) == {"lines": 30, "dispatched": 30, "delivered": 30, "requests": 1}


def test_a_line_may_say_where_it_goes_and_how() -> None:
    with HostileServer() as server:
        lines = [
            whole(server.url("status/204"), "a", headers={"X-Mine": "1"}),
            whole(server.url("status/204"), "b", http_verb="POST", headers=None),
            json.dumps({"url": server.url("status/204"), "params": {"a": 1}, "http_verb": "GET"}) + "\n",
        ]
        done = run("send", input="".join(lines))
        assert done.returncode == 0
        received = sorted(server.received, key=lambda each: (each.verb, each.header("X-Mine") or ""))
        assert [(each.verb, each.target, each.header("X-Mine")) for each in received] == [
            ("GET", "/status/204?a=1", None),
            ("POST", "/status/204", None),
            ("POST", "/status/204", "1"),
        ]


def test_events_go_on_while_standard_input_is_silent(server: PickyServer) -> None:
    command = [sys.executable, "-m", "gevent_dispatcher", "send", "--url", server.url, "--flush-interval", "0"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environ(), **pipes) as process:  # type: ignore[call-overload]
        for name in names(3):
            process.stdin.write(ndjson(name).encode())
            process.stdin.flush()
            wait_until(lambda name=name: server.accepted[name] == 1, 30)  # type: ignore[misc]
        process.stdin.close()
        assert process.wait(30) == 0


def test_into_a_queue_and_out_of_it_again(tmp_path: Path, server: PickyServer) -> None:
    path = tmp_path / "queue.db"
    done = run("send", "--url", server.url, "--to", path, "--json", input=ndjson(*names(250)))
    assert done.returncode == 0
    assert counts(done)["delivered"] == 250
    assert not server.requests
    assert oct(path.stat().st_mode)[-3:] == "600"
    with QueueFile(path) as queue:
        assert (queue.status().events, queue.status().waiting) == (250, counts(done)["requests"])
    assert run("worker", path, "--once", "--allow", server.url).returncode == 0
    assert dict(server.accepted) == dict.fromkeys(names(250), 1)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_bad_lines_are_named_and_cost_no_other(server: PickyServer) -> None:
    lines = [
        ndjson("a"),
        "nonsense with a s3cret\n",
        "\n",
        '["s3cret"]\n',
        '{"s3cret": 1}\n',
        ndjson("b"),
        '{"visitors": [{"visitor_id": NaN}]}\n',
        '{"params": {}, "s3cret": 1}\n',
        "\xff",
        "\n",
        whole("ftp://s3cret.example", "c"),
        ndjson("d").rstrip("\n"),
    ]
    done = run("send", "--url", server.url, "--json", input="".join(lines).encode("latin-1"))
    assert done.returncode == 1
    assert dict(server.accepted) == dict.fromkeys("abd", 1)
    assert counts(done) == {
        "lines": 11,
        "bad": 6,
        "dispatched": 4,
        "delivered": 3,
        "dropped": {"invalid": 1},
        "requests": counts(done)["requests"],
    }
    named = [line.split(" WARNING ")[1] for line in done.stderr.splitlines() if " WARNING line " in line]
    assert named == [
        "line 2: it is not JSON",
        "line 4: it is not a JSON object",
        "line 5: it is neither the params of an event nor an object of url, params, http_verb and headers",
        "line 7: it is not JSON",
        "line 8: it is neither the params of an event nor an object of url, params, http_verb and headers",
        "line 9: it is not JSON",
        "line 10: what it holds cannot be sent, see below",
    ]
    assert "s3cret" not in done.stderr


def test_very_many_bad_lines_do_not_fill_the_log(server: PickyServer) -> None:
    done = run("send", "--url", server.url, "--json", input="nonsense\n" * 1_000 + ndjson("a"))
    assert (done.returncode, counts(done)["bad"], server.accepted["a"]) == (1, 1_000, 1)
    assert done.stderr.count("WARNING") == 21


def test_a_line_without_a_url_is_bad() -> None:
    done = run("send", input=ndjson("a"))
    assert done.returncode == 1
    assert "line 1: it names no url, and there is no --url" in done.stderr


def test_what_is_dropped_is_counted_by_reason() -> None:
    with PickyServer(lambda visitors: 400 if "v3" in visitors else 204) as server:
        done = run("send", "--url", server.url, "--json", input=ndjson(*names(10)))
        assert done.returncode == 1
        assert counts(done)["dropped"] == {"rejected": 1}
        assert dict(server.accepted) == dict.fromkeys({*names(10)} - {"v3"}, 1)
        done = run("send", "--url", server.url, input=ndjson("v3"))
        assert done.stdout.endswith("; dropped: 1 rejected\n")


def test_what_cannot_be_delivered_in_time_is_counted() -> None:
    with refusing_port() as port:
        options = ["--delivery-timeout", "0.3", "--backoff-base", "0.01", "--backoff-max", "0.05"]
        done = run("send", "--url", f"http://127.0.0.1:{port}/", "--json", *options, input=ndjson("a"))
    assert (done.returncode, counts(done)["dropped"]) == (1, {"expired": 1})


def test_no_events_at_all(server: PickyServer) -> None:
    done = run("send", "--url", server.url, "--json", input="\n")
    assert (done.returncode, counts(done)) == (0, {"lines": 1})


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["none.ndjson"], 3, "No such file"),
        (["."], 3, "Is a directory"),
        (["--to", "https://sqs.eu-central-1.amazonaws.com/1/queue.fifo"], 2, "is a FIFO queue"),
        (["--to", "queue.db", "--region", "eu-west-1"], 2, "--region: is for queues of Amazon SQS"),
        (["--url", "nonsense"], 2, "the url's scheme is not http or https"),
        (["--batch-size", "0"], 2, "batch_size=0"),
        (["--to", "queue.db", "--read-timeout", "3"], 2, "read_timeout: would be ignored beside transport="),
        (["--to", "none/queue.db"], 3, "its directory does not exist"),
        (["--speed", "3"], 2, "unrecognized arguments"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments: list[str], code: int, complaint: str, tmp_path: Path) -> None:
    done = run("send", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_standard_input_that_is_closed_is_said() -> None:
    command = [sys.executable, "-m", "gevent_dispatcher", "send", "--url", URL]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command], env=environ(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr


def test_a_foreign_file_is_no_queue(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("nothing like a queue" * 100)
    done = run("send", "--to", foreign, "--url", URL, input=ndjson("a"))
    assert (done.returncode, foreign.read_text()) == (3, "nothing like a queue" * 100)


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_reading_and_what_is_pending_is_sent(server: PickyServer, number: int) -> None:
    command = [sys.executable, "-m", "gevent_dispatcher", "send", "--url", server.url, "--json"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environ(), **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(ndjson(*names(150)).encode())
        process.stdin.flush()
        wait_until(lambda: len(server.accepted) >= 100, 30)
        process.send_signal(number)  # with the pipe still open
        shown = json.loads(process.stdout.read())
        assert process.wait(10) == 128 + number
    assert (shown["lines"], shown["delivered"]) == (150, 150)
    assert dict(server.accepted) == dict.fromkeys(names(150), 1)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    gate = Gate()
    file = tmp_path / "events.ndjson"
    file.write_text(ndjson(*names(100)))
    with PickyServer(gate.answer) as server:
        with start(tmp_path, "send", file, "--url", server.url, "--close-timeout", 60) as sending:
            sending.wait_for("a request", lambda: gate.waiting == 1)
            sending.signal(signal.SIGTERM)
            begin = monotonic()
            sending.signal(signal.SIGINT)
            assert sending.wait_for_end() in (128 + signal.SIGTERM, 128 + signal.SIGINT)
            assert monotonic() - begin < 2
        assert "ended at once; 100 events were pending" in sending.output()
        gate.opened.set()


# -- no faster than events go ------------------------------------------------------------------------------------------


def test_reading_waits_while_many_events_are_pending(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(ndjson(*names(20_000)))
    go_on = gevent.event.Event()
    slow = FakeTransport(before=lambda _: go_on.wait(60))
    dispatcher = GeventEventDispatcher(transport=slow, buffer_events=ROOM_EVENTS, buffer_bytes=ROOM_BYTES)
    with file.open("rb", buffering=0) as opened:
        lines = Lines(opened.fileno())
        replay = Replay(dispatcher, lines, URL)
        running = gevent.spawn(replay.run)
        wait_until(lambda: dispatcher.stats().pending == 10_000, 30)
        for _ in range(100):
            gevent.idle()
        assert (lines.number, dispatcher.stats().pending) == (10_001, 10_000)
        go_on.set()
        assert running.get(timeout=60) is None
    assert (replay.result().lines, replay.result().stats.delivered) == (20_000, 20_000)
    assert replay.result().is_complete
    dispatcher.close(1)


# -- lines -------------------------------------------------------------------------------------------------------------


def lines_of(content: bytes, tmp_path: Path) -> list[bytes | None]:
    file = tmp_path / "lines"
    file.write_bytes(content)
    with file.open("rb", buffering=0) as opened:
        return list(Lines(opened.fileno()))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"a", b"a\n", b"a\nb", b"a\n\nb\n", b"\r\n", b"x" * 65_536 + b"\ny", (b"z" * 999 + b"\n") * 500],
)
def test_lines_are_what_a_file_gives(content: bytes, tmp_path: Path) -> None:
    expected = content.split(b"\n")
    assert lines_of(content, tmp_path) == (expected[:-1] if expected[-1] == b"" else expected)


def test_a_line_that_is_too_long_is_not_kept(tmp_path: Path) -> None:
    long = b"x" * (17 * 1024 * 1024)
    assert lines_of(b"a\n" + long + b"\nb\n" + long, tmp_path) == [b"a", None, b"b", None]


def test_a_pipe_that_trickles() -> None:
    reader, writer = os.pipe()
    lines = Lines(reader)
    reading = gevent.spawn(lambda: list(lines))
    for piece in (b"a", b"b\nc", b"\n", b"d"):
        os.write(writer, piece)
        gevent.sleep(0)
    os.close(writer)
    assert reading.get(timeout=10) == [b"ab", b"c", b"d"]
    os.close(reader)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="looks for a file of Linux that cannot be read")
def test_a_file_that_cannot_be_read_on_is_said_after_the_counts(server: PickyServer) -> None:
    done = run("send", "--url", server.url, "--json", "/proc/self/mem")
    assert done.returncode == 3
    assert counts(done) == {}
    assert "gevent_dispatcher: [Errno 5] Input/output error" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_line_that_is_too_long_is_bad() -> None:
    with pytest.raises(BadLine, match="longer than 16777216 bytes"):
        event_of(None, "http://h/")


def test_a_byte_order_mark_is_no_error() -> None:
    event = event_of(b'\xef\xbb\xbf{"visitors": []}', URL)
    assert event is not None
    assert (event.params, event.url, event.http_verb, event.headers) == ({"visitors": []}, URL, "POST", None)


def test_a_line_that_is_nested_too_deeply_is_bad() -> None:
    with pytest.raises(BadLine, match="it is not JSON"):
        event_of(b"[" * 100_000, URL)


def test_it_teaches() -> None:
    shown = run("send", "--help").stdout
    assert "send events.ndjson --to queue.db" in shown
    assert "--delivery-timeout SECONDS" in shown
