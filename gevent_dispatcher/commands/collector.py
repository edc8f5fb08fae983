"""`collector`: the local stand-in for the Event API as a command."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from gevent_dispatcher.collector import Collector
from gevent_dispatcher.collector._kept import KEEP, KEEP_BYTES
from gevent_dispatcher.collector._ledger import KEEP_UUIDS
from gevent_dispatcher.commands._options import WELL, add_command, fail

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = """\
A local stand-in for the Optimizely Event API, for development and for tests in any language. The first line printed
is the url that events go to; the second names the page that shows them as they arrive. It answers as the Event API
does: 204, whatever the body; or, to the header X-Optimizely-Strict: true, 400 with what is wrong. It keeps everything
in memory and listens on this machine alone. Where HTTP_PROXY is set, who sends to it needs NO_PROXY=127.0.0.1, too.
Ctrl-C or SIGTERM ends it.

  POST /v1/events      events; any page of any site may send them, and nothing else
  GET  /v1/events      the form of old SDKs: params in the query string
  GET  /api/events     the last events: ?limit= &after= &valid= &key= &visitor= &experiment= &uuid=
  GET  /api/events/N   one of them with its payload and headers
  GET  /api/summary    counts, also by event key and by variation
  GET  /api/faults     how it misbehaves; POST changes it, in seconds where the command line has milliseconds
  POST /api/reset      forget everything
  GET  /stream         server-sent events: hello, events, tick, faults, reset
  GET  /counts         the totals alone; /uuids, /visitors: how often each event came, and each visitor's events

examples: see what arrives
  python -m gevent_dispatcher collector --port 8080
  curl 'http://127.0.0.1:8080/api/events?visitor=visitor-1&valid=true'
  curl http://127.0.0.1:8080/api/summary

a bad day, from the start or while it runs: a fifth of the requests fails, each answer takes 300 ms; then all is well
  python -m gevent_dispatcher collector --port 8080 --status 503 --rate 0.2 --latency 300
  curl http://127.0.0.1:8080/api/faults -d '{"status": 503, "rate": 0.2, "latency": 0.3}'
  curl http://127.0.0.1:8080/api/faults -d '{"status": 204, "latency": 0}'

what is wrong with a payload
  curl http://127.0.0.1:8080/v1/events -H 'X-Optimizely-Strict: true' -d '{"account_id": "1", "visitors": [{}]}'
"""

# In milliseconds, as the option has it; from code it is seconds.
_LONGEST_LATENCY = 3_600_000


def add(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(
        commands,
        "collector",
        "a local stand-in for the Optimizely Event API that shows and counts what it receives",
        _DESCRIPTION,
        usage="%(prog)s [OPTION ...]",
    )
    command.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    command.add_argument("--port", type=int, default=0, help="0 takes a free one (default: %(default)s)")
    command.add_argument("--strict", action="store_true", help="as if each request asked for strict answers")
    command.add_argument("--certfile", metavar="PEM", help="certificate chain; with --keyfile it speaks https")
    command.add_argument("--keyfile", metavar="PEM", help="private key of the certificate")
    _add_faults(command.add_argument_group("a bad day"))
    _add_bounds(command.add_argument_group("what is kept in memory"))
    command.set_defaults(run=_run)


def _add_faults(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--latency", type=float, default=0.0, metavar="MS", help="milliseconds that each answer takes")
    group.add_argument(
        "--status", type=int, default=204, metavar="N", help="of answers that fail (default: %(default)s)"
    )
    group.add_argument("--hang", action="store_true", help="requests that fail are never answered")
    group.add_argument("--reset", action="store_true", help="connections of requests that fail are reset")
    group.add_argument(
        "--rate", type=float, metavar="SHARE", help="of requests that fail, 0 to 1 (default: 1); several ways share it"
    )
    group.add_argument("--seed", type=int, metavar="N", help="have the same requests fail each time")


def _add_bounds(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--keep", type=int, default=KEEP, metavar="N", help="events (default: %(default)s)")
    group.add_argument(
        "--keep-bytes", type=int, default=KEEP_BYTES, metavar="N", help="of their bodies (default: %(default)s)"
    )
    group.add_argument(
        "--keep-uuids",
        type=int,
        default=KEEP_UUIDS,
        metavar="N",
        help="events by which repeated ones are known; an older one counts as new (default: %(default)s)",
    )


def _run(options: argparse.Namespace) -> int:
    ended = _ended_by_signal()
    try:
        collector = _collector(options)
        collector.start()
    except ValueError as error:
        options.complain(str(error))
    except OSError as error:
        return fail(error)
    with collector:
        print(collector.url, flush=True)
        print(f"the page: {collector.base_url}/", flush=True)
        ended.wait()
    return WELL


def _collector(options: argparse.Namespace) -> Collector:
    if not 0 <= options.latency <= _LONGEST_LATENCY:
        raise ValueError(f"--latency={options.latency:g}: must be milliseconds from 0 to {_LONGEST_LATENCY}")
    fails = options.status != 204 or options.hang or options.reset
    if options.rate is not None and not fails:
        raise ValueError(f"rate={options.rate}: nothing fails; say how, with --status, --hang or --reset")
    return Collector(
        host=options.host,
        port=options.port,
        latency=options.latency / 1000,
        status=options.status,
        keyfile=options.keyfile,
        certfile=options.certfile,
        rate=1.0 if options.rate is None else options.rate,
        hang=options.hang,
        reset=options.reset,
        strict=options.strict,
        keep=options.keep,
        keep_bytes=options.keep_bytes,
        keep_uuids=options.keep_uuids,
        seed=options.seed,
    )


def _ended_by_signal() -> Event:
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    return ended
