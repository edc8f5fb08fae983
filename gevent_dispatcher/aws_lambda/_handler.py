"""One invocation: its records through a consumer, within the time that Lambda grants."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, Sequence, cast

import gevent
from gevent import get_hub

from gevent_dispatcher import _ranges
from gevent_dispatcher._config import sort_settings
from gevent_dispatcher._consumer import EVENT_API, Consumer
from gevent_dispatcher._log import about, logger
from gevent_dispatcher._transport import Transport, transport_of
from gevent_dispatcher._url import parse
from gevent_dispatcher.aws_lambda._dead_letters import SqsDeadLetters
from gevent_dispatcher.aws_lambda._kept import KeptTransport
from gevent_dispatcher.aws_lambda._records import DeadLetters, RecordQueue, records_of
from gevent_dispatcher.queues import LegacyFormat, Queue

if TYPE_CHECKING:
    from typing import Callable

    from typing_extensions import Unpack

    from gevent_dispatcher._config import HttpSettings
    from gevent_dispatcher._stats import Delivery

    class HandlerSettings(HttpSettings, total=False):
        """The keywords of make_handler that others have too, for type checkers."""

        pool_size: int
        backoff_base: float
        backoff_max: float
        on_delivery: Callable[[Delivery], None] | None


# Those of a consumer's settings that an invocation leaves open.
_OWN = frozenset(("pool_size", "backoff_base", "backoff_max", "on_delivery"))
# An invocation is paid for by time, and the queue has more patience: the longest wait between two attempts, in seconds.
_BACKOFF_MAX = 2.0
# No function runs for longer than 15 minutes (AWS Lambda developer guide, "Lambda quotas").
_LONGEST_MARGIN = 899
# Less than this, in seconds, is not enough to look a name up, open a connection and get an answer.
LEAST = 0.5
# What is kept of the time for finishing what was sent: a quarter, and in seconds at most. Then what hangs is given up.
_SHARE, _LONGEST = 0.25, 5.0
# How often is looked whether nothing more can be delivered, in seconds.
_LOOK = 0.05
# As long as any invocation may take, and longer: nothing expires but the invocation's time.
_WHOLE_INVOCATION = 3600.0
# No invocation has more records (AWS Lambda developer guide, "Using Lambda with Amazon SQS"), and all are in memory.
_MOST_RECORDS = 10_000


def make_handler(
    *,
    dead_letter_url: str | None = None,
    legacy: LegacyFormat | None = None,
    strict: bool = False,
    margin: float = 1.0,
    destinations: Sequence[str] | None = EVENT_API,
    transport: Transport | None = None,
    **settings: Unpack[HandlerSettings],
) -> Handler:
    """Make a handler for the event source mapping of an SQS queue, at the top of a module: it keeps connections.

    Args:
        dead_letter_url: of the SQS queue that gets what can never be delivered, with its reason; None returns it, and
            leaves it to the queue's redrive policy. Needs the extra `sqs`.
        legacy: what messages of older formats lack; None treats these as undeliverable.
        strict: raise when any message failed, so that the whole batch comes again: for a mapping of which it is not
            sure that it has ReportBatchItemFailures.
        margin: seconds of the function's time that are kept for the answer; 0 to 899, default 1.
        destinations: see `Consumer`.
        transport: how requests are delivered; default `HttpTransport()` with the HTTP settings below.
        pool_size: most greenlets sending at once; default 10.
        backoff_base, backoff_max: see `GeventEventDispatcher`; default 0.5 and 2 seconds.
        on_delivery: called by senders with one frozen `Delivery` for each settled request.
        connect_timeout, read_timeout, request_timeout, headers, ssl_context, proxy: see `HttpTransport`.

    Raises:
        ValueError: a setting is outside its accepted range, or would be ignored.
        TypeError: there is no such setting.
        ImportError: `dead_letter_url` needs an extra that is not installed.
    """
    own, http = sort_settings(settings, _OWN, transport is not None)
    _check(strict, margin)
    kept = KeptTransport(transport_of(transport, http))
    dead_letters = None if dead_letter_url is None else SqsDeadLetters(dead_letter_url)
    others = {"backoff_max": _BACKOFF_MAX, **own, "transport": kept}
    handler = Handler(strict, float(margin), legacy, dead_letters, destinations, others)
    if legacy is not None and destinations is not None:
        _check_reachable(legacy, destinations)
    return handler


def _check(strict: object, margin: object) -> None:
    if not isinstance(strict, bool):
        raise ValueError(f"strict={strict!r}: must be True or False")
    _ranges.seconds("margin", margin, 0, _LONGEST_MARGIN)


def _check_reachable(legacy: LegacyFormat, destinations: Sequence[str]) -> None:
    origin = parse(legacy.url).origin
    if origin not in {parse(each).origin for each in destinations}:
        raise ValueError(f"legacy: its url is at {origin}, where requests may not go; add that to destinations")


class Context(Protocol):
    """What is used of the object that Lambda hands over beside the event."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the process."""
        ...


class BatchFailed(Exception):
    """Records failed, and in strict mode the whole batch comes again."""


class Handler:
    """Delivers the records of an invocation, and answers which of them have failed.

    Args:
        strict: raise instead of answering.
        margin: seconds that are kept for the answer.
        legacy: what messages of older formats lack.
        dead_letters: where messages go that cannot be delivered; None returns them.
        destinations: see `Consumer`.
        settings: others of `Consumer`.
    """

    def __init__(
        self,
        strict: bool,
        margin: float,
        legacy: LegacyFormat | None,
        dead_letters: DeadLetters | None,
        destinations: Sequence[str] | None,
        settings: dict[str, Any],
    ) -> None:
        self._strict = strict
        self._margin = margin
        self._legacy = legacy
        self._dead_letters = dead_letters
        self._destinations = destinations
        self._settings = settings
        self._consumer(RecordQueue(()), 0.0)  # a wrong setting is said now, not by the first event

    def __repr__(self) -> str:
        return f"<Handler for SQS records, strict={self._strict}, margin={self._margin:g}>"

    def __call__(self, event: object, context: Context) -> dict[str, list[dict[str, str]]]:
        """Deliver the records of one event.

        Args:
            event: what an event source mapping of an SQS queue hands over.
            context: Lambda's; tells the time that is left.

        Returns:
            The answer that ReportBatchItemFailures asks for: the ids of the messages that shall come again.

        Raises:
            ValueError: the event is not one of an SQS queue; nothing was sent.
            BatchFailed: in strict mode, when any record failed.
        """
        end = monotonic() + context.get_remaining_time_in_millis() / 1000 - self._margin
        records = records_of(event)
        queue = RecordQueue(records, self._legacy, self._dead_letters)
        if records:
            self._deliver(queue, end - monotonic())
        return self._answer(queue.failures, len(records))

    def _deliver(self, queue: RecordQueue, seconds: float) -> None:
        if seconds < LEAST:
            logger.warning(
                "nothing was sent: %.1f s are left, less than margin=%g and %g",
                seconds,
                self._margin,
                LEAST,
                extra=about("no_time_left", seconds=seconds),
            )
            return
        # The hub may take it for the time at which it last ran, before the process was frozen.
        get_hub().loop.update_now()
        finish = min(seconds * _SHARE, _LONGEST)
        consumer = self._consumer(queue, finish)
        stopping = gevent.spawn_later(seconds - finish, consumer.stop, finish)
        try:
            consumer.run(until_empty=True)
        finally:
            stopping.kill()
        for reason, count in queue.refused.items():
            logger.warning(
                "%d messages cannot be delivered, and are returned for the redrive policy: %s",
                count,
                reason,
                extra=about("left_to_redrive", messages=count, reason=reason),
            )

    def _consumer(self, queue: RecordQueue, finish: float) -> Consumer:
        return Consumer(
            cast(Queue, queue),  # as much of one as a consumer uses
            destinations=self._destinations,
            close_timeout=finish,
            hold_timeout=_WHOLE_INVOCATION,
            lease=_WHOLE_INVOCATION,
            max_held=_MOST_RECORDS,
            poll_interval=_LOOK,
            **self._settings,
        )

    def _answer(self, failures: list[str], total: int) -> dict[str, list[dict[str, str]]]:
        if failures:
            logger.warning(
                "%d of %d messages are returned to the queue",
                len(failures),
                total,
                extra=about("messages_returned", messages=len(failures)),
            )
        if failures and self._strict:
            raise BatchFailed(f"{len(failures)} of {total} messages failed; in strict mode all of them come again")
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failures]}
