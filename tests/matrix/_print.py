"""Results for people, and for the README."""

from __future__ import annotations

import sys
from threading import Lock
from time import monotonic
from typing import Mapping, Sequence

from tests.matrix._result import Result
from tests.matrix._rows import ROWS, Impossible

_HEADINGS = ("CPython, row", "gevent", "urllib3", "SDK", "Flask", "gunicorn", "tests", "")

_INTRODUCTION = """\
# What was run, and passed

`python -m tests.matrix` prints this. Each row is an environment of its own with the wheel, these versions, and the
tests run against what is installed: files of every layer, and gunicorn workers with and without preload. With SDK 2 it
is the dispatcher alone, in an application of the old kind: `create_client` needs 3.10. What is between the rows, and
what was not run: [minors.md](minors.md).
"""


class Progress:
    """Tells on standard error what is done to which row.

    Args:
        total: how many rows there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._begun: list[str] = []
        self._start = monotonic()
        self._lock = Lock()

    def tell(self, name: str, step: str) -> None:
        """Say a step; from any thread."""
        with self._lock:
            if name not in self._begun:
                self._begun.append(name)
            number = self._begun.index(name) + 1
            seconds = monotonic() - self._start
            print(f"{seconds:5.0f} s  {number}/{self._total}  {name}: {step}", file=sys.stderr, flush=True)

    def end(self, result: Result) -> None:
        """Say what came of a row, and what the step said that failed; from any thread."""
        said = "".join(f"\n    {line}" for line in result.output.splitlines())
        self.tell(result.row.name, f"{result.verdict}, {result.seconds:.0f} s{said}")


def as_markdown(results: Sequence[Result], impossible: Mapping[Impossible, bool | None], kept: str = "") -> str:
    """The table, and below it what cannot be installed.

    Args:
        results: of the rows that were run.
        impossible: what was tried, and whether it could be installed all the same; None where it could not be tried.
        kept: an earlier table, from which come the rows that were not run.
    """
    lines = {line.split(" | ")[0].strip("| "): line for line in kept.splitlines() if line.startswith("| ")}
    lines.update((result.row.name, _line(_cells(result))) for result in results)
    table = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS)), *(lines[row.name] for row in ROWS if row.name in lines)]
    sentences = [_sentence(each, impossible[each]) for each in impossible]
    return "\n".join([_INTRODUCTION, *table, "", *sentences]).rstrip() + "\n"


def _cells(result: Result) -> list[str]:
    stack = [result.versions.get(name, wanted) for name, wanted in result.row.pins().items()]
    return [result.row.name, *stack, str(result.tests or "-"), result.verdict]


def _sentence(impossible: Impossible, installs: bool | None) -> str:
    found = {None: "not tried here", False: impossible.reason, True: "can be installed now, which was not so before"}
    return f"- {impossible.requirement} on CPython {impossible.python}: {found[installs]}."


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
