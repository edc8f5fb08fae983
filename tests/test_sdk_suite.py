"""The command that runs the SDK's own tests with ours: what it takes for a failure, on tests of a handful of lines."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.sdk_suite._kept import RESULTS, Row, with_row

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")

_HEAD = """
import unittest
from optimizely import optimizely
from optimizely.event.event_processor import BaseEventProcessor, BatchEventProcessor

class OptimizelyTest(unittest.TestCase):
"""

FINE = """
    def test_the_clients_processor_takes_its_events(self):
        client = optimizely.Optimizely("{}", skip_json_validation=True)
        self.assertIsInstance(client.event_processor, BaseEventProcessor)
"""
BROKEN_WITH_OURS = """
    def test_there_is_a_thread(self):
        processor = BatchEventProcessor(None, None, False)
        self.assertFalse(processor.is_running)
"""
OURS = """
    def test_the_client_has_ours_whichever_of_the_built_in_ones_is_the_default(self):
        client = optimizely.Optimizely("{}", skip_json_validation=True)
        self.assertIn("GeventEventProcessor", [each.__name__ for each in type(client.event_processor).__mro__])
"""
LEFT_OUT = """
    def test_init__invalid_event_dispatcher__logs_error(self):
        BatchEventProcessor(None, None, False).is_running
"""
BROKEN = """
    def test_nonsense(self):
        self.assertEqual(1, 2)
"""


def suite(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.sdk_suite", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout + done.stderr


def checkout(tmp_path: Path, body: str) -> str:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "test_optimizely.py").write_text(_HEAD + body)
    return str(tmp_path)


def test_what_fails_only_with_ours_is_a_failure(tmp_path: Path) -> None:
    ended, output = suite("--tests", checkout(tmp_path, FINE + BROKEN + BROKEN_WITH_OURS))
    words = ["3 tests, 1 passed", "1 failed with the built-in ones, too", "1 failed with ours alone", "is_running"]
    assert [each for each in words if each not in output] == [], output
    assert ended == 1


def test_ours_takes_the_defaults_place_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    ended, output = suite("--tests", checkout(tmp_path, OURS + LEFT_OUT))
    words = ["2 tests, 1 passed", "1 skipped: asserts that a wrong component", "0 failed with ours alone"]
    assert [each for each in words if each not in output] == [], output
    assert ended == 0


def test_tests_that_cannot_be_fetched_are_skipped_with_the_reason(tmp_path: Path) -> None:
    ended, output = suite("--git", f"file://{tmp_path}/nothing", "--sdk", "5.7.0")
    assert ended == 0
    assert "skipped: the tests of SDK 5.7.0 could not be fetched" in output
    assert "--tests" in output


def test_a_directory_without_them_is_told(tmp_path: Path) -> None:
    ended, output = suite("--tests", str(tmp_path))
    assert ended == 2
    assert "no checkout of the SDK's repository" in output


def test_a_run_takes_the_place_of_an_earlier_one_of_the_same_versions() -> None:
    first = Row("5.4.0", "5.4.0", "3.8", 9, 7, 2, 0, 0)
    older = Row("3.10.0", "3.10.0", "3.9", 3, 3, 0, 0, 0)
    kept = ""
    for row in (first, older, first._replace(passed=6, guilty=1)):
        kept = with_row(kept, row, Counter({"it asserts what ours has not": 2}))
    assert re.findall(r"^\| (\d.+) \|$", kept, re.M) == [
        "3.10.0 | 3.10.0 | 3.9 | 3 | 3 | 0 | 0 | 0",
        "5.4.0 | 5.4.0 | 3.8 | 9 | 6 | 2 | 0 | 1",
    ]
    assert kept.count("- 2: it asserts what ours has not.") == 1


def test_what_is_kept_has_no_failure_of_ours_and_the_readme_tells_its_newest() -> None:
    rows = [
        line.strip("| ").split(" | ") for line in RESULTS.read_text("utf-8").splitlines() if re.match(r"\| \d", line)
    ]
    assert len(rows) > 1
    assert {row[-1] for row in rows} == {"0"}
    own = [row for row in rows if row[0] == row[1]]
    sdk, _, _, tests, passed = own[-1][:5]
    assert f"{passed} of {tests} pass, of its repository at version {sdk}" in " ".join(README.split())
