"""What coverage leaves out of the package says why, on its line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import gevent_dispatcher
from tests.measuring import NAMES, inherited

PACKAGE = Path(gevent_dispatcher.__file__).parent
PRAGMA = re.compile(r"#\s*pragma\b")
EXPLAINED = re.compile(r"\S  # pragma: no (cover|branch)  # \w.*\w")


def test_what_is_left_out_says_why() -> None:
    lines = [line for path in PACKAGE.rglob("*.py") for line in path.read_text("utf-8").splitlines()]
    left_out = [line for line in lines if PRAGMA.search(line)]
    assert left_out
    assert [line for line in left_out if not EXPLAINED.search(line)] == []


def test_nothing_else_is_left_out() -> None:
    path = Path(__file__).resolve().parent.parent / "pyproject.toml"
    settings = path.read_text("utf-8").partition("[tool.coverage.run]")[2].partition("[tool.mutmut]")[0]
    assert re.findall(r"^(?:omit|exclude\w*|partial\w*) = .*", settings, re.M) == [
        'omit = ["*/gevent_dispatcher/demo/shop/*"]',
        r'exclude_also = ["if TYPE_CHECKING:", "\\.\\.\\.$"]',
    ]


def test_a_program_inherits_what_has_it_measured_where_anything_is_measured() -> None:
    given = {name: os.environ[name] for name in NAMES if name in os.environ}
    assert inherited() == (given if NAMES[0] in given else {})
