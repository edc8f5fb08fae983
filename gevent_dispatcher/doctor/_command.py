"""The command: have an application loaded in a process of its own, and print what is found there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Sequence

from gevent_dispatcher.doctor._findings import ERROR, INFO, WARNING, Finding

# Exit codes.
_OF_LEVEL = {INFO: 0, WARNING: 1, ERROR: 2}
_NOT_EXAMINED = 3

# Some applications load a model first. Seconds.
_PATIENCE = 300.0


class NotExamined(Exception):
    """The application could not be loaded; it or gunicorn has said why on standard error."""


def run(arguments: Sequence[str], as_json: bool = False) -> int:
    """Examine an application and print what is found.

    Args:
        arguments: of gunicorn's command line, such as "module:app" and "--preload".
        as_json: print a list of objects instead of text.

    Returns:
        0 when there is nothing, or only information; 1 with warnings; 2 with errors; 3 when it could not be examined.
    """
    try:
        findings = diagnose(arguments)
    except NotExamined as error:
        print(f"not examined: {error}", file=sys.stderr)
        return _NOT_EXAMINED
    print(json.dumps([vars(each) for each in findings], indent=2) if as_json else _as_text(findings), flush=True)
    return max((_OF_LEVEL[each.level] for each in findings), default=0)


def diagnose(arguments: Sequence[str], timeout: float = _PATIENCE) -> list[Finding]:
    """Load an application as gunicorn would, in a fresh process, and return what is found in its worker.

    Args:
        arguments: of gunicorn's command line.
        timeout: seconds that loading may take.

    Raises:
        NotExamined: it could not be loaded, or not in time.
    """
    with tempfile.TemporaryDirectory(prefix="gevent_dispatcher-") as directory:
        file = Path(directory, "findings.json")
        file.touch()
        code = _load([str(file), *arguments], timeout)
        found = file.read_text(encoding="utf-8")
    if not found:
        raise NotExamined(f"the application could not be loaded (exit code {code}); the reason is above")
    return [Finding(**each) for each in json.loads(found)]


def _load(arguments: Sequence[str], timeout: float) -> int:
    """Run the process that loads it, with all it starts, and return its exit code.

    What the application prints goes to standard error: standard output belongs to the findings.
    """
    command = [sys.executable, "-m", "gevent_dispatcher.doctor._as_gunicorn", *arguments]
    # A session of its own, so that all that it starts can be ended.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise NotExamined(f"the application was not loaded within {timeout:g} s") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):  # the usual case: all have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _as_text(findings: Sequence[Finding]) -> str:
    return "\n\n".join(map(_as_lines, findings)) or "Nothing found."


def _as_lines(finding: Finding) -> str:
    return f"{finding.level}: {finding.code}\n  {finding.what}\n  Cure: {finding.cure}"
