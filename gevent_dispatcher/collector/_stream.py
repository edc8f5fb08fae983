"""The stream that the page listens to: server-sent events (WHATWG HTML), made as each reader takes them.

Nothing is queued for a reader: it has a place among the events' running numbers, and gets what is new there, the newest
when there is too much. So a slow one costs no memory, and one that takes nothing for a while is dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from time import monotonic, time
from typing import Any, Callable, Iterator

import gevent
from gevent.event import Event

from gevent_dispatcher.collector._book import Book
from gevent_dispatcher.collector._connection import Connection
from gevent_dispatcher.collector._kept import number_of
from gevent_dispatcher.collector._pace import Pace

# Readers at once.
MOST_READERS = 32
# Events in a message.
MOST_ITEMS = 200
# How soon a browser comes again after the stream has ended, in milliseconds.
_RETRY = 1000


@dataclass(frozen=True)
class Times:
    """How long things take, in seconds.

    Args:
        patience: how long a reader may take over one message, before it is dropped.
        pause: the shortest time between two messages.
        keep_alive: after so long without a message there is a comment, by which either side finds out that the other
            has gone.
    """

    patience: float = 10.0
    pause: float = 0.1
    keep_alive: float = 15.0


_TIMES = Times()


@dataclass(frozen=True)
class Sources:
    """What readers are told of.

    Args:
        book: the events.
        pace: how many came, and how long their answers took.
        faults: gives how requests are answered now, as JSON.
    """

    book: Book
    pace: Pace
    faults: Callable[[], dict[str, Any]]


class Streams:
    """All readers.

    Args:
        sources: what they are told of.
        times: how long things take.
    """

    def __init__(self, sources: Sources, times: Times = _TIMES) -> None:
        self.sources = sources
        self.times = times
        # tells the running numbers of one collector from those of the next on the same port
        self.name = f"{int(time() * 1000):x}"
        self._readers: set[_Reader] = set()
        self._is_open = True

    def tell(self) -> None:
        """Something is new."""
        for reader in self._readers:
            reader.woken.set()

    def end(self) -> None:
        """Let all readers go; none is let in until `begin`."""
        self._is_open = False
        self.tell()

    def begin(self) -> None:
        """Let readers in."""
        self._is_open = True

    def join(self, connection: Connection, last_id: str) -> Iterator[bytes] | None:
        """What one reader is sent; None when there are too many.

        Args:
            connection: the reader's.
            last_id: of the last message that it got, empty when it is a new one.
        """
        self._readers -= {each for each in self._readers if each.connection.is_gone()}
        if len(self._readers) >= MOST_READERS:
            return None
        connection.limit_writes(self.times.patience)
        return self._messages(_Reader(self, connection, self._place(last_id)))

    def _messages(self, reader: _Reader) -> Iterator[bytes]:
        self._readers.add(reader)
        try:
            yield reader.hello()
            while self._is_open and reader in self._readers:
                news = reader.news()
                if news:
                    yield news
                    gevent.sleep(self.times.pause)
                reader.wait()
        finally:
            self._readers.discard(reader)

    def _place(self, last_id: str) -> int:
        """The running number after which a reader goes on. One that it has of another collector says nothing here."""
        shelf = self.sources.book.shelf
        if not last_id:
            return shelf.last
        name, _, number = last_id.rpartition("-")
        n = number_of(number)
        if n is None or n > shelf.last or name not in ("", self.name):
            return shelf.base
        return max(n, shelf.base)


class _Reader:
    """One reader: what it has been told."""

    def __init__(self, streams: Streams, connection: Connection, place: int) -> None:
        self.connection = connection
        self.woken = Event()
        self._sources = sources = streams.sources
        self._keep_alive = streams.times.keep_alive
        self._name = streams.name
        self._place = place
        self._resets = sources.book.resets
        self._faults = sources.faults()
        self._second = int(time()) - 1
        self._spoke = monotonic()

    def wait(self) -> None:
        """Wait until there may be something to say."""
        self.woken.wait(self._patience())
        self.woken.clear()

    def hello(self) -> bytes:
        """The first message."""
        book = self._sources.book
        data = {"last": book.shelf.last, "faults": self._faults, "summary": book.summary()}
        return b"retry: %d\n" % _RETRY + self._message("hello", data)

    def news(self) -> bytes:
        """What it has not been told; empty, when there is nothing."""
        news = b"".join([*self._reset(), *self._changed(), *self._events(), *self._ticks()])
        if not news and monotonic() - self._spoke >= self._keep_alive:
            news = b": still here\n\n"
        if news:
            self._spoke = monotonic()
        return news

    def _patience(self) -> float:
        left = max(0.0, self._spoke + self._keep_alive - monotonic())
        if self._sources.pace.is_counting(self._second):
            return min(left, 1.0 - time() % 1.0)
        return left

    def _reset(self) -> Iterator[bytes]:
        book = self._sources.book
        if self._resets != book.resets:
            self._resets = book.resets
            self._place = max(self._place, book.shelf.base)
            yield self._message("reset", {"summary": book.summary()})

    def _changed(self) -> Iterator[bytes]:
        faults = self._sources.faults()
        if self._faults != faults:
            self._faults = faults
            yield self._message("faults", faults)

    def _events(self) -> Iterator[bytes]:
        book = self._sources.book
        new = book.shelf.last - self._place
        if new > 0:
            newest = [kept.item() for kept in islice(book.shelf.newest_first(self._place), MOST_ITEMS)]
            self._place = book.shelf.last
            summary = book.small_summary()
            yield self._message("events", {"events": newest[::-1], "skipped": new - len(newest), "summary": summary})

    def _ticks(self) -> Iterator[bytes]:
        for tick in self._sources.pace.ticks(self._second, time()):
            self._second = tick["at"]
            yield self._message("tick", {**tick, "summary": self._sources.book.small_summary()})

    def _message(self, kind: str, data: Any) -> bytes:
        return f"event: {kind}\nid: {self._name}-{self._place}\ndata: {json.dumps(data)}\n\n".encode()
