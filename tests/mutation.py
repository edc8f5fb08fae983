"""How pytest runs for mutants (see `pyproject.toml`): what is quick first, and the same examples each time.

Most mutants are found by a test of a few milliseconds. `mutmut` has measured each test before; in the order in which it
names them, an outage that is acted out would often come first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# mutmut runs pytest in the folder where it keeps this.
_MEASURED = Path("mutmut-stats.json")
# What took longer than so many seconds is left out: for a first run, whose survivors then meet all tests.
_LONGEST = float(os.environ.get("MUTATION_SECONDS", "inf"))


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """What fails need not be made smaller: nobody reads it."""
    settings.register_profile(
        "mutation",
        settings.get_profile("patient"),
        derandomize=True,
        database=None,
        max_examples=40,
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
    )
    settings.load_profile("mutation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quickest first."""
    seconds = json.loads(_MEASURED.read_text())["duration_by_test"] if _MEASURED.exists() else {}
    if os.environ.get("MUTANT_UNDER_TEST") not in ("list_all_tests", "stats"):
        items[:] = [item for item in items if seconds.get(item.nodeid, 0.0) <= _LONGEST]
    items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
