"""`send`: replays events from a file or standard input."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator

import gevent

from gevent_dispatcher._config import Config
from gevent_dispatcher._dispatcher import GeventEventDispatcher
from gevent_dispatcher._url import parse
from gevent_dispatcher.commands._lines import Lines
from gevent_dispatcher.commands._options import (
    INCOMPLETE,
    WELL,
    add_command,
    add_http,
    add_settings,
    checked,
    fail,
    settings_of,
)
from gevent_dispatcher.commands._progress import make_progress, shown
from gevent_dispatcher.commands._queues import add_sqs, is_url, queue_name, queue_of
from gevent_dispatcher.commands._replay import ROOM_BYTES, ROOM_EVENTS, Replay, Stopped
from gevent_dispatcher.commands._signals import exit_code, on_signals
from gevent_dispatcher.queues import Queue, QueueError, QueueTransport

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = """\
Send events again that were written down, one JSON object on a line: the params of the Event API, which go to --url,
or {"url": ..., "params": ..., "http_verb": ..., "headers": ...}, of which all but params may be missing.

  python -m gevent_dispatcher send events.ndjson --url https://logx.optimizely.com/v1/events
  zcat events.ndjson.gz | python -m gevent_dispatcher send --json
  python -m gevent_dispatcher send events.ndjson --to queue.db
  python -m gevent_dispatcher send events.ndjson --to https://sqs.eu-west-1.amazonaws.com/123456789012/events

They are merged, retried and counted as the events of an application are; reading waits while many are pending. A line
that is no event is named by its number, and costs no other. With --to they are put into a queue, for its workers.
SIGTERM or Ctrl-C: no more is read, and what is pending is sent within --close-timeout; a second signal is immediate.

It ends with 0; with 1 when a line was bad or an event was dropped; 2 when called wrongly; 3 when the queue or the
file cannot be used; 128 and the signal's number when a signal ended it.
"""

_USAGE = "%(prog)s [OPTION ...] [FILE]"

_HELP = {
    "batch_size": "most visitors in one request",
    "flush_interval": "the longest that an event waits for company",
    "max_request_bytes": "a request is cut before it grows past this",
    "pool_size": "most requests at once",
    "delivery_timeout": "from reading an event to giving it up",
    "backoff_base": "upper bound of the first wait after a failure",
    "backoff_max": "upper bound of any wait after a failure",
    "close_timeout": "what a stop may take",
}

_STANDARD_INPUT = 0
# What a stop may take beyond its time, in seconds.
_GRACE = 2.0


def add(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(commands, "send", "send events from a file or standard input", _DESCRIPTION, usage=_USAGE)
    command.add_argument("file", nargs="?", default="-", metavar="FILE", help="- is standard input (default: -)")
    command.add_argument("--url", metavar="URL", help="where events go that do not say so themselves")
    command.add_argument("--to", type=queue_name, metavar="QUEUE", help="put them into this queue instead")
    command.add_argument("--json", action="store_true", help="print the counts as JSON")
    add_settings(command, "how events are merged and retried", Config, _HELP)
    sqs = add_sqs(command, dead_letters=False)
    sqs.add_argument("--message-bytes", type=int, metavar="N", help="at which requests are cut (default: 60000)")
    add_http(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.url is not None:
        checked(options, lambda: parse(options.url))
    try:
        with _source(options.file) as lines, _target(options) as transport:
            dispatcher = checked(options, lambda: _dispatcher(options, transport))
            return _replay(dispatcher, lines, options)
    except (QueueError, OSError) as error:
        return fail(error)


def _dispatcher(options: argparse.Namespace, transport: Any) -> GeventEventDispatcher:
    settings = settings_of(options, _HELP)
    return GeventEventDispatcher(transport=transport, buffer_events=ROOM_EVENTS, buffer_bytes=ROOM_BYTES, **settings)


@contextmanager
def _source(file: str) -> Iterator[Lines]:
    if file == "-":
        yield Lines(_STANDARD_INPUT)
        return
    with open(file, "rb", buffering=0) as opened:
        yield Lines(opened.fileno())


def _replay(dispatcher: GeventEventDispatcher, lines: Lines, options: argparse.Namespace) -> int:
    replay = Replay(dispatcher, lines, options.url)
    seconds = options.close_timeout if options.close_timeout is not None else Config.close_timeout
    with shown(make_progress("events"), replay.work):
        running = gevent.spawn(replay.run)
        gevent.sleep(0)  # a greenlet that has not begun cannot tell that it was stopped
        on_signals(
            lambda number: running.kill(Stopped(number), block=False),
            lambda: f"{dispatcher.stats().pending} events were pending",
            seconds + _GRACE,
        )
        end = running.get()
        dispatcher.close(seconds)
    result = replay.result()
    print(result.as_json() if options.json else result.as_text(), flush=True)
    if isinstance(end, OSError):
        return fail(end)
    if end is not None:
        return exit_code(end.number)
    return WELL if result.is_complete else INCOMPLETE


# -- into a queue ------------------------------------------------------------------------------------------------------


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[QueueTransport | None]:
    if options.to is None:
        yield None
        return
    recipe = queue_of(options.to, options, create=True)
    if not is_url(options.to):  # to look at a queue of SQS takes a right that a producer need not have
        _look_at(recipe)
    yield QueueTransport(recipe)


def _look_at(recipe: Queue) -> None:
    """What cannot be used is said before anything is read."""
    queue = recipe.open()
    try:
        queue.status()
    finally:
        queue.close()
