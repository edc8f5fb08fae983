"""`bench`: what dispatching costs on this machine, as a command."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gevent_dispatcher import bench
from gevent_dispatcher._programs import Problem
from gevent_dispatcher.commands._options import INCOMPLETE, WELL, add_command
from gevent_dispatcher.commands._progress import Work, make_progress, shown

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = f"""\
Measure what dispatching costs on this machine: how long a request waits, CPU for each event, events in a second;
beside doing nothing, and beside the SDK's own dispatcher where the SDK is installed. Each run is a process of its own;
events go to another one, which takes {bench.LATENCY} ms to answer. Nothing leaves this machine. It takes less than
twenty seconds.

  python -m gevent_dispatcher bench
  python -m gevent_dispatcher bench --events 50000
  python -m gevent_dispatcher bench --json

With the extra `fast` (orjson) an event costs the caller about two thirds of what it costs without.

It ends with 0; with 1 when an event was not delivered, or something could not be started.
"""

_FEWEST_EVENTS = 100
_EVENTS = 10_000
# Between two lines of the log where there is no bar, in seconds.
_INTERVAL = 10.0


def add(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(commands, "bench", "what dispatching costs on this machine", _DESCRIPTION)
    command.add_argument(
        "--events", type=int, default=_EVENTS, metavar="N", help="that each run dispatches (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print an object: conditions, rows, problems")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not _FEWEST_EVENTS <= options.events <= bench.MOST_EVENTS:
        options.complain(f"--events={options.events}: must be from {_FEWEST_EVENTS} to {bench.MOST_EVENTS}")
    with tempfile.TemporaryDirectory(prefix="gevent_dispatcher-") as directory:
        runs = bench.Runs(options.events, Path(directory))
        try:
            _do(runs)
        except Problem as problem:
            print(f"gevent_dispatcher: {problem}", file=sys.stderr)
            return INCOMPLETE
    return _report(runs.rows(), options)


def _do(runs: bench.Runs) -> None:
    done: list[str] = []

    def work() -> Work:
        return Work(len(done), runs.total, f"{len(done)} of {runs.total} runs")

    with shown(make_progress("runs", _INTERVAL), work):
        for label in runs.run():
            done.append(label)


def _report(rows: list[bench.Row], options: argparse.Namespace) -> int:
    problems = bench.problems(rows)
    if options.json:
        print(bench.as_json(rows, options.events))
    else:
        print(f"\n{_conditions(options.events)}\n\n{bench.as_table(rows)}\n\n{bench.EXPLANATION}")
    for each in problems:
        print(f"gevent_dispatcher: {each}", file=sys.stderr)
    return INCOMPLETE if problems else WELL


def _conditions(events: int) -> str:
    found = bench.conditions(events)
    return (
        f"{events} events of {found['event_bytes']} bytes at once, to an endpoint that takes {found['latency_ms']} ms;"
        f" Python {found['python']}, gevent {found['gevent']}, {found['cpus']} CPUs."
    )
