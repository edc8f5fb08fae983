"""The collector's WSGI application: which path leads where. It knows no server."""

from __future__ import annotations

from dataclasses import asdict, replace
from random import Random
from time import time
from typing import TYPE_CHECKING, Any, Callable, Iterable

from gevent_dispatcher.collector import _api, _static
from gevent_dispatcher.collector._answers import DONE, Answer, json_of, refusal
from gevent_dispatcher.collector._book import Book
from gevent_dispatcher.collector._faults import Faults, settings_of
from gevent_dispatcher.collector._guard import is_local, is_own
from gevent_dispatcher.collector._intake import Intake
from gevent_dispatcher.collector._pace import Pace
from gevent_dispatcher.collector._requests import CONNECTION, Unreadable, read
from gevent_dispatcher.collector._stream import Sources, Streams

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    Route = Callable[[WSGIEnvironment], Answer]

EVENTS_PATH = "/v1/events"
_ITEM_PATH = "/api/events/"
_STREAM_PATH = "/stream"

_STREAM_FIELDS = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"), ("Connection", "close")]


class CollectorApp:
    """The WSGI application.

    Args:
        faults: how requests are answered, until someone changes it.
        book: where events are noted.
        wait: waits that many seconds without holding up other requests.
        chance: decides which requests fail.
    """

    def __init__(self, faults: Faults, book: Book, wait: Callable[[float], object], chance: Random) -> None:
        self.book = book
        pace = Pace()
        self.streams = Streams(Sources(book, pace, lambda: asdict(self.faults)))
        self._intake = Intake(book, pace, faults, chance, wait, self.streams.tell)
        self._routes = self._table()

    def _table(self) -> dict[str, dict[str, Route]]:
        book = self.book
        return {
            EVENTS_PATH: {
                "POST": self._intake.post,
                "GET": self._intake.get,
                "OPTIONS": self._intake.preflight,
            },
            "/counts": {"GET": lambda _: json_of(book.ledger.totals()._asdict())},
            "/uuids": {"GET": lambda _: json_of(book.ledger.uuids())},
            "/visitors": {"GET": lambda _: json_of(book.ledger.visitors())},
            "/reset": {"POST": self._reset},
            "/settings": {"POST": self._set},
            "/api/events": {"GET": self._list},
            "/api/summary": {"GET": lambda _: json_of(book.summary())},
            "/api/reset": {"POST": self._reset},
            "/api/faults": {"GET": lambda _: json_of(asdict(self.faults)), "POST": self._set_faults},
            **{path: {"GET": _page} for path in _static.FILES},
        }

    @property
    def faults(self) -> Faults:
        """How requests are answered."""
        return self._intake.faults

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = _refused(environ)
        if answer is None and (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("GET", _STREAM_PATH):
            messages = self.streams.join(environ[CONNECTION], environ.get("HTTP_LAST_EVENT_ID", ""))
            if messages is not None:
                start_response("200 OK", [*_STREAM_FIELDS])
                return messages
            answer = refusal(503, "there are too many readers of the stream")
        answer = answer or self._answer(environ)
        start_response(answer.status_line(), answer.headers())
        return [answer.body] if answer.body else []

    def change(self, **settings: Any) -> None:
        """Change some of the faults.

        Raises:
            ValueError: a value is outside its range.
            TypeError: there is no such setting.
        """
        self._intake.faults = replace(self.faults, **settings)
        self.streams.tell()

    def reset(self) -> None:
        """Forget everything that was received."""
        self.book.reset(time())
        self.streams.tell()

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        path, verb = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        routes = self._routes.get(path)
        if routes is None and path.startswith(_ITEM_PATH):
            routes = {"GET": self._details}
        if routes is None:
            return refusal(404, "there is no such path; see python -m gevent_dispatcher collector --help")
        if verb not in routes:
            allowed = ", ".join(routes)
            return refusal(405, f"the verbs of this path: {allowed}", fields=(("Allow", allowed),))
        return routes[verb](environ)

    def _list(self, environ: WSGIEnvironment) -> Answer:
        try:
            return json_of(_api.events(self.book, environ.get("QUERY_STRING", "")))
        except ValueError as error:
            return refusal(400, str(error))

    def _details(self, environ: WSGIEnvironment) -> Answer:
        kept = _api.event(self.book, environ["PATH_INFO"][len(_ITEM_PATH) :])
        if kept is None:
            return refusal(404, "there is no event of this number, or it is no longer kept")
        try:
            return json_of(kept.details())
        except RecursionError:  # pragma: no cover  # nested as deeply as could just be read; not each Python gets here
            return json_of(kept.details(as_text=True))

    def _reset(self, _: WSGIEnvironment) -> Answer:
        self.reset()
        return DONE

    def _set(self, environ: WSGIEnvironment) -> Answer:
        answer = self._set_faults(environ)
        return DONE if answer.status == 200 else answer

    def _set_faults(self, environ: WSGIEnvironment) -> Answer:
        try:
            self.change(**settings_of(read(environ)))
        except Unreadable as error:
            return refusal(error.status, error.reason, close=True)
        except ValueError as error:
            return refusal(400, str(error))
        return json_of(asdict(self.faults))


def _page(environ: WSGIEnvironment) -> Answer:
    return _static.page(environ["PATH_INFO"])


def _refused(environ: WSGIEnvironment) -> Answer | None:
    host = environ.get("HTTP_HOST")
    if host is None and environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
        return refusal(400, "the Host header is missing, which HTTP/1.1 asks for")
    if host is not None and not is_local(host):
        return refusal(403, "the Host header names another machine: use localhost or a loopback address")
    changes = environ["REQUEST_METHOD"] != "GET" and environ["PATH_INFO"] != EVENTS_PATH
    if changes and not is_own(environ.get("HTTP_ORIGIN"), host):
        return refusal(403, "the Origin header is a foreign one: other sites' pages may send events, and nothing else")
    return None
