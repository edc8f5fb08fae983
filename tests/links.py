"""An opened HttpTransport, requests for it, and a greenlet that knows whether the hub was held: for tests."""

from __future__ import annotations

from time import monotonic
from typing import Any

import gevent
import pytest

from gevent_dispatcher import Answer, HttpTransport, Link, Request
from gevent_dispatcher._url import parse

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what would lead to proxies and certificates of the machine's own."""
    for name in (*_PROXIES, *_BUNDLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def opened(connections: int = 4, **settings: Any) -> Link:
    return HttpTransport(**settings).open(connections=connections)


def request(url: str, body: bytes | None = b"{}", verb: str = "POST", **headers: str) -> Request:
    address = parse(url)
    return Request(verb, address.origin, address.target, headers, body, 1)


def post(link: Link, url: str, body: bytes = b"{}") -> Answer:
    return link.send(request(url, body))


class Ticking:
    """A greenlet that wants a turn each millisecond; a context manager.

    Attributes:
        longest: the longest that it had to wait for one, in seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    def __enter__(self) -> Ticking:
        self._greenlet = gevent.spawn(self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        self._greenlet.kill()

    def _tick(self) -> None:
        last = monotonic()
        while True:
            gevent.sleep(0.001)
            now = monotonic()
            self.longest = max(self.longest, now - last)
            last = now
