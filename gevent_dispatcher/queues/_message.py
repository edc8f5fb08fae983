"""The text of a message in a queue that takes text, as Amazon SQS does: a request, and back. Pure.

The first line is a header of JSON: version, where the request goes, how many events it holds, how its body is written.
Behind it stands the body, ready to be sent, so that a worker has nothing to parse or to merge. Whoever can write to the
queue could write anything, so what is read is checked as strictly as what an application dispatches.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Callable, NamedTuple

from gevent_dispatcher._event import Request
from gevent_dispatcher.queues import _legacy
from gevent_dispatcher.queues._legacy import LegacyFormat
from gevent_dispatcher.queues._record import ADDRESS, address_of, as_line, request_of

VERSION = 1

# The header's first member; what does not begin with it was not written here.
_VERSION = "gevent_dispatcher"
_MARK = f'{{"{_VERSION}":'
_MEMBERS = ADDRESS | {_VERSION, "events", "body"}

# What SQS takes: #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF (its API reference, "SendMessage"). The
# carriage return is left out: XML, in which SQS may answer, makes a line feed of it (XML 1.0, section 2.11).
# In UTF-8 these are all bytes but those of control characters; two sequences are not taken, and surrogates have none.
_LEGAL = bytes((0x9, 0xA, *range(0x20, 0x100)))
_ILLEGAL = ("\ufffe".encode(), "\uffff".encode())

# Whoever reads the queue reads these. Whatever else a request needs, credentials above all, its worker adds.
_CARRIED = re.compile(r"(accept|content-type|user-agent|x-optimizely-.*)\Z", re.IGNORECASE)
_SECRET = re.compile(r"auth|cookie|key|passw|secret|session|token", re.IGNORECASE)


class Letter(NamedTuple):
    """What is to be buried: a message that cannot be delivered, or what is left of one.

    Attributes:
        text: as it came, or as it would have come.
        reason: why.
        events: how many it holds, as far as that is known.
        received: how often it was received.
        put_at: when it was first put, in seconds since the epoch.
    """

    text: str
    reason: str
    events: int = 1
    received: int = 1
    put_at: float = 0.0


def is_carried(header: str) -> bool:
    """Whether a header goes into messages, by its name."""
    return bool(_CARRIED.match(header)) and not _SECRET.search(header)


def left_out(request: Request) -> list[str]:
    """The names of the headers that `encode` leaves out of a message."""
    return [name for name in request.headers if not is_carried(name)]


def size_of(text: str) -> int:
    """Bytes of a message as SQS counts them: in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def encode(request: Request) -> str:
    """Write a request down; headers that are not carried are left out.

    Its body comes back byte for byte. What SQS would not take as text, or alter, is written as base64.
    """
    written = _written(request.body)
    address = address_of(request)
    address["headers"] = [pair for pair in address["headers"] if is_carried(pair[0])]
    header = as_line({_VERSION: VERSION, **address, "events": request.events, "body": written.how})
    return header + written.text


class _Written(NamedTuple):
    """A body: how it is written, and what follows the header."""

    how: str
    text: str


def _written(body: bytes | None) -> _Written:
    if body is None:
        return _Written("none", "")
    text = _as_text(body)
    if text is None:
        return _Written("base64", "\n" + base64.b64encode(body).decode("ascii"))
    return _Written("text", "\n" + text)


def _as_text(body: bytes) -> str | None:
    if body.translate(None, _LEGAL):  # a tenth of what a pattern costs
        return None
    if not body.isascii() and any(each in body for each in _ILLEGAL):
        return None
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


def decode(text: str, legacy: LegacyFormat | None = None) -> Request:
    """Read a message.

    Args:
        text: of the message; what has no header is of an older format, and loses the headers that are not carried.
        legacy: what such a message may lack.

    Raises:
        ValueError: this is nothing that could be sent; the text says why, and shows nothing of it.
    """
    if text.startswith(_MARK):
        return _decode(text)
    request = _legacy.decode(text, legacy)
    return request._replace(headers={name: request.headers[name] for name in request.headers if is_carried(name)})


def _decode(text: str) -> Request:
    line, newline, rest = text.partition("\n")
    members = _members(line)
    body = _body(members["body"], rest if newline else None)
    for pair in members["headers"] if isinstance(members["headers"], list) else ():
        _check_carried(pair)
    return request_of(members, body, members["events"])


def _members(line: str) -> dict[str, Any]:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("its header is unreadable") from None
    version = members[_VERSION]
    if type(version) is not int or version != VERSION:
        raise ValueError(f"its version is not {VERSION}, the only one that is known here")
    if members.keys() != _MEMBERS:
        raise ValueError("its header is not of the form of its version")
    return members  # type: ignore[no-any-return]  # it begins as an object, and could be read


def _check_carried(pair: object) -> None:
    """Not a header that frames a request, nor one that names another host."""
    name = pair[0] if isinstance(pair, list) and pair else None
    if isinstance(name, str) and not is_carried(name):
        raise ValueError("it has a header that messages do not carry")


def _body(how: object, written: str | None) -> bytes | None:
    if how == "none" and written is None:
        return None
    read = _READERS.get(how) if isinstance(how, str) else None
    if read is None or written is None:
        raise ValueError("its body is not written in a known way")
    try:
        return read(written)
    except (ValueError, binascii.Error):  # a lone surrogate, or no base64
        raise ValueError("its body is unreadable") from None


def _from_base64(written: str) -> bytes:
    return base64.b64decode(written, validate=True)


_READERS: dict[str, Callable[[str], bytes]] = {"text": str.encode, "base64": _from_base64}
