"""Results for people."""

from __future__ import annotations

import sys
from threading import Lock
from time import monotonic
from typing import Sequence

from tests.lifetimes._result import Result

_WORDS = ("", "runs in", "preload", "", "end", "at fork")
_NUMBERS = ("dispatched", "delivered", "duplicated", "lost", "may lose")
_HEADINGS = (*_WORDS, *_NUMBERS, "")


class Progress:
    """Tells on standard error how far it has come: in one line on a terminal, else only what failed.

    Args:
        total: how many results will come.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._results: list[Result] = []
        self._start = monotonic()
        self._lock = Lock()

    def tell(self, result: Result) -> None:
        """Count a result; from any thread."""
        with self._lock:
            self._results.append(result)
            if result.has_failed:
                self._write(f"{result.row.name}: {result.problem}\n")
            if sys.stderr.isatty():
                self._write(self._state())

    def end(self) -> None:
        """Leave the line."""
        self._write(f"{self._state()}\n")

    def _state(self) -> str:
        failed = sum(result.has_failed for result in self._results)
        seconds = monotonic() - self._start
        return f"{len(self._results)} of {self._total} rows, {failed} failed, {seconds:.0f} s"

    def _write(self, text: str) -> None:
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        sys.stderr.write(start + text)
        sys.stderr.flush()


def print_table(results: Sequence[Result]) -> None:
    """Print the results on standard output, and then what was wrong."""
    lines = [_HEADINGS, *(_cells(result) for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    for line in lines:
        print("  ".join(map(_aligned, line, widths, range(len(line)))).rstrip())
    for result in results:
        if result.has_failed:
            print(f"\n{result.row.name}: {result.problem}\n{_indented(result.output)}")


def _cells(result: Result) -> tuple[str, ...]:
    row = result.row
    numbers = (result.dispatched, result.delivered, result.duplicated, result.lost, result.may_lose)
    verdict = "failed" if result.has_failed else ""
    words = (row.contestant, row.launcher, row.preload, row.scheme, row.end, row.at_fork)
    return (*words, *(str(number) for number in numbers), verdict)


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if len(_WORDS) <= column < len(_WORDS) + len(_NUMBERS) else cell.ljust(width)


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
