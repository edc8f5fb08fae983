"""The command line: which commands there are, and what they have in common."""

from __future__ import annotations

import argparse
import platform
import sys
from difflib import get_close_matches
from importlib.metadata import version
from typing import Sequence

from gevent_dispatcher import __version__
from gevent_dispatcher.commands import bench, collector, demo, doctor, queue, send, worker
from gevent_dispatcher.commands._options import USAGE, Help, program
from gevent_dispatcher.commands._signals import interruptible

# In the order in which one comes to need them.
_COMMANDS = (demo, bench, doctor, collector, send, worker, queue)
# Those that end by themselves when a signal asks them to; of the others it ends the work.
_HEEDFUL = frozenset(("collector", "send", "worker"))

_DESCRIPTION = """\
Tools of gevent_dispatcher, which delivers the events of the Optimizely SDK from gevent applications.

to begin with:
    demo        what becomes of events under gunicorn: this library beside the SDK alone
    bench       what dispatching an event costs on your machine
before you deploy:
    doctor      what will hurt your application under gunicorn -k gevent, and the cure
while you develop:
    collector   a local Event API: events go there instead of to Optimizely, and are counted
    send        events from a file or a pipe, to the Event API, a collector or a queue
in production:
    worker      delivers what applications have put into a queue
    queue       what waits in a queue, its dead letters; requeue and purge them

Each has a --help that teaches: `python -m gevent_dispatcher worker --help`.
"""

_EPILOG = """\
example: put events into a queue, deliver them to a local collector, and look at what it received
  python -m gevent_dispatcher collector --port 8080 &
  python -m gevent_dispatcher send events.ndjson --url http://127.0.0.1:8080/v1/events --to queue.db
  python -m gevent_dispatcher worker queue.db --allow http://127.0.0.1:8080 --once
  curl http://127.0.0.1:8080/counts

exit codes:
  0    all is well; also of collector and worker when a signal ended them
  1    it ran, and not all is well: something was lost, dropped, bad or left over; of doctor: warnings
  2    it was called wrongly, and did nothing; of doctor: errors
  3    what was named cannot be used: a queue, a file, an application, an extra that is not installed
  128+ and the number of the signal that ended it: 130 is Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser, names = _parser()
    _check_command(parser, names, given)
    options, rest = parser.parse_known_args(given)
    if rest and not options.takes_rest:
        options.complain(f"unrecognized arguments: {' '.join(rest)}")
    if options.command is None:
        parser.print_help()
        return USAGE
    options.rest = rest
    if options.command in _HEEDFUL:
        return int(options.run(options))
    return interruptible(lambda: int(options.run(options)))


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the names of its commands."""
    parser = argparse.ArgumentParser(
        prog=program(),
        usage="%(prog)s COMMAND [OPTION ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_versions(), help="print versions, and end")
    parser.set_defaults(takes_rest=False, complain=parser.error)
    commands = parser.add_subparsers(dest="command", prog=parser.prog, help=argparse.SUPPRESS)
    for command in _COMMANDS:
        command.add(commands)
    return parser, list(commands.choices)


def _versions() -> str:
    """Ours, and those that a report of a defect should name."""
    others = ", ".join(f"{name} {version(name)}" for name in ("gevent", "urllib3"))
    return f"gevent-dispatcher {__version__} ({others}, Python {platform.python_version()})"


def _check_command(parser: argparse.ArgumentParser, names: Sequence[str], given: Sequence[str]) -> None:
    """End the process when what stands first is no command; argparse would not say which was meant."""
    if not given or given[0].startswith("-") or given[0] in names:
        return
    meant = get_close_matches(given[0], names, 1)
    hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(names)}"
    parser.error(f"there is no command {given[0]!r}; {hint}")
