"""The collector as an endpoint and as a JSON API: the real SDK's events, what is wrong, what is refused, bad days."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from time import monotonic, time
from typing import Any, Iterator

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.collector import Collector, _api
from gevent_dispatcher.sdk import create_client
from tests.events import params, visitor
from tests.waiting import wait_until
from tests.wire import Reply, ask, connect, get, post, send

DATAFILE = Path(__file__).resolve().parent.parent / "examples" / "datafile.json"
STRICT = "X-Optimizely-Strict: true"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector(seed=1) as running:
        yield running


@pytest.fixture(scope="module")
def sdk() -> Iterator[Collector]:
    """A collector that has received, through the dispatcher, what the SDK made of two visitors."""
    with Collector() as running:
        datafile = DATAFILE.read_text(encoding="utf-8")
        dispatcher = Redirected(running.url)
        client = create_client(datafile, event_dispatcher=dispatcher)
        anna = client.create_user_context("anna", {"plan": "pro"})
        anna.decide("checkout_flow")
        anna.decide("gift_wrap")
        anna.track_event("purchase", {"revenue": 4200, "value": 1.5, "sku": "a-1"})
        client.create_user_context("ben").track_event("page_view")
        assert dispatcher.flush(10)
        yield running
        dispatcher.close()


class Redirected(GeventEventDispatcher):
    """Sends to another url than the SDK says."""

    def __init__(self, url: str) -> None:
        super().__init__(flush_interval=0.0)
        self._url = url

    def dispatch_event(self, event: Any) -> None:
        event.url = self._url
        super().dispatch_event(event)


class TestEvents:
    def test_what_the_sdk_sent_reads_like_english(self, sdk: Collector) -> None:
        items = get(sdk, "/api/events")["events"]
        assert [each["kind"] for each in items] == ["decision", "decision", "conversion", "conversion"]
        variation = items[0]["variation"]
        assert [each["line"] for each in items] == [
            f"anna saw variation {variation} of experiment checkout_one_page",
            "anna saw variation on of rollout gift_wrap_for_paying_customers",
            'anna converted "purchase", revenue 42.00, value 1.5',
            'ben converted "page_view"',
        ]
        assert [(each["valid"], each["problems"], each["duplicate"]) for each in items] == [(True, [], False)] * 4

    def test_an_item_has_what_was_promised(self, sdk: Collector) -> None:
        decided, _, bought, _ = get(sdk, "/api/events")["events"]
        assert (decided["experiment"], decided["flag"]) == ("checkout_one_page", "checkout_flow")
        assert decided["variation"] in ("one_page", "three_steps")
        assert (decided["key"], decided["revenue"], decided["value"]) == ("campaign_activated", None, None)
        assert [bought[name] for name in ("n", "visitor", "key", "experiment")] == [3, "anna", "purchase", None]
        assert (bought["revenue"], bought["value"]) == (4200, 1.5)
        assert abs(bought["at"] - time()) < 60
        assert bought["uuid"] in get(sdk, "/uuids")

    def test_the_python_class_tells_the_same(self, sdk: Collector) -> None:
        assert sdk.events() == get(sdk, "/api/events")["events"]
        assert sdk.events(key="purchase", valid=True) == get(sdk, "/api/events?key=purchase&valid=true")["events"]
        assert sdk.summary() == get(sdk, "/api/summary")
        with pytest.raises(TypeError, match="colour"):
            sdk.events(colour="red")

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("key=purchase", [3]),
            ("visitor=anna", [1, 2, 3]),
            ("visitor=anna&key=purchase", [3]),
            ("visitor=nobody", []),
            ("experiment=checkout_one_page", [1]),
            ("experiment=checkout_flow", [1]),
            ("experiment=71000000501", [1]),
            ("valid=true", [1, 2, 3, 4]),
            ("valid=false", []),
            ("limit=2", [3, 4]),
            ("after=1", [2, 3, 4]),
            ("after=1&limit=2", [2, 3]),
            ("after=4", []),
            ("after=99", []),
            ("key=&visitor=&valid=&after=", [1, 2, 3, 4]),
        ],
    )
    def test_filters(self, sdk: Collector, query: str, found: list[int]) -> None:
        answer = get(sdk, f"/api/events?{query}")
        assert [each["n"] for each in answer["events"]] == found
        assert answer["dropped"] == 0

    def test_a_uuid_is_found(self, sdk: Collector) -> None:
        item = get(sdk, "/api/events/3")["item"]
        assert get(sdk, f"/api/events?uuid={item['uuid']}")["events"] == [item]

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("colour=red", "'colour': there is no such filter"),
            ("valid=yes", "valid='yes': must be true or false"),
            ("limit=0", "limit='0': must be a whole number from 1 to 10000"),
            ("limit=10001", "limit='10001': must be a whole number"),
            ("after=-1", "after='-1': must be a whole number from 0"),
            ("after=1e3", "after='1e3': must be a whole number"),
            ("after=" + "9" * 5_000, "must be a whole number"),
            ("after=%C2%B2", "must be a whole number"),
        ],
    )
    def test_a_wrong_filter_is_told(self, sdk: Collector, query: str, reason: str) -> None:
        reply = ask(sdk, f"GET /api/events?{query}")
        assert reply.status == 400
        assert reason in reply.json()["error"]

    def test_details_are_the_event_and_what_was_around_it(self, sdk: Collector) -> None:
        found = get(sdk, "/api/events/3")
        assert found["item"] == get(sdk, "/api/events?key=purchase")["events"][0]
        assert found["visitor"]["visitor_id"] == "anna"
        [snapshot] = found["visitor"]["snapshots"]
        assert snapshot["events"][0]["tags"] == {"revenue": 4200, "value": 1.5, "sku": "a-1"}
        assert found["envelope"]["account_id"] == "71000000001"
        assert "visitors" not in found["envelope"]
        assert found["headers"]["Content-Type"] == "application/json"

    @pytest.mark.parametrize("number", ["0", "5", "x", "-1", "1/2", "9" * 5_000, "%C2%B2", ""])
    def test_there_are_no_other_details(self, sdk: Collector, number: str) -> None:
        reply = ask(sdk, f"GET /api/events/{number}")
        assert reply.status == 404
        assert reply.json()["error"]

    def test_the_summary_counts_keys_and_variations(self, sdk: Collector) -> None:
        summary = get(sdk, "/api/summary")
        assert summary["keys"] == {"campaign_activated": 2, "purchase": 1, "page_view": 1}
        assert summary["experiments"].keys() == {"checkout_one_page", "gift_wrap_for_paying_customers"}
        assert [summary[name] for name in ("events", "unique", "duplicated", "visitors")] == [4, 4, 0, 2]
        assert (summary["valid"], summary["invalid"]) == (4, 0)
        assert (summary["kept"], summary["refused"]) == (4, 0)
        assert abs(summary["since"] - time()) < 300


class TestKeeping:
    def test_duplicates_are_marked(self, collector: Collector) -> None:
        payload = params(visitor("a"), visitor("b"))
        post(collector, "/v1/events", payload)
        post(collector, "/v1/events", payload)
        assert [each["duplicate"] for each in collector.events()] == [False, False, True, True]
        assert [each["request"] for each in collector.events()] == [1, 1, 2, 2]

    def test_the_last_are_kept_and_what_is_gone_is_told(self) -> None:
        with Collector(keep=3) as collector:
            post(collector, "/v1/events", params(*(visitor() for _ in range(5))))
            answer = get(collector, "/api/events")
            assert ([each["n"] for each in answer["events"]], answer["last"], answer["dropped"]) == ([3, 4, 5], 5, 2)
            assert get(collector, "/api/events?after=1")["dropped"] == 1
            assert ask(collector, "GET /api/events/2").status == 404
            assert collector.counts()["unique"] == 5

    def test_repeated_events_are_known_as_long_as_was_asked_for(self) -> None:
        with Collector(keep_uuids=2) as collector:
            payloads = [params(visitor()) for _ in range(3)]
            for payload in [*payloads, payloads[2], payloads[0]]:
                post(collector, "/v1/events", payload)
            assert [each["duplicate"] for each in collector.events()] == [False, False, False, True, False]

    def test_long_values_are_cut_in_items_and_whole_in_details(self, collector: Collector) -> None:
        name = "v" * 1_000_000
        post(collector, "/v1/events", params(visitor(name, key="k" * 100_000)))
        [item] = collector.events(visitor=name)
        assert len(json.dumps(item)) < 4_000
        assert get(collector, "/api/events/1")["visitor"]["visitor_id"] == name

    def test_credentials_are_not_kept(self, collector: Collector) -> None:
        fields = ["Authorization: Bearer 1", "Cookie: a=1", "X-Api-Key: 1", "Proxy-Authorization: 1", "X-Auth-Token: 1"]
        post(collector, "/v1/events", params(), *fields, "X-Plain: shown", "X-Long: " + "x" * 5_000)
        headers = get(collector, "/api/events/1")["headers"]
        for field in fields:
            name = field.split(":")[0]
            assert headers[name.title()] == "(hidden)"
        assert headers["X-Plain"] == "shown"
        assert len(headers["X-Long"]) == 500

    def test_reset_forgets_all_but_the_numbers(self, collector: Collector) -> None:
        post(collector, "/v1/events", params(visitor("a")))
        assert post(collector, "/api/reset", None).status == 204
        assert get(collector, "/api/events") == {"events": [], "last": 1, "dropped": 0}
        post(collector, "/v1/events", params(visitor("b")))
        assert [each["n"] for each in collector.events()] == [2]

    @pytest.mark.parametrize(
        "bound", [{"keep": 0}, {"keep_bytes": -1}, {"keep_uuids": 0}, {"keep": 1.5}, {"keep": True}]
    )
    def test_bounds_have_bounds(self, bound: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be a whole number of"):
            Collector(**bound)


class TestInvalid:
    def test_is_answered_like_any_other_and_noted(self, collector: Collector) -> None:
        broken = params(visitor("a"), {"visitor_id": "b"})
        assert post(collector, "/v1/events", broken).status == 204
        [item] = collector.events()
        assert (item["kind"], item["valid"], item["visitor"], item["key"]) == ("invalid", False, "a", "purchase")
        assert item["problems"] == ["visitors[1].snapshots: is missing"]
        assert collector.counts()["invalid"] == 1
        assert collector.events(valid=True) == []
        assert json.loads(get(collector, "/api/events/1")["visitor"]) == broken

    @pytest.mark.parametrize("way", ["header", "setting"])
    def test_is_refused_with_the_reason_when_asked_to(self, collector: Collector, way: str) -> None:
        collector.change(strict=way == "setting")
        fields = [STRICT] if way == "header" else []
        reply = post(collector, "/v1/events", params(visitor("a"), {"visitor_id": 7}), *fields)
        problems = ["visitors[1].snapshots: is missing", "visitors[1].visitor_id: must be a string, is a number"]
        assert reply.status == 400
        assert reply.json() == {"error": f"the payload is not valid: {problems[0]}", "problems": problems}
        assert (collector.counts()["events"], collector.counts()["invalid"], collector.summary()["refused"]) == (
            0,
            1,
            1,
        )
        assert [each["problems"] for each in collector.events()] == [problems]
        assert post(collector, "/v1/events", params(), *fields).status == 204

    def test_a_query_too(self, collector: Collector) -> None:
        assert ask(collector, "GET /v1/events?uuid=1&visitor_id=a", STRICT).status == 400
        query = "account_id=1&uuid=1&visitor_id=a&timestamp=1700000000000&key=b%22&revenue=100"
        assert ask(collector, f"GET /v1/events?{query}", STRICT).status == 204
        assert collector.events()[-1]["line"] == 'a converted "b"", revenue 1.00'
        assert get(collector, "/api/events/2")["visitor"]["snapshots"][0]["events"][0]["key"] == 'b"'

    def test_more_than_the_event_api_takes(self, collector: Collector) -> None:
        body = json.dumps(params(visitor("a"))).encode().ljust(3_500_001)
        assert ask(collector, "POST /v1/events", body=body).status == 204
        assert ask(collector, "POST /v1/events", STRICT, body=body).status == 400
        reply = ask(collector, "POST /v1/events", body=body.ljust(4 * 1024 * 1024 + 1))
        assert reply.status == 413
        assert "3500000" in reply.json()["error"]
        assert [each["kind"] for each in collector.events()] == ["invalid"] * 3
        assert collector.counts()["events"] == 1

    @settings(deadline=None, max_examples=20)
    @given(content=st.binary(max_size=50))
    def test_any_bytes_are_taken(self, content: bytes) -> None:
        with Collector() as collector:
            assert ask(collector, "POST /v1/events", body=content).status == 204
            assert ask(collector, "POST /v1/events", STRICT, body=content).status == 400
            assert get(collector, "/api/events/2")["item"]["kind"] == "invalid"

    def test_what_is_nested_too_deeply(self, collector: Collector) -> None:
        for depth in (500, 900, 2_000, 100_000):
            text = json.dumps({**params(visitor("a")), "x": None}).encode()
            body = text.replace(b"null", b"[" * depth + b"]" * depth)
            assert ask(collector, "POST /v1/events", body=body).status == 204
        assert [ask(collector, f"GET /api/events/{n}").status for n in (1, 2, 3, 4)] == [200] * 4


class TestFraming:
    def test_a_chunked_body(self, collector: Collector) -> None:
        body = json.dumps(params(visitor("a"))).encode()
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (body[:7], body[7:]))
        head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert send(collector, head + chunks + b"0\r\n\r\n").status == 204
        assert collector.counts()["unique"] == 1
        assert send(collector, head + b"nonsense\r\n\r\n").status == 400
        too_much = b"".join(b"%x\r\n%b\r\n" % (65_536, b" " * 65_536) for _ in range(65))
        assert send(collector, head + too_much + b"0\r\n\r\n").status == 413

    @pytest.mark.parametrize(
        ("field", "status"),
        [
            ("X: y", 411),
            ("Content-Length: ten", 400),
            ("Content-Length: -1", 400),
            ("Content-Length: 2, 2", 400),
            ("Transfer-Encoding: gzip\r\nContent-Length: 2", 204),
            ("Content-Encoding: identity\r\nContent-Length: 2", 204),
            ("Content-Encoding: gzip\r\nContent-Length: 2", 415),
            ("Content-Length: 99999999999999999999", 413),
        ],
    )
    def test_a_length_or_a_coding(
        self, collector: Collector, capsys: pytest.CaptureFixture[str], field: str, status: int
    ) -> None:
        head = f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{field}\r\n\r\n"
        with connect(collector) as connection:
            connection.sendall(head.encode() + b"{}")
            connection.shutdown(socket.SHUT_WR)
            reply = Reply(b"".join(iter(lambda: connection.recv(65_536), b"")))
        assert reply.status == status
        assert status == 204 or reply.json()["error"]
        assert capsys.readouterr().err == ""
        assert ask(collector, "POST /v1/events").status == 204

    def test_a_setting_whose_body_cannot_be_read_changes_nothing(self, collector: Collector) -> None:
        reply = ask(collector, "POST /api/faults", "Content-Encoding: gzip", body=b"{}")
        assert (reply.status, collector.faults.status) == (415, 204)

    def test_a_mistake_of_ours_is_answered_and_said(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(_api, "events", lambda *_: 1 // 0)
        assert ask(collector, "GET /api/events").status == 500
        assert "ZeroDivisionError" in capsys.readouterr().err

    def test_what_is_no_http(self, collector: Collector, capsys: pytest.CaptureFixture[str]) -> None:
        for raw in (b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n"):
            assert send(collector, raw).status == 400
        assert capsys.readouterr().err == ""

    def test_other_verbs_are_told_which_there_are(self, collector: Collector) -> None:
        for path, allowed in (("/v1/events", "POST, GET, OPTIONS"), ("/api/events", "GET"), ("/api/events/1", "GET")):
            reply = ask(collector, f"DELETE {path}")
            assert (reply.status, reply.headers["allow"]) == (405, allowed)

    def test_a_page_of_any_site_may_send_events(self, collector: Collector) -> None:
        origin = "Origin: https://shop.example.org"
        asked = "Access-Control-Request-Headers: content-type"
        reply = ask(collector, "OPTIONS /v1/events", origin, "Access-Control-Request-Method: POST", asked)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, "*")
        assert "Content-Type" in reply.headers["access-control-allow-headers"]
        for fields in ([origin], [origin, STRICT]):
            assert post(collector, "/v1/events", {}, *fields).headers["access-control-allow-origin"] == "*"
        for path in ("/api/events", "/api/summary", "/counts", "/"):
            assert "access-control-allow-origin" not in ask(collector, f"GET {path}", origin).headers
        assert ask(collector, "OPTIONS /api/faults", origin).status == 403
        assert post(collector, "/api/faults", {"status": 503}, origin).status == 403
        assert collector.faults.status == 204


class TestBadDay:
    def test_faults_are_told_and_changed(self, collector: Collector) -> None:
        well = {"status": 204, "rate": 1.0, "latency": 0.0, "hang": False, "reset": False, "strict": False}
        assert get(collector, "/api/faults") == well
        reply = post(collector, "/api/faults", {"status": 503, "rate": 0.2})
        assert (reply.status, reply.json()) == (200, {**well, "status": 503, "rate": 0.2})
        assert post(collector, "/settings", {"latency": 0.01, "strict": True}).status == 204
        assert get(collector, "/api/faults") == {**well, "status": 503, "rate": 0.2, "latency": 0.01, "strict": True}
        for body, reason in (({"rate": 2}, "rate=2: must be a share from 0 to 1"), ({"x": 1}, "no such setting")):
            reply = post(collector, "/api/faults", body)
            assert reply.status == 400
            assert reason in reply.json()["error"]
        assert collector.faults.rate == 0.2

    def test_a_share_of_the_requests_fails(self, collector: Collector) -> None:
        collector.change(status=503, rate=0.3)
        answers = [post(collector, "/v1/events", params()).status for _ in range(200)]
        assert set(answers) == {204, 503}
        assert 30 <= answers.count(503) <= 90
        summary = collector.summary()
        assert (summary["requests"], summary["refused"]) == (200, answers.count(503))
        assert summary["events"] == summary["kept"] == answers.count(204)
        with Collector(status=503, rate=0.3, seed=1) as again:
            assert answers == [post(again, "/v1/events", params()).status for _ in range(200)]

    def test_every_answer_takes_its_time(self, collector: Collector) -> None:
        collector.change(latency=0.1, status=503, rate=0.5)
        begin = monotonic()
        posting = [gevent.spawn(post, collector, "/v1/events", params()) for _ in range(20)]
        assert {each.get(timeout=10).status for each in posting} <= {204, 503}
        assert 0.1 <= monotonic() - begin < 2  # one after the other they would take 2 s
        collector.change(latency=3600)
        assert get(collector, "/api/summary")["requests"] == 20

    def test_a_reset_connection(self, collector: Collector) -> None:
        collector.change(reset=True)
        with pytest.raises(ConnectionResetError):
            post(collector, "/v1/events", params())
        assert collector.summary()["refused"] == 1
        assert collector.events() == []

    def test_a_request_that_hangs_ends_with_its_client(self, collector: Collector) -> None:
        collector.change(hang=True)
        with connect(collector) as connection:
            connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
            wait_until(lambda: collector.summary()["refused"] == 1)
            connection.settimeout(0.3)
            with pytest.raises(socket.timeout):
                connection.recv(1)
            connection.settimeout(10)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""

    def test_a_request_that_hangs_ends_with_the_server(self, collector: Collector) -> None:
        collector.change(hang=True)
        hung = gevent.spawn(ends, collector)
        wait_until(lambda: collector.summary()["refused"] == 1)
        collector.stop()
        assert hung.get(timeout=5)

    def test_the_dispatcher_gets_all_events_through(self, collector: Collector) -> None:
        collector.change(status=503, rate=0.4, reset=True)
        with Redirecting(collector.url) as dispatcher:
            for _ in range(200):
                dispatcher.send()
            assert dispatcher.flush(20)
            assert dispatcher.stats().delivered == 200
        assert collector.counts()["unique"] == 200
        assert collector.summary()["refused"] > 0


class Redirecting(GeventEventDispatcher):
    """Sends events of its own, in small requests, and comes again soon."""

    def __init__(self, url: str) -> None:
        super().__init__(batch_size=5, backoff_base=0.01, backoff_max=0.05)
        self._url = url

    def send(self) -> None:
        """Send one event."""
        self.dispatchEvent("POST", self._url, params())


def ends(collector: Collector) -> bool:
    """Whether a request ends without an answer."""
    with connect(collector) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True
