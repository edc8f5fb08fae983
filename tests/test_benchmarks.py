"""The benchmarks stay alive: a tiny form of them runs, and counts right. Nothing here looks at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.metrics import METRICS
from tests.benchmarks.programs import ROOT
from tests.benchmarks.scale import Costs, Load, Settings, predict, suggest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]

COSTS = Costs(per_byte=0.008, per_event=2.0, per_request=150.0, event_bytes=1_000)


def run(*arguments: str, module: str = "tests.benchmarks") -> str:
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module", params=["compiled", "--no-compiler"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a tiny run prints, and its JSON."""
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    chosen = ["--contestants=noop,ours,raw_merged", "--only=caller,burst,steady", f"--json={path}"]
    flags = [] if request.param == "compiled" else [request.param]
    printed = run("--short", *chosen, *flags)
    return printed, json.loads(path.read_text("utf-8"))


def test_the_tables_have_a_row_for_each_contestant(result: tuple[str, dict[str, Any]]) -> None:
    printed, _ = result
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")]
    for label in ("no-op", "**gevent_dispatcher**", "limit: raw sockets, merged"):
        assert label in rows
    assert "failed" not in printed


def test_every_event_of_ours_is_counted_once(result: tuple[str, dict[str, Any]]) -> None:
    _, figures = result
    (burst,) = figures["runs"]["burst|0 ms|ours"]
    assert burst["events"] == burst["sent"] == METRICS["burst"].short["count"]
    assert burst["requests"] == burst["sent"] / 100
    (steady,) = figures["runs"]["steady||ours"]
    assert steady["events"] == steady["sent"]


def test_earlier_runs_are_counted_too(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    chosen = ["--short", "--contestants=noop", "--only=caller"]
    run(*chosen, f"--json={first}")
    run(*chosen, f"--add={first}", f"--json={second}")
    earlier = json.loads(first.read_text("utf-8"))
    assert json.loads(second.read_text("utf-8"))["runs"]["caller||noop"][1:] == earlier["runs"]["caller||noop"]
    first.write_text(json.dumps({**earlier, "environment": {}}), "utf-8")
    assert "other versions" in refused(*chosen, f"--add={first}")
    assert "is no file of --json" in refused(*chosen, f"--add={tmp_path}")


def refused(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 2
    return ended.stderr


def test_ours_never_switches_in_the_caller(result: tuple[str, dict[str, Any]]) -> None:
    _, figures = result
    assert figures["medians"]["caller"][""]["ours"]["switches"] == 0


def test_the_web_benchmark_delivers_every_event(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    run("--short", "--only=web", "--contestants=ours", f"--json={path}")
    healthy = json.loads(path.read_text("utf-8"))["medians"]["web"]["5 ms"]["ours"]
    assert healthy["failed"] == 0
    assert healthy["share_in"] == 1.0


def test_where_the_cost_goes_is_told_for_both_encoders() -> None:
    printed = run("--turns=1", "--length=60", module="tests.benchmarks.where")
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 14
    assert rows.count("encoding the visitors") == 2


def test_what_is_missing_is_named() -> None:
    code = "import sys; sys.modules['ldclient'] = None; from tests.benchmarks.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--short", "--only=idle", "--contestants=launchdarkly"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "launchdarkly: not installed: ldclient" in ended.stdout


def test_the_model_keeps_to_the_settings() -> None:
    told = predict(Load(2_000, 0.05, 1_000), Settings(), COSTS)
    assert told.events_per_request == 100
    assert told.requests_per_s == 20
    assert told.senders_busy == pytest.approx(1.0)
    assert predict(Load(10, 0.05, 1_000), Settings(), COSTS).events_per_request == 11


@pytest.mark.parametrize("rate", [10, 1_000, 10_000])
@pytest.mark.parametrize("latency", [0.005, 1.0, 5.0])
def test_what_the_model_suggests_carries_the_load(rate: int, latency: float) -> None:
    load = Load(rate, latency, 1_000)
    settings = suggest(load)
    assert predict(load, settings, COSTS).capacity >= rate
    assert predict(load, settings, COSTS).pending <= settings.buffer_events
