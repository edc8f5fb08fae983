"""The command line: `gevent-dispatcher`, or `python -m gevent_dispatcher`. It patches; `commands` does the rest."""

# ruff: noqa: E402  # patching comes before every other import, or ssl and sockets would be imported unpatched
from __future__ import annotations

# As shells have it: 128 and the number of the signal.
_INTERRUPTED = 130

try:
    from gevent import monkey

    monkey.patch_all()
except KeyboardInterrupt:
    raise SystemExit(_INTERRUPTED) from None

import io
import os
import sys


def run() -> int:
    """Run the command line of this process, and return its exit code; what it printed is written by then."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it: no letter ends a command
    code = _code()
    try:
        if sys.stdout is not None:  # it was closed
            sys.stdout.flush()
    except BrokenPipeError:
        code = _nobody_reads()
    return code


def _code() -> int:
    try:
        from gevent_dispatcher.commands._main import main

        return main()
    except SystemExit as end:  # argparse's
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:
        return _nobody_reads()
    except KeyboardInterrupt:  # before there was a command that could be told
        return _INTERRUPTED


def _nobody_reads() -> int:
    """Who read has seen enough, as `head` does: the end of the process must not try to write the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


if __name__ == "__main__":
    sys.exit(run())
