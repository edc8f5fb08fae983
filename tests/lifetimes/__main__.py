"""The command line: `python -m tests.lifetimes`."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from dataclasses import asdict
from typing import Any, Sequence

from tests.lifetimes._print import Progress, print_table
from tests.lifetimes._processes import UWSGI_BINARY
from tests.lifetimes._result import Result
from tests.lifetimes._rows import CLIENT, OURS, SDK, UWSGI_EARLY, UWSGI_LATE, Row, rows
from tests.lifetimes._run import run_rows

_CONTESTANTS = {"ours": (OURS, CLIENT), "sdk": (SDK,), "all": (OURS, CLIENT, SDK)}

_DESCRIPTION = """\
Run real servers and programs that dispatch events and end, and count what arrived. A row of ours that lost or
duplicated something that it must not makes the exit code 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    chosen = _chosen(options)
    if not chosen:
        print("no row has such a name", file=sys.stderr)
        return 2
    progress = Progress(len(chosen))
    results = run_rows(chosen, options.jobs, progress.tell)
    progress.end()
    if options.json:
        json.dump([_as_json(result) for result in results], sys.stdout, indent=1)
    else:
        print_table(results)
    return int(any(result.has_failed for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lifetimes", description=_DESCRIPTION)
    parser.add_argument("--only", action="append", metavar="PATTERN", help="rows with this in their name; repeatable")
    parser.add_argument("--contestant", choices=_CONTESTANTS, default="ours", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="rows at once (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _chosen(options: argparse.Namespace) -> list[Row]:
    patterns = [re.compile(pattern) for pattern in options.only or [""]]
    return [
        row
        for row in rows()
        if row.contestant in _CONTESTANTS[options.contestant]
        and any(pattern.search(row.name) for pattern in patterns)
        and _can_run(row)
    ]


def _can_run(row: Row) -> bool:
    return row.launcher not in (UWSGI_EARLY, UWSGI_LATE) or UWSGI_BINARY.exists()


def _as_json(result: Result) -> dict[str, Any]:
    return {**asdict(result), "name": result.row.name, "problem": result.problem}


if __name__ == "__main__":
    sys.exit(main())
