"""A request as a record that a queue can store, and back. Pure.

The body stays as it is. What else a request has is one line of JSON: its address. Whoever can write to the queue could
write anything, so what is read is checked as strictly as what an application dispatches.
"""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple

from gevent_dispatcher._config import header_problem
from gevent_dispatcher._event import Request
from gevent_dispatcher._url import Origin

_TARGET = re.compile(r"[!-~]+\Z")
_HOST = re.compile(r"[!-~]+\Z")
_SCHEMES = ("http", "https")
_VERBS = ("POST", "GET")

# The members of an address.
ADDRESS = frozenset(("verb", "origin", "target", "headers"))


class Record(NamedTuple):
    """A request in parts that a store keeps."""

    envelope: str
    body: bytes | None
    events: int


def encode(request: Request) -> Record:
    """Take a request apart."""
    return Record(as_line(address_of(request)), request.body, request.events)


def decode(record: Record) -> Request:
    """Put a request together.

    Raises:
        ValueError: this is nothing that could be sent; the text says why, and shows nothing of it.
    """
    return request_of(_parts(record.envelope), record.body, record.events)


def address_of(request: Request) -> dict[str, Any]:
    """All of a request but its body and the number of its events, as JSON has it."""
    headers = [[name, value] for name, value in request.headers.items()]
    return {"verb": request.verb, "origin": list(request.origin), "target": request.target, "headers": headers}


def as_line(members: Mapping[str, Any]) -> str:
    """One line of JSON, of ASCII alone."""
    return json.dumps(members, separators=(",", ":"))


def request_of(address: Mapping[str, Any], body: object, events: object) -> Request:
    """Put a request together.

    Args:
        address: has at least the members of `ADDRESS`.
        body: as it shall be sent.
        events: how many it holds.

    Raises:
        ValueError: this is nothing that could be sent; the text says why, and shows nothing of it.
    """
    return Request(
        _one_of(address["verb"], _VERBS, "verb"),
        _origin(address["origin"]),
        _text(address["target"], _TARGET, "target"),
        _headers(address["headers"]),
        _body(body),
        _events(events),
    )


def _parts(envelope: object) -> dict[str, Any]:
    try:
        parts = json.loads(envelope) if isinstance(envelope, str) else None
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, dict) or not parts.keys() >= ADDRESS:
        raise ValueError("its envelope is unreadable")
    return parts


def _one_of(value: object, accepted: tuple[str, ...], what: str) -> str:
    if isinstance(value, str) and value in accepted:
        return value
    raise ValueError(f"its {what} is not one of {', '.join(accepted)}")


def _text(value: object, accepted: re.Pattern[str], what: str) -> str:
    if isinstance(value, str) and accepted.match(value):
        return value
    raise ValueError(f"its {what} is not printable ASCII")


def _origin(value: object) -> Origin:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("its origin is not a scheme, a host and a port")
    scheme, host, port = value
    if type(port) is not int or not 1 <= port <= 65_535:
        raise ValueError("its port is not a number from 1 to 65535")
    return Origin(_one_of(scheme, _SCHEMES, "scheme"), _text(host, _HOST, "host"), port)


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise ValueError("its headers are not pairs")
    for name, text in value:
        problem = header_problem(name, text)
        if problem:
            raise ValueError(problem)
    return dict(value)


def _body(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    raise ValueError("its body is not bytes")


def _events(value: object) -> int:
    if type(value) is int and value >= 1:
        return value
    raise ValueError("its number of events is not positive")
