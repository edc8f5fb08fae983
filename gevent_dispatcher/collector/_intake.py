"""The door for events: reads what came, notes it, and answers as the Event API does, or as badly as it was told to."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from time import monotonic, time
from typing import TYPE_CHECKING, Callable

from gevent_dispatcher.collector._answers import DONE, Answer, json_of, refusal
from gevent_dispatcher.collector._book import Book
from gevent_dispatcher.collector._connection import Connection
from gevent_dispatcher.collector._faults import WELL, Break, Faults
from gevent_dispatcher.collector._kept import Envelope
from gevent_dispatcher.collector._pace import Pace
from gevent_dispatcher.collector._reading import Reading
from gevent_dispatcher.collector._requests import CONNECTION, Unreadable, headers_of, read_sized

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# How often it is seen whether a client still waits for an answer that will not come, in seconds.
_LOOK = 0.25

# Browsers ask before they send JSON to another origin, as the pages do that use the SDK for JavaScript.
_ANY_ORIGIN = (("Access-Control-Allow-Origin", "*"),)
_PREFLIGHT = Answer(
    204,
    fields=(
        *_ANY_ORIGIN,
        ("Access-Control-Allow-Methods", "GET, POST"),
        ("Access-Control-Allow-Headers", "Content-Type, X-Optimizely-Strict"),
        ("Access-Control-Max-Age", "600"),
    ),
)


class Intake:
    """Takes the requests that bring events.

    Args:
        book: where they are noted.
        pace: where it is noted how long answers take.
        faults: how they are answered, until someone changes it.
        chance: decides which requests fail.
        wait: waits that many seconds without holding up other requests.
        tell: is called after something was noted.
    """

    def __init__(
        self,
        book: Book,
        pace: Pace,
        faults: Faults,
        chance: Random,
        wait: Callable[[float], object],
        tell: Callable[[], None],
    ) -> None:
        self.faults = faults
        self._book = book
        self._pace = pace
        self._chance = chance
        self._wait = wait
        self._tell = tell

    def post(self, environ: WSGIEnvironment) -> Answer:
        """Take a POST."""
        return self._take(environ, lambda: read_sized(environ))

    def get(self, environ: WSGIEnvironment) -> Answer:
        """Take a GET, the form that old SDKs send."""
        return self._take(environ, lambda: environ.get("QUERY_STRING", ""))

    def preflight(self, _: WSGIEnvironment) -> Answer:
        """Tell a browser that any page may send events."""
        return _PREFLIGHT

    def _take(self, environ: WSGIEnvironment, read: Callable[[], bytes | str]) -> Answer:
        begin = monotonic()
        self._book.ledger.asked(environ[CONNECTION])
        try:
            answer, events = self._receive(environ, read())
        except Unreadable as error:
            answer, events = self._cannot_read(environ, error), 0
        self._pace.note(time(), events, monotonic() - begin)
        self._tell()
        return replace(answer, fields=_ANY_ORIGIN) if "HTTP_ORIGIN" in environ else answer

    def _receive(self, environ: WSGIEnvironment, raw: bytes | str) -> tuple[Answer, int]:
        faults = self.faults
        fate = faults.draw(self._chance)
        if isinstance(fate, Break) or not 200 <= fate < 300:
            return self._fail(environ[CONNECTION], fate, faults.latency), 0
        # Received when it has arrived, as in the real service: a client that gives up during the wait does not undo it.
        answer, events = self._note(self._envelope(environ, raw), fate, faults.strict or _is_strict(environ))
        self._tell()
        if faults.latency:
            self._wait(faults.latency)
        return answer, events

    def _note(self, envelope: Envelope, status: int, strict: bool) -> tuple[Answer, int]:
        reading = envelope.read()
        if reading.problems and strict:
            self._book.refuse()
            self._book.note_invalid(reading, envelope)
            return _invalid(reading), 0
        return DONE if status == WELL else Answer(status), self._book.take(reading, envelope)

    def _fail(self, connection: Connection, fate: int | Break, latency: float) -> Answer:
        self._book.refuse()
        if latency:
            self._wait(latency)
        if fate is Break.RESET:
            connection.break_off()
        if fate is Break.HANG:
            while not connection.is_gone():
                self._wait(_LOOK)
            connection.drop()
        return Answer(int(fate))

    def _cannot_read(self, environ: WSGIEnvironment, error: Unreadable) -> Answer:
        self._book.refuse()
        self._book.note_invalid(Reading(None, [error.reason]), self._envelope(environ, b""))
        return refusal(error.status, error.reason, close=True)

    def _envelope(self, environ: WSGIEnvironment, raw: bytes | str) -> Envelope:
        return Envelope(self._book.number(), time(), raw, headers_of(environ))


def _is_strict(environ: WSGIEnvironment) -> bool:
    return bool(environ.get("HTTP_X_OPTIMIZELY_STRICT", "").lower() == "true")


def _invalid(reading: Reading) -> Answer:
    """The Event API documents 400 for what failed validation, and nothing of the body."""
    return json_of({"error": f"the payload is not valid: {reading.problems[0]}", "problems": reading.problems}, 400)
