"""A merged body, taken apart again: for a request that was read from a queue and is refused.

The text of each visitor is cut out as it stands, so that nothing is altered by having been opened.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_decode = json.JSONDecoder().raw_decode
_blank = re.compile(r"[ \t\n\r]*")


class Parts(NamedTuple):
    """What a body is made of: `prefix`, the visitors with commas between them, `suffix`."""

    prefix: bytes
    visitors: list[bytes]
    suffix: bytes


def take_apart(body: bytes) -> Parts | None:
    """Cut a body of the Event API into its visitors and what stands around them.

    Args:
        body: JSON; an object whose member `visitors` is an array.

    Returns:
        None when it is not of that form.
    """
    try:
        text = body.decode("utf-8")
        members = json.loads(text, object_pairs_hook=list)  # the whole must be JSON, or its pieces would not be
        start = _start_of_visitors(text)
        spans, end = _elements(text, start)
    except (ValueError, IndexError, RecursionError):
        return None
    if [name for name, _ in members].count("visitors") != 1:
        return None
    visitors = [text[first:behind].encode("utf-8") for first, behind in spans]
    return Parts(text[:start].encode("utf-8"), visitors, text[end:].encode("utf-8"))


def _skip(text: str, at: int) -> int:
    found = _blank.match(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, mark: str) -> int:
    at = _skip(text, at)
    if text[at] != mark:
        raise ValueError(mark)
    return at + 1


def _start_of_visitors(text: str) -> int:
    """Where the first element of the outermost member `visitors` may begin."""
    at = _expect(text, 0, "{")
    while True:
        name, at = _decode(text, _skip(text, at))
        at = _expect(text, at, ":")
        if name == "visitors":
            return _expect(text, at, "[")
        _, at = _decode(text, _skip(text, at))
        at = _expect(text, at, ",")


def _elements(text: str, at: int) -> tuple[list[tuple[int, int]], int]:
    """The spans of an array's elements, and where the array ends: at its bracket."""
    spans: list[tuple[int, int]] = []
    while True:
        first = _skip(text, at)
        _, behind = _decode(text, first)
        spans.append((first, behind))
        at = _skip(text, behind)
        if text[at] == "]":
            return spans, at
        at = _expect(text, at, ",")
