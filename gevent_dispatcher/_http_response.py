"""An HTTP answer as it is read: bounded in bytes, never holding the hub, its status known whatever follows it.

Nearly every answer is plain and comes whole with the first bytes; it is not read any further. All others are read by
http.client, which does so in loops, of interim answers, header lines, chunks and trailers; and while bytes are always
there no read ever waits: without the bounds here a stream of them would hold the hub for as long as the server likes.
"""

from __future__ import annotations

import email.parser
import errno
import http.client
import io
import re
from http.client import HTTPMessage
from typing import Any, Mapping

import gevent

from gevent_dispatcher._http_wire import HEADER, MOST_HEADERS

# An answer's body says nothing that we need: this much is read so that the connection can be kept, then it is closed.
MOST_BODY = 65_536
# All that is read of one answer: its head, which servers keep within 8 to 32 KB, its body, and what stands around them.
_MOST_READ = 2 * MOST_BODY
# Interim answers before the final one: a slow server may say each second that it is at work. One that sends more than
# this within the time of an exchange never comes to the point.
_MOST_INTERIM = 100
# A turn of the hub, in seconds. gevent runs dozens of callbacks, and so of sleep(0), before it looks at a socket.
_TURN = 0.000_001
# RFC 9112, section 6.2: digits. No answer has a body of 19 of them.
_LENGTH = re.compile(r"[0-9]{1,18}\Z")

# RFC 9110, sections 15.3.5 and 15.4.5.
_BODILESS = (204, 304)


class Unusable(http.client.HTTPException):
    """An answer that makes no sense. The words are ours: nothing of what the server sent is in them."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.strerror = words


class Unanswered(ConnectionResetError):
    """The connection was closed before the first byte of an answer.

    Args:
        reused: it had carried another exchange before.
    """

    def __init__(self, reused: bool) -> None:
        super().__init__(errno.ECONNRESET, "the connection was closed before an answer")
        self.reused = reused


class _Bounded(io.RawIOBase):
    """The bytes of one answer: only so many, and a turn of the hub before each further read.

    Args:
        raw: a socket's file.
        first: what was read of it before.
    """

    def __init__(self, raw: Any, first: bytes) -> None:
        self._raw = raw
        self._first = first
        self.seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if self._first:
            return self._again(buffer)
        if self.seen >= _MOST_READ:
            raise Unusable(f"the answer has more than {_MOST_READ} bytes")
        if self.seen:
            gevent.sleep(_TURN)
        count = self._read(buffer)
        self.seen += count or 0
        return count

    def _read(self, buffer: Any) -> Any:
        """A reset within an answer is its end, as a close is: what was read of it counts (RFC 9112, section 8)."""
        try:
            return self._raw.readinto(buffer)
        except ConnectionError:
            if not self.seen:
                raise
            return 0

    def tell(self) -> int:
        """How much was read; a reader above it takes off what it has not given out yet."""
        return self.seen

    def is_ahead(self, position: int) -> bool:
        """Whether more was read than up to a position."""
        return bool(self._first) or self.seen > position

    def _again(self, buffer: Any) -> int:
        given, self._first = self._first[: len(buffer)], self._first[len(buffer) :]
        buffer[: len(given)] = given
        self.seen += len(given)
        return len(given)

    def close(self) -> None:
        self._raw.close()
        super().close()


class Answered:
    """What urllib3's pools want of an answer, and do with it."""

    version_string = "HTTP/1.1"
    retries: Any = None
    _connection: Any = None
    _pool: Any = None

    @classmethod  # pragma: no cover  # urllib3 1.26
    def from_httplib(cls, response: Answered, pool: Any, connection: Any, **_: Any) -> Answered:
        """As a pool of urllib3 1.26 wraps http.client's answers: there is nothing to wrap."""
        response._pool, response._connection = pool, connection
        return response

    def give_back(self, is_read: bool) -> None:
        """Have the pool keep the connection, if it can be used again.

        Args:
            is_read: the whole answer was.
        """
        connection, self._connection = self._connection, None
        if not is_read:
            connection.close()
        self._pool._put_conn(connection)


class Plain(Answered):
    """An answer that came whole with the first bytes, and says no more than its status."""

    headers: Mapping[str, str] = {}
    msg = HTTPMessage()
    version = 11  # pools of urllib3 2.2 log it
    length = length_remaining = 0

    def __init__(self, status: int) -> None:
        self.status = status

    def getheader(self, name: str, default: str | None = None) -> str | None:
        """What a pool of urllib3 before 1.26.13 asks, where later ones ask `headers`: there is none."""
        return default

    def finish(self, seconds: float) -> None:
        """Give the connection back."""
        self.give_back(is_read=True)


class Response(Answered, http.client.HTTPResponse):
    """Skips interim answers, and keeps no connection on which the next answer could not be found.

    Args:
        first: what was read of it before, in bytes; other arguments are those of http.client's.
    """

    code: Any
    headers: Any
    length: Any
    msg: Any
    reason: Any
    status: Any
    version: Any
    will_close: Any
    _method: Any
    # Bytes stand behind the answer that are nobody's: the next would be looked for among them.
    _is_followed = False

    def __init__(self, *args: Any, first: bytes = b"", **options: Any) -> None:
        super().__init__(*args, **options)
        self._bytes = _Bounded(self.fp.detach(), first)
        self.fp = io.BufferedReader(self._bytes)

    def begin(self) -> None:
        """Read the head. http.client does the same, but its e-mail parser takes as long as all the rest."""
        version, self.status, reason = self._read_status()
        self.code, self.reason, self.version = self.status, reason.strip(), _version(version)
        self.headers = self.msg = headers = read_headers(self.fp)
        codings = [each.lower() for each in headers.get_all("Transfer-Encoding", ())]
        self.chunked = codings == ["chunked"]
        self.chunk_left = None
        self.will_close = self._check_close()  # type: ignore[attr-defined]  # typeshed leaves it out
        if not self._settle_length(bool(codings)):
            self.will_close = True
        if headers.defects or headers.get_payload():
            self._forget_defects()

    def _settle_length(self, is_coded: bool) -> bool:
        """Where the body ends (RFC 9112, section 6.3).

        Args:
            is_coded: it has a transfer coding, which goes before any length.

        Returns:
            False where that is in doubt: what a server sends all the same would be read as the next answer.
        """
        lengths = set(self.headers.get_all("Content-Length", ()))
        self.length = None
        if self.status in _BODILESS or self._method == "HEAD":
            self.length = 0
            return not is_coded and lengths <= {"0"}
        if is_coded:
            return bool(self.chunked) and not lengths
        if len(lengths) != 1 or not all(map(_LENGTH.match, lengths)):
            return False
        self.length = int(lengths.pop())
        return True

    def _forget_defects(self) -> None:
        """Lines that are no headers: urllib3 would log a warning with path and query for them."""
        self.headers.defects = []
        self.headers.set_payload(None)
        self.will_close = True

    @property
    def length_remaining(self) -> Any:
        """Bytes of the body that were not read, if that is known."""
        return self.length

    def finish(self, seconds: float) -> None:
        """Read the little that a body has so that the connection can be kept, or close it.

        Args:
            seconds: a body is read for its connection's sake only, for so long.
        """
        try:
            if self._connection.sock is not None:  # else this answer is its last
                with gevent.Timeout(seconds, False):
                    self.read(MOST_BODY)
        except (http.client.HTTPException, OSError, ValueError):
            pass  # the status is known, and the body says nothing that we need
        finally:
            is_read = self.isclosed()
            self.close()
            self.give_back(is_read and not self._is_followed)

    def _close_conn(self) -> None:
        """http.client calls it at the end of the body."""
        self._is_followed = self._bytes.is_ahead(self.fp.tell())
        super()._close_conn()  # type: ignore[misc]  # typeshed leaves it out

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM + 1):
            version, status, reason = self._read_one_status()
            if status == http.client.SWITCHING_PROTOCOLS:
                raise Unusable("status 101, and nobody asked for another protocol")
            if not 100 <= status < 200:
                return version, status, reason
            read_headers(self.fp)
        raise Unusable(f"more than {_MOST_INTERIM} interim answers")

    def _read_one_status(self) -> tuple[str, int, str]:
        try:
            self._skip_empty_line()
            return super()._read_status()  # type: ignore[misc,no-any-return]  # typeshed leaves it out
        except ConnectionError as error:
            if self._bytes.seen:
                raise
            raise Unanswered(reused=False) from error

    def _skip_empty_line(self) -> None:
        """One that came behind the last body, beyond its length (RFC 9112, section 2.2, has servers bear the same)."""
        for blank in (b"\r", b"\n"):
            if self.fp.peek(1)[:1] == blank:
                self.fp.read(1)


def _version(text: str) -> int:
    if text in ("HTTP/1.0", "HTTP/0.9"):
        return 10
    if text.startswith("HTTP/1."):
        return 11
    raise Unusable("the answer is of an unknown version of HTTP")


def read_headers(file: Any) -> HTTPMessage:
    """Headers up to the empty line. Where not all are plain, the e-mail parser reads them, as it does for http.client.

    Raises:
        Unusable: there are too many.
    """
    lines = _header_lines(file)
    plain = [HEADER.match(line) for line in lines]
    if not all(plain):
        text = b"".join((*lines, b"\r\n")).decode("iso-8859-1")
        return email.parser.Parser(_class=HTTPMessage).parsestr(text)
    message = HTTPMessage()
    for name, value in (match.groups() for match in plain if match):
        message.set_raw(name.decode("ascii"), value.strip(b" \t").decode("iso-8859-1"))
    return message


def _header_lines(file: Any) -> list[bytes]:
    lines: list[bytes] = []
    for line in iter(file.readline, b""):
        if line in (b"\r\n", b"\n"):
            break
        if len(lines) >= MOST_HEADERS:
            raise Unusable(f"more than {MOST_HEADERS} headers")
        lines.append(line)
    return lines
