"""The types as a user meets them: what must be taken is taken, and what must be an error is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")
pytest.importorskip("optimizely.event_dispatcher", reason="the SDK is not installed")

ROOT = Path(__file__).resolve().parent.parent


def mypy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", f"--config-file={ROOT / 'pyproject.toml'}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def test_the_users_view_of_the_types_holds(tmp_path: Path) -> None:
    said = mypy(f"--cache-dir={tmp_path}", "tests/typing")
    assert said.returncode == 0, said.stdout + said.stderr
