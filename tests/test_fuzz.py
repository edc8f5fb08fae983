"""Foreign input, made up by hypothesis, raises nothing but what is documented. See `python -m tests.fuzz`, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent
# A file is written for each of them.
SLOW = ("sqlite",)
QUICK = [target for name, target in TARGETS.items() if name not in SLOW]


@pytest.mark.parametrize("target", QUICK, ids=lambda target: target.__name__)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=200))
def test_foreign_input_raises_nothing_else(target: Callable[[bytes], None], data: bytes) -> None:
    target(data)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(min_size=3, max_size=8))
def test_a_damaged_file_is_an_error_or_right(data: bytes) -> None:
    TARGETS["sqlite"](data)


def test_without_atheris_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['atheris'] = None; from tests.fuzz.__main__ import main; sys.exit(main(['url']))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'gevent-dispatcher[fuzz]'" in done.stderr
