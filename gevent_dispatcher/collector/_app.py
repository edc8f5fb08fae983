"""The collector's WSGI application: routes, bodies and answers. It knows the ledger, but no server and no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable, Iterable

from gevent_dispatcher.collector import _static
from gevent_dispatcher.collector._answers import DONE, Answer, json_of, refusal
from gevent_dispatcher.collector._guard import is_local, is_own
from gevent_dispatcher.collector._ledger import Ledger

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

EVENTS_PATH = "/v1/events"

# Names the connection in the WSGI environment; the server puts it there.
CONNECTION = "gevent_dispatcher.connection"

# The Event API takes 3.5 MB (Optimizely Event API documentation); a little more shows what a client does beyond that.
MAX_BODY = 4 * 1024 * 1024


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
            ("GET", "/counts"): lambda _: json_of(self.ledger.counts()),
            ("GET", "/uuids"): lambda _: json_of(self.ledger.uuids()),
            ("GET", "/visitors"): lambda _: json_of(self.ledger.visitors()),
            ("POST", "/reset"): self._reset,
            ("POST", "/settings"): self._change,
            **{("GET", path): _page for path in _static.FILES},
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        start_response(answer.status_line(), answer.headers())
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
        refused = _refused(environ, path)
        if refused:
            return refused
        route = self._routes.get((environ["REQUEST_METHOD"], path))
        if route:
            return route(environ)
        known = any(path == each for _, each in self._routes)
        return refusal(405 if known else 404, "see python -m gevent_dispatcher collector --help")

    def _post_events(self, environ: WSGIEnvironment) -> Answer:
        self.ledger.asked(environ.get(CONNECTION))
        body = _read(environ)
        if body is None:
            return refusal(413, f"a body may have {MAX_BODY} bytes", close=True)
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
        return DONE

    def _change(self, environ: WSGIEnvironment) -> Answer:
        try:
            self.change(**_settings(_read(environ)))
        except ValueError as error:
            return refusal(400, str(error))
        return DONE


def _page(environ: WSGIEnvironment) -> Answer:
    return _static.page(environ["PATH_INFO"])


def _refused(environ: WSGIEnvironment, path: str) -> Answer | None:
    host = environ.get("HTTP_HOST")
    if host is None and environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
        return refusal(400, "the Host header is missing, which HTTP/1.1 asks for")
    if host is not None and not is_local(host):
        return refusal(403, "the Host header names another machine: use localhost or a loopback address")
    changes = environ["REQUEST_METHOD"] != "GET" and path != EVENTS_PATH
    if changes and not is_own(environ.get("HTTP_ORIGIN"), host):
        return refusal(403, "the Origin header is a foreign one: other sites' pages may send events, and nothing else")
    return None


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
