"""Rows of programs that end by themselves."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Mapping

from tests.lifetimes._processes import Program, Trouble
from tests.lifetimes._rows import Row

_EXIT_CODES = {
    "exception": (1,),
    "SIGINT": (1, 128 + signal.SIGINT, -signal.SIGINT),  # differs between versions of Python
    "SIGKILL": (-signal.SIGKILL,),
    "SIGTERM": (-signal.SIGTERM,),
}


def run(row: Row, directory: Path, environ: Mapping[str, str]) -> None:
    """Run a program to its end; its ledger tells what it dispatched.

    Raises:
        Trouble: it did not end, or not as it was told to.
    """
    arguments = ["-m", "tests.lifetimes.script", row.end]
    with Program(arguments, directory, {**environ, "LIFETIMES_PATCHED": row.preload}) as program:
        code = program.wait_for_end()
    if code not in _EXIT_CODES.get(row.end, (0,)):
        raise Trouble(f"the exit code is {code}")
