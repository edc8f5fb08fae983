"""HTTP/1.1 as bytes: the head of a request, and the one kind of answer that nearly every request gets."""

from __future__ import annotations

import re
from typing import Mapping

from gevent_dispatcher._config import FRAMING
from gevent_dispatcher._url import Origin

# Of one answer. http.client takes 100; a 2xx with more, thrown away, would be asked for again and again, and RFC 9110,
# section 5.4, lets a client ignore what it has no use for. The head as a whole is bounded in bytes besides.
MOST_HEADERS = 1_000

_TOKEN = rb"[!#-'*+.^-z|~0-9A-Z-]+"
# A header as servers send it: a token, a colon, text in one line.
HEADER = re.compile(rb"(%b):([^\r\n\0]*)\r?\n\Z" % _TOKEN)
_PLAIN = re.compile(rb"HTTP/1\.1 (2[0-9][0-9])(?: [^\r\n\0]*)?\r\n((?:%b:[^\r\n\0]*\r\n)*)\r\n" % _TOKEN)
# Headers that say where the answer ends, and whether another may follow.
_TELLING = re.compile(rb"^(connection|content-length|transfer-encoding):([^\r]*)\r$", re.I | re.M)
_LENGTH = re.compile(rb"[0-9]{1,6}\Z")
_NO_CONTENT = b"204"
_PARTS = re.compile("[\0- \x7f]")


def authority(origin: Origin) -> str:
    """The value of a Host header: a name's final dot and an address's zone are for the resolver alone."""
    host = origin.host.split("%")[0].rstrip(".")
    return str(origin._replace(host=host)).split("//")[1]


def prefer(*headers: Mapping[str, str]) -> dict[str, str]:
    """All of them; of those whose names differ in case at most, the one that stands first."""
    names: set[str] = set()
    preferred: dict[str, str] = {}
    for each in headers:
        fresh = {name: value for name, value in each.items() if name.lower() not in names}
        names.update(map(str.lower, fresh))
        preferred.update(fresh)
    return preferred


def request_head(verb: str, target: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """The head of a request.

    Args:
        verb: GET or POST.
        target: a path with its query, or a whole url for a proxy.
        headers: all but those of framing; Host is among them.
        length: of the body, in bytes; None for a request that has none.

    Raises:
        ValueError: what it is made of would end a line, or part the first one elsewhere. The door lets no such event
            in; a request may have been put together by hand.
    """
    if _PARTS.search(verb + target):
        raise ValueError("a verb or target with a blank or control character in it")
    lines = [f"{verb} {target} HTTP/1.1"]
    lines.extend(f"{name}: {value}" for name, value in headers.items() if name.lower() not in FRAMING)
    if length is not None:
        lines.append(f"Content-Length: {length}")
    head = "\r\n".join((*lines, "", "")).encode("latin-1")
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
        raise ValueError("a header with a line break in it")
    return head


def plain_status(data: bytes) -> int | None:
    """The status of a whole and plain answer, after which the connection can be used again; None for any other.

    Plain is: HTTP/1.1, a 2xx, headers of one line each, nothing left to read. All else is for a patient reader.

    Args:
        data: what came first.
    """
    found = _PLAIN.match(data)
    if found is None or data.count(b"\n") > MOST_HEADERS:
        return None
    status, fields = found.groups()
    length = _body_length(status, _TELLING.findall(fields))
    return int(status) if length == len(data) - found.end() else None


def _body_length(status: bytes, told: list[tuple[bytes, bytes]]) -> int | None:
    """Bytes behind the head; None where that is not plain, or the connection is not kept."""
    lengths = []
    for name, text in told:
        kind, value = name.lower(), text.strip(b" \t")
        if kind == b"content-length":
            lengths.append(value)
        elif kind != b"connection" or value.lower() != b"keep-alive":
            return None
    if status == _NO_CONTENT:
        return 0 if set(lengths) <= {b"0"} else None  # what stands behind it is no body
    return int(lengths[0]) if len(lengths) == 1 and _LENGTH.match(lengths[0]) else None
