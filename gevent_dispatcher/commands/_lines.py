"""The lines of a file or of standard input, read without holding the hub, and made into events."""

from __future__ import annotations

import json
import os
from typing import Any, Iterator, Mapping, NoReturn

from gevent import get_hub

from gevent_dispatcher._event import Given
from gevent_dispatcher._threads import outcome_of

# Read at once, in bytes: some sixty events.
_CHUNK = 65_536
# No event of the Event API is larger than 3.5 MB; a line may have blanks and escapes besides.
_LONGEST = 16 * 1024 * 1024

_MEMBERS = frozenset(("url", "params", "http_verb", "headers"))


class BadLine(ValueError):
    """A line is no event; the text says why, and shows nothing of it."""


class Lines:
    """The lines that a file descriptor gives; iterate over it once.

    Args:
        fd: of the file.

    Attributes:
        number: of the line that was given last, from 1.
        bytes: read so far.
    """

    def __init__(self, fd: int) -> None:
        self.number = 0
        self.bytes = 0
        status = os.fstat(fd)
        # 0 where that cannot be known, as with a pipe
        self.size = status.st_size
        self._fd = fd

    def __iter__(self) -> Iterator[bytes | None]:
        """Each line, None for one that is longer than an event can be."""
        for line in self._raw():
            self.number += 1
            yield line

    def _raw(self) -> Iterator[bytes | None]:
        rest, is_too_long = b"", False
        while True:
            chunk = _read(self._fd)
            self.bytes += len(chunk)
            if not chunk:
                break
            first, *others = chunk.split(b"\n")
            rest += b"" if is_too_long else first
            is_too_long = is_too_long or len(rest) > _LONGEST
            if others:
                yield None if is_too_long else rest
                yield from others[:-1]
                rest, is_too_long = others[-1], False
        if rest or is_too_long:
            yield None if is_too_long else rest


def _read(fd: int) -> bytes:
    chunk, error = get_hub().threadpool.apply(outcome_of, (lambda: os.read(fd, _CHUNK),))
    if error is not None:
        raise error
    return bytes(chunk)


def event_of(line: bytes | None, url: str | None) -> Given | None:
    """The event that a line holds; None for a blank line.

    Args:
        line: what `Lines` gave.
        url: where an event goes that does not say so itself.

    Raises:
        BadLine: it holds none.
    """
    if line is None:
        raise BadLine(f"it is longer than {_LONGEST} bytes")
    if not line.strip():
        return None
    found = _parsed(line)
    if "params" not in found and "visitors" in found:
        return _event(found, {}, url)
    unknown = found.keys() - _MEMBERS
    if "params" not in found or unknown:
        raise BadLine("it is neither the params of an event nor an object of url, params, http_verb and headers")
    return _event(found["params"], found, url)


def _event(params: Any, around: Mapping[str, Any], url: str | None) -> Given:
    target = around.get("url", url)
    if target is None:
        raise BadLine("it names no url, and there is no --url")
    return Given(around.get("http_verb", "POST"), target, params, around.get("headers"))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadLine("it is not JSON") from None
    if not isinstance(found, dict):
        raise BadLine("it is not a JSON object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
