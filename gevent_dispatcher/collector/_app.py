"""The collector's WSGI application: routes, bodies and answers. It knows the ledger, but no server and no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Callable, Iterable

from gevent_dispatcher.collector._ledger import Ledger

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

EVENTS_PATH = "/v1/events"

# Names the connection in the WSGI environment; the server puts it there.
CONNECTION = "gevent_dispatcher.connection"

# The Event API takes 3.5 MB (Optimizely Event API documentation); a little more shows what a client does beyond that.
MAX_BODY = 4 * 1024 * 1024

_JSON = [("Content-Type", "application/json")]
_BODILESS = (204, 304)


@dataclass(frozen=True)
class Behaviour:
    """How events are answered.

    Args:
        latency: how long an answer takes, in seconds.
        status: the HTTP status of the answer; events count as received only with a 2xx.

    Raises:
        ValueError: a value is outside its range; the message has name, value and range.
    """

    latency: float = 0.0
    status: int = 204

    def __post_init__(self) -> None:
        _check("latency", self.latency, (int, float), 0, 3600, "a number of seconds")
        _check("status", self.status, (int,), 200, 599, "a whole number")

    @property
    def accepts(self) -> bool:
        """Whether events answered so have been received."""
        return 200 <= self.status < 300


def _check(name: str, value: object, kinds: tuple[type, ...], low: int, high: int, noun: str) -> None:
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # type: ignore[operator]  # mypy can't follow is_number
        raise ValueError(f"{name}={value!r}: must be {noun} from {low} to {high}")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    close: bool = False

    def headers(self) -> list[tuple[str, str]]:
        """The header fields; a 204 carries neither type nor length."""
        fields = [("Connection", "close")] if self.close else []
        if self.status in _BODILESS:
            return fields
        return [*fields, *_JSON, ("Content-Length", str(len(self.body)))]


class CollectorApp:
    """The WSGI application.

    Args:
        behaviour: how events are answered, until someone changes it.
        wait: waits that many seconds without holding up other requests.
    """

    def __init__(self, behaviour: Behaviour, wait: Callable[[float], object]) -> None:
        self.ledger = Ledger()
        self.behaviour = behaviour
        self._wait = wait
        self._routes: dict[tuple[str, str], Callable[[WSGIEnvironment], Answer]] = {
            ("POST", EVENTS_PATH): self._post_events,
            ("GET", EVENTS_PATH): self._get_events,
            ("GET", "/counts"): lambda _: _json(self.ledger.counts()),
            ("GET", "/uuids"): lambda _: _json(self.ledger.uuids()),
            ("GET", "/visitors"): lambda _: _json(self.ledger.visitors()),
            ("POST", "/reset"): self._reset,
            ("POST", "/settings"): self._change,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        start_response(_status_line(answer.status), answer.headers())
        return [answer.body] if answer.body else []

    def change(self, **settings: Any) -> None:
        """Change latency, status or both.

        Raises:
            ValueError: a value is outside its range.
            TypeError: there is no such setting.
        """
        self.behaviour = replace(self.behaviour, **settings)

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        path = environ["PATH_INFO"]
        route = self._routes.get((environ["REQUEST_METHOD"], path))
        if route:
            return route(environ)
        known = any(path == each for _, each in self._routes)
        return _error(405 if known else 404, "see python -m gevent_dispatcher collector --help")

    def _post_events(self, environ: WSGIEnvironment) -> Answer:
        self.ledger.asked(environ.get(CONNECTION))
        body = _read(environ)
        if body is None:
            return _error(413, f"a body may have {MAX_BODY} bytes", close=True)
        return self._events(lambda: self.ledger.receive_body(body))

    def _get_events(self, environ: WSGIEnvironment) -> Answer:
        self.ledger.asked(environ.get(CONNECTION))
        return self._events(lambda: self.ledger.receive_query(environ.get("QUERY_STRING", "")))

    def _events(self, receive: Callable[[], None]) -> Answer:
        # Received when it has arrived, as in the real service: a client that gives up during the wait does not undo it.
        behaviour = self.behaviour
        if behaviour.accepts:
            receive()
        if behaviour.latency:
            self._wait(behaviour.latency)
        return Answer(behaviour.status)

    def _reset(self, _: WSGIEnvironment) -> Answer:
        self.ledger.reset()
        return Answer(204)

    def _change(self, environ: WSGIEnvironment) -> Answer:
        try:
            self.change(**_settings(_read(environ)))
        except ValueError as error:
            return _error(400, str(error))
        return Answer(204)


def _read(environ: WSGIEnvironment) -> bytes | None:
    """The body, or None when it is larger than this server takes."""
    if int(environ.get("CONTENT_LENGTH") or 0) > MAX_BODY:
        return None
    body: bytes = environ["wsgi.input"].read(MAX_BODY + 1)
    return body if len(body) <= MAX_BODY else None


def _settings(body: bytes | None) -> dict[str, Any]:
    settings = json.loads(body or b"")
    if not isinstance(settings, dict) or not settings.keys() <= {"latency", "status"}:
        raise ValueError('settings are {"latency": seconds, "status": number}, either or both')
    return settings


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unnamed"


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode())


def _error(status: int, message: str, close: bool = False) -> Answer:
    return Answer(status, json.dumps({"error": message}).encode(), close)
