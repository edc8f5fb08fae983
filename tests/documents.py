"""The documents of the project, taken apart: blocks of code, command lines, links, tables."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NAMES = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"),
    *("examples/README.md", "examples/OPERATING.md", "examples/MIGRATION.md"),
    *("tests/COVERAGE.md", "tests/MUTATION.md", "tests/matrix/results.md"),
)

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OURS = re.compile(r"(?:\S*/)?(?:python -m gevent_dispatcher|gevent-dispatcher)(?: |$)")


class Block(NamedTuple):
    """A fenced block of code."""

    document: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """What it is called in the output of tests."""
        return f"{self.document}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file that it is, when it begins with one; else nothing."""
        found = re.match(r"# (\S+\.py)\n", self.text)
        return found.group(1) if found else ""


def read(name: str) -> str:
    """The text of a document."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(language: str) -> list[Block]:
    """Every block of code of a language, in all documents."""
    return [block for name in NAMES for block in _blocks(name) if block.language == language]


def _blocks(name: str) -> Iterator[Block]:
    text = read(name)
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(name, line, found.group(2), textwrap.dedent(found.group(3)))


def command_lines() -> list[list[str]]:
    """The arguments of each call of our command line, in blocks and in prose."""
    lines = [line for block in blocks("sh") for line in _joined(block.text)]
    prose = [span for name in NAMES for span in re.findall(r"`([^`\n]+)`", _FENCE.sub("", read(name)))]
    # In prose the name alone is the library's or the script's.
    calls = [*map(_arguments, lines), *(_arguments(span) for span in prose if _OURS.match(span))]
    return [call for call in calls if call]


def programs(name: str) -> list[tuple[str, list[str]]]:
    """The modules of the tests that a document has Python run, each with the options that it gives."""
    scripts = [line for block in _blocks(name) if block.language == "sh" for line in _joined(block.text)]
    lines = [*scripts, *re.findall(r"`([^`\n]+)`", _FENCE.sub("", read(name)))]
    calls = [found for line in lines for found in re.findall(r"python -m (tests[\w.]*)(.*)", line)]
    return [(module, re.findall(r"--[\w-]+", options)) for module, options in calls]


def _joined(text: str) -> list[str]:
    """The commands of a script, each as one line."""
    return [part for line in text.replace("\\\n", " ").splitlines() for part in line.split("&&")]


def _arguments(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    found = _OURS.search(" ".join(words))
    return [] if found is None else " ".join(words)[found.end() :].rstrip("& ").split()


def links(name: str) -> list[str]:
    """Where a document's links lead, those to other sites aside."""
    text = _FENCE.sub("", read(name))
    return [target for target in _LINK.findall(text) if not re.match(r"[a-z]+://", target)]


def anchors(name: str) -> set[str]:
    """What a link can name within a document, as GitHub makes it of headings."""
    titles = _HEADING.findall(_FENCE.sub("", read(name)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def rows(name: str, header: str) -> list[list[str]]:
    """The cells of each row of the table that begins with a header."""
    table = read(name).split(f"\n| {header} |", 1)[1].split("\n\n")[0]
    return [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]


def first_cells(name: str, header: str) -> set[str]:
    """The names in the first column of the table that begins with a header."""
    return {name for row in rows(name, header) for name in re.findall(r"`([^`]+)`", row[0])}
