"""A request as the server hands it over: its connection, its body and its headers, read with care."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gevent_dispatcher.collector._schema import EVENT_API_BYTES

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Names the connection in the WSGI environment; the server puts it there.
CONNECTION = "gevent_dispatcher.connection"

# The Event API takes 3.5 MB; a little more shows what a client does beyond that.
MAX_BODY = 4 * 1024 * 1024

# Of headers that are kept to be shown: how many, and of each how many characters.
_MOST = 50
_LONGEST = 500
# In whose names there is one of these, that header may hold a credential, and is not kept.
_SECRET = ("AUTH", "COOKIE", "KEY", "TOKEN", "SECRET", "PASSWORD", "SESSION")
HIDDEN = "(hidden)"


class Unreadable(Exception):
    """A request whose body is not read.

    Args:
        status: of the answer.
        reason: to be told.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def read(environ: WSGIEnvironment) -> bytes:
    """The body.

    Raises:
        Unreadable: it is too large, or compressed.
    """
    coding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Unreadable(415, "header Content-Encoding: no document says that the Event API takes compressed bodies")
    too_large = Unreadable(413, f"body: may have {MAX_BODY} bytes here, and {EVENT_API_BYTES} at the Event API")
    if int(environ.get("CONTENT_LENGTH") or 0) > MAX_BODY:
        raise too_large
    body: bytes = environ["wsgi.input"].read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise too_large
    return body


def read_sized(environ: WSGIEnvironment) -> bytes:
    """The body of a request that must have one.

    Raises:
        Unreadable: it is too large or compressed, or nothing says how long it is.
    """
    if "CONTENT_LENGTH" not in environ and "HTTP_TRANSFER_ENCODING" not in environ:
        raise Unreadable(411, "header Content-Length: is missing, and the body is not chunked either")
    return read(environ)


def headers_of(environ: WSGIEnvironment) -> dict[str, str]:
    """The headers, by their usual names; what may be a credential is hidden, what is long is cut."""
    found: dict[str, str] = {}
    for name, value in environ.items():
        if name.startswith(("HTTP_", "CONTENT_")) and len(found) < _MOST:
            usual, is_secret = _usual(name[:_LONGEST])
            found[usual] = HIDDEN if is_secret else value[:_LONGEST]
    return found


@lru_cache(maxsize=256)
def _usual(name: str) -> tuple[str, bool]:
    """A header's usual name, and whether it may hold a credential."""
    plain = name[len("HTTP_") :] if name.startswith("HTTP_") else name
    return plain.replace("_", "-").title(), any(each in plain for each in _SECRET)
