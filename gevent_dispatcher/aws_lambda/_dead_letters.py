"""Dead letters of the handler, in a queue of SQS."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Sequence

from gevent_dispatcher._log import about, logger
from gevent_dispatcher.queues._message import Letter

_SQS = "gevent_dispatcher.queues.sqs"


class SqsDeadLetters:
    """Keeps them in a queue. Its client is made by the first letter, and kept from one invocation to the next.

    Args:
        url: of the queue.

    Raises:
        ValueError: it is no url of a standard queue.
        ImportError: the extra `sqs` is not installed.
    """

    def __init__(self, url: str) -> None:
        sqs = import_module(_SQS)
        try:
            self._recipe = sqs.DeadLetters(url)
        except ValueError as error:
            raise ValueError(str(error).replace("queue_url", "dead_letter_url")) from None
        self._opened: Any = None
        self._pid = 0

    def send(self, letters: Sequence[Letter]) -> list[int]:
        """Store letters, and tell the numbers of those that are not stored."""
        if self._opened is None or self._pid != os.getpid():
            self._opened, self._pid = self._recipe.open(), os.getpid()
        problems = self._opened.bury(letters)
        for problem in {str(each) for each in problems if each is not None}:
            logger.warning(
                "some dead letters were not stored: %s",
                problem,
                extra=about("dead_letters_not_stored", problem=problem),
            )
        return [at for at, problem in enumerate(problems) if problem is not None]
