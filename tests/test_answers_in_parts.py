"""An answer may come in any number of parts: what is read of it is the same, and whether its connection is kept."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gevent_dispatcher import Answer
from tests.hostile import BEHAVIOURS, Exchange, HostileServer
from tests.links import clear_environment, opened, post
from tests.waiting import wait_until

STATUS = ["HTTP/1.1 200 OK", "HTTP/1.1 204", "HTTP/1.1 429 Slow", "HTTP/1.1 503 x", "HTTP/1.0 200 OK", "HTTP/1.1 1 x"]
FIELDS = [
    *("Date: today", "Connection: keep-alive", "connection:close", "Retry-After: 7", "X: 1\r\n folded", "no colon"),
    *("Content-Length: 0", "content-length:\t2 ", "Content-Length: two", "Transfer-Encoding: chunked"),
]
FOREIGN = "HTTP/1.1 500 Not yours\r\n\r\n"
BODIES = ["", "\r\n", "{", "{}", "{}" + FOREIGN, "2\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\r\nA: b\r\n\r\n"]
INTERIM = ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 x\r\nLink: <a>\r\n\r\n" * 2, "HTTP/1.1 101 x\r\n\r\n"]

answers = st.builds(
    lambda interim, status, fields, end, body: interim + end.join((status, *fields, "", body)),
    st.sampled_from(INTERIM),
    st.sampled_from(STATUS),
    st.lists(st.sampled_from(FIELDS), max_size=4),
    st.sampled_from(["\r\n", "\r\n", "\n"]),
    st.sampled_from(BODIES),
)


class Outcome(NamedTuple):
    answer: Answer
    next_answer: Answer
    connections: int


class Parts:
    """A behaviour: an answer in parts, each by itself."""

    parts: list[bytes]
    is_sent = False

    def __call__(self, exchange: Exchange) -> None:
        for part in self.parts:
            exchange.send(part)
            gevent.sleep(0.001)  # the client reads it meanwhile, or with the next: there must be no difference
        self.is_sent = True


class Teller:
    """Asks for an answer in parts, and for another behind it."""

    def __init__(self, server: HostileServer, behaviour: Parts) -> None:
        self._server = server
        self._behaviour = behaviour

    def outcome(self, parts: list[bytes]) -> Outcome:
        behaviour, server, link = self._behaviour, self._server, opened(read_timeout=0.25)
        behaviour.parts, behaviour.is_sent = parts, False
        before = server.connections
        try:
            answer = post(link, server.url("parts"))
            wait_until(lambda: behaviour.is_sent or not server.open_connections)
            return Outcome(answer, post(link, server.url("status/204")), server.connections - before)
        finally:
            link.close()


@pytest.fixture(scope="module")
def teller() -> Iterator[Teller]:
    behaviour: Any = Parts()
    with pytest.MonkeyPatch.context() as patch:
        clear_environment(patch)
        patch.setitem(BEHAVIOURS, "parts", behaviour)
        with HostileServer() as server:
            yield Teller(server, behaviour)


def cut(data: bytes, places: set[int]) -> list[bytes]:
    ends = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return [data[start:end] for start, end in zip(ends, ends[1:])]


@given(answers, st.sets(st.integers(1, 150), max_size=4))
@settings(max_examples=100)
def test_parts_are_read_as_the_whole_is(teller: Teller, answer: str, places: set[int]) -> None:
    data = answer.encode("ascii")
    assert teller.outcome(cut(data, places)) == teller.outcome([data])


WHOLE = [
    (b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n", Answer(204), 1),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\n{}", Answer(200), 1),
    (b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 503 x\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n", Answer(503, "7"), 1),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Answer(200), 1),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 Not yours\r\n\r\n", Answer(200), 2),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 500 x\r\n\r\n", Answer(200), 2),
    (b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\nhello", Answer(204), 2),
    (b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Answer(200), 1),
]


@pytest.mark.parametrize(("data", "answer", "connections"), WHOLE)
def test_an_answer_that_is_cut_at_each_byte(teller: Teller, data: bytes, answer: Answer, connections: int) -> None:
    expected = Outcome(answer, Answer(204), connections)
    assert teller.outcome([data]) == expected
    assert teller.outcome([bytes([byte]) for byte in data]) == expected


class Late:
    """A behaviour: an answer whose rest comes when its connection is used again."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self._first = first
        self._rest = rest
        self._connection = 0

    def __call__(self, exchange: Exchange) -> None:
        if not self._connection:
            self._connection = exchange.received.connection
            exchange.send(self._first)
        else:
            rest = self._rest if exchange.received.connection == self._connection else b""
            exchange.send(rest + b"HTTP/1.1 202 x\r\nContent-Length: 0\r\n\r\n")


LATE = [
    (b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", b"hello"),
    (b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    (b"HTTP/1.1 200 x\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 0\r\n\r\n", b"0\r\n\r\n"),
    (b"HTTP/1.1 200 x\r\nContent-Length: 2\r\n\r\n{}", b"\r\n"),
    (b"HTTP/1.1 204 x\r\n\r\n", b"\r\n"),
    (b"HTTP/1.1 204 x\r\n\r\n", b"\r"),
    (b"HTTP/1.1 204 x\r\n\r\n", b"\n"),
]


@pytest.mark.parametrize(("first", "rest"), LATE)
def test_what_comes_late_is_not_taken_for_the_next_answer(
    first: bytes, rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear_environment(monkeypatch)
    monkeypatch.setitem(BEHAVIOURS, "late", Late(first, rest))
    with HostileServer() as server:
        link = opened(read_timeout=5)
        assert post(link, server.url("late")).status == int(first.split()[1])
        assert post(link, server.url("late")) == Answer(202)
        link.close()


def test_an_answer_of_a_version_that_does_not_exist_yet_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)
    monkeypatch.setitem(BEHAVIOURS, "later", Late(b"HTTP/4.0 204 x\r\n\r\n", b""))
    with HostileServer() as server:
        link = opened(read_timeout=5)
        assert "unknown version of HTTP" in post(link, server.url("later")).error
        link.close()
