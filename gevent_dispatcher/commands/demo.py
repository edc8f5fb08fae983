"""`demo`: what becomes of events under gunicorn, ours and the SDK's own, as a command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from gevent_dispatcher import demo
from gevent_dispatcher._log import about, logger
from gevent_dispatcher._programs import Problem
from gevent_dispatcher.commands._options import INCOMPLETE, WELL, add_command, fail
from gevent_dispatcher.commands._progress import Work, make_progress, shown

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = f"""\
See what becomes of events. A Flask application runs under `gunicorn -k gevent` with {demo.WORKERS} workers: first with
this library, then with the SDK's own dispatcher called in the request, then with the SDK as it comes. Each request
decides and tracks; they come at a steady rate, and at the end gunicorn gets SIGTERM, as in a deployment. Events go to
a local stand-in for the Event API that takes {demo.LATENCY} ms to answer; nothing leaves this machine. It takes less
than a minute.

  python -m gevent_dispatcher demo
  python -m gevent_dispatcher demo --preload
  python -m gevent_dispatcher demo --requests 200 --json

It needs the extra `examples`: pip install 'gevent-dispatcher[examples]'.

It ends with 0; with 1 when this library lost or duplicated an event, when a request failed, or when something could
not be started; 3 when the extra is not installed.
"""

# Between two lines of the log where there is no bar, in seconds.
_INTERVAL = 10.0
# So many failed requests are shown.
_NAMED = 5


def add(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(commands, "demo", "what becomes of events under gunicorn, ours and the SDK's", _DESCRIPTION)
    command.add_argument("--preload", action="store_true", help="import the application before gunicorn forks")
    command.add_argument(
        "--requests", type=int, default=demo.REQUESTS, metavar="N", help="for our row (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print an object: rows, problems")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.requests < 1:
        options.complain(f"--requests={options.requests}: must be at least 1")
    missing = demo.missing()
    if missing:
        return fail(f"not installed: {', '.join(missing)}; pip install 'gevent-dispatcher[examples]' brings them")
    with tempfile.TemporaryDirectory(prefix="gevent_dispatcher-") as directory:
        contest = demo.Contest(options.requests, options.preload, Path(directory))
        try:
            rows = _rows(contest)
        except Problem as problem:
            print(f"gevent_dispatcher: {problem}", file=sys.stderr)
            return INCOMPLETE
    _name(contest.failures)
    return _report(rows, options)


def _rows(contest: demo.Contest) -> list[demo.Row]:
    rows: list[demo.Row] = []

    def work() -> Work:
        answered = ", ".join(f"{each.contestant}: {each.answered} requests answered" for each in rows)
        return Work(contest.done, contest.total, answered or "nothing yet", contest.current)

    with shown(make_progress("requests", _INTERVAL), work):
        for row in contest.run():
            rows.append(row)
    return rows


def _name(failures: Sequence[str]) -> None:
    for each in failures[:_NAMED]:
        logger.warning("%s", each, extra=about("request_failed", error=each))


def _report(rows: Sequence[demo.Row], options: argparse.Namespace) -> int:
    problems = demo.problems(rows)
    if options.json:
        print(json.dumps({"rows": [dataclasses.asdict(each) for each in rows], "problems": problems}, indent=2))
    else:
        server = f"gunicorn -k gevent{' --preload' if options.preload else ''}"
        print(f"\nEvent API: {demo.LATENCY} ms. {server}, {demo.WORKERS} workers, stopped by SIGTERM at the end.\n")
        print(demo.as_table(rows))
    for each in problems:
        print(f"gevent_dispatcher: {each}", file=sys.stderr)
    return INCOMPLETE if problems else WELL
