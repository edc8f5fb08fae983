"""The collector's stream of server-sent events: what a reader is told, and what a bad reader costs."""

from __future__ import annotations

import json
import socket
from time import monotonic, time
from typing import Any, Iterator

import gevent
import pytest

from gevent_dispatcher.collector import Collector
from gevent_dispatcher.collector._book import Book
from gevent_dispatcher.collector._connection import Connection
from gevent_dispatcher.collector._kept import Envelope
from gevent_dispatcher.collector._pace import Pace
from gevent_dispatcher.collector._stream import MOST_ITEMS, MOST_READERS, Sources, Streams, Times
from tests.events import params, visitor
from tests.waiting import wait_until
from tests.wire import connect, post


class Message:
    """One message of a stream."""

    def __init__(self, text: str) -> None:
        fields = dict(line.split(": ", 1) for line in text.split("\n"))
        self.fields = fields
        self.kind = fields.get("event", "")
        self.data = json.loads(fields["data"]) if "data" in fields else None


class Reader:
    """Reads a collector's stream in the background; it has read the first message when it is made."""

    def __init__(self, collector: Collector, last_id: str = "") -> None:
        self.socket = connect(collector)
        lines = ["GET /stream HTTP/1.1", "Host: localhost", *([f"Last-Event-ID: {last_id}"] if last_id else []), "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.head = b""
        self.messages: list[Message] = []
        self.has_ended = False
        self._loop = gevent.spawn(self._read)
        wait_until(lambda: self.messages or self.has_ended)

    def _read(self) -> None:
        stream = self.socket.makefile("rb")
        try:
            self.head = b"".join(iter(stream.readline, b"\r\n"))
            for size in stream:  # the chunks: one is one or more whole messages
                text = stream.read(int(size, 16)).decode()
                stream.readline()
                self.messages += [Message(each) for each in text.split("\n\n") if each]
        except OSError:
            pass  # reset at the end of the server
        finally:
            self.has_ended = True
            stream.close()

    def all(self, kind: str) -> list[Any]:
        """The data of all messages of a kind."""
        return [each.data for each in self.messages if each.kind == kind]

    def events(self) -> list[Any]:
        """All events told so far."""
        return [item for each in self.all("events") for item in each["events"]]

    def close(self) -> None:
        """Go away."""
        self._loop.kill()
        self.socket.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def reader(collector: Collector) -> Iterator[Reader]:
    made = Reader(collector)
    yield made
    made.close()


class TestOneReader:
    def test_is_greeted(self, collector: Collector, reader: Reader) -> None:
        assert b"200 OK" in reader.head
        assert b"Content-Type: text/event-stream" in reader.head
        assert reader.messages[0].fields["retry"] == "1000"
        assert reader.all("hello") == [
            {
                "last": 0,
                "faults": {"status": 204, "rate": 1, "latency": 0, "hang": False, "reset": False, "strict": False},
                "summary": collector.summary(),
            }
        ]

    def test_is_told_of_each_event_once_and_in_order(self, collector: Collector, reader: Reader) -> None:
        for n in range(20):
            post(collector, "/v1/events", params(visitor(f"v{n}"), visitor(f"w{n}")))
        wait_until(lambda: len(reader.events()) >= 40)
        assert reader.events() == collector.events()
        assert {each["skipped"] for each in reader.all("events")} == {0}
        assert reader.all("events")[-1]["summary"]["events"] == 40

    def test_is_told_of_the_newest_when_there_are_too_many(self, collector: Collector, reader: Reader) -> None:
        begin = monotonic()
        for _ in range(5):
            post(collector, "/v1/events", params(*(visitor() for _ in range(MOST_ITEMS + 100))))
        wait_until(lambda: reader.events() and reader.events()[-1]["n"] == 5 * (MOST_ITEMS + 100))
        told = reader.all("events")
        assert {len(each["events"]) for each in told} == {MOST_ITEMS}
        assert sum(len(each["events"]) + each["skipped"] for each in told) == 5 * (MOST_ITEMS + 100)
        assert len(told) <= 2 + (monotonic() - begin) / 0.1

    def test_is_told_of_faults_and_of_a_reset(self, collector: Collector, reader: Reader) -> None:
        assert post(collector, "/api/faults", {"status": 503, "rate": 0.5}).status == 200
        wait_until(lambda: reader.all("faults"))
        assert reader.all("faults")[0]["rate"] == 0.5
        post(collector, "/api/reset", None)
        wait_until(lambda: reader.all("reset"))
        assert reader.all("reset")[0]["summary"]["requests"] == 0

    def test_is_told_how_each_second_went(self, collector: Collector, reader: Reader) -> None:
        collector.change(latency=0.02)
        post(collector, "/v1/events", params(visitor(), visitor()))
        wait_until(lambda: reader.all("tick"))
        [tick] = reader.all("tick")
        assert (tick["events"], tick["requests"]) == (2, 1)
        assert 15 <= tick["ms"] == tick["max_ms"] < 5_000
        assert abs(tick["at"] - time()) < 60

    def test_goes_on_where_it_was(self, collector: Collector, reader: Reader) -> None:
        post(collector, "/v1/events", params(visitor("before")))
        wait_until(reader.events)
        last_id = reader.messages[-1].fields["id"]
        reader.close()
        post(collector, "/v1/events", params(visitor("meanwhile")))
        again = Reader(collector, last_id)
        wait_until(again.events)
        assert [each["visitor"] for each in again.events()] == ["meanwhile"]
        again.close()

    @pytest.mark.parametrize("last_id", ["other-1", "nonsense", "0", "99", "9" * 5000, "\xb2"])
    def test_is_told_of_all_that_is_kept_when_it_comes_from_elsewhere(self, collector: Collector, last_id: str) -> None:
        post(collector, "/v1/events", params(visitor("a"), visitor("b")))
        reader = Reader(collector, last_id)
        wait_until(reader.events)
        assert [each["visitor"] for each in reader.events()] == ["a", "b"]
        reader.close()

    def test_is_let_go_when_the_server_stops(self, collector: Collector, reader: Reader) -> None:
        begin = monotonic()
        collector.stop(timeout=5)
        wait_until(lambda: reader.has_ended)
        assert monotonic() - begin < 4
        collector.start()
        again = Reader(collector)
        assert again.all("hello")
        again.close()


class TestManyReaders:
    def test_there_is_a_bound_and_those_that_went_do_not_count(self, collector: Collector) -> None:
        readers = [Reader(collector) for _ in range(MOST_READERS)]
        assert b" 503 " in refused(collector)
        readers.pop().close()
        wait_until(lambda: b" 200 " in refused(collector))
        for each in readers:
            each.close()


def refused(collector: Collector) -> bytes:
    """The first line of the answer to one more reader."""
    with connect(collector) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection.makefile("rb").readline()


class TestBadReader:
    def test_one_that_reads_nothing_holds_up_nobody(self, collector: Collector, reader: Reader) -> None:
        with connect(collector) as deaf:
            deaf.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert deaf.recv(1)
            wide = [visitor("v" * 900) for _ in range(100)]
            for _ in range(30):
                assert post(collector, "/v1/events", params(*wide)).status == 204
            wait_until(lambda: reader.events() and reader.events()[-1]["n"] == 3_000)

    def test_one_that_takes_nothing_is_dropped(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        book = Book(time())
        streams = Streams(Sources(book, Pace(), dict), Times(patience=0.05, pause=0.0))
        serving = gevent.spawn(serve, streams, ours)
        assert theirs.recv(1)
        for n in range(MOST_ITEMS):
            envelope = Envelope(n, time(), json.dumps(params(visitor("v" * 900))).encode(), {})
            book.take(envelope.read(), envelope)
        wait_until(lambda: streams.tell() or serving.ready())
        assert serving.get() == "dropped"
        ours.close()
        theirs.close()

    def test_one_that_is_silent_is_spoken_to(self) -> None:
        ours, theirs = socket.socketpair()
        sources = Sources(Book(time()), Pace(), dict)
        streams = Streams(sources, Times(keep_alive=0.05))
        serving = gevent.spawn(serve, streams, ours)
        lines = theirs.makefile("r")
        wait_until(lambda: lines.readline().startswith(":"))
        streams.end()
        assert serving.get(timeout=10) == "ended"
        lines.close()
        ours.close()
        theirs.close()


def serve(streams: Streams, sock: socket.socket) -> str:
    """Send a reader what it is told, as the server does."""
    try:
        for message in streams.join(Connection(sock), "") or ():
            sock.sendall(message)
    except OSError:
        return "dropped"
    return "ended"
