"""The command line: `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any, Sequence

from tests.benchmarks import report, targets
from tests.benchmarks.contestants import ENTRIES
from tests.benchmarks.metrics import METRICS, SHORT
from tests.benchmarks.runner import Job, Outcome, Runner, plan, temporary_directory

_DESCRIPTION = """\
Measure what dispatchers of events cost a gevent worker, side by side: each contestant in a fresh process, in turns,
medians of the repetitions. Prints tables in markdown. Nothing here passes or fails.
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
    try:
        metrics = report.metrics_of(options.only)
        contestants = report.contestants_of(options.contestants, SHORT if options.short else list(ENTRIES))
        earlier = [report.earlier(path) for path in options.add]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    jobs = plan(metrics, contestants, options.repetitions or (1 if options.short else 3), options.short)
    outcome = _measured(jobs, options)
    for runs in earlier:
        outcome.add(runs)
    summarised = report.summary(outcome)
    _write(summarised, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=_DESCRIPTION)
    parser.add_argument("--short", action="store_true", help="few contestants, small counts: about a minute")
    parser.add_argument("--only", metavar="METRIC,...", help=f"of {', '.join(METRICS)}")
    parser.add_argument("--contestants", metavar="NAME,...", help=f"of {', '.join(ENTRIES)}")
    parser.add_argument("--repetitions", type=int, metavar="N", help="default: 3, and 1 with --short")
    parser.add_argument(
        "--add", type=Path, action="append", default=[], metavar="PATH",
        help="count the runs in this file of --json with these: the more there are, the less the noise of the machine",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the tables there, too")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw PNG files there; needs matplotlib")
    parser.add_argument("--no-compiler", action="store_true", help="endpoint and load generator in Python")
    return parser


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _measured(jobs: Sequence[Job], options: argparse.Namespace) -> Outcome:
    from tqdm import tqdm

    with temporary_directory() as directory, tqdm(total=len(jobs), unit="run", file=sys.stderr) as bar:

        def tell(job: Job) -> None:
            bar.set_description(str(job))
            bar.update()

        runner = Runner(Path(directory), options.short, "" if options.no_compiler else "cc")
        runner.probe_sink()
        return runner.run(jobs, tell)


def _write(summarised: dict[str, Any], options: argparse.Namespace) -> None:
    tables = report.markdown(summarised, targets.table)
    print(tables)
    if options.markdown:
        options.markdown.write_text(tables, "utf-8")
    if options.json:
        options.json.write_text(json.dumps(summarised, indent=1) + "\n", "utf-8")
    if options.plots:
        _draw(summarised, options.plots)


def _draw(summarised: dict[str, Any], directory: Path) -> None:
    try:
        from tests.benchmarks import plots

        plots.draw(summarised, directory)
    except ImportError as error:
        print(f"no plots: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
