"""The package as it is shipped: sdist and wheel, built from a clean copy so that the tree stays as it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterable, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "gevent_dispatcher"

# What a build reads, and what the tests read beside.
_PACKAGED = (PACKAGE, "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md")
_DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
_FOR_TESTS = ("tests", "examples", "setup.py", "pyproject.toml", ".ci", *_DOCUMENTS)
_DIRT = shutil.ignore_patterns("__pycache__", "*.py[cod]", "*.so", "*.egg-info", ".*_cache")

# Most seconds that a build may take: it makes an environment for each of the two.
_BUILD_TIMEOUT = 300


class Shipped(NamedTuple):
    """What was built: the sdist, and the wheel that was built from the sdist."""

    sdist: Path
    wheel: Path


def ship(directory: Path) -> Shipped:
    """Build what is shipped, as `python -m build` does.

    Args:
        directory: made here, for a copy of the sources and for what is built.

    Raises:
        AssertionError: it was not built; with what was printed.
    """
    sources = _copied((*_PACKAGED, *_FOR_TESTS), directory / "sources")
    command = [sys.executable, "-m", "build", f"--outdir={directory}", str(sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return Shipped(sdist, wheel)


def copy_tests(directory: Path) -> Path:
    """Copy the tests and what they read, but not the package: what they import then is what is installed.

    Args:
        directory: made here.

    Returns:
        The directory.
    """
    return _copied(_FOR_TESTS, directory)


def packaged_files() -> set[str]:
    """The files of the package in the tree, by their paths from its root."""
    found = (path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


def _copied(names: Iterable[str], directory: Path) -> Path:
    directory.mkdir(parents=True)
    for source in sorted(filter(Path.exists, {ROOT / name for name in names})):
        if source.is_dir():
            shutil.copytree(source, directory / source.name, ignore=_DIRT)
        else:
            shutil.copy2(source, directory)
    return directory
