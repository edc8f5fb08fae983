"""`worker`: delivers what is in a queue."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gevent_dispatcher._config import ConsumerConfig
from gevent_dispatcher._consumer import EVENT_API, Consumer
from gevent_dispatcher._held import ConsumerStats
from gevent_dispatcher._log import about, logger
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
from gevent_dispatcher.commands._progress import LINE_INTERVAL, Work, make_progress, shown
from gevent_dispatcher.commands._queues import (
    Watched,
    add_legacy,
    add_sqs,
    described,
    is_url,
    left_in,
    queue_name,
    queue_of,
)
from gevent_dispatcher.commands._signals import on_signals
from gevent_dispatcher.queues import QueueError

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = f"""\
Deliver what is in a queue: each message is acknowledged after a 2xx, and never before. Any number of workers may share
a queue, with each other and with the applications that fill it. What the endpoint refuses goes to the dead letters
(see `queue dead`); an endpoint that is away costs nothing, what is for it waits.

  python -m gevent_dispatcher worker queue.db
  python -m gevent_dispatcher worker queue.db --once
  python -m gevent_dispatcher worker queue.db --allow http://127.0.0.1:8080 --pool-size 20
  python -m gevent_dispatcher worker https://sqs.eu-west-1.amazonaws.com/123456789012/events \\
      --dead-letter-url https://sqs.eu-west-1.amazonaws.com/123456789012/events-dead

Requests go only to the Event API ({" and ".join(EVENT_API)}) and where --allow
says: whoever can write to the queue could name any address. What would go elsewhere goes to the dead letters.

SIGTERM or Ctrl-C: nothing more is received, what was sent is finished, the rest is given back, within --close-timeout.
A second signal ends the process at once; what it held comes again after its lease. On a terminal there is a bar,
elsewhere a line in the log each minute.

A queue of Amazon SQS is asked by calls that wait, and that a stop lets end: --close-timeout says for how long (20 s at
most). Without --dead-letter-url what is refused is given back, and is left to the redrive policy that the queue should
have then. Messages of older formats are understood when --account-id and --project-id say what they lack.

It ends with 0; with 1 when --once left something in the queue, or put something to the dead letters; 2 when called
wrongly; 3 when the queue cannot be used. A file that is not there is waited for, except with --once,
and so is a queue of SQS that cannot be reached or used: the log says why.
"""

_USAGE = "%(prog)s [OPTION ...] QUEUE"

_HELP = {
    "pool_size": "most requests at once",
    "lease": "how long a message is ours; extended while it is held. What a killed worker held comes again after this",
    "hold_timeout": "the longest that a message is held before it is given back",
    "release_delay": "before a message that was sent in vain and given back can be received again",
    "max_held": "most messages held at once",
    "max_held_bytes": "bytes held from which on none are received",
    "poll_interval": "how often an empty queue is asked",
    "backoff_base": "upper bound of the first wait after a failure",
    "backoff_max": "upper bound of any wait after a failure",
    "close_timeout": "what a stop may take",
}

# Where scrapes are answered unless an option says otherwise.
_LOOPBACK = "127.0.0.1"
# What a stop may take beyond its time, in seconds: then the disk hangs.
_GRACE = 5.0


def add(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(commands, "worker", "deliver what is in a queue", _DESCRIPTION, usage=_USAGE)
    command.add_argument("queue", type=queue_name, metavar="QUEUE", help="a SqliteQueue's path, or a url of Amazon SQS")
    command.add_argument("--once", action="store_true", help="end when no more can be delivered now")
    command.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="URL",
        help="requests may go to this scheme, host and port, too; may be repeated",
    )
    command.add_argument("--json", action="store_true", help="print the counts at the end as JSON")
    command.add_argument(
        "--metrics-port",
        type=int,
        metavar="N",
        help="answer Prometheus's scrapes there (needs the extra prometheus); 0 takes a free port, and says which",
    )
    command.add_argument(
        "--metrics-host",
        metavar="HOST",
        help=f"where scrapes are answered (default: {_LOOPBACK})",
    )
    command.add_argument(
        "--report-interval",
        type=float,
        default=LINE_INTERVAL,
        metavar="SECONDS",
        help="between two lines of the log where there is no bar (default: %(default)g)",
    )
    add_settings(command, "what is held, and for how long", ConsumerConfig, _HELP)
    sqs = add_sqs(command)
    sqs.add_argument("--polls", type=int, metavar="N", help="calls at once while there is much (default: 4)")
    add_legacy(sqs)
    add_http(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        queue = queue_of(options.queue, options)
    except QueueError as error:
        return fail(error)
    consumer = checked(options, lambda: _consumer(queue, options))
    stop_time = options.close_timeout if options.close_timeout is not None else ConsumerConfig.close_timeout
    on_signals(lambda number: _stop(consumer, stop_time), lambda: _last_words(consumer.stats()), stop_time + _GRACE)
    watched = queue.open()
    try:
        return _Worker(consumer, Watched(watched, is_url(options.queue)), options).run()
    except QueueError as error:
        return fail(error)
    finally:
        watched.close()


def _consumer(queue: Any, options: argparse.Namespace) -> Consumer:
    if not 0 < options.report_interval <= 86_400:
        raise ValueError(f"--report-interval={options.report_interval:g}: must be a number of seconds up to 86400")
    if options.metrics_host is not None and options.metrics_port is None:
        raise ValueError(f"--metrics-host={options.metrics_host}: is for metrics, which --metrics-port asks for")
    return Consumer(queue, destinations=[*EVENT_API, *options.allow], **settings_of(options, _HELP))


def _export(consumer: Consumer, options: argparse.Namespace) -> None:
    host = options.metrics_host or _LOOPBACK
    try:
        from gevent_dispatcher.prometheus import instrument, serve

        instrument(consumer)
        server = serve(options.metrics_port, host)
    except ValueError as error:
        options.complain(f"--metrics-port: {error}")
    except (ImportError, OSError) as error:
        sys.exit(fail(f"--metrics-port: {error}"))
    else:
        port, where = server.server_port, "metrics are at http://%s:%d/metrics"
        logger.info(where, host, port, extra=about("worker_metrics", host=host, port=port))


def _stop(consumer: Consumer, seconds: float) -> None:
    consumer.stop()
    held = consumer.stats().held
    logger.info(
        "stopping: %d messages are held; at the latest in %g s",
        held,
        seconds,
        extra=about("worker_stopping", held=held, seconds=seconds),
    )


def _last_words(stats: ConsumerStats) -> str:
    return f"{stats.held} messages were held, and come again when their leases are over"


class _Worker:
    """One run of a consumer, watched.

    Args:
        consumer: what runs.
        queue: its queue, for looks at it.
        options: of the command.
    """

    def __init__(self, consumer: Consumer, queue: Watched, options: argparse.Namespace) -> None:
        self._consumer = consumer
        self._queue = queue
        self._options = options

    def run(self) -> int:
        """Run it to its end, and return the exit code.

        Raises:
            QueueError: the queue cannot be used.
        """
        options = self._options
        if not is_url(options.queue):
            self._look_first()
        progress = make_progress("events", options.report_interval)
        if options.metrics_port is not None:
            _export(self._consumer, options)
        until = " until it is empty" if options.once else ""
        logger.info(
            "delivering from %s%s", options.queue, until, extra=about("worker_started", queue=str(options.queue))
        )
        with shown(progress, self._work):
            self._consumer.run(until_empty=options.once)
        if options.json:
            print(json.dumps(asdict(self._consumer.stats())), flush=True)
        return self._how_it_ended() if options.once else WELL

    def _look_first(self) -> None:
        try:
            self._queue.status_of_now()
        except QueueError:
            if self._options.once or os.path.exists(self._options.queue):
                raise

    def _how_it_ended(self) -> int:
        status = self._queue.status_of_now()
        if status is None:
            logger.warning(
                "what is left in the queue cannot be known without the right to sqs:GetQueueAttributes",
                extra=about("queue_not_emptied", messages=None, events=None),
            )
        elif left_in(status):
            logger.warning(
                "%s are left in the queue",
                described(status),
                extra=about("queue_not_emptied", messages=left_in(status), events=status.events),
            )
        is_done = status is not None and not left_in(status) and not self._consumer.stats().dead
        return WELL if is_done else INCOMPLETE

    def _work(self) -> Work:
        stats, status = self._consumer.stats(), self._queue.status()
        done = stats.delivered_events + stats.dead_events
        events = None if status is None else status.events
        waiting = "?" if status is None else str(events) if events is not None else f"about {left_in(status)} messages"
        return Work(
            done,
            None if events is None else done + events,
            f"{stats.delivered_events} events delivered, {waiting} in the queue; {_counts(stats)}",
            f"{waiting} waiting, {stats.dead_events} dead",
        )


def _counts(stats: ConsumerStats) -> str:
    return (
        f"messages: {stats.acked} acknowledged, {stats.released} given back, {stats.dead} dead, {stats.held} held; "
        f"{stats.requests} requests, {stats.retries} of them again"
    )
