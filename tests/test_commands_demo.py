"""`demo`: the demonstration as its reader runs it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import gevent
import pytest

from gevent_dispatcher import demo
from gevent_dispatcher._programs import Problem
from gevent_dispatcher.collector import Collector
from gevent_dispatcher.commands import demo as command
from gevent_dispatcher.demo import _contest, _driver
from gevent_dispatcher.demo._driver import Driver
from tests.commands import ROOT, environ, run
from tests.hostile import HostileServer
from tests.waiting import wait_until

pytest.importorskip("flask")
pytest.importorskip("gunicorn")
pytest.importorskip("optimizely")

MARK = "DEMO_TEST_MARK"
WAYS: dict[str, list[str]] = {"loaded in the workers": [], "preloaded": ["--preload"]}

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


class Demo:
    """A demonstration in a process, with a mark that all its processes inherit.

    Args:
        cwd: where it runs.
        arguments: of the command.
    """

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gevent_dispatcher", "demo", *arguments],
            env={**environ(), MARK: self.mark},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.output = self.errors = ""

    def wait(self) -> Demo:
        """Wait for its end."""
        try:
            self.output, self.errors = self.process.communicate(timeout=200)
        finally:
            self.process.kill()
        return self

    def living(self) -> list[str]:
        """The command lines of its processes that live."""
        return [command for each in Path("/proc").glob("[0-9]*") for command in self._marked(each)]

    def _marked(self, process: Path) -> list[str]:
        try:
            if f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes():
                return [(process / "cmdline").read_bytes().replace(b"\0", b" ").decode()]
        except OSError:
            pass  # it has ended, or belongs to someone else
        return []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Demo]:
    """A demonstration of each way, run at the same time."""
    demos = {way: Demo(tmp_path_factory.mktemp("demo"), "--requests", "60", "--json", *WAYS[way]) for way in WAYS}
    gevent.joinall([gevent.spawn(each.wait) for each in demos.values()], raise_error=True)
    return demos


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first waits for both
@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_ours_is_lost_or_duplicated(finished: dict[str, Demo], way: str) -> None:
    demo = finished[way]
    assert demo.process.returncode == 0, demo.errors
    shown: dict[str, Any] = json.loads(demo.output)
    assert [each["answered"] for each in shown["rows"]] == [60, 60, 60]
    ours = shown["rows"][0]
    assert (ours["dispatched"], ours["delivered"], ours["lost"], ours["duplicated"]) == (120, 120, 0, 0)
    assert shown["problems"] == []
    assert demo.living() == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_no_process_behind_when_it_is_stopped(tmp_path: Path, number: int) -> None:
    demo = Demo(tmp_path, "--requests", "100000")
    try:
        wait_until(lambda: sum("gunicorn" in each for each in demo.living()) >= 3, timeout=60)
    finally:
        demo.process.send_signal(number)
        demo.wait()
    assert demo.process.returncode == 128 + number, demo.errors
    assert "Traceback" not in demo.errors
    wait_until(lambda: demo.living() == [], timeout=10)


def row(**changes: Any) -> demo.Row:
    given = {"contestant": "ours", "answered": 5, "failed": 0, "p50_ms": 1.0, "p99_ms": 12.5}
    return demo.Row(**{**given, "dispatched": 10, "delivered": 10, "duplicated": 0, "lost": 0, **changes})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(), row(lost=9, delivered=1)], []),
        ([row(lost=1, delivered=9)], ["ours: 1 events lost, 0 duplicated"]),
        ([row(duplicated=2)], ["ours: 0 events lost, 2 duplicated"]),
        ([row(), row(contestant="other", failed=3)], ["other: 3 requests failed"]),
    ],
)
def test_what_makes_it_fail(rows: list[demo.Row], said: list[str]) -> None:
    assert demo.problems(rows) == said


def test_the_table_is_aligned() -> None:
    lines = demo.as_table([row(), row(contestant="another one", dispatched=123_456)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split() == ["another", "one", "5", "1.0", "12.5", "123456", "10", "0", "0"]


def test_without_the_extra_it_says_which(tmp_path: Path) -> None:
    code = "import sys; sys.modules['flask'] = None; from gevent_dispatcher.__main__ import run; sys.exit(run())"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo"], env=environ(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert done.stderr == (
        "gevent_dispatcher: not installed: flask; pip install 'gevent-dispatcher[examples]' brings them\n"
    )


def test_a_number_of_requests_that_makes_no_sense_is_refused() -> None:
    done = run("demo", "--requests", "0")
    assert done.returncode == 2
    assert "--requests=0: must be at least 1" in done.stderr


def test_an_application_that_does_not_start_is_said_with_what_it_printed(tmp_path: Path) -> None:
    (tmp_path / "flask.py").write_text("raise ImportError('broken here')", "utf-8")
    given = {**environ(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    arguments = ["-m", "gevent_dispatcher", "demo", "--requests", "10"]
    done = subprocess.run([sys.executable, *arguments], env=given, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "gevent_dispatcher: a request should dispatch 2 events; it said ''" in done.stderr
    assert "broken here" in done.stderr


def test_the_report_names_problems_and_failures(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    options = argparse.Namespace(json=False, preload=True)
    assert command._report([row(lost=1, delivered=9)], options) == 1
    said = capsys.readouterr()
    assert "gunicorn -k gevent --preload, 2 workers, stopped by SIGTERM at the end." in said.out
    assert said.err == "gevent_dispatcher: ours: 1 events lost, 0 duplicated\n"
    command._name([f"ours: /{number}" for number in range(7)])
    assert caplog.messages == [f"ours: /{number}" for number in range(5)]


def test_requests_that_fail_are_failures_and_the_next_go_on() -> None:
    with HostileServer(default="status/500") as refusing, HostileServer(default="reset_before") as broken:
        for server, said in ((refusing, ": 500 b'hostile'"), (broken, "ConnectionResetError")):
            driver = Driver(server.port, "v", 4)
            driver.run()
            assert (driver.latencies, len(driver.failures)) == ([], 4)
            assert all(said in each for each in driver.failures)


def test_no_request_begins_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_driver, "DRIVING", -1.0)
    driver = Driver(1, "v", 4)
    driver.run()
    assert (driver.latencies, driver.failures) == ([], [])


def test_events_that_never_stop_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_contest, "PATIENCE", 0.0)
    with Collector() as collector, pytest.raises(Problem, match="events still arrive"):
        _contest._Collector(collector.url).counts()


def test_where_nothing_was_answered_no_time_is_shown() -> None:
    assert _contest._percentile([], 99) == 0.0
