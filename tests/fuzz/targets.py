"""What parses foreign input, each as a function of bytes that raises for a finding and for nothing else."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tempfile
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Callable, Iterable

from gevent_dispatcher._body import members, take_apart
from gevent_dispatcher._event import Encoder, Refused, merge
from gevent_dispatcher._http_response import Response, Unusable, read_headers
from gevent_dispatcher._http_wire import plain_status
from gevent_dispatcher._proxy import proxy_for, split_credentials
from gevent_dispatcher._retry import LONGEST_RETRY_AFTER, parse_retry_after
from gevent_dispatcher._url import parse
from gevent_dispatcher.aws_lambda._records import RecordQueue, records_of
from gevent_dispatcher.collector._app import EVENTS_PATH, CollectorApp
from gevent_dispatcher.collector._book import Book
from gevent_dispatcher.collector._connection import Connection
from gevent_dispatcher.collector._faults import Faults
from gevent_dispatcher.collector._reading import read_body, read_query
from gevent_dispatcher.collector._requests import CONNECTION
from gevent_dispatcher.queues import LegacyFormat, OpenQueue, QueueError, SqliteQueue
from gevent_dispatcher.queues._message import decode, encode
from gevent_dispatcher.queues._record import Record
from gevent_dispatcher.queues._record import decode as decode_record
from tests.events import HEADERS, LogEvent, params, visitor
from tests.fuzz.supply import Supply
from tests.lambda_events import record as lambda_record
from tests.queues import request

LEGACY = LegacyFormat("12001", "111001")
_URLS = ("https://logx.optimizely.com/v1/events", "http://u:p@[::1]:8080/a?b", "http://a.b:99999/", "ftp://a/")
_NOW = 1_700_000_000.0


def _check(holds: bool, what: str) -> None:
    """Not an assert statement, which an optimising Python leaves out."""
    if not holds:
        raise AssertionError(what)


# -- what applications hand over ---------------------------------------------------------------------------------------


def event(data: bytes) -> None:
    """An event of the application's: encoded as JSON, or refused."""
    supply = Supply(data)
    given = _event(supply)
    encoder = Encoder()
    try:
        encoded = encoder.encode(given)
    except Refused:
        return
    sent = merge(encoded[0], [encoded[1]])
    if sent.body is not None:
        json.loads(sent.body, parse_constant=_no_constant)
    with suppress(Exception):  # the short way may raise anything: the long one is taken then
        known = encoder.encode_known(given)
        _check(known is None or known[1:] == encoded[1:], "the short way says something else")


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} in a body")


def _event(supply: Supply) -> Any:
    shape = supply.byte() % 4
    if shape == 0:
        return supply.any()
    url = supply.one_of(_URLS) if supply.byte() % 2 else supply.any()
    headers = HEADERS if supply.byte() % 2 else supply.any()
    given = supply.changed(params(*[visitor()] * (supply.byte() % 3))) if shape == 1 else supply.any()
    if shape == 2 and isinstance(given, dict):
        given = {**params(), "visitors": [given], "more": supply.any()}
    return LogEvent(url, given, supply.one_of(("POST", "POST", "GET", None, "PUT")), headers)


def url(data: bytes) -> None:
    """A url: taken apart, or refused without being shown."""
    text = Supply(data).rest().decode("utf-8", "surrogateescape")
    for each in (text, f"http://{text}", f"https://user:secret@{text}"):
        try:
            address = parse(each)
        except ValueError as error:
            _check("secret" not in str(error), "a password is shown")
            continue
        _check(address.target.isascii() and " " not in address.target, "the target could not be sent")


def proxy(data: bytes) -> None:
    """The environment's proxies: a url, or none."""
    supply = Supply(data)
    environ = {name: supply.text() for name in ("HTTPS_PROXY", "http_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy")}
    host = supply.one_of(("a.example", "127.0.0.1", "::1", supply.text()))
    found = proxy_for(supply.one_of(("http", "https")), host, supply.byte() * 257 or 80, environ)
    if found is not None:
        with suppress(ValueError):
            split_credentials(found)


# -- what endpoints answer ---------------------------------------------------------------------------------------------


def retry_after(data: bytes) -> None:
    """A Retry-After header: seconds within bounds, or nothing."""
    for text in (data.decode("latin-1"), _date(Supply(data))):
        seconds = parse_retry_after(text, _NOW)
        _check(seconds is None or 0.0 <= seconds <= LONGEST_RETRY_AFTER, f"{seconds} seconds")


def _date(supply: Supply) -> str:
    """A date of RFC 9110, or nearly one: made of parts, as bytes are never one by chance."""
    day, year, hour, minute, second = (
        supply.one_of(("1", "06", "31", "0", "-1", "2026", "9" * 30, supply.text())) for _ in range(5)
    )
    month, zone = supply.one_of(("Jan", "Dec", supply.text())), supply.one_of(("GMT", "", "-0000", "+9999", "X"))
    if supply.byte() % 4 == 1:
        return f"Sun {month} {day} {hour}:{minute}:{second} {year}"  # as asctime writes it
    separator = supply.one_of((" ", "-"))
    return f"Sun, {separator.join((day, month, year))} {hour}:{minute}:{second} {zone}"


def headers(data: bytes) -> None:
    """The headers of an answer."""
    with suppress(Unusable):
        read_headers(io.BytesIO(data)).items()


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))  # type: ignore[arg-type]  # detached, it is raw enough


_FIELDS = (
    *(b"Content-Length: 2\r\n", b"content-length:0 \r\n", b"Content-Length: 02\r\n", b"Content-Length: 2, 2\r\n"),
    *(b"Connection: Keep-Alive\r\n", b"connection: close\r\n", b"Transfer-Encoding: chunked\r\n", b"A:\r\n"),
)


def response(data: bytes) -> None:
    """A whole answer: read, or an error of those that a connection may have. What is plain is read as all else is."""
    for first in (data, b"HTTP/1.1 200 OK\r\n" + data, _answer(Supply(data))):
        answer = Response(_Socket(b""), method="POST", first=first)  # type: ignore[arg-type]
        plain = plain_status(first)
        status, is_kept = None, False
        with suppress(HTTPException, OSError):
            answer.begin()
            status = answer.status
            answer.read(65_536)
            is_kept = answer.isclosed() and not answer.will_close
        _check(plain is None or (plain == status and is_kept), "what is plain is read otherwise")
        answer.close()


def _answer(supply: Supply) -> bytes:
    """One that is plain, or nearly so: bytes are never one by chance."""
    line = supply.one_of((b"HTTP/1.1 200 OK", b"HTTP/1.1 204", b"HTTP/1.1 299 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 304 x"))
    fields = [supply.bytes() if supply.byte() % 8 == 1 else supply.one_of(_FIELDS) for _ in range(supply.byte() % 4)]
    return b"".join((line, b"\r\n", *fields, b"\r\n", supply.one_of((b"", b"{}", supply.rest()))))


def body(data: bytes) -> None:
    """A merged body that was refused: cut into pieces that are the whole again, or left alone."""
    text = data.decode("utf-8", "replace")
    with suppress(ValueError, IndexError, RecursionError):
        members(text)
    for each in (data, b'{"visitors":[{},' + data + b"]}"):
        parts = take_apart(each)
        if parts is not None:
            again = parts.prefix + b",".join(parts.visitors) + parts.suffix
            _check(repr(json.loads(again)) == repr(json.loads(each)), "its pieces are not the whole")
            for piece in parts.visitors:
                json.loads(piece)


# -- what lies in queues -----------------------------------------------------------------------------------------------


def message(data: bytes) -> None:
    """The text of a message: a request that can be written and read again, or refused."""
    supply = Supply(data)
    for text in (*_messages(supply), supply.rest().decode("utf-8", "surrogateescape")):
        for legacy in (None, LEGACY):
            try:
                found = decode(text, legacy)
            except ValueError:
                continue
            _check(decode(encode(found)) == found, "what was read is read otherwise the second time")


def _messages(supply: Supply) -> Iterable[str]:
    line, _, written = encode(request(supply.bytes())).partition("\n")
    yield json.dumps(supply.changed(json.loads(line)), separators=(",", ":")) + "\n" + written
    yield json.dumps(supply.changed(params(visitor("a"))))
    yield json.dumps(supply.changed({"url": _URLS[0], "params": params(visitor("a")), "http_verb": "POST"}))
    yield json.dumps({"visitor": [[], supply.json()], supply.text(): supply.json()})


def record(data: bytes) -> None:
    """A row of a queue's file: a request, or refused."""
    supply = Supply(data)
    address = {"verb": "POST", "origin": ["https", "a.example", 443], "target": "/", "headers": [["Accept", "*/*"]]}
    envelope = json.dumps(supply.changed(address)) if supply.byte() % 2 else supply.any()
    with suppress(ValueError):
        decode_record(Record(envelope, supply.any(), supply.any()))


def lambda_event(data: bytes) -> None:
    """What Lambda hands over: every record is received, refused or still there; none is taken for done."""
    supply = Supply(data)
    bodies = [supply.json(), *_messages(supply)]
    found = {"Records": [supply.changed(lambda_record(each, id=str(at))) for at, each in enumerate(bodies)]}
    for each in (found, supply.json(), {"Records": supply.json()}):
        try:
            records = records_of(each)
        except ValueError:
            continue
        queue = RecordQueue(records, LEGACY)
        while queue.receive(2, 60.0):
            pass
        _check({record.id for record in records} == set(queue.failures), "a record has ended well by itself")


_SIZE = 40


def _bodies() -> list[bytes]:
    return [b'{"visitors":[%d,"%s"]}' % (number, b"x" * 37 * number) for number in range(_SIZE)]


def _template() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "queue.db")
        queue = SqliteQueue(path).open()
        queue.put([request(each) for each in _bodies()])
        queue.bury([each.receipt for each in queue.receive(5, 60)], "because")
        queue.close()
        return path.read_bytes()


_whole: list[bytes] = []


def sqlite(data: bytes) -> None:
    """A damaged file of a queue: what is right, or a QueueError. Of a file cut short nothing is silently lost."""
    if not _whole:
        _whole.append(_template())
    supply, content = Supply(data), bytearray(_whole[0])
    is_cut = supply.byte() % 2 == 1
    if is_cut:
        del content[int.from_bytes(bytes((supply.byte(), supply.byte())), "big") * len(content) // 65_535 :]
    else:
        chance = random.Random(supply.rest())
        for _ in range(chance.choice((1, 3, 50))):
            at = chance.choice((chance.randrange(200), chance.randrange(len(content))))
            content[at] = chance.choice((content[at] ^ 1 << chance.randrange(8), 0, 255, chance.randrange(256)))
    _use_file(bytes(content), is_cut)


def _use_file(content: bytes, is_cut: bool) -> None:
    place = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        path = Path(place, "queue.db")
        path.write_bytes(content)
        queue = SqliteQueue(path, clock=lambda: _NOW).open()
        try:
            found = _empty(queue)
        except QueueError:
            return
        finally:
            queue.close()
        _check(not is_cut or not content or found == sorted(_bodies()), "a part of a queue passes for the whole")
    finally:
        shutil.rmtree(place)


def _empty(queue: OpenQueue) -> list[bytes]:
    queue.status()
    letters = [letter.request.body or b"" for letter in queue.dead() if letter.request is not None]
    messages = queue.receive(100, 60)
    _check(all(type(each.received) is int and type(each.put_at) is float for each in messages), "not of its type")
    queue.ack([each.receipt for each in messages])
    return sorted([*letters, *(each.request.body or b"" for each in messages)])


# -- what is sent to the collector -------------------------------------------------------------------------------------


class _Gone(Connection):
    def __init__(self) -> None:
        super().__init__(None)

    def is_gone(self) -> bool:
        return True

    def limit_writes(self, seconds: float) -> None:
        pass

    def break_off(self) -> Any:
        self.drop()


_PATHS = (
    EVENTS_PATH,
    EVENTS_PATH,
    "/api/events",
    "/api/events/1",
    "/api/faults",
    "/settings",
    "/reset",
    "/counts",
    "/",
)


def payload(data: bytes) -> None:
    """A payload: read, or its problems told."""
    supply = Supply(data)
    read_query(supply.text())
    read_body(json.dumps(supply.changed(params(supply.changed(visitor("a"))))).encode())
    raw = supply.rest()
    read_body(raw)
    read_query(raw.decode("latin-1"))


def collector(data: bytes) -> None:
    """Requests to the collector's application: each is answered, or its connection ended."""
    supply = Supply(data)
    app = CollectorApp(Faults(), Book(100), lambda seconds: None, random.Random(1))
    for _ in range(3):
        environ = _environ(supply)
        statuses: list[str] = []
        try:
            answer = b"".join(app(environ, lambda status, fields, *_, kept=statuses: kept.append(status)))  # type: ignore[misc,arg-type]
        except ConnectionResetError:
            _check(app.faults.hang or app.faults.reset, "a connection is ended that nobody asked to end")
            continue
        _check(len(statuses) == 1 and 200 <= int(statuses[0][:3]) <= 599, f"answered with {statuses}")
        if environ["PATH_INFO"].startswith("/api") and answer:
            json.loads(answer)


def _environ(supply: Supply) -> dict[str, Any]:
    sent = supply.bytes() if supply.byte() % 2 else json.dumps(supply.changed(_sent(supply))).encode()
    return {
        "REQUEST_METHOD": supply.one_of(("POST", "GET", "OPTIONS", "PUT")),
        "PATH_INFO": supply.one_of(_PATHS) if supply.byte() % 4 else "/api/events/" + supply.text(),
        "QUERY_STRING": supply.bytes().decode("latin-1") if supply.byte() % 2 else _query(supply),
        "CONTENT_LENGTH": str(len(sent)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": supply.one_of(("localhost", "127.0.0.1:80", "[::1]", supply.bytes().decode("latin-1"))),
        f"HTTP_{supply.one_of(('ORIGIN', 'X_OPTIMIZELY_STRICT', 'CONTENT_ENCODING', 'X'))}": supply.one_of(
            ("true", "gzip", "http://localhost", supply.bytes().decode("latin-1"))
        ),
        CONNECTION: _Gone(),
        "wsgi.input": io.BytesIO(sent),
    }


def _sent(supply: Supply) -> dict[str, Any]:
    if supply.byte() % 2:
        return params(supply.changed(visitor("a")))
    return {"status": 503, "rate": 0.5, "latency": 1, "hang": True, "reset": False, "strict": True}


def _query(supply: Supply) -> str:
    names = ("limit", "after", "valid", "key", "visitor", "uuid", "x")
    return "&".join(f"{supply.one_of(names)}={supply.one_of(('1', 'true', '-1', '²', '%ff'))}" for _ in range(3))


_ALL = (
    event,
    url,
    proxy,
    retry_after,
    headers,
    response,
    body,
    message,
    record,
    lambda_event,
    sqlite,
    payload,
    collector,
)
TARGETS: dict[str, Callable[[bytes], None]] = {target.__name__: target for target in _ALL}
