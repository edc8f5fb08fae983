"""The command line: `python -m tests.matrix`."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Sequence

from tests.matrix._interpreters import find
from tests.matrix._print import Progress, as_markdown
from tests.matrix._rows import IMPOSSIBLE, Row, rows
from tests.matrix._run import installs, run_rows

_DESCRIPTION = """\
Build the wheel, install it into an environment for each row of versions, and run the tests against it. A row that
could not be installed or did not pass makes the exit code 1; an interpreter that this machine has not is named.
"""

_RESULTS = Path(__file__).with_name("results.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    chosen = _chosen(options)
    if not chosen:
        print("no row has such a name", file=sys.stderr)
        return 2
    if options.list:
        return _list(chosen)
    signal.signal(signal.SIGTERM, _leave)
    return _run(chosen, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=_DESCRIPTION)
    parser.add_argument("--only", action="append", metavar="PATTERN", help="rows with this in their name; repeatable")
    parser.add_argument("--quick", action="store_true", help="the few rows that differ most")
    parser.add_argument("--whole", action="store_true", help="the whole suite in each row, which takes long")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="rows at once (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the rows and run nothing")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--save", action="store_true", help=f"put these rows into {_RESULTS.name}")
    return parser


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _chosen(options: argparse.Namespace) -> list[Row]:
    patterns = [re.compile(pattern) for pattern in options.only or [""]]
    return [row for row in rows(options.quick) if any(pattern.search(row.name) for pattern in patterns)]


def _list(chosen: Sequence[Row]) -> int:
    for row in chosen:
        absent = "" if find(row.python) else "  (no such interpreter here)"
        print(f"{row.name}: {', '.join([*row.requirements(), *row.more])}{absent}")
    return 0


def _run(chosen: Sequence[Row], options: argparse.Namespace) -> int:
    results = run_rows(chosen, options.jobs, Progress(len(chosen)), options.whole)
    is_part = options.quick or options.only
    tried = {} if is_part and not options.save else {each: installs(each) for each in IMPOSSIBLE}
    if options.json:
        json.dump([result.as_json() for result in results], sys.stdout, indent=1)
    else:
        print(as_markdown(results, tried))
    if options.save:
        kept = _RESULTS.read_text(encoding="utf-8") if _RESULTS.exists() else ""
        _RESULTS.write_text(as_markdown(results, tried, kept), encoding="utf-8")
    return int(any(result.has_failed for result in results) or any(tried.values()))


if __name__ == "__main__":
    sys.exit(main())
