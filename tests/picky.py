"""An endpoint that looks into the events: it refuses, or breaks off over, each request that holds a marked one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Callable, Iterable

from gevent.event import Event
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

PATH = "/v1/events"


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    def handle_error(self, kind: Any, error: Any, trace: Any) -> None:
        """Break off without an answer."""
        self.close_connection = True


class PickyServer:
    """Counts each visitor of the requests that it accepts.

    Args:
        answer: given the visitors of a request, the status of its answer; None breaks the connection off.
    """

    def __init__(self, answer: Callable[[list[str]], int | None]) -> None:
        self.accepted: Counter[str] = Counter()
        self.requests: list[tuple[int | None, list[str]]] = []
        self._answer = answer
        self._server = WSGIServer(("127.0.0.1", 0), self._app, log=None, spawn=Pool(), handler_class=_Handler)

    def __enter__(self) -> PickyServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0)

    @property
    def url(self) -> str:
        """Where events go."""
        return f"http://127.0.0.1:{self._server.server_port}{PATH}"

    def _app(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        data = environ["wsgi.input"].read()
        try:
            visitors = [each["visitor_id"] for each in json.loads(data)["visitors"]]
        except ValueError:  # the Event API's answer to what is not JSON
            start_response("400 Picky", [("Content-Length", "0")])
            return []
        status = self._answer(visitors)
        self.requests.append((status, visitors))
        if status is None:
            raise ConnectionError
        if 200 <= status < 300:
            self.accepted.update(visitors)
        start_response(f"{status} Picky", [("Content-Length", "0")] if status != 204 else [])
        return []


class Gate:
    """An endpoint's answer that waits until the test opens.

    Attributes:
        waiting: requests that have come.
        opened: to be set.
    """

    def __init__(self) -> None:
        self.opened = Event()
        self.waiting = 0

    def answer(self, visitors: list[str]) -> int:
        """Wait, and accept."""
        self.waiting += 1
        self.opened.wait(30)
        return 204
