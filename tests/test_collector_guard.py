"""Who may talk to the collector, and the page that it serves, asked over plain sockets, as no browser would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator

import pytest

from gevent_dispatcher.collector import Collector, _static
from gevent_dispatcher.collector._guard import is_local, is_own
from tests.wire import ask


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


LOCAL = [
    *("localhost", "LOCALHOST", "localhost:8080", "localhost.", "shop.localhost:1", "127.0.0.1", "127.0.0.1:65535"),
    *("127.1.2.3", "[::1]", "[::1]:8080"),
]
FOREIGN = [
    *("example.org", "example.org:80", "localhost.example.org", "notlocalhost", "127.0.0.1.example.org", "192.0.2.1"),
    *("0.0.0.0", "[::]", "[::1", "[::1]x", "::1", "127.0.0.1:x", "127.0.0.1:80@example.org", "", ":80", "localhost/"),
    "a" * 300 + ".localhost",
]


class TestHost:
    @pytest.mark.parametrize("host", LOCAL)
    def test_knows_its_own_machine(self, host: str) -> None:
        assert is_local(host)

    @pytest.mark.parametrize("host", FOREIGN)
    def test_knows_a_foreign_one(self, host: str) -> None:
        assert not is_local(host)

    @pytest.mark.parametrize("path", ["/", "/page.js", "/counts", "/v1/events", "/nowhere"])
    def test_refuses_a_name_that_was_bound_to_this_machine(self, collector: Collector, path: str) -> None:
        reply = ask(collector, f"GET {path}", host="rebound.example.org")
        assert reply.status == 403
        assert b"Host" in reply.body

    def test_counts_nothing_of_a_refused_request(self, collector: Collector) -> None:
        before = collector.counts()
        assert ask(collector, "POST /v1/events", host="example.org", body=b"{}").status == 403
        assert collector.counts() == before

    def test_asks_for_the_header_where_http_does(self, collector: Collector) -> None:
        assert ask(collector, "GET /counts", host=None).status == 400

    def test_answers_the_names_of_this_machine(self, collector: Collector) -> None:
        assert [ask(collector, "GET /counts", host=each).status for each in LOCAL] == [200] * len(LOCAL)


class TestOrigin:
    def test_is_the_pages_own_or_none(self) -> None:
        assert is_own(None, "localhost:1")
        assert is_own("http://LocalHost:1", "localhost:1")
        for origin in ("http://localhost", "http://localhost:2", "https://example.org", "null", ""):
            assert not is_own(origin, "localhost:1")

    @pytest.mark.parametrize("path", ["/reset", "/settings"])
    def test_other_sites_change_nothing(self, collector: Collector, path: str) -> None:
        reply = ask(collector, f"POST {path}", "Origin: https://example.org", body=b'{"status": 503}')
        assert reply.status == 403
        assert b"Origin" in reply.body
        assert ask(collector, "POST /v1/events").status == 204

    def test_the_page_itself_may(self, collector: Collector) -> None:
        assert ask(collector, "POST /reset", "Origin: http://localhost:80", host="localhost:80").status == 204

    def test_events_come_from_any_site(self, collector: Collector) -> None:
        assert ask(collector, "POST /v1/events", "Origin: https://example.org").status == 204


class TestPage:
    @pytest.mark.parametrize("path", _static.FILES)
    def test_each_file_is_served_under_the_strict_policy(self, collector: Collector, path: str) -> None:
        name, kind = _static.FILES[path]
        reply = ask(collector, f"GET {path}")
        assert (reply.status, reply.headers["content-type"]) == (200, kind)
        assert reply.body == (Path(_static.__file__).parent / "page" / name).read_bytes()
        policy = dict(each.strip().split(" ", 1) for each in reply.headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "connect-src": "'self'",
            "img-src": "'self' data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"

    def test_every_file_of_the_folder_is_served(self) -> None:
        folder = Path(_static.__file__).parent / "page"
        assert {each.name for each in folder.iterdir()} == {name for name, _ in _static.FILES.values()}

    def test_the_page_names_no_other_place(self, collector: Collector) -> None:
        for path in _static.FILES:
            assert not re.findall(
                rb"(?:src|href|url\(|from|import)\W{1,3}(?:https?:)?//", ask(collector, f"GET {path}").body
            )

    @pytest.mark.parametrize("path", ["/page/index.html", "/../_app.py", "/%2e%2e/_app.py", "/page.js/", "/index.html"])
    def test_no_other_file_is(self, collector: Collector, path: str) -> None:
        assert ask(collector, f"GET {path}").status == 404
