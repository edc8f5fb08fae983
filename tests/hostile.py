"""A hostile HTTP server on raw sockets, for tests.

A request's path names a behaviour and its arguments: `/status/503`, `/delay/0.5`, `/redirect/302/http://other/`. A path
that names none gets the server's default. A script of such names, consumed one per request, goes before the path.

In the test's own process (greenlets):

    with HostileServer(script=["status/503", "reset_before"]) as server:
        post(server.url("status/204"))
        assert server.received[0].behaviour == "status/503"

In a process of its own, which cannot be stopped by what it does to the client's hub:

    with HostileProcess() as server:
        post(server.url("endless_continue"))

By hand: `python -m tests.hostile` prints its port and runs until its standard input ends.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket as stdlib_socket
import struct
import subprocess
import sys
import warnings
from collections import deque
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic
from typing import Any, Callable, Iterable, Iterator, NoReturn
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from gevent import socket, ssl
from gevent.event import Event
from gevent.fileobject import FileObject
from gevent.pool import Pool
from gevent.server import StreamServer

ROOT = Path(__file__).resolve().parent.parent
RECEIVED = "/_received"
# SO_LINGER with a time of 0: close() drops what is unsent and answers with RST instead of FIN.
RESET = struct.pack("ii", 1, 0)
NO_BODY = (204, 304)


@dataclass(frozen=True)
class Received:
    """One request, whole, as it came."""

    behaviour: str
    verb: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True)
class Limits:
    """Where each behaviour ends, whatever the client does.

    Args:
        seconds: for one connection.
        sent: bytes of one endless answer.
        request: bytes of one request's head or body.
    """

    seconds: float = 30.0
    sent: int = 64 * 1024 * 1024
    request: int = 64 * 1024 * 1024


class _Closed(Exception):
    """The connection is at its end: there is nothing more to read or to send."""


class Exchange:
    """One request and the raw connection to do harm on."""

    def __init__(self, connection: _Connection, received: Received) -> None:
        self.received = received
        self._connection = connection
        self._sent = 0

    def send(self, data: bytes) -> None:
        """Send bytes as they are, unless the behaviour's limit of bytes or time is reached."""
        self._sent += len(data)
        if self._sent > self._connection.limits.sent or not self._connection.seconds_left():
            self.close()
        self._connection.socket.sendall(data)

    def answer(self, status: int = 204, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """Send a well-formed answer and keep the connection."""
        sized = [] if status in NO_BODY else [("Content-Length", str(len(body)))]
        self.send(head(status, [*sized, *headers]) + (b"" if status in NO_BODY else body))

    def pause(self, seconds: float | None = None) -> None:
        """Wait, at most until the connection's limit or the server's end. None: until then."""
        left = self._connection.seconds_left()
        wanted = left if seconds is None else min(seconds, left)
        if self._connection.stopping.wait(wanted) or not self._connection.seconds_left():
            self.close()

    def close(self) -> NoReturn:
        """End the connection with a FIN."""
        raise _Closed

    def reset(self) -> NoReturn:
        """End the connection with a RST."""
        self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        raise _Closed

    def doom(self) -> None:
        """Let the connection break as soon as it is used again."""
        self._connection.is_doomed = True


def head(status: int, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The bytes of a status line and headers, with the empty line."""
    lines = [f"HTTP/1.1 {status} Hostile", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


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
    """One header line of so many bytes; http.client takes 65 536."""
    exchange.answer(int(code), [("X-Huge", "x" * int(size))])


@behaviour
def many_headers(exchange: Exchange, count: str = "500", code: str = "200") -> None:
    """So many headers; http.client takes 100."""
    exchange.answer(int(code), [(f"X-Many-{number}", "x") for number in range(int(count))])


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


UNREAD = (unread_body.__name__, answer_unread.__name__)


class _Connection:
    """Reads requests from one client and lets behaviours loose on it."""

    def __init__(self, server: HostileServer, connected: Any, number: int) -> None:
        self.socket = connected
        self.limits = server.limits
        self.stopping = server.stopping
        self.is_doomed = False
        self._server = server
        self._number = number
        self._unread = b""
        self._deadline = monotonic() + server.limits.seconds

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - monotonic())

    def serve(self) -> None:
        while True:
            verb, target, headers = self._read_head()
            if target == RECEIVED:
                self.socket.sendall(_report(self._server.received))
                raise _Closed
            self._misbehave(verb, target, headers)
            if ("connection", "close") in ((name.lower(), value.lower()) for name, value in headers):
                raise _Closed

    def _misbehave(self, verb: str, target: str, headers: tuple[tuple[str, str], ...]) -> None:
        chosen = self._server.choose(target)
        name, *arguments = chosen.split("/")
        body = b"" if name in UNREAD else self._read_body({name.lower(): value for name, value in headers})
        received = Received(chosen, verb, target, headers, body, self._number)
        self._server.received.append(received)
        BEHAVIOURS[name](Exchange(self, received), *arguments)

    def _read_head(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        lines = self._read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        start = lines[0].split(" ")
        if len(start) != 3:
            raise _Closed
        pairs = (line.partition(":") for line in lines[1:])
        return start[0], start[1], tuple((name, value.strip()) for name, _, value in pairs)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("expect", "").lower() == "100-continue":
            self.socket.sendall(head(100))
        if "chunked" in headers.get("transfer-encoding", ""):
            return b"".join(self._read_chunks())
        return self._read_exactly(int(headers.get("content-length", 0)))

    def _read_chunks(self) -> Iterator[bytes]:
        while True:
            size = int(self._read_until(b"\r\n").split(b";")[0], 16)
            yield self._read_exactly(size)
            self._read_until(b"\r\n")
            if not size:
                return

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            self._read_more()
        found, _, self._unread = self._unread.partition(mark)
        return found

    def _read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._read_more()
        found, self._unread = self._unread[:size], self._unread[size:]
        return found

    def _read_more(self) -> None:
        self.socket.settimeout(self.seconds_left() or 0.001)
        # A doomed connection leaves bytes unread: its close is a RST, as from a server that has forgotten it.
        data = self.socket.recv(1 if self.is_doomed else 262144)
        if not data or self.is_doomed or len(self._unread) > self.limits.request:
            raise _Closed
        self._unread += data


def _report(received: list[Received]) -> bytes:
    rows = [{**asdict(each), "body": base64.b64encode(each.body).decode("ascii")} for each in received]
    body = json.dumps(rows).encode("ascii")
    return head(200, [("Content-Length", str(len(body))), ("Connection", "close")]) + body


class _Endpoint:
    """What a test asks of a server, in this process or another."""

    port: int

    def __init__(self, host: str, certificate: Certificate | None) -> None:
        self._host = host
        self._scheme = "https" if certificate else "http"

    @property
    def received(self) -> list[Received]:
        """All requests so far that came whole, in order."""
        raise NotImplementedError

    def url(self, behaviour: str = "", host: str | None = None) -> str:
        """The url of a behaviour; host replaces the server's own name, "localhost" for one."""
        name = host or self._host
        return f"{self._scheme}://{f'[{name}]' if ':' in name else name}:{self.port}/{quote(behaviour)}"

    def bodies(self, behaviour: str | None = None) -> list[bytes]:
        """The bodies that a behaviour ("status/503") received, or all of them, in order."""
        return [each.body for each in self.received if behaviour in (None, each.behaviour)]


class HostileServer(_Endpoint):
    """The server in this process's greenlets; a context manager.

    Args:
        script: behaviours for the first requests, one each ("status/503"), before the path decides.
        default: the behaviour of a path that names none, such as /v1/events.
        host: the address to listen on; "::1" is IPv6 loopback.
        certificate: speak TLS with it.
        limits: where each behaviour ends.
    """

    def __init__(
        self,
        script: Iterable[str] = (),
        *,
        default: str = "status/204",
        host: str = "127.0.0.1",
        certificate: Certificate | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(host, certificate)
        self.script: deque[str] = deque(map(_checked, script))
        self._received: list[Received] = []
        self.connections = 0
        self.limits = limits or Limits()
        self.stopping = Event()
        self._default = _checked(default)
        self._tls = None if certificate is None else _server_context(certificate)
        listener = _listen(host)
        self.port = int(listener.getsockname()[1])
        self._server = StreamServer(listener, self._serve, spawn=Pool())

    def __enter__(self) -> HostileServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def received(self) -> list[Received]:
        """All requests so far that came whole, in order; the list itself."""
        return self._received

    def choose(self, target: str) -> str:
        """The behaviour for a request's target: the script's next, else the path's, else the default."""
        if self.script:
            return self.script.popleft()
        path = unquote(urlsplit(target).path.lstrip("/"))
        return path if path.partition("/")[0] in BEHAVIOURS else self._default

    def stop(self) -> None:
        """End every behaviour and connection, and close the port."""
        self.stopping.set()
        self._server.stop(timeout=0)

    def _serve(self, connected: Any, _: object) -> None:
        self.connections += 1
        try:
            connected.settimeout(self.limits.seconds)
            connected = connected if self._tls is None else self._tls.wrap_socket(connected, server_side=True)
            _Connection(self, connected, self.connections).serve()
        except (_Closed, OSError):
            # What a client does to the server is not of interest here.
            pass
        finally:
            connected.close()


def _checked(name: str) -> str:
    if name.partition("/")[0] not in BEHAVIOURS:
        raise ValueError(f"{name!r} names no behaviour; there are: {', '.join(BEHAVIOURS)}")
    return name


def _family(host: str) -> int:
    return int(socket.AF_INET6 if ":" in host else socket.AF_INET)


def _listen(host: str) -> Any:
    listener = socket.socket(_family(host), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, 0))
    listener.listen(256)
    return listener


class HostileProcess(_Endpoint):
    """The server in a process of its own; a context manager with the same url(), received and bodies().

    Args:
        script: behaviours for the first requests.
        default: the behaviour of a path that names none.
        host: the address to listen on.
        certificate: speak TLS with it.
        seconds: the limit of one connection.
    """

    def __init__(
        self,
        script: Iterable[str] = (),
        *,
        default: str = "status/204",
        host: str = "127.0.0.1",
        certificate: Certificate | None = None,
        seconds: float = 30.0,
    ) -> None:
        super().__init__(host, certificate)
        chain = ["--chain", str(certificate.chain)] if certificate else []
        self._context = _client_context() if certificate else None
        self._options = ["--host", host, "--default", default, "--seconds", str(seconds), *chain, *script]

    def __enter__(self) -> HostileProcess:
        # Its life hangs on this pipe: when the test's process ends, however it does, the server ends too.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile", *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=str(ROOT),
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        # communicate() closes the pipe, which ends the process.
        self._process.communicate(timeout=10)

    @property
    def received(self) -> list[Received]:
        """All requests so far that came whole, asked of the process."""
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=self._context))
        with opener.open(self.url(RECEIVED.lstrip("/")), timeout=30) as answer:
            return [_restored(row) for row in json.load(answer)]


def _restored(row: dict[str, Any]) -> Received:
    headers = tuple((name, value) for name, value in row["headers"])
    return Received(**{**row, "headers": headers, "body": base64.b64decode(row["body"])})


@contextmanager
def refusing_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port with nothing behind it, and which nobody else can get meanwhile: bound, not listening."""
    with stdlib_socket.socket(_family(host), socket.SOCK_STREAM) as held:
        held.bind((host, 0))
        yield int(held.getsockname()[1])


def http_date(seconds: float) -> str:
    """The HTTP date so many seconds from now, for Retry-After (RFC 9110, section 5.6.7)."""
    when = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return when.strftime("%a, %d %b %Y %H:%M:%S GMT")


@dataclass(frozen=True)
class Certificate:
    """Two PEM files: what a server shows (key and chain), and what a client must trust to believe it."""

    chain: Path
    trust: Path


def make_certificates(directory: Path) -> dict[str, Certificate]:
    """Write certificates for tests: "good", "wrong_host", "expired" (one authority) and "self_signed".

    Args:
        directory: where the PEM files go; it must exist.
    """
    with warnings.catch_warnings():
        # cryptography warns on being imported by an old Python.
        warnings.simplefilter("ignore")
        import trustme

    authority = trustme.CA()
    trust = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(trust))
    names = ("localhost", "127.0.0.1", "::1")
    long_ago = datetime(2001, 1, 1, tzinfo=timezone.utc)
    issued = {
        "good": authority.issue_cert(*names),
        "wrong_host": authority.issue_cert("elsewhere.example.com"),
        "expired": authority.issue_cert(*names, not_after=long_ago),
    }
    made = {name: _written(directory / f"{name}.pem", leaf, trust) for name, leaf in issued.items()}
    return {**made, "self_signed": _self_signed(directory / "self_signed.pem")}


def _written(chain: Path, leaf: Any, trust: Path) -> Certificate:
    leaf.private_key_and_cert_chain_pem.write_to_path(str(chain))
    return Certificate(chain, trust)


def _self_signed(chain: Path) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    chain.write_bytes(private + signed.public_bytes(pem))
    return Certificate(chain, chain)


def _server_context(certificate: Certificate) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificate.chain))
    return context


def _client_context() -> Any:
    # The test's own question of its own server: wrong hosts and expired dates don't matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="A hostile HTTP server on loopback.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--default", default="status/204", help="the behaviour of a path that names none")
    parser.add_argument("--seconds", type=float, default=30.0, help="the limit of one connection")
    parser.add_argument("--chain", type=Path, help="a PEM file with key and certificate chain: speak TLS")
    parser.add_argument("script", nargs="*", help="behaviours for the first requests: status/503 reset_before")
    given = parser.parse_args()
    certificate = Certificate(given.chain, given.chain) if given.chain else None
    limits = Limits(given.seconds)
    with HostileServer(
        given.script, default=given.default, host=given.host, certificate=certificate, limits=limits
    ) as server:
        print(server.port, flush=True)
        FileObject(os.dup(sys.stdin.fileno())).read()


if __name__ == "__main__":
    main()
