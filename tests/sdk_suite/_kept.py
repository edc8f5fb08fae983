"""The table of what passed, kept in results.md beside this file: a row for each version of the SDK that was run."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Sequence

RESULTS = Path(__file__).with_name("results.md")

_INTRODUCTION = """\
# The SDK's own tests, with ours in place of its dispatcher and event processors

`python -m tests.sdk_suite --save` keeps a row of this, of the SDK that is installed; `--sdk` says of which version the
tests are, `--git` or `--tests` where. Some fail with the built-in ones, too, where the tests are older than the SDK.
"""
_HEADINGS = ("SDK", "tests of", "CPython", "tests", "passed", "skipped", "fail anyway", "fail with ours")


class Row(NamedTuple):
    """What came of one run: two versions of the SDK, that of the interpreter, and counts of tests."""

    sdk: str
    tests_of: str
    python: str
    tests: int
    passed: int
    skipped: int
    excused: int
    guilty: int

    def line(self) -> str:
        """Of the table."""
        return _line(self)


def with_row(kept: str, row: Row, reasons: Counter[str]) -> str:
    """The document with one row more, or in place of an earlier one of the same SDK and interpreter.

    Args:
        kept: the document as it is; may be empty.
        row: what came of a run.
        reasons: why tests were skipped in it, and how many for each.
    """
    lines = {_key(line): line for line in kept.splitlines() if line.startswith("| ") and line[2].isdigit()}
    lines[_key(row.line())] = row.line()
    table = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS)), *(lines[key] for key in sorted(lines))]
    said = [f"- {count}: {reason}." for reason, count in reasons.most_common()]
    return "\n".join([_INTRODUCTION, *table, "", "What the last run skipped, and why:", "", *said]) + "\n"


def keep(row: Row, reasons: Counter[str]) -> None:
    """Put it into the document."""
    kept = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    RESULTS.write_text(with_row(kept, row, reasons), encoding="utf-8")


def python() -> str:
    """The version of this interpreter."""
    return "{}.{}".format(*sys.version_info)


def _key(line: str) -> tuple[tuple[int, ...], ...]:
    sdk, _, interpreter = line.strip("| ").split(" | ")[:3]
    return tuple(tuple(map(int, version.split("."))) for version in (sdk, interpreter))


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
