"""The command line: `python -m gevent_dispatcher`."""

# ruff: noqa: E402  # patching comes before every other import, or ssl and sockets would be imported unpatched
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import signal
import sys
from typing import Sequence

import gevent
from gevent.event import Event

from gevent_dispatcher.collector import Collector
from gevent_dispatcher.doctor import _command as doctor

_DESCRIPTION = "Tools of gevent_dispatcher, which sends Optimizely events from gevent applications."

_EXAMPLE = """\
example: send events to a local collector that takes 100 ms to answer, and look at what it received
  python -m gevent_dispatcher collector --port 8080 --latency 100
  curl http://127.0.0.1:8080/counts
"""

_COLLECTOR = """\
A local stand-in for the Optimizely Event API. The first line printed is the url that events go to; POST them
there. It answers as the API does, whatever the body, and counts each event by its uuid. Ctrl-C or SIGTERM ends it.

  GET  /counts      requests, connections, events, unique, duplicated, invalid, visitors
  GET  /uuids       how often each event came
  GET  /visitors    how often each visitor's events came, by event key
  POST /reset       forget everything
  POST /settings    {"latency": seconds, "status": number} changes them while it runs
"""

_DOCTOR = """\
Load an application as gunicorn does, and say what will hurt it in a gevent worker, each finding with its cure:
what was imported before it was patched, threads of the SDK that a fork ends, too little time to shut down.
Write what you write after `gunicorn`; without a worker class it is gevent. Nothing listens.

  python -m gevent_dispatcher doctor shop:app -c gunicorn.conf.py --preload
  python -m gevent_dispatcher doctor --json "shop:create_app()"

It ends with 0 when nothing, or only information, was found, 1 with warnings, 2 with errors, and 3 when the
application could not be loaded.
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
    if rest and options.command != "doctor":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.command is None:
        parser.print_help()
        return 2
    if options.command == "doctor":
        # The application is loaded in a process of its own: this one is patched.
        return doctor.run(rest, options.json)
    return _collector(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gevent_dispatcher",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_collector(commands)
    _add_doctor(commands)
    return parser


def _add_collector(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "collector",
        help="a local stand-in for the Optimizely Event API that counts what it receives",
        description=_COLLECTOR,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    command.add_argument("--port", type=int, default=0, help="0 takes a free one (default: %(default)s)")
    command.add_argument("--latency", type=float, default=0.0, metavar="MS", help="milliseconds that an answer takes")
    command.add_argument("--status", type=int, default=204, metavar="N", help="of answers (default: %(default)s)")
    command.add_argument("--certfile", metavar="PEM", help="certificate chain; with --keyfile it speaks https")
    command.add_argument("--keyfile", metavar="PEM", help="private key of the certificate")
    command.set_defaults(complain=command.error)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "doctor",
        help="what will hurt an application under gunicorn's gevent worker, and the cure",
        usage="%(prog)s [-h] [--json] APP [OPTION OF GUNICORN ...]",
        description=_DOCTOR,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--json", action="store_true", help="print a list of objects: code, level, what, cure")


def _collector(options: argparse.Namespace) -> int:
    ended = _ended_by_signal()
    try:
        collector = Collector(
            host=options.host,
            port=options.port,
            latency=options.latency / 1000,
            status=options.status,
            keyfile=options.keyfile,
            certfile=options.certfile,
        )
        collector.start()
    except (ValueError, OverflowError, OSError) as error:
        options.complain(str(error))
    with collector:
        print(collector.url, flush=True)
        ended.wait()
    return 0


def _ended_by_signal() -> Event:
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    return ended


if __name__ == "__main__":
    sys.exit(main())
