"""JSON text, taken apart: a merged body that is refused, a message of an older format.

What is cut out stays as it stands, so that nothing is altered by having been opened.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

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


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decode_strictly = json.JSONDecoder(parse_constant=_no_constant).raw_decode


class Member(NamedTuple):
    """A member of an object: its name, the name's text with its quotes, its value, the value's text."""

    name: str
    name_text: str
    value: Any
    text: str

    def elements(self) -> list[str]:
        """The texts of the elements of a value that is an array which is not empty."""
        spans, _ = _elements(self.text, 1)
        return [self.text[first:behind] for first, behind in spans]


def members(text: str) -> list[Member]:
    """Cut an object into its members, in their order, those of a name that is there twice too.

    Args:
        text: JSON; NaN and infinities are not.

    Raises:
        ValueError, IndexError, RecursionError: it is not an object.
    """
    at, found = _expect(text, 0, "{"), []
    if text[_skip(text, at)] == "}":
        at = _skip(text, at)
    else:
        member, at = _member(text, at)
        found.append(member)
        while text[at] == ",":
            member, at = _member(text, at + 1)
            found.append(member)
    if _skip(text, _expect(text, at, "}")) != len(text):
        raise ValueError("something behind the object")
    return found


def _member(text: str, at: int) -> tuple[Member, int]:
    """One member, and where its comma or brace is."""
    first = _skip(text, at)
    name, behind = _decode_strictly(text, first)
    if not isinstance(name, str):
        raise ValueError("a name that is no text")
    start = _skip(text, _expect(text, behind, ":"))
    value, end = _decode_strictly(text, start)
    return Member(name, text[first:behind], value, text[start:end]), _skip(text, end)
