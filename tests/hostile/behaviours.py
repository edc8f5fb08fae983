"""What the server does with a request: each behaviour is a function, reachable by its name as a path."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta, timezone
from typing import Callable

from gevent import socket

from tests.hostile.exchange import Exchange, head

Behaviour = Callable[..., None]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Make a function reachable by its name as a path."""
    BEHAVIOURS[function.__name__] = function
    return function


@behaviour
def status(exchange: Exchange, code: str = "204") -> None:
    """Any status from 200 to 599, well-formed."""
    exchange.answer(int(code), body=b"hostile")


@behaviour
def retry_after(exchange: Exchange, value: str, code: str = "503") -> None:
    """A status with Retry-After as written: "120", "-5", "soon", "99999999999999", or a date (see http_date)."""
    exchange.answer(int(code), [("Retry-After", value)])


@behaviour
def delay(exchange: Exchange, seconds: str, code: str = "204") -> None:
    """A good answer, late."""
    exchange.pause(float(seconds))
    exchange.answer(int(code))


@behaviour
def blackhole(exchange: Exchange) -> None:
    """Read the request and never answer."""
    exchange.pause()


@behaviour
def reset_before(exchange: Exchange) -> None:
    """RST in place of an answer."""
    exchange.reset()


@behaviour
def reset_within(exchange: Exchange) -> None:
    """RST in the middle of the answer's body."""
    exchange.send(head(200, [("Content-Length", "1000")]) + b"half")
    exchange.reset()


@behaviour
def reset_head(exchange: Exchange) -> None:
    """RST behind the first header."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-First: 1\r\n")
    exchange.reset()


@behaviour
def reset_after(exchange: Exchange, code: str = "204") -> None:
    """RST behind a whole answer."""
    exchange.answer(int(code))
    exchange.reset()


@behaviour
def close_before(exchange: Exchange) -> None:
    """FIN in place of an answer."""
    exchange.close()


@behaviour
def close_after(exchange: Exchange, code: str = "204") -> None:
    """A good answer that announces the end of the connection."""
    exchange.answer(int(code), [("Connection", "close")])
    exchange.close()


@behaviour
def stale(exchange: Exchange, code: str = "204") -> None:
    """A good answer that promises to keep the connection, and an unannounced FIN behind it."""
    exchange.answer(int(code), [("Connection", "keep-alive")])
    exchange.close()


@behaviour
def stale_on_reuse(exchange: Exchange, code: str = "204") -> None:
    """A good answer, and a connection that breaks when the next request's first byte arrives."""
    exchange.answer(int(code), [("Connection", "keep-alive")])
    exchange.doom()


@behaviour
def half_head(exchange: Exchange) -> None:
    """FIN within the headers."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    exchange.close()


@behaviour
def garbage(exchange: Exchange) -> None:
    """Bytes that are no HTTP."""
    exchange.send(b"\x00\xff\xfe220 smtp.example.com ready\r\n\r\n")
    exchange.close()


@behaviour
def length_too_big(exchange: Exchange, code: str = "200") -> None:
    """A Content-Length larger than the body, then FIN."""
    exchange.send(head(int(code), [("Content-Length", "1000")]) + b"short")
    exchange.close()


@behaviour
def length_too_small(exchange: Exchange, code: str = "200") -> None:
    """A Content-Length smaller than the body, on a connection that stays open: the rest is in the way."""
    exchange.send(head(int(code), [("Content-Length", "2")]) + b"okHTTP/1.1 500 Not yours\r\n\r\n")


@behaviour
def chunked(exchange: Exchange, code: str = "200") -> None:
    """A good chunked body."""
    exchange.send(head(int(code), [("Transfer-Encoding", "chunked")]) + b"4\r\nhost\r\n3\r\nile\r\n0\r\n\r\n")


@behaviour
def chunked_broken(exchange: Exchange, code: str = "200") -> None:
    """A chunk whose size is no number."""
    exchange.send(head(int(code), [("Transfer-Encoding", "chunked")]) + b"4\r\nhost\r\nxyz\r\nile\r\n")
    exchange.close()


@behaviour
def chunked_cut(exchange: Exchange, code: str = "200") -> None:
    """A chunked body without its end."""
    exchange.send(head(int(code), [("Transfer-Encoding", "chunked")]) + b"400\r\nhost")
    exchange.close()


@behaviour
def trickle(exchange: Exchange, interval: str = "0.05") -> None:
    """One byte of header per interval (seconds): each read succeeds and the answer never comes."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Trickle: ")
    while True:
        exchange.send(b"x")
        exchange.pause(float(interval))


@behaviour
def endless_body(exchange: Exchange, code: str = "200") -> None:
    """A body without a length and, as far as the limits go, without an end."""
    exchange.send(head(int(code), [("Connection", "close")]))
    while True:
        exchange.send(b"x" * 65536)


@behaviour
def endless_trailer(exchange: Exchange, code: str = "200") -> None:
    """A chunked answer that is whole, and trailer fields without an end."""
    exchange.send(head(int(code), [("Transfer-Encoding", "chunked")]) + b"2\r\n{}\r\n0\r\n")
    while True:
        exchange.send(b"X-More: y\r\n" * 1_000)


@behaviour
def promised_body(exchange: Exchange, code: str = "200") -> None:
    """A Content-Length, and silence."""
    exchange.send(head(int(code), [("Content-Length", "10")]))
    exchange.pause()


@behaviour
def endless_continue(exchange: Exchange) -> None:
    """`100 Continue` without an end: the client's read always finds data."""
    while True:
        exchange.send(head(100) * 1000)


@behaviour
def interim(exchange: Exchange, *codes: str) -> None:
    """Interim answers (102 and 103 unless told) and then a 200."""
    for code in codes or ("102", "103"):
        exchange.send(head(int(code)))
    exchange.answer(200, body=b"final")


@behaviour
def redirect(exchange: Exchange, code: str, *location: str) -> None:
    """Send the client elsewhere: the rest of the path is the Location."""
    exchange.answer(int(code), [("Location", "/".join(location))])


@behaviour
def broken_gzip(exchange: Exchange, code: str = "200") -> None:
    """A body that says gzip and is none."""
    exchange.answer(int(code), [("Content-Encoding", "gzip")], b"\x1f\x8b\x08not gzip at all")


@behaviour
def huge_header(exchange: Exchange, size: str = "200000", code: str = "200") -> None:
    """One header line of so many bytes; http.client takes 65 536, and we a head of twice as many."""
    exchange.answer(int(code), [("X-Huge", "x" * int(size))])


@behaviour
def many_headers(exchange: Exchange, count: str = "500", code: str = "200") -> None:
    """So many headers; http.client takes 100, and we 1 000."""
    exchange.answer(int(code), [(f"X-Many-{number}", "x") for number in range(int(count))])


@behaviour
def lengths(exchange: Exchange, *values: str) -> None:
    """A body of two bytes, and Content-Length as written, once for each value: "-5", "two", "2" and "7"."""
    exchange.send(head(200, [("Content-Length", value) for value in values]) + b"{}")


@behaviour
def http10(exchange: Exchange) -> None:
    """An answer of HTTP/1.0, which ends with the connection."""
    exchange.send(b"HTTP/1.0 200 OK\r\n\r\n{}")
    exchange.close()


@behaviour
def http10_kept(exchange: Exchange) -> None:
    """An answer of HTTP/1.0 that keeps the connection."""
    exchange.send(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}")


@behaviour
def http09(exchange: Exchange) -> None:
    """A body without a status line."""
    exchange.send(b"<html><body>hostile</body></html>\r\n")
    exchange.close()


@behaviour
def lower_case(exchange: Exchange) -> None:
    """Header names in lower case."""
    exchange.send(b"HTTP/1.1 200 ok\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n{}")


@behaviour
def bare_lf(exchange: Exchange) -> None:
    """Lines that end with LF alone."""
    exchange.send(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}")


@behaviour
def no_reason(exchange: Exchange) -> None:
    """A status line that ends with the status."""
    exchange.send(b"HTTP/1.1 204\r\n\r\n")


@behaviour
def no_colon(exchange: Exchange) -> None:
    """A header line without a colon."""
    exchange.send(b"HTTP/1.1 200 OK\r\nthis is no header\r\nContent-Length: 2\r\n\r\n{}")


@behaviour
def nul_header(exchange: Exchange) -> None:
    """A NUL in a header's value."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 2\r\n\r\n{}")


@behaviour
def obs_fold(exchange: Exchange) -> None:
    """A header's value that goes on in the next line."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}")


@behaviour
def half_status(exchange: Exchange) -> None:
    """FIN within the status line."""
    exchange.send(b"HTTP/1.1 2")
    exchange.close()


@behaviour
def switching(exchange: Exchange) -> None:
    """101 Switching Protocols, which nobody asked for, and silence."""
    exchange.send(head(101, [("Upgrade", "smtp"), ("Connection", "Upgrade")]))
    exchange.pause()


# In a hundred members: compressing it whole takes a tenth of a second, in which the server would answer nobody.
_BOMB = 100 * gzip.compress(bytes(100_000))


@behaviour
def gzip_bomb(exchange: Exchange, code: str = "200") -> None:
    """13 KB of gzip that expand to 10 MB."""
    exchange.answer(int(code), [("Content-Encoding", "gzip")], _BOMB)


@behaviour
def trickled_body(exchange: Exchange, interval: str = "0.05") -> None:
    """A 200, and one byte of a long body per interval (seconds)."""
    exchange.send(head(200, [("Content-Length", "1000000")]))
    while True:
        exchange.send(b"x")
        exchange.pause(float(interval))


@behaviour
def trickled_interim(exchange: Exchange, interval: str = "0.05") -> None:
    """One byte of an interim answer per interval (seconds), one answer behind the other."""
    while True:
        for byte in head(103, [("Link", "<a>")]):
            exchange.send(bytes([byte]))
            exchange.pause(float(interval))


@behaviour
def trickled_trailer(exchange: Exchange, interval: str = "0.05") -> None:
    """A chunked 200 that is whole, and one byte of a trailer per interval (seconds)."""
    exchange.send(head(200, [("Transfer-Encoding", "chunked")]) + b"2\r\n{}\r\n0\r\nX-More: ")
    while True:
        exchange.send(b"y")
        exchange.pause(float(interval))


@behaviour
def endless_interim(exchange: Exchange) -> None:
    """103 Early Hints without an end."""
    while True:
        exchange.send(head(103, [("Link", "<a>")]) * 1000)


@behaviour
def endless_headers(exchange: Exchange, code: str = "200") -> None:
    """Header lines without an end."""
    exchange.send(f"HTTP/1.1 {code} Hostile\r\n".encode())
    while True:
        exchange.send(b"X-More: y\r\n" * 1_000)


@behaviour
def endless_header_line(exchange: Exchange, code: str = "200") -> None:
    """One header line without an end."""
    exchange.send(f"HTTP/1.1 {code} Hostile\r\nX-Long: ".encode())
    while True:
        exchange.send(b"y" * 65536)


@behaviour
def endless_status_line(exchange: Exchange) -> None:
    """A reason phrase without an end."""
    exchange.send(b"HTTP/1.1 200 ")
    while True:
        exchange.send(b"y" * 65536)


@behaviour
def endless_chunk_extension(exchange: Exchange, code: str = "200") -> None:
    """A chunk's size, and its extension without an end."""
    exchange.send(head(int(code), [("Transfer-Encoding", "chunked")]) + b"2;x=")
    while True:
        exchange.send(b"y" * 65536)


@behaviour
def endless_chunks(exchange: Exchange, code: str = "200") -> None:
    """Chunks of one byte without an end."""
    exchange.send(head(int(code), [("Transfer-Encoding", "chunked")]))
    while True:
        exchange.send(b"1\r\nx\r\n" * 1_000)


@behaviour
def unread_body(exchange: Exchange) -> None:
    """Never read the request's body, and never answer."""
    exchange.pause()


@behaviour
def answer_unread(exchange: Exchange, code: str = "413") -> None:
    """Answer before the body is read, and close upon it: the client meets a RST while it sends."""
    exchange.answer(int(code), [("Connection", "close")])
    # A close with bytes unread is a RST by itself; this one also comes when the body is in the buffer already.
    exchange.reset()


@behaviour
def slow_read(exchange: Exchange, size: str = "100000", interval: str = "0.05") -> None:
    """Read so many bytes of the request's body per interval (seconds), and answer at the end with a 204."""
    left = int(exchange.received.header("Content-Length") or 0)
    while left:
        left -= len(exchange.read(min(left, int(size))))
        exchange.pause(float(interval))
    exchange.answer(204)


@behaviour
def tunnel(exchange: Exchange, port: str = "") -> None:
    """What a proxy does upon CONNECT: carry bytes to the target, or to that port whatever was asked for."""
    host, _, asked = exchange.received.target.rpartition(":")
    far = socket.create_connection(("127.0.0.1" if port else host.strip("[]"), int(port or asked)), timeout=10)
    exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    exchange.relay(far)


# Their requests' bodies are not read before they begin.
UNREAD = ("unread_body", "answer_unread", "slow_read", "tunnel")


def http_date(seconds: float) -> str:
    """The HTTP date so many seconds from now, for Retry-After (RFC 9110, section 5.6.7)."""
    when = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return when.strftime("%a, %d %b %Y %H:%M:%S GMT")
