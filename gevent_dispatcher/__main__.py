"""The command line: `python -m gevent_dispatcher`."""

# ruff: noqa: E402  # patching comes before every other import, or ssl and sockets would be imported unpatched
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import os
import sys
from typing import Sequence

from gevent_dispatcher.commands import collector, doctor, queue, send, worker

_COMMANDS = (worker, queue, send, doctor, collector)

_DESCRIPTION = "Tools of gevent_dispatcher, which sends Optimizely events from gevent applications."

_EXAMPLE = """\
example: put events into a queue, deliver them to a local collector, and look at what it received
  python -m gevent_dispatcher collector --port 8080 &
  python -m gevent_dispatcher send events.ndjson --url http://127.0.0.1:8080/v1/events --to queue.db
  python -m gevent_dispatcher worker queue.db --allow http://127.0.0.1:8080 --once
  curl http://127.0.0.1:8080/counts

Each command has a --help of its own.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.command is None:
        parser.print_help()
        return 2
    options.rest = rest
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gevent_dispatcher",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(takes_rest=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _run() -> int:
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # who read has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(_run())
