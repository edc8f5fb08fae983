"""Messages packed into calls, and requests into messages. Pure.

A call takes at most ten entries, and so many bytes in all (Amazon SQS Developer Guide, "Message quotas").
"""

from __future__ import annotations

from typing import Iterable, Iterator, Sequence, TypeVar

from gevent_dispatcher._body import take_apart
from gevent_dispatcher._event import Request
from gevent_dispatcher._retry import CONTENT_TOO_LARGE
from gevent_dispatcher.queues._message import encode, size_of
from gevent_dispatcher.queues._protocol import Refusal

T = TypeVar("T")

MOST_ENTRIES = 10


def how_many(sizes: Iterable[int], most_bytes: int) -> int:
    """How many of some messages go into one call: those that fit, from the first on, and at least one.

    Args:
        sizes: in bytes.
        most_bytes: of all in one call.
    """
    count = total = 0
    for size in sizes:
        total += size
        if count == MOST_ENTRIES or (count and total > most_bytes):
            break
        count += 1
    return count


def portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at a time as one call takes."""
    for at in range(0, len(items), MOST_ENTRIES):
        yield items[at : at + MOST_ENTRIES]


def texts_of(request: Request, most_bytes: int) -> list[str] | Refusal:
    """A request as the text of one message, or of several when it is larger than one may be.

    It is taken apart between visitors, which stay as they are; a single event goes whole or not at all.

    Args:
        request: what to write down.
        most_bytes: of one message.
    """
    text = encode(request)
    if size_of(text) <= most_bytes:
        return [text]
    pieces = _pieces(request, most_bytes) if request.events > 1 else None
    return _too_large(most_bytes) if pieces is None else pieces


def _too_large(most_bytes: int) -> Refusal:
    return Refusal(CONTENT_TOO_LARGE, f"alone it is larger than the {most_bytes} bytes that a message may have")


def _pieces(request: Request, most_bytes: int) -> list[str] | None:
    """None when it cannot be taken apart, or one visitor alone is too large."""
    parts = take_apart(request.body or b"")
    if parts is None:
        return None
    texts: list[str] = []
    heap = [parts.visitors]
    while heap:
        visitors = heap.pop()
        text = encode(_piece(request, parts.prefix, visitors, parts.suffix))
        if size_of(text) <= most_bytes:
            texts.append(text)
        elif len(visitors) > 1:
            middle = len(visitors) // 2
            heap += [visitors[middle:], visitors[:middle]]
        else:
            return None
    return texts


def _piece(request: Request, prefix: bytes, visitors: list[bytes], suffix: bytes) -> Request:
    return request._replace(body=prefix + b",".join(visitors) + suffix, events=len(visitors))
