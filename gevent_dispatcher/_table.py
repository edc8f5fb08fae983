"""Rows for a reader, aligned."""

from __future__ import annotations

from typing import Callable, Iterable, Mapping, Sequence


def as_table(rows: Iterable[object], columns: Mapping[str, str], cell: Callable[[object], str] = str) -> str:
    """Rows below their headings: the first column to the left, the others to the right.

    Args:
        rows: objects with the attributes that are shown.
        columns: the attribute of each column, by its heading.
        cell: how a value is shown.
    """
    lines = [list(columns)] + [[cell(getattr(each, field)) for field in columns.values()] for each in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:]))])
