"""`SqsQueue`: the recipe of a queue on Amazon SQS."""

from __future__ import annotations

from typing import Any

from gevent_dispatcher.queues._legacy import LegacyFormat
from gevent_dispatcher.queues._protocol import PollingQueue
from gevent_dispatcher.queues.sqs._open import OpenSqsQueue
from gevent_dispatcher.queues.sqs._settings import DEFAULT_TIMEOUT, HEADER_BYTES, LARGEST_BYTES, PACKED_BYTES, Settings


class SqsQueue:
    """A standard queue of Amazon SQS. Making one does nothing; the first call makes a client, once per process.

    Args:
        queue_url: as SQS shows it; calls go to its host. FIFO queues are refused: events need no order.
        dead_letter_url: where what is refused goes at once, with its reason as attributes. None leaves it to the
            redrive policy that the queue should have then: it is received again, later and later, until SQS moves it.
        region: None takes it from the url, or from the environment.
        client: a botocore client for sqs, or a callable that makes one in each process; None makes one. Switch its own
            retries off (`retries={"total_max_attempts": 1}`), which would be multiplied, and share none over a fork.
        message_bytes: at which requests are cut, so that a message stays below 64 KB, by which SQS is paid; 2 000 to
            `max_message_bytes`, default 60 000. A single event that is larger goes as a larger message.
        max_message_bytes: the most that a message, and all in one call, may have; 4 000 to 1 048 576 (default), which
            is what SQS takes since August 2025. Older queues, and most stand-ins, take 262 144.
        polls: calls at once that a consumer asks for messages with while there is much; 1 to 50, default 4. An empty
            queue is asked by one, which waits up to 20 s.
        timeout: seconds that a call may take, beside the time for which it was asked to wait; 0.1 to 300, default 10.
        longest_delay: most seconds before a message that was sent in vain can be received again: the first time it is a
            consumer's `release_delay`, then twice as long each time; 0 to 43 200, default 3 600.
        legacy: what messages of older formats lack, for consumers; None refuses those that lack anything.

    Raises:
        ValueError: a setting is outside its accepted range, or would be ignored.
    """

    def __init__(
        self,
        queue_url: str,
        *,
        dead_letter_url: str | None = None,
        region: str | None = None,
        client: Any = None,
        message_bytes: int = PACKED_BYTES,
        max_message_bytes: int = LARGEST_BYTES,
        polls: int = 4,
        timeout: float = DEFAULT_TIMEOUT,
        longest_delay: float = 3600.0,
        legacy: LegacyFormat | None = None,
    ) -> None:
        self._settings = Settings(
            queue_url,
            dead_letter_url,
            region,
            client,
            message_bytes,
            max_message_bytes,
            polls,
            timeout,
            longest_delay,
            legacy,
        )
        # At how many bytes a dispatcher cuts its requests.
        self.request_bytes = message_bytes - HEADER_BYTES

    def __repr__(self) -> str:
        return f"SqsQueue({self._settings.queue_url!r})"

    def open(self) -> PollingQueue:
        """Make what this process needs; the client is made by the first call."""
        return OpenSqsQueue(self._settings)
