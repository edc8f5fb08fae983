"""The matrix of versions: what its table covers, and that a row cannot pass without having been tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.matrix import _interpreters
from tests.matrix.__main__ import main
from tests.matrix._print import as_markdown
from tests.matrix._processes import Failed, run
from tests.matrix._result import ABSENT, FAILED, NOT_INSTALLED, PASSED, Result
from tests.matrix._rows import IMPOSSIBLE, NEWEST, ROWS, rows
from tests.waiting import wait_until
from tests.wheels import ROOT

SETUP = (ROOT / "setup.py").read_text("utf-8")
PYTHONS = re.findall(r"Programming Language :: Python :: (3\.\d+)", SETUP)
KEPT = ROOT / "tests" / "matrix" / "results.md"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def pinned(package: str) -> list[tuple[int, ...]]:
    return [numbers(row.pins()[package]) for row in ROWS if row.pins()[package] != NEWEST]


@pytest.mark.parametrize("python", PYTHONS)
def test_each_interpreter_has_an_oldest_and_a_newest_row(python: str) -> None:
    own = [row for row in ROWS if row.python == python]
    assert any(row.gevent == NEWEST and row.urllib3 == NEWEST for row in own)
    assert any(row.gevent != NEWEST and numbers(row.urllib3)[0] == 1 for row in own)


def test_the_versions_that_users_may_have_are_there() -> None:
    assert {2, 3, 4, 5} == {major for major, *_ in pinned("optimizely-sdk")}
    assert {1, 2, 3} <= {major for major, *_ in pinned("flask")}
    assert {19, 20} <= {major for major, *_ in pinned("gunicorn")}


@pytest.mark.parametrize("package", ["gevent", "urllib3"])
def test_the_least_version_that_is_asked_for_is_run(package: str) -> None:
    found = re.search(rf'"{package}>=([\d.]+)"', SETUP)
    assert found
    least = numbers(found[1])
    assert min(pinned(package))[: len(least)] == least


def test_the_kept_table_is_of_these_rows_and_all_passed() -> None:
    kept = KEPT.read_text("utf-8")
    lines = [line for line in kept.splitlines() if re.match(r"\| \d", line)]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == [row.name for row in ROWS]
    assert all(line.endswith("| passed |") for line in lines)
    for row, line in zip(ROWS, lines):
        assert [cell for cell in row.pins().values() if cell != NEWEST and f"| {cell} |" not in line] == []
    for each in IMPOSSIBLE:
        assert f"{each.requirement} on CPython {each.python}: {each.reason}" in kept


def test_the_readmes_table_is_the_kept_one() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = re.findall(r"^\| .+ \|$", KEPT.read_text("utf-8"), re.M)
    assert len(table) == len(ROWS) + 2
    assert "\n".join(table) in readme


def test_the_interpreter_that_runs_this_is_found_under_its_version() -> None:
    version = "{}.{}".format(*sys.version_info)
    path = _interpreters.find(version)
    if path is None:
        pytest.skip(f"neither the search path nor pyenv has a python{version}")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith(f"Python {version}.")


def test_an_interpreter_that_is_not_there_is_not_found() -> None:
    assert _interpreters.find("3.0") is None


@pytest.mark.unmeasured("a step finds no plugin of ours, and coverage says so")
def test_a_step_that_says_no_fails_with_what_it_printed() -> None:
    with pytest.raises(Failed) as failed:
        run([sys.executable, "-c", "print('one test failed'); raise SystemExit(1)"], timeout=60)
    assert failed.value.output == "one test failed\n\nexit code 1"


def test_a_step_ends_within_its_time_with_what_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pid)!r}, "w").write(str(child.pid))
child.wait()
"""
    with pytest.raises(Failed) as failed:
        run([sys.executable, "-c", code], timeout=3)
    assert failed.value.output.endswith("not within 3 s")
    wait_until(lambda: not is_running(int(pid.read_text())))


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.unmeasured("a step finds no plugin of ours, and coverage says so")
def test_a_step_sees_no_path_but_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run([sys.executable, "-c", "import os; print(os.environ.get('PYTHONPATH'))"], timeout=60) == "None\n"


VERDICTS = [(PASSED, False), (FAILED, True), (NOT_INSTALLED, True), (ABSENT, False)]


@pytest.mark.parametrize(("verdict", "fails"), VERDICTS)
def test_what_was_not_tested_has_not_passed(verdict: str, fails: bool) -> None:
    result = Result(ROWS[0], verdict)
    assert result.has_failed is fails
    assert f"| {verdict} |" in as_markdown([result], {})
    assert Result(ROWS[0]).has_failed


def test_rows_that_were_not_run_keep_their_place_in_the_table() -> None:
    first, second, third = (Result(row, PASSED) for row in ROWS[:3])
    kept = as_markdown([first, third], {})
    again = as_markdown([second], {}, kept.replace("| passed |", "| passed before |"))
    found = re.findall(r"^\| (\d.*?) \|.*\| (passed.*?) \|$", again, re.M)
    names = [row.name for row in ROWS[:3]]
    assert found == list(zip(names, ["passed before", "passed", "passed before"]))


def test_what_each_pytest_says_is_added_up() -> None:
    result = Result(ROWS[0])
    result.count("....\n4 passed, 2 skipped in 0.10s\n")
    result.count("..\n2 passed, 6 deselected in 0.10s\n")
    assert (result.tests, result.skipped) == (6, 2)


def test_what_cannot_be_installed_is_said_and_what_can_after_all_too() -> None:
    each = IMPOSSIBLE[0]
    assert f"- {each.requirement} on CPython {each.python}: {each.reason}." in as_markdown([], {each: False})
    assert "can be installed now" in as_markdown([], {each: True})
    assert "not tried here" in as_markdown([], {each: None})


def test_the_command_lists_rows_and_refuses_a_name_that_none_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--quick"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [row.name for row in rows(True)]
    assert main(["--only", "no such row"]) == 2
