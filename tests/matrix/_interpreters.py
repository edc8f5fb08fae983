"""The interpreters that this machine has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

_SAYS = "import sys, ensurepip, venv; print(*sys.version_info[:2], sep='.'); print(sys.executable)"

# What an interpreter may take to say who it is, in seconds.
_TIMEOUT = 60


def find(version: str) -> str | None:
    """The path of an interpreter that can make environments: on the search path, or among pyenv's.

    Args:
        version: major and minor.

    Returns:
        None when this machine has none.
    """
    for candidate in _candidates(version):
        path = _path_of(candidate, version)
        if path is not None:
            return path
    return None


def _candidates(version: str) -> Iterator[str]:
    found = shutil.which(f"python{version}")
    if found:
        yield found
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python"), key=_numbers, reverse=True))


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parent.parent.name)]


def _path_of(candidate: str, version: str) -> str | None:
    """Where it is: one of pyenv's shims is found for versions, too, that are not chosen, and fails then."""
    try:
        said = subprocess.run([candidate, "-c", _SAYS], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = said.stdout.split("\n")
    return lines[1] if said.returncode == 0 and lines[0] == version else None
