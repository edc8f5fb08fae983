"""`collector`: the local stand-in for the Event API as a command."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from gevent_dispatcher.collector import Collector
from gevent_dispatcher.commands._options import add_command

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = """\
A local stand-in for the Optimizely Event API. The first line printed is the url that events go to; POST them
there. It answers as the API does, whatever the body, and counts each event by its uuid. Ctrl-C or SIGTERM ends it.

  GET  /counts      requests, connections, events, unique, duplicated, invalid, visitors
  GET  /uuids       how often each event came
  GET  /visitors    how often each visitor's events came, by event key
  POST /reset       forget everything
  POST /settings    {"latency": seconds, "status": number} changes them while it runs

example: a collector that takes 100 ms to answer, and a look at what it has received
  python -m gevent_dispatcher collector --port 8080 --latency 100
  curl http://127.0.0.1:8080/counts
"""


def add(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(
        commands,
        "collector",
        "a local stand-in for the Optimizely Event API that counts what it receives",
        _DESCRIPTION,
    )
    command.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    command.add_argument("--port", type=int, default=0, help="0 takes a free one (default: %(default)s)")
    command.add_argument("--latency", type=float, default=0.0, metavar="MS", help="milliseconds that an answer takes")
    command.add_argument("--status", type=int, default=204, metavar="N", help="of answers (default: %(default)s)")
    command.add_argument("--certfile", metavar="PEM", help="certificate chain; with --keyfile it speaks https")
    command.add_argument("--keyfile", metavar="PEM", help="private key of the certificate")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
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
