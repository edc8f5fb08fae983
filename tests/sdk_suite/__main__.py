"""The command line: `python -m tests.sdk_suite`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Sequence
from xml.etree import ElementTree

from tests.sdk_suite._kept import RESULTS, Row, keep, python

HERE = Path(__file__).resolve().parent
REPOSITORY = "https://github.com/optimizely/python-sdk"
FILES = (
    "test_event_dispatcher.py",
    "test_event_processor.py",
    "test_notification_center.py",
    "test_optimizely.py",
    "test_optimizely_factory.py",
    "test_user_context.py",
)

# Most seconds of a run of the tests, and of the download.
RUN_SECONDS = 600
CLONE_SECONDS = 120
# Failures that are named.
MOST_NAMED = 30

_DESCRIPTION = f"""\
Run the SDK's own tests of events, of `Optimizely` and of user contexts with our dispatcher and event processor in place
of the built-in ones. They are run with the built-in ones first: what fails there has nothing to do with us, as when the
tests are of another version than the SDK that is installed.
The tests are not in the SDK's source distribution; they are fetched from {REPOSITORY}, or found in --tests.
Ends with 0 when nothing failed that passes with the built-in ones, or the tests cannot be fetched; else with 1.
"""


class Result(NamedTuple):
    """Of one test: `passed`, `skipped` or `failed`, and why."""

    outcome: str
    reason: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    if find_spec("optimizely") is None:
        print("the SDK is not installed: pip install 'gevent-dispatcher[sdk]'", file=sys.stderr)
        return 2
    if options.tests is not None:
        return _run(options.tests.resolve(), options.save)
    with tempfile.TemporaryDirectory(prefix="sdk-tests-") as place:
        problem = _fetch(options.git, options.sdk or _installed(), Path(place))
        if problem:
            print(f"skipped: {problem}. Give a checkout of the SDK's repository by --tests")
            return 0
        return _run(Path(place), options.save)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sdk_suite", description=_DESCRIPTION)
    parser.add_argument("--tests", type=Path, metavar="DIR", help="a checkout of the SDK's repository")
    parser.add_argument("--git", default=REPOSITORY, metavar="URL", help="where to fetch it from; default: %(default)s")
    parser.add_argument("--sdk", metavar="VERSION", help="of the tests (default: the version that is installed)")
    parser.add_argument("--save", action="store_true", help=f"keep what came of it in {RESULTS.name}")
    return parser


def _installed() -> str:
    from optimizely.version import __version__

    return str(__version__)


def _fetch(url: str, version: str, place: Path) -> str | None:
    """What went wrong, None when the tests are there. Releases are tagged with and without a `v`."""
    problem = ""
    for tag in (f"v{version}", version):
        command = ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, url, str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CLONE_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"git could not fetch the tests of SDK {version}: {type(error).__name__}"
        if done.returncode == 0:
            return None
        problem = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"git ended with {done.returncode}"
    return f"the tests of SDK {version} could not be fetched: {problem}"


def _run(checkout: Path, is_kept: bool) -> int:
    files = [checkout / "tests" / name for name in FILES if (checkout / "tests" / name).is_file()]
    if not files:
        print(f"{checkout}/tests has none of {', '.join(FILES)}: it is no checkout of the SDK's repository")
        return 2
    print(f"SDK {_installed()}, tests in {len(files)} files")
    alone, output = _results(files, ())
    if not alone:
        print(output)
        return 1
    ours, output = _results(files, ("-p", "in_their_place"))
    print("\n".join(line for line in output.splitlines() if line.startswith("our dispatcher:")))
    excused, guilty = _failed(alone, ours)
    reasons = Counter(each.reason for each in ours.values() if each.outcome == "skipped")
    passed = sum(each.outcome == "passed" for each in ours.values())
    versions = (_installed(), _version_of(checkout), python())
    row = Row(*versions, len(ours), passed, sum(reasons.values()), len(excused), len(guilty))
    _tell(row, reasons, [f"{name}: {ours[name].reason if name in ours else 'did not run'}" for name in guilty])
    if is_kept:
        keep(row, reasons)
    return int(bool(guilty))


def _version_of(checkout: Path) -> str:
    """What the code beside the tests says of itself."""
    path = checkout / "optimizely" / "version.py"
    found = re.search(r"\((\d+), (\d+), (\d+)\)", path.read_text(encoding="utf-8")) if path.exists() else None
    return ".".join(found.groups()) if found else "?"


def _results(files: Sequence[Path], options: Sequence[str]) -> tuple[dict[str, Result], str]:
    """Of each test, by its name; and what pytest printed."""
    with tempfile.TemporaryDirectory(prefix="sdk-results-") as place:
        report = Path(place, "report.xml")
        command = [sys.executable, "-c", _PROGRAM, *options, *map(str, files), f"--junitxml={report}"]
        environ = {**os.environ, "PYTHONPATH": str(HERE)}
        done = subprocess.run(
            command, cwd=place, env=environ, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
        output = done.stdout + done.stderr
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
        return {f"{case.get('classname')}.{case.get('name')}": _result(case) for case in cases}, output


# With the SDK that is installed, and not with the one beside the tests.
_PROGRAM = """
import sys, pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "/dev/null", *sys.argv[1:]]))
"""


def _result(case: ElementTree.Element) -> Result:
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return Result(outcome, (found.get("message") or "").splitlines()[0] if found.get("message") else "")
    return Result("passed", "")


def _failed(alone: dict[str, Result], ours: dict[str, Result]) -> tuple[list[str], list[str]]:
    """Names of those that fail with the built-in ones, too, and of those that fail, or are missing, with ours alone."""
    failed = {name for name, result in ours.items() if result.outcome == "failed"}
    excused = {name for name in failed if alone.get(name, Result("failed", "")).outcome == "failed"}
    return sorted(excused), sorted(failed - excused) + sorted(alone.keys() - ours.keys())


def _tell(row: Row, reasons: Counter[str], failures: Sequence[str]) -> None:
    print(f"{row.tests} tests, {row.passed} passed")
    for reason, count in reasons.most_common():
        print(f"{count} skipped: {reason}")
    print(f"{row.excused} failed with the built-in ones, too")
    print(f"{row.guilty} failed with ours alone")
    for failure in failures[:MOST_NAMED]:
        print(f"  {failure}")


if __name__ == "__main__":
    sys.exit(main())
