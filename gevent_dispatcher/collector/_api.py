"""The JSON API: what was received, and how requests are answered, for tests in any language and for the page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from gevent_dispatcher.collector._book import Book, Filter
from gevent_dispatcher.collector._kept import Kept, number_of

_DEFAULT_LIMIT = 100
_MOST = 10_000
_BOOLEANS = {"true": True, "false": False}
_TEXTS = ("key", "visitor", "experiment", "uuid")
_KNOWN = ("limit", "after", "valid", *_TEXTS)


def events(book: Book, query: str) -> dict[str, Any]:
    """Events, newest last.

    Args:
        book: that has them.
        query: `limit`, `after`, `valid`, `key`, `visitor`, `experiment` and `uuid`, each or none.

    Raises:
        ValueError: it holds something else.
    """
    asked = dict(parse_qsl(query, keep_blank_values=True))
    unknown = asked.keys() - {*_KNOWN}
    if unknown:
        raise ValueError(f"{min(unknown)[:50]!r}: there is no such filter; there are {', '.join(_KNOWN)}")
    wanted = Filter(valid=_boolean(asked, "valid"), **{name: asked.get(name) or None for name in _TEXTS})
    after = _number(asked, "after", 0, None)
    found, last = book.find(wanted, after, _number(asked, "limit", 1, _DEFAULT_LIMIT, _MOST))
    dropped = book.shelf.dropped(after or 0)
    return {"events": [kept.item() for kept in found], "last": last, "dropped": dropped}


def event(book: Book, number: str) -> Kept | None:
    """The event of a number, None when it is not kept, or there is none."""
    n = number_of(number)
    return None if n is None else book.shelf.get(n)


def _boolean(asked: dict[str, str], name: str) -> bool | None:
    text = asked.get(name, "")
    if text and text not in _BOOLEANS:
        raise ValueError(f"{name}={text[:50]!r}: must be true or false")
    return _BOOLEANS.get(text)


def _number(asked: dict[str, str], name: str, low: int, default: int | None, high: int = 10**17) -> int | None:
    text = asked.get(name, "")
    if not text:
        return default
    number = number_of(text)
    if number is None or not low <= number <= high:
        raise ValueError(f"{name}={text[:50]!r}: must be a whole number from {low} to {high}")
    return number
