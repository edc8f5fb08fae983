"""Real servers and programs end, and nothing is lost or sent twice: one test for each row of `tests.lifetimes`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lifetimes._processes import ROOT, UWSGI_BINARY
from tests.lifetimes._rows import SDK, UWSGI_EARLY, UWSGI_LATE, Row, rows

# How many rows are run at once.
JOBS = 3

# What all rows together may take, and their runner to end them, in seconds.
TIMEOUT, MERCY = 600, 60

# The first test waits for all rows.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(TIMEOUT + 2 * MERCY)]


def _as_parameter(row: Row) -> Any:
    needs_uwsgi = row.launcher in (UWSGI_EARLY, UWSGI_LATE)
    absent = pytest.mark.skipif(not UWSGI_BINARY.exists(), reason="uWSGI is not installed: pip install uwsgi")
    return pytest.param(row.name, id=_id(row), marks=absent if needs_uwsgi else ())


def _id(row: Row) -> str:
    return re.sub(r"[^\w.]+", "-", row.name)


ROWS = [row for row in rows() if row.contestant != SDK]


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of the rows that were selected, by their names."""
    ids = {item.name for item in request.session.items if item.path == Path(__file__)}
    chosen = [row.name for row in ROWS if any(f"[{_id(row)}]" in each for each in ids)]
    patterns = [f"--only=^{re.escape(name)}$" for name in chosen]
    return {result["name"]: result for result in _run(patterns, tmp_path_factory.mktemp("lifetimes"))}


def _run(options: list[str], directory: Path) -> list[dict[str, Any]]:
    """Run rows in a process of their own, which is not patched and knows how to end all that it starts."""
    command = [sys.executable, "-m", "tests.lifetimes", "--json", f"--jobs={JOBS}", *options]
    errors = directory / "errors.txt"
    with errors.open("wb") as stderr:
        runner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr)
        try:
            output = runner.communicate(timeout=TIMEOUT)[0]
        finally:
            runner.terminate()
            runner.wait(MERCY)
    assert output, errors.read_text()
    return json.loads(output)  # type: ignore[no-any-return]  # a list of objects


@pytest.mark.parametrize("name", [_as_parameter(row) for row in ROWS])
def test_nothing_is_lost_and_nothing_is_sent_twice(name: str, results: dict[str, Any]) -> None:
    result = results[name]

    assert not result["problem"], result["output"]
    assert result["duplicated"] == 0
    assert result["dispatched"] - result["delivered"] <= result["may_lose"]
