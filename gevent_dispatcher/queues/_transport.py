"""A queue as a transport: a batch is delivered once it is committed to the queue; a consumer takes it on from there."""

from __future__ import annotations

from gevent_dispatcher._event import Request
from gevent_dispatcher._retry import Answer
from gevent_dispatcher.queues._protocol import OpenQueue, Queue, QueueError, QueueRefused

# "Accepted": what an endpoint would say that takes something on (RFC 9110, section 15.3.3).
_ACCEPTED = 202


class QueueTransport:
    """Puts each request into a durable queue: `GeventEventDispatcher(transport=QueueTransport(SqliteQueue(path)))`.

    The dispatcher's breaker is in front: a queue that is away is left alone for a while.

    Args:
        queue: where to put requests.

    Raises:
        ValueError: it is no queue.
    """

    def __init__(self, queue: Queue) -> None:
        if not callable(getattr(queue, "open", None)):
            raise ValueError(f"queue={queue!r}: must have open(), as SqliteQueue(path) does")
        self._queue = queue
        # What the queue wants at most in one request, in bytes; the dispatcher cuts its requests at that.
        self.request_bytes: int | None = getattr(queue, "request_bytes", None)

    def __repr__(self) -> str:
        return f"QueueTransport({self._queue!r})"

    def open(self, connections: int) -> _QueueLink:
        """Open the queue for this process."""
        return _QueueLink(self._queue.open())


class _QueueLink:
    def __init__(self, queue: OpenQueue) -> None:
        self._queue = queue

    def send(self, request: Request) -> Answer:
        try:
            self._queue.put([request])
        except QueueRefused as error:
            refusal = error.refusals[0]
            return Answer(refusal.status, error=refusal.reason)
        except QueueError as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        return Answer(_ACCEPTED)

    def close(self) -> None:
        self._queue.close()
