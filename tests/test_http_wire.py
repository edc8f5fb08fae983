"""The head of a request, and the plain answer: what urllib3 would send, and what http.client would read."""

from __future__ import annotations

import io
import string
from time import monotonic
from typing import Any, Mapping

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher import Answer, Request
from gevent_dispatcher._http_response import Plain, Response
from gevent_dispatcher._http_wire import authority, plain_status, prefer, request_head
from gevent_dispatcher._url import Origin
from tests.hostile import HostileServer, Received
from tests.links import clear_environment, opened, request

# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    clear_environment(monkeypatch)
    with HostileServer() as server:
        yield server


def as_urllib3_sends(server: HostileServer, sent: Request, own: Mapping[str, str]) -> Received:
    usual = {"User-Agent": own.get("User-Agent", "x"), "Accept-Encoding": "identity"}
    url = f"{sent.origin}{sent.target}"
    with urllib3.PoolManager() as manager:
        manager.request(sent.verb, url, body=sent.body, headers={**usual, **own, **sent.headers}, retries=False)
    return server.received[-1]


REQUESTS: list[Mapping[str, Any]] = [
    {},
    {"body": b"", "X-Own": "1"},
    {"verb": "GET", "body": None},
    {"body": "ü".encode(), "User-Agent": "mine", "X-Latin": "\xe9"},
    {"Host": "elsewhere.example"},
]


@pytest.mark.parametrize("options", REQUESTS)
@pytest.mark.parametrize("own", [{}, {"X-Team": "a", "User-Agent": "theirs"}])
def test_a_request_is_the_one_that_urllib3_would_send(
    server: HostileServer, options: Mapping[str, Any], own: Mapping[str, str]
) -> None:
    sent = request(server.url("status/204") + "?q=%20&r=ü", **options)
    assert opened(headers=own).send(sent) == Answer(204)
    ours = server.received[-1]
    theirs = as_urllib3_sends(server, sent, own)
    assert (ours.verb, ours.target, ours.body) == (theirs.verb, theirs.target, theirs.body)
    user_agent = {"user-agent": ours.header("User-Agent")} if not {"User-Agent"} & {*own, *options} else {}
    assert as_a_mapping(ours) == {**as_a_mapping(theirs), **user_agent}


def as_a_mapping(received: Received) -> Mapping[str, str]:
    names = [name.lower() for name, _ in received.headers]
    assert len(names) == len(set(names))
    return {name.lower(): value for name, value in received.headers}


def test_a_body_that_is_announced_is_empty_too() -> None:
    assert request_head("POST", "/", {}, 0) == b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    assert request_head("GET", "/", {}, None) == b"GET / HTTP/1.1\r\n\r\n"


def test_nobody_else_says_where_a_body_ends() -> None:
    head = request_head("POST", "/", {"content-length": "9", "Transfer-Encoding": "chunked", "A": "b"}, 2)
    assert head == b"POST / HTTP/1.1\r\nA: b\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("verb", "target", "headers"),
    [
        ("POST", "/ HTTP/1.1\r\nA: b", {}),
        ("POST", "/a b", {}),
        ("GET /", "/", {}),
        ("POST", "/", {"A": "b\r\nC: d"}),
        ("POST", "/", {"A": "b\nC: d"}),
        ("POST", "/", {"A": "b\rC: d"}),
        ("POST", "/", {"A: b\r\nC": "d"}),
        ("POST", "/\xfc\u20ac", {}),
    ],
)
def test_a_request_that_was_put_together_by_hand_injects_nothing(
    verb: str, target: str, headers: Mapping[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"in it|latin-1"):
        request_head(verb, target, headers, 2)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin("http", "a.example", 80), "a.example"),
        (Origin("https", "a.example.", 443), "a.example"),
        (Origin("http", "a.example", 443), "a.example:443"),
        (Origin("http", "::1", 8080), "[::1]:8080"),
        (Origin("https", "fe80::1%eth0", 443), "[fe80::1]"),
    ],
)
def test_the_host_that_is_asked_for(origin: Origin, expected: str) -> None:
    assert authority(origin) == expected


def test_what_stands_first_is_preferred_whatever_its_case() -> None:
    assert prefer({"a": "1"}, {"A": "2", "B": "3"}, {"b": "4", "C": "5"}) == {"a": "1", "B": "3", "C": "5"}


# -- what is read ------------------------------------------------------------------------------------------------------


class FakeSocket:
    """The bytes of one answer. http.client asks a socket for nothing but a file."""

    def __init__(self, data: bytes) -> None:
        self.rest = io.BytesIO(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.rest)  # type: ignore[arg-type]  # detached, it is raw enough


class Ours:
    """What a connection and its pool are asked for when an answer is done with."""

    def __init__(self) -> None:
        self.sock: Any = self
        self.is_kept = False

    def close(self) -> None:
        self.sock = None

    def _put_conn(self, connection: Ours) -> None:
        self.is_kept = connection.sock is not None


def patiently(first: bytes, later: bytes = b"") -> tuple[int, bool]:
    """The status by the patient reader, and whether the connection is kept."""
    response, connection = Response(FakeSocket(later), method="POST", first=first), Ours()  # type: ignore[arg-type]
    response.begin()
    if response.will_close:
        connection.close()
    response._connection, response._pool = connection, connection
    response.finish(5.0)
    return response.status, connection.is_kept


_TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
_TEXT = st.characters(min_codepoint=0, max_codepoint=255, blacklist_characters="\r\n\x00")
fields = st.one_of(
    st.tuples(
        st.text(_TOKEN, min_size=1, max_size=12), st.sampled_from([":", ": ", " : "]), st.text(_TEXT, max_size=9)
    ),
    st.sampled_from(
        [
            ("Connection", ": ", "keep-alive"),
            ("connection", ":", "close"),
            ("Connection", ": ", "keep-alive, close"),
            ("Content-Length", ": ", "0"),
            ("content-length", ":", "2"),
            ("Content-Length", ": ", "+2"),
            ("Transfer-Encoding", ": ", "chunked"),
            ("Transfer-Encoding", ": ", "2"),
            ("X", ": ", "1\r\n folded"),
        ]
    ),
).map("".join)
heads = st.tuples(
    st.sampled_from(["HTTP/1.1 204 No Content", "HTTP/1.1 200 OK", "HTTP/1.1 200", "HTTP/1.0 204 x", "HTTP/1.1 302 x"]),
    st.lists(fields, max_size=4),
    st.sampled_from(["", "{}", "ab", "\r\n"]),
).map(lambda parts: "\r\n".join((parts[0], *parts[1], "", parts[2])).encode("latin-1"))


@given(heads)
def test_what_is_plain_is_what_the_patient_reader_reads(data: bytes) -> None:
    status = plain_status(data)
    if status is not None:
        assert patiently(data) == (status, True)


PLAIN = [
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nDate: x\r\nConnection: keep-alive\r\nX-Request-Id: 1\r\n\r\n",
    b"HTTP/1.1 204\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: Keep-Alive\r\n\r\n{}",
    b"HTTP/1.1 299 \xe9\r\ncontent-length:\t0 \r\n\r\n",
]


@pytest.mark.parametrize("data", PLAIN)
def test_answers_that_are_plain(data: bytes) -> None:
    assert plain_status(data) == patiently(data)[0]


def changed(data: bytes, at: int, put: bytes, instead_of: int) -> bytes:
    return data[:at] + put + data[at + instead_of :]


@given(st.builds(changed, st.sampled_from(PLAIN), st.integers(0, 90), st.binary(max_size=2), st.integers(0, 2)))
def test_what_is_nearly_plain_is_read_alike(data: bytes) -> None:
    status = plain_status(data)
    if status is not None:
        assert patiently(data) == (status, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 204 No Content\r\nA: 1\r\n",
        b"HTTP/1.1 204 No Content\n\n",
        b"HTTP/1.1 204 No Content\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{} ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
        b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 x\r\nTransfer-Encoding: 0\r\n\r\n",
        b"HTTP/1.1 204 x\r\nA: 1\r\n b\r\n\r\n",
        b"HTTP/1.1 204 x\r\nno header\r\n\r\n",
        b"HTTP/1.1 204 x\r\nA: \x00\r\n\r\n",
        b"HTTP/1.1 204 x\r\n" + b"A: 1\r\n" * 1_001 + b"\r\n",
        b"HTTP/1.0 204 x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 301 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 x\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2040 x\r\n\r\n",
    ],
)
def test_answers_that_are_not(data: bytes) -> None:
    assert plain_status(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 204 x\r\nConnection: x" + b" " * 8_000 + b"y\r\n\r\n",
        b"HTTP/1.1 204 x\r\nContent-Length:" + b"\t" * 8_000 + b"y\r\n\r\n",
        b"HTTP/1.1 204 x\r\n" + b"a:b\r\n" * 1_600,
    ],
)
def test_what_is_odd_is_looked_at_once_only(data: bytes) -> None:
    started = monotonic()
    assert [plain_status(data) for _ in range(20)] == [None] * 20
    assert monotonic() - started < 1.0  # some milliseconds; seconds, if blanks are tried again from each blank on


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 x\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 304 x\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_connection_is_not_kept_where_the_end_of_the_answer_is_in_doubt(head: bytes) -> None:
    assert plain_status(head) is None
    assert patiently(head) == (int(head.split()[1]), False)


def test_pools_of_the_first_urllib3_ask_an_answer_for_its_headers_one_by_one() -> None:
    assert Plain(204).getheader("Retry-After") is None


@given(st.integers(1, 60))
def test_an_answer_may_come_in_two_parts(at: int) -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: b\r\n\r\n0123456789"
    assert patiently(data[:at], data[at:]) == (200, True)
