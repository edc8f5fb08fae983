"""Queues that are named on the command line: a file's path, or the url of a queue of Amazon SQS."""

from __future__ import annotations

import argparse
from time import monotonic
from typing import Any

from gevent_dispatcher.commands._options import checked
from gevent_dispatcher.queues import (
    LegacyFormat,
    OpenQueue,
    Queue,
    QueueError,
    QueueForbidden,
    QueueUnusable,
    SqliteQueue,
    Status,
)

# What is known of a queue of SQS is asked for no more often, in seconds: each look is paid for.
_SPARING = 30.0

_SQS = ("region", "dead_letter_url", "polls", "message_bytes", "max_message_bytes", "longest_delay")
_LEGACY = ("account_id", "project_id", "legacy_url")


def queue_name(text: str) -> str:
    """The name of a queue, as the type of an argument."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    if "://" in text and not is_url(text):
        raise argparse.ArgumentTypeError("a queue is a file, or one of Amazon SQS: give its path or its https url")
    return text


def is_url(name: str) -> bool:
    """Whether a queue is one of SQS."""
    return name.startswith(("https://", "http://"))


def add_sqs(command: argparse.ArgumentParser, dead_letters: bool = True, puts: bool = True) -> argparse._ArgumentGroup:
    """Add the options that commands have for queues of SQS.

    Args:
        command: where to.
        dead_letters: whether it has to do with them.
        puts: whether it puts messages.
    """
    group = command.add_argument_group("queues of Amazon SQS (they need the extra sqs)")
    if dead_letters:
        group.add_argument("--dead-letter-url", metavar="URL", help="the queue of its dead letters")
    group.add_argument("--region", metavar="NAME", help="where the url names none (default: the environment's)")
    if puts:
        group.add_argument(
            "--max-message-bytes",
            type=int,
            metavar="N",
            help="the most that a message, and all in one call, may have; 262144 for older queues (default: 1048576)",
        )
    return group


def add_legacy(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what messages of older formats lack."""
    group.add_argument("--account-id", metavar="DIGITS", help="of events in messages of older formats that have none")
    group.add_argument("--project-id", metavar="DIGITS", help="the same for the project")
    group.add_argument("--legacy-url", metavar="URL", help="where such events go (default: the Event API's url)")


def queue_of(name: str, options: argparse.Namespace, create: bool = False) -> Queue:
    """The queue of a name.

    Args:
        name: as `queue_name` accepts it.
        options: of the command.
        create: whether to make a file where there is none.

    Raises:
        QueueUnusable: an extra is missing.
    """
    given = {each: getattr(options, each) for each in _SQS if getattr(options, each, None) is not None}
    legacy = {each: getattr(options, each) for each in _LEGACY if getattr(options, each, None) is not None}
    if not is_url(name):
        for each in (*given, *legacy):
            options.complain(f"--{each.replace('_', '-')}: is for queues of Amazon SQS, and {name} is a file")
        return SqliteQueue(name, create=create)
    return checked(options, lambda: _sqs(name, given, _legacy_format(legacy)))  # type: ignore[no-any-return]  # of any kind


def _sqs(url: str, settings: dict[str, Any], legacy: LegacyFormat | None) -> Queue:
    try:
        from gevent_dispatcher.queues.sqs import SqsQueue
    except ImportError as error:
        raise QueueUnusable(str(error)) from None
    return SqsQueue(url, legacy=legacy, **settings)


def _legacy_format(given: dict[str, str]) -> LegacyFormat | None:
    if not given:
        return None
    for name in ("account_id", "project_id"):
        if name not in given:
            raise ValueError(f"--{name.replace('_', '-')}: is needed, too, for messages of older formats")
    return LegacyFormat(given["account_id"], given["project_id"], url=given.get("legacy_url", LegacyFormat.url))


class Watched:
    """A queue that is looked at while something works with it.

    Args:
        queue: opened.
        is_paid: whether each look is paid for.
    """

    def __init__(self, queue: OpenQueue, is_paid: bool) -> None:
        self._queue = queue
        self._interval = _SPARING if is_paid else 0.0
        self._next = 0.0
        self._seen: Status | None = None

    def status(self) -> Status | None:
        """What it held a moment ago, None when that cannot be known."""
        if monotonic() >= self._next:
            self._next = monotonic() + self._interval
            try:
                self._seen = self._queue.status()
            except QueueError:  # whoever works with it says so
                self._seen = None
        return self._seen

    def status_of_now(self) -> Status | None:
        """What it holds, None without the right to know.

        Raises:
            QueueError: it cannot be looked at for another reason.
        """
        try:
            return self._queue.status()
        except QueueForbidden:
            return None


def left_in(status: Status) -> int:
    """Messages that are neither done nor dead."""
    return status.waiting + status.delayed + status.leased


def described(status: Status) -> str:
    """How much is in a queue, by what it can tell."""
    messages = f"{left_in(status)} messages"
    return messages if status.events is None else f"{messages} ({status.events} events)"
