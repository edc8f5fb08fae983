"""Running rows: an environment, the wheel and the row's versions in it, the tests against what is installed."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Sequence

from tests.matrix import _interpreters
from tests.matrix._print import Progress
from tests.matrix._processes import Failed, end_all, run
from tests.matrix._result import ABSENT, FAILED, NOT_INSTALLED, PASSED, Result
from tests.matrix._rows import Impossible, Row
from tests.wheels import copy_tests, ship

# What the tests need beside the stack, in whatever versions fit the interpreter.
_TOOLS = ("pytest>=7", "pytest-timeout>=2", "hypothesis>=6", "trustme>=1", "requests>=2")
# Compiling these takes minutes and a compiler, and users' installations have wheels.
_WHEELS_ONLY = "--only-binary=gevent,greenlet,hypothesis,cryptography,cffi"

# Files that touch each layer, and that the stack makes a difference to.
_FILES = (
    *("package", "event", "buffer"),
    *("dispatcher", "transport", "kept_connections", "http_response", "tls", "proxy", "late_patch", "callers", "exit"),
    *("queue_sqlite", "consumer", "collector"),
)
# Leaves out what takes seconds and knows nothing of the stack.
_TELLING = ("-k", "not Command and not share_the_time and not hangs_does_not_delay")
_CLIENT_FILES = ("sdk", "sdk_polling", "sdk_odp")
# Applications of the old kind, which give the SDK a class.
_OLD = ("-k", "legacy", "tests/test_examples_servers.py")
# What old versions of others warn of on new interpreters is no failure of ours.
_OF_OTHERS = ("DeprecationWarning", "PendingDeprecationWarning", "ImportWarning")
# Rows of `tests.lifetimes`: a worker that loads the application, one forked from a master that has, and the client.
_LIVES = (
    "^ours: gunicorn gevent no, https, SIGTERM$",
    "^ours: gunicorn gevent unpatched, https, SIGTERM$",
    "^ours: gunicorn gevent patched, https, SIGTERM, in flight at fork$",
)
_CLIENT_LIVES = ("^client: gunicorn gevent unpatched, https, SIGTERM$",)

# Flask under gunicorn with the SDK, loaded in the workers and before they are forked.
_DEMONSTRATIONS = ((), ("--preload",))

# Most seconds for each step.
_ENVIRONMENT, _INSTALLATION, _TESTS, _WHOLE, _SERVERS, _TRIAL = 120, 400, 400, 1_500, 200, 120

_WHERE = "import gevent_dispatcher as package, sysconfig; print(package.__file__, sysconfig.get_path('purelib'))"


class Runner:
    """What the rows have in common: the wheel, and a copy of the tests outside the tree.

    Args:
        directory: for environments and copies.
        progress: hears each step.
        is_whole: run the whole suite, instead of the files and servers that touch each layer.
    """

    def __init__(self, directory: Path, progress: Progress, is_whole: bool = False) -> None:
        self._directory = directory
        self._progress = progress
        self._is_whole = is_whole
        self._tests = copy_tests(directory / "elsewhere")
        self._wheel = ship(directory / "shipped").wheel

    def run(self, row: Row) -> Result:
        """Run a row, and say what came of it."""
        started = monotonic()
        python = _interpreters.find(row.python)
        result = Result(row, verdict=ABSENT) if python is None else self._run(row, python)
        result.seconds = monotonic() - started
        self._progress.end(result)
        return result

    def _run(self, row: Row, python: str) -> Result:
        result = Result(row)
        environment = Path(tempfile.mkdtemp(dir=self._directory))
        try:
            self._install(row, python, environment, result)
            self._test(row, str(environment / "bin" / "python"), result)
        except Failed as error:
            result.output = error.output
        finally:
            shutil.rmtree(environment, ignore_errors=True)
        return result

    def _install(self, row: Row, python: str, environment: Path, result: Result) -> None:
        self._progress.tell(row.name, "installs")
        result.verdict = NOT_INSTALLED
        run([python, "-m", "venv", str(environment)], _ENVIRONMENT)
        pip = [str(environment / "bin" / "python"), "-m", "pip"]
        wheel = f"{self._wheel}[test]" if self._is_whole else str(self._wheel)
        wanted = [wheel, *row.requirements(), *row.more, *_TOOLS]
        run([*pip, "install", "--quiet", _WHEELS_ONLY, *wanted], _INSTALLATION)
        result.versions = _versions(run([*pip, "list", "--format=json"], _ENVIRONMENT))

    def _test(self, row: Row, python: str, result: Result) -> None:
        self._progress.tell(row.name, "is tested")
        result.verdict = FAILED
        self._check_that_the_wheel_is_found(python)
        if self._is_whole:
            result.count(run([python, "-m", "tests"], _WHOLE, self._tests))
        else:
            self._test_parts(row, python, result)
        result.verdict = PASSED

    def _test_parts(self, row: Row, python: str, result: Result) -> None:
        names = (*_FILES, *(_CLIENT_FILES if row.has_client else ()))
        warnings = [f"-Wignore::{category}" for category in (*_OF_OTHERS, *row.warnings)]
        self._pytest(python, result, [*warnings, *_TELLING, *(f"tests/test_{name}.py" for name in names)])
        self._pytest(python, result, [*warnings, *_OLD])
        patterns = (*_LIVES, *(_CLIENT_LIVES if row.has_client else ()))
        lives = [f"--only={pattern}" for pattern in patterns]
        run([python, "-m", "tests.lifetimes", "--jobs=2", *lives], _SERVERS, self._tests)
        for options in _DEMONSTRATIONS if row.has_client else ():
            run([python, "-m", "gevent_dispatcher", "demo", "--requests=200", *options], _SERVERS, self._tests)

    def _pytest(self, python: str, result: Result, arguments: Sequence[str]) -> None:
        options = ["-q", "-p", "no:cacheprovider", "--no-header", "--tb=short", "-rs"]
        result.count(run([python, "-m", "pytest", *options, *arguments], _TESTS, self._tests))

    def _check_that_the_wheel_is_found(self, python: str) -> None:
        found, packages = run([python, "-c", _WHERE], _ENVIRONMENT, self._tests).split()
        if Path(packages) not in Path(found).parents:
            raise Failed(f"the tests would import {found}, and not the wheel in {packages}")


def run_rows(rows: Sequence[Row], jobs: int, progress: Progress, is_whole: bool = False) -> list[Result]:
    """Run rows and return their results, in the same order.

    Args:
        rows: which ones.
        jobs: how many at once.
        progress: hears each step.
        is_whole: run the whole suite in each.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="matrix-"))
        runner = Runner(Path(directory), progress, is_whole)
        executor = stack.enter_context(ThreadPoolExecutor(jobs))
        stack.callback(end_all)  # so that the executor has nothing to wait for when this is cut short
        return list(executor.map(runner.run, rows))


def installs(impossible: Impossible) -> bool | None:
    """Whether a requirement that cannot be met can be met after all; None when there is no such interpreter."""
    python = _interpreters.find(impossible.python)
    if python is None:
        return None
    with tempfile.TemporaryDirectory(prefix="matrix-") as directory:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "-d", directory]
        try:
            run([python, "-m", "pip", "download", *options, impossible.requirement], _TRIAL)
        except Failed as error:
            if "No matching distribution found" in error.output:
                return False
            raise
    return True


def _versions(listed: str) -> dict[str, str]:
    """From what pip lists, a warning before it aside."""
    found = re.search(r"^\[.*\]$", listed, re.M)
    assert found, listed
    return {each["name"].lower(): each["version"] for each in json.loads(found[0])}
