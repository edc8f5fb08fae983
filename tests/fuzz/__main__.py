"""The command line: `python -m tests.fuzz TARGET --seconds 60`; atheris chooses the bytes by what they reach."""

# ruff: noqa: E402  # the patch comes first, as in the servers
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import sys
from typing import Sequence

MISSING = "atheris is not installed: pip install 'gevent-dispatcher[fuzz]' (it needs Linux and Python 3.11 or newer)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one target until the time is over or something is found; a finding ends the process with a traceback.

    Args:
        arguments: what follows the program's name; those of this process when None.

    Returns:
        2 without atheris; else atheris ends the process, with 0 when nothing was found.
    """
    try:
        import atheris
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["gevent_dispatcher"]):
        from tests.fuzz.targets import TARGETS
    options = _parser(sorted(TARGETS)).parse_args(arguments)
    limits = [f"-max_total_time={options.seconds}", f"-max_len={options.longest}", f"-rss_limit_mb={options.megabytes}"]
    # What it keeps on disk are inputs that brought it further, and the one that found something.
    command = [sys.argv[0], *limits, "-timeout=20", *([options.corpus] if options.corpus else [])]
    atheris.Setup(command, TARGETS[options.target])
    atheris.Fuzz()
    return 0


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=names)
    parser.add_argument("--seconds", type=int, default=60, help="default: %(default)s")
    parser.add_argument(
        "--longest", type=int, default=2_000, metavar="BYTES", help="of an input (default: %(default)s)"
    )
    parser.add_argument("--megabytes", type=int, default=2_048, help="of memory, at most (default: %(default)s)")
    parser.add_argument("--corpus", metavar="DIR", help="where inputs are kept from run to run; default: nowhere")
    return parser


if __name__ == "__main__":
    sys.exit(main())
