"""`bench`: what it measures, what it prints, and that it leaves nothing behind."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from gevent.server import StreamServer

from gevent_dispatcher import bench
from gevent_dispatcher.bench import _events, _runs
from gevent_dispatcher.bench._endpoint import Endpoint
from gevent_dispatcher.commands import bench as command
from tests.commands import ROOT, environ, run, start
from tests.waiting import wait_until


def row(**changes: Any) -> bench.Row:
    given: dict[str, Any] = {"contestant": "ours", "events": 100, "delivered": 100}
    costs = {"caller_p50_us": 7.0, "caller_p99_us": 1234.0, "cpu_us_per_event": 12.25, "events_per_s": 14_000.0}
    return bench.Row(**{**given, **costs, **changes})


@pytest.mark.slow
def test_each_contestant_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("optimizely")
    runs = bench.Runs(100, tmp_path, rounds=1)
    labels = list(runs.run())
    assert runs.total == len(labels) == 3
    noop, ours, sdk = runs.rows()
    assert [each.contestant for each in (noop, ours, sdk)] == labels
    assert (noop.events, noop.delivered, noop.events_per_s) == (100, None, None)
    assert (ours.events, ours.delivered) == (100, 100)
    # the SDK's has the caller wait for the endpoint, ours does not
    assert sdk.delivered == sdk.events < 100
    assert sdk.caller_p50_us > bench.LATENCY * 1_000 > ours.caller_p50_us
    assert ours.cpu_us_per_event is not None
    assert sdk.cpu_us_per_event is not None
    assert 0 < ours.cpu_us_per_event < sdk.cpu_us_per_event
    assert bench.problems([noop, ours, sdk]) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_all_that_it_started(tmp_path: Path, number: int) -> None:
    with start(tmp_path, "bench", "--events", "100000") as program:
        program.wait_for("a run", lambda: any(b"gevent_dispatcher.bench._" in each for each in children(program.pid)))
        program.signal(number)
        assert program.wait_for_end() == 128 + number
        assert "Traceback" not in program.output()
        wait_until(lambda: not children(program.pid))


def children(pid: int) -> list[bytes]:
    """The command lines of the processes that a process has started, and those of its session."""
    return [command for each in Path("/proc").glob("[0-9]*") for command in child(each, pid)]


def child(process: Path, pid: int) -> list[bytes]:
    with suppress(OSError):
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        if fields[0] != "Z" and str(pid) in (fields[1], fields[3]) and process.name != str(pid):
            return [(process / "cmdline").read_bytes()]
    return []


def test_an_event_is_what_the_sdk_makes() -> None:
    pytest.importorskip("optimizely")
    from tests.benchmarks import payloads

    theirs = payloads.captured()
    assert shape(_events.Event("", 1).params) == shape(theirs)
    assert abs(_events.size() - len(json.dumps(theirs, separators=(",", ":")))) < 100


def shape(value: object) -> object:
    """The names in a payload, and the kinds of what they name."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value)


def test_the_endpoint_counts_what_it_has_answered() -> None:
    server = StreamServer(("127.0.0.1", 0), Endpoint(0.0).serve)
    server.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        for body in (b'{"uuid":1}', b'{"uuid": 2, "x": {"uuid": 3}}', b""):
            connection.request("POST", "/v1/events", body)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (204, b"")
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"3"
    finally:
        connection.close()
        server.stop()


def test_a_client_that_goes_in_the_middle_of_its_request_is_let_go() -> None:
    server = StreamServer(("127.0.0.1", 0), Endpoint(0.0).serve)
    server.start()
    try:
        with closing(socket.create_connection(("127.0.0.1", server.server_port), 10)) as gone:
            gone.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n")
            gone.shutdown(socket.SHUT_WR)
            assert gone.recv(1) == b""
    finally:
        server.stop()


@pytest.mark.slow
def test_it_prints_what_it_measured_and_what_it_means() -> None:
    done = run("bench", "--events", "100")
    assert done.returncode == 0, done.stderr
    assert "100 events of" in done.stdout
    assert re.search(r"^gevent_dispatcher, \w+ +100 +100 ", done.stdout, re.M)


def test_a_run_that_fails_is_said_with_what_it_printed(tmp_path: Path) -> None:
    (tmp_path / "optimizely").mkdir()
    (tmp_path / "optimizely" / "__init__.py").write_text("raise ImportError('broken here')", "utf-8")
    arguments = ["-m", "gevent_dispatcher", "bench", "--events", "100", "--json"]
    given = {**environ(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, *arguments], env=given, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "gevent_dispatcher: a run failed:\n" in done.stderr
    assert "broken here" in done.stderr


def test_without_the_sdk_it_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench.Runs(100, tmp_path, rounds=2).total
    monkeypatch.setattr(_runs, "find_spec", lambda name: None)
    assert bench.Runs(100, tmp_path, rounds=2).total == whole - 1 == 4


@pytest.mark.parametrize(("rows", "code"), [([row()], 0), ([row(delivered=99)], 1)])
def test_a_report_names_problems(rows: list[bench.Row], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert command._report(rows, argparse.Namespace(json=True, events=100)) == code
    said = capsys.readouterr()
    assert json.loads(said.out)["problems"] == bench.problems(rows)
    assert said.err == "".join(f"gevent_dispatcher: {each}\n" for each in bench.problems(rows))


def test_events_that_are_missing_are_a_problem() -> None:
    assert bench.problems([row(), row(delivered=None)]) == []
    assert bench.problems([row(delivered=99)]) == ["ours: only 99 of 100 events were delivered"]


def test_the_table_is_aligned() -> None:
    lines = bench.as_table([row(), row(contestant="no-op", cpu_us_per_event=None, events_per_s=None)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["ours", "100", "100", "7.0", "1234", "12.2", "14000"]
    assert lines[2].split()[-2:] == ["-", "-"]


def test_what_a_program_reads() -> None:
    shown = json.loads(bench.as_json([row(delivered=99)], 100))
    assert shown["rows"][0]["caller_p50_us"] == 7.0
    assert shown["problems"] == ["ours: only 99 of 100 events were delivered"]
    assert shown["conditions"]["events"] == 100


@pytest.mark.parametrize("events", ["99", "100001"])
def test_a_number_of_events_that_makes_no_sense_is_refused(events: str) -> None:
    done = run("bench", "--events", events)
    assert done.returncode == 2
    assert f"--events={events}: must be from 100 to 100000" in done.stderr
