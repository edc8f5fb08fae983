"""What came of a row."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tests.matrix._rows import Row

PASSED, FAILED, NOT_INSTALLED, ABSENT = "passed", "failed", "not installed", "no such interpreter"

_COUNT = re.compile(r"(\d+) (passed|skipped)\b")


@dataclass
class Result:
    """What came of one row.

    Args:
        row: which one.
        verdict: one of the words above.
        versions: of all packages that were installed.
        tests: how many ran and passed.
        skipped: how many were skipped, each with its reason in the output.
        output: of the step that failed.
        seconds: for all of it.
    """

    row: Row
    verdict: str = FAILED
    versions: dict[str, str] = field(default_factory=dict)
    tests: int = 0
    skipped: int = 0
    output: str = ""
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        """An interpreter that this machine has not is nobody's failure."""
        return self.verdict in (FAILED, NOT_INSTALLED)

    def count(self, output: str) -> None:
        """Add what each pytest says in its last line."""
        for number, word in _COUNT.findall(output):
            if word == "passed":
                self.tests += int(number)
            else:
                self.skipped += int(number)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        stack = {name: self.versions.get(name) for name in (*self.row.pins(), "greenlet")}
        counts = {"tests": self.tests, "skipped": self.skipped, "seconds": round(self.seconds)}
        return {"row": self.row.name, "verdict": self.verdict, **stack, **counts, "output": self.output}
