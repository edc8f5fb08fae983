"""The size of the house: `python -m tests.measure` prints what CONTRIBUTING.md says of it.

A function is as long as its lines from `def` to its end, decorators and docstring included. Lines that are blank or
hold nothing but a comment do not count as code.
"""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles
from typing import Iterator, NamedTuple

import gevent_dispatcher

PACKAGE = Path(gevent_dispatcher.__file__).resolve().parent
TESTS = Path(__file__).resolve().parent
# What fits on a screen; nine functions in ten are to be shorter.
LONG = 28


class Function(NamedTuple):
    """One function of a file, and how many lines it has."""

    lines: int
    name: str
    path: Path


def files(directory: Path) -> list[Path]:
    """The Python files below a directory; a link's target counts where it lies."""
    return sorted(path for path in directory.rglob("*.py") if not path.is_symlink())


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file, those within others included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield Function(node.end_lineno - _first_line(node) + 1, node.name, path)


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def code_lines(path: Path) -> int:
    """Lines of a file that are neither blank nor a comment alone."""
    lines = map(str.strip, path.read_text(encoding="utf-8").splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def main() -> None:
    """Print the measures."""
    package, tests = files(PACKAGE), files(TESTS)
    found = sorted(function for path in package for function in functions(path))
    lengths = [each.lines for each in found]
    short = sum(1 for length in lengths if length < LONG)
    code, test_code = (sum(map(code_lines, paths)) for paths in (package, tests))
    print(f"files: {len(package)} of the package, {len(tests)} of its tests")
    print(f"longest file: {max(map(code_lines, package))} lines")
    nine_in_ten = quantiles(lengths, n=10)[-1]
    print(f"functions: {len(found)}; median {median(lengths):g} lines, nine in ten at most {nine_in_ten:.0f}")
    print(f"functions under {LONG} lines: {100 * short / len(found):.1f} %")
    print(f"lines of code: {code} of the package, {test_code} of its tests: 1 to {test_code / code:.2f}")
    print("longest functions:")
    for each in found[:-6:-1]:
        print(f"  {each.lines} lines: {each.name} in {each.path.relative_to(PACKAGE.parent)}")


if __name__ == "__main__":
    main()
