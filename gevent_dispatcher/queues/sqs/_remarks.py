"""What is said of a queue of SQS: each thing once, or once in a while with its count."""

from __future__ import annotations

from time import monotonic
from typing import Sequence

from gevent_dispatcher._event import Request
from gevent_dispatcher._log import about, logger, say_the_rest
from gevent_dispatcher._notices import Repeats
from gevent_dispatcher.queues._message import left_out
from gevent_dispatcher.queues._protocol import QueueError


class Remarks:
    """The remarks on one opened queue.

    Args:
        has_letters: whether what cannot be read goes to a queue of dead letters.
    """

    def __init__(self, has_letters: bool) -> None:
        self._place = "to the dead letters" if has_letters else "left to the queue's redrive policy"
        self._said: set[str] = set()
        self._repeats = Repeats()

    def put(self, request: Request) -> None:
        """A request is put: say which of its headers stay behind."""
        for name in left_out(request):
            if name not in self._said:
                self._said.add(name)
                logger.warning(
                    "the header %s does not go into messages: give it to the worker, which adds it",
                    name,
                    extra=about("header_left_out", header=name),
                )

    def unreadable(self, reasons: Sequence[str]) -> None:
        """Messages cannot be read.

        Args:
            reasons: why, for each of them.
        """
        for why in sorted(set(reasons)):
            count = self._repeats.count(f"messages_unreadable: {why}", monotonic(), reasons.count(why))
            if count:
                logger.warning(
                    "%d messages cannot be read (%s): %s",
                    count,
                    why,
                    self._place,
                    extra=about("messages_unreadable", messages=count, reason=why),
                )

    def not_moved(self, error: QueueError) -> None:
        """What cannot be read could not be moved either; it comes again, and so does this."""
        name = type(error).__name__
        if self._repeats.count("messages_left", monotonic()):
            logger.warning(
                "what cannot be read stays where it is for now (%s: %s)",
                name,
                error,
                extra=about("messages_left", error=name),
            )

    def close(self) -> None:
        """Say how often has happened again what was said a short while ago."""
        say_the_rest(self._repeats.rest())
