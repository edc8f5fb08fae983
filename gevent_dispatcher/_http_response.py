"""An HTTP answer as it is read: bounded in bytes, never holding the hub, its status known whatever follows it.

http.client reads in loops, of interim answers, header lines, chunks and trailers, and while bytes are always there no
read ever waits: without the bounds here a stream of them would hold the hub for as long as the server likes.
"""

from __future__ import annotations

import errno
import http.client
import io
import re
from typing import Any

import gevent

# An answer's body says nothing that we need: this much is read so that the connection can be kept, then it is closed.
MOST_BODY = 65_536
# All that is read of one answer: its head, which servers keep within 8 to 32 KB, its body, and what stands around them.
_MOST_READ = 2 * MOST_BODY
# Interim answers before the final one. A server that sends more never comes to the point.
_MOST_INTERIM = 8
# A turn of the hub, in seconds. gevent runs dozens of callbacks, and so of sleep(0), before it looks at a socket.
_TURN = 0.000_001
# RFC 9112, section 6.2: digits. No answer has a body of 19 of them.
_LENGTH = re.compile(r"[0-9]{1,18}\Z")


class Unusable(http.client.HTTPException):
    """An answer that makes no sense. The words are ours: nothing of what the server sent is in them."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.strerror = words


class Unanswered(ConnectionResetError):
    """The connection was closed before the first byte of an answer."""

    reused = False

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the connection was closed before an answer")


class _Bounded(io.RawIOBase):
    """The bytes of one answer: only so many, and a turn of the hub before each further read."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if self.seen >= _MOST_READ:
            raise Unusable(f"the answer has more than {_MOST_READ} bytes")
        if self.seen:
            gevent.sleep(_TURN)
        count = self._raw.readinto(buffer)
        self.seen += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """Skips interim answers, and keeps no connection on which the next answer could not be found."""

    headers: Any
    will_close: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bytes = _Bounded(self.fp.detach())
        self.fp = io.BufferedReader(self._bytes)

    def begin(self) -> None:
        super().begin()
        if not self._is_framed():
            # urllib3 raises on contradicting lengths, and the status would be lost.
            del self.headers["Content-Length"]
            self.length, self.will_close = None, True
        if self.headers.defects or self.headers.get_payload():
            self._forget_defects()

    def _is_framed(self) -> bool:
        lengths = set(self.headers.get_all("Content-Length", ()))
        return not lengths or (len(lengths) == 1 and _LENGTH.match(lengths.pop()) is not None)

    def _forget_defects(self) -> None:
        """Lines that are no headers: urllib3 would log a warning with path and query for them."""
        self.headers.defects = []
        self.headers.set_payload(None)
        self.will_close = True

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM + 1):
            version, status, reason = self._read_one_status()
            if status == http.client.SWITCHING_PROTOCOLS:
                raise Unusable("status 101, and nobody asked for another protocol")
            if not 100 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise Unusable(f"more than {_MOST_INTERIM} interim answers")

    def _read_one_status(self) -> tuple[str, int, str]:
        try:
            return super()._read_status()  # type: ignore[misc,no-any-return]  # typeshed leaves it out
        except ConnectionError as error:
            if self._bytes.seen:
                raise
            raise Unanswered from error
