"""The local Event API: what it counts, how it answers, and its command."""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any, Iterator
from urllib.parse import urlencode, urlsplit

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gevent_dispatcher.collector import Collector
from gevent_dispatcher.collector._book import Book
from gevent_dispatcher.collector._kept import Envelope
from tests.waiting import wait_until

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


def visitor(name: str, *uuids: str, key: str = "purchase") -> dict[str, Any]:
    """One visitor of the Event API's shape, with an event for each uuid."""
    events = [{"uuid": each, "key": key, "timestamp": 1_700_000_000_000} for each in uuids]
    return {"visitor_id": name, "snapshots": [{"events": events}]}


def body(*visitors: Any) -> bytes:
    """A request's body."""
    return json.dumps({"account_id": "1", "visitors": list(visitors)}).encode()


class Client:
    """One kept connection to a collector."""

    def __init__(self, base_url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)

    def ask(self, verb: str, path: str, content: bytes | None = None) -> tuple[int, bytes]:
        """One exchange: status and body of the answer."""
        self._connection.request(verb, path, content)
        response = self._connection.getresponse()
        return response.status, response.read()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return json.loads(self.ask("GET", path)[1])

    def post_events(self, content: bytes) -> int:
        """Post events, and return the status."""
        return self.ask("POST", "/v1/events", content)[0]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def client(collector: Collector) -> Iterator[Client]:
    connected = Client(collector.base_url)
    yield connected
    connected.close()


def book_of(*contents: bytes | str) -> Book:
    """A book in which some bodies and query strings were noted."""
    book = Book(0.0)
    for content in contents:
        envelope = Envelope(book.number(), 0.0, content, {})
        book.take(envelope.read(), envelope)
    return book


class TestBook:
    def test_counts_events_by_uuid_and_visitors_by_id(self) -> None:
        book = book_of(body(visitor("a", "1", "2"), visitor("b", "3"), visitor("a", "1", key="campaign_activated")))
        assert book.ledger.uuids() == {"1": 2, "2": 1, "3": 1}
        assert book.ledger.visitors() == {"a": {"purchase": 2, "campaign_activated": 1}, "b": {"purchase": 1}}
        totals = book.ledger.totals()
        assert (totals.events, totals.unique, totals.duplicated, totals.visitors) == (4, 3, 1, 2)
        assert totals.invalid == 0

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"null",
            b"[]",
            b"{}",
            b'{"account_id": "1", "visitors": [], "x": NaN}',
            b'{"account_id": "1", "visitors": [], "x": 1e999}',
            body(None),
            body({"visitor_id": "a"}),
            body({"snapshots": [1]}),
            body({"snapshots": [{"events": [{"key": "no uuid"}]}]}),
            body({"snapshots": [{"events": [{"uuid": 7}]}]}),
        ],
    )
    def test_takes_note_of_what_it_cannot_read(self, content: bytes) -> None:
        book = book_of(content)
        assert (book.ledger.totals().invalid, book.ledger.totals().events) == (1, 0)
        assert [(kept.facts.kind, bool(kept.problems)) for kept in book.shelf.after(0)] == [("invalid", True)]

    def test_counts_the_good_events_of_a_body_with_a_bad_one(self) -> None:
        book = book_of(body(visitor("a", "1"), "nonsense", visitor("b", "2")))
        assert (book.ledger.totals().invalid, book.ledger.totals().unique) == (1, 2)

    @settings(deadline=None)
    @given(JSON_VALUES)
    def test_stands_any_json(self, value: object) -> None:
        book = book_of(json.dumps(value).encode(), body(value))
        assert book.ledger.totals().events == 0
        assert book.ledger.totals().invalid == len(book.shelf) == 2
        assert all(json.dumps([kept.item(), kept.details()]) for kept in book.shelf.after(0))

    @settings(deadline=None)
    @given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5), max_size=5))
    def test_totals_agree(self, requests: list[list[str]]) -> None:
        book = book_of(*(body(*(visitor(each, each) for each in uuids)) for uuids in requests))
        totals = book.ledger.totals()
        assert totals.events == sum(map(len, requests)) == totals.unique + totals.duplicated
        assert totals.events == sum(sum(keys.values()) for keys in book.ledger.visitors().values())
        assert totals.events == sum(book.summary()["keys"].values())
        assert totals.duplicated == sum(kept.duplicate for kept in book.shelf.after(0))

    def test_reads_the_query_of_an_old_sdk(self) -> None:
        single = {"account_id": "1", "uuid": "1", "visitor_id": "a", "key": "purchase", "timestamp": "1700000000000"}
        several = {"account_id": "1", "anonymize_ip": "True", "visitors": json.dumps([visitor("true", "2")])}
        book = book_of(urlencode(single), urlencode(several), "n=purchase")
        assert book.ledger.visitors() == {"a": {"purchase": 1}, "true": {"purchase": 1}}
        assert book.ledger.totals().invalid == 1

    def test_reset_forgets_everything(self) -> None:
        book = book_of(body(visitor("a", "1"), None), body(visitor("a", "1")))
        book.ledger.asked(book)
        book.reset(1.0)
        assert set(book.ledger.totals()) == {0}
        assert (book.ledger.uuids(), book.ledger.visitors(), len(book.shelf)) == ({}, {}, 0)
        assert book.summary()["since"] == 1.0


class TestServer:
    def test_answers_204_whatever_the_body(self, collector: Collector, client: Client) -> None:
        assert client.ask("POST", "/v1/events", body(visitor("a", "1"))) == (204, b"")
        assert client.ask("POST", "/v1/events", b"nonsense") == (204, b"")
        query = "uuid=2&visitor_id=b&key=purchase&timestamp=1700000000000&account_id=1"
        assert client.ask("GET", f"/v1/events?{query}") == (204, b"")
        assert client.get("/counts") == collector.counts()
        assert collector.counts() == {
            "requests": 3,
            "connections": 1,
            "events": 2,
            "unique": 2,
            "duplicated": 0,
            "invalid": 1,
            "visitors": 2,
        }

    def test_tells_uuids_and_visitors(self, client: Client) -> None:
        client.post_events(body(visitor("a", "1")))
        client.post_events(body(visitor("a", "1")))
        assert client.get("/uuids") == {"1": 2}
        assert client.get("/visitors") == {"a": {"purchase": 2}}

    def test_counts_connections_that_bring_events(self, collector: Collector, client: Client) -> None:
        assert client.get("/counts")["connections"] == 0
        others = [Client(collector.base_url) for _ in range(2)]
        for each in others:
            each.post_events(body(visitor("a", "1")))
            each.post_events(body(visitor("a", "2")))
            each.close()
        assert client.get("/counts")["connections"] == 2

    def test_counts_no_event_of_a_refused_request(self, client: Client) -> None:
        assert client.ask("POST", "/settings", b'{"status": 503}')[0] == 204
        assert client.post_events(body(visitor("a", "1"))) == 503
        assert client.get("/counts")["requests"] == 1
        assert client.get("/counts")["events"] == 0
        assert client.ask("POST", "/settings", b'{"status": 200}')[0] == 204
        assert client.post_events(body(visitor("a", "1"))) == 200
        assert client.get("/counts")["events"] == 1

    def test_an_unnamed_status_is_answered(self, collector: Collector, client: Client) -> None:
        collector.change(status=599)
        assert client.post_events(b"") == 599

    def test_latency_holds_up_only_its_own_request(self, collector: Collector, client: Client) -> None:
        collector.change(latency=30)
        slow = gevent.spawn(post_in_vain, collector.base_url)
        wait_until(lambda: client.get("/counts")["unique"] == 1)
        assert not slow.ready()
        collector.stop()
        assert slow.get(timeout=10) == "broken off"

    def test_waits_for_the_latency(self, client: Client) -> None:
        client.ask("POST", "/settings", b'{"latency": 0.05}')
        begin = monotonic()
        client.post_events(body(visitor("a", "1")))
        assert monotonic() - begin >= 0.04  # a timer of libev's may be a little early

    @pytest.mark.parametrize(
        "settings",
        [b"", b"[]", b'{"latency": -1}', b'{"latency": "1"}', b'{"status": 99}', b'{"status": true}', b'{"x": 1}'],
    )
    def test_refuses_impossible_settings(self, collector: Collector, client: Client, settings: bytes) -> None:
        status, answer = client.ask("POST", "/settings", settings)
        assert status == 400
        assert json.loads(answer)["error"]
        assert client.post_events(b"") == 204

    def test_bounds_a_body(self, collector: Collector) -> None:
        fits, exceeds = Client(collector.base_url), Client(collector.base_url)
        padding = 4 * 1024 * 1024 - len(body(visitor("a", "1")))
        assert fits.post_events(body(visitor("a", "1")) + b" " * padding) == 204
        assert exceeds.post_events(body(visitor("a", "2")) + b" " * (padding + 1)) == 413
        assert collector.uuids() == {"1": 1}
        fits.close()
        exceeds.close()

    def test_knows_no_other_path_or_verb(self, client: Client) -> None:
        assert client.ask("GET", "/elsewhere")[0] == 404
        assert client.ask("PUT", "/counts", b"")[0] == 405

    def test_reset_forgets_everything(self, collector: Collector, client: Client) -> None:
        client.post_events(body(visitor("a", "1")))
        assert client.ask("POST", "/reset")[0] == 204
        assert set(collector.counts().values()) == {0}

    def test_keeps_port_and_counts_through_an_outage(self, collector: Collector) -> None:
        url = collector.url
        first = Client(collector.base_url)
        first.post_events(body(visitor("a", "1")))
        collector.stop()
        with pytest.raises((OSError, http.client.HTTPException)):
            first.post_events(body(visitor("a", "2")))
        first.close()
        with pytest.raises(ConnectionRefusedError):
            Client(collector.base_url).post_events(body(visitor("a", "2")))
        collector.start()
        second = Client(collector.base_url)
        second.post_events(body(visitor("a", "3")))
        second.close()
        assert collector.url == url
        assert collector.uuids() == {"1": 1, "3": 1}

    def test_speaks_https(self, tmp_path: Path) -> None:
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
        chain.write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(key))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with Collector(keyfile=str(key), certfile=str(chain)) as collector:
            assert collector.url.startswith("https://127.0.0.1:")
            host = urlsplit(collector.url).netloc
            with pytest.raises(ssl.SSLError):
                https(host, ssl.create_default_context())
            assert https(host, context) == 204
            assert collector.counts()["unique"] == 1
            collector.change(reset=True)
            with pytest.raises(OSError, match=r"reset|EOF|closed connection"):
                https(host, context)
            collector.change(reset=False, hang=True)
            with pytest.raises(socket.timeout):
                https(host, context, timeout=0.3)
            assert collector.summary()["refused"] == 2

    def test_has_no_url_before_it_is_started(self) -> None:
        with pytest.raises(RuntimeError, match="before it was started"):
            _ = Collector().url

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
    def test_listens_on_this_machine_alone(self, host: str) -> None:
        with pytest.raises(ValueError, match="loopback"):
            Collector(host)

    @pytest.mark.parametrize(
        "settings", [{"latency": -1}, {"status": 600}, {"latency": float("nan")}, {"keyfile": "k"}, {"certfile": "c"}]
    )
    def test_refuses_wrong_settings_at_once(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="|".join(settings)):
            Collector(**settings)


def post_in_vain(base_url: str) -> str:
    """Post one event to a server that does not come to answer it."""
    client = Client(base_url)
    try:
        return f"answered {client.post_events(body(visitor('a', '1')))}"
    except (OSError, http.client.HTTPException):
        return "broken off"
    finally:
        client.close()


def https(host: str, context: ssl.SSLContext, timeout: float = 10) -> int:
    """Post one event over https, and return the status."""
    connection = http.client.HTTPSConnection(host, timeout=timeout, context=context)
    try:
        connection.request("POST", "/v1/events", body(visitor("a", "1")))
        return connection.getresponse().status
    finally:
        connection.close()


class TestCommand:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_prints_the_url_serves_and_ends_on_a_signal(self, number: int) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "gevent_dispatcher", "collector", "--latency", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            try:
                assert process.stdout
                url = process.stdout.readline().decode().strip()
                client = Client(url)
                page = process.stdout.readline().decode()
                assert page == f"the page: {url[: -len('v1/events')]}\n"
                assert client.ask("GET", urlsplit(page.split()[-1]).path)[0] == 200
                assert client.post_events(body(visitor("a", "1"))) == 204
                assert client.get("/counts")["unique"] == 1
                break_off(url)
                assert client.get("/counts")["unique"] == 1
                process.send_signal(number)  # with the connection still open
                _, errors = process.communicate(timeout=10)
                client.close()
                assert (process.returncode, errors) == (0, b"")
            finally:
                process.kill()

    def test_its_options_are_what_it_does(self) -> None:
        options = [
            "--strict",
            "--status",
            "503",
            "--rate",
            "0.5",
            "--latency",
            "20",
            "--hang",
            "--reset",
            "--keep",
            "7",
        ]
        with subprocess.Popen(
            [sys.executable, "-m", "gevent_dispatcher", "collector", *options], stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout
                client = Client(process.stdout.readline().decode().strip())
                said = {"status": 503, "rate": 0.5, "latency": 0.02, "hang": True, "reset": True, "strict": True}
                assert client.get("/api/faults") == said
                client.ask("POST", "/api/faults", b'{"status": 204, "hang": false, "reset": false, "strict": false}')
                client.post_events(body(visitor("a", *map(str, range(10)))))
                assert client.get("/api/summary")["kept"] == 7
                client.close()
            finally:
                process.kill()

    def test_teaches(self) -> None:
        assert "collector" in run("--help").stdout
        assert "/counts" in run("collector", "--help").stdout
        assert "collector" in run().stdout

    @pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
    def test_teaches_what_works(self, collector: Collector) -> None:
        help = run("collector", "--help").stdout.replace("http://127.0.0.1:8080", collector.base_url)
        commands = [shlex.split(line) for line in help.splitlines() if line.startswith("  curl")]
        said = [
            subprocess.run([*each, "-s", "--noproxy", "*"], stdout=subprocess.PIPE, timeout=30, check=True).stdout
            for each in commands
        ]
        answers = [json.loads(each) for each in said]
        assert [next(iter(each)) for each in answers] == ["events", "requests", "status", "status", "error"]
        assert answers[-1]["problems"] == ["visitors[0].visitor_id: is missing", "visitors[0].snapshots: is missing"]

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--host", "0.0.0.0"], "loopback"),
            (["--latency", "-5"], "--latency=-5: must be milliseconds from 0 to 3600000"),
            (["--status", "99"], "status"),
            (["--certfile", "chain.pem"], "keyfile"),
            (["--port", "70000"], "port=70000: must be from 0 to 65535; 0 takes a free one"),
            (["--status", "503", "--rate", "2"], "rate=2.0: must be a share from 0 to 1"),
            (["--rate", "0.2"], "nothing fails; say how, with --status, --hang or --reset"),
            (["--keep", "0"], "keep=0: must be a whole number of events from 1 to 1000000"),
        ],
    )
    def test_refuses_what_cannot_be(self, arguments: list[str], complaint: str) -> None:
        done = run("collector", *arguments)
        assert done.returncode == 2
        assert complaint in done.stderr.splitlines()[-1]

    def test_says_what_cannot_be_used(self, collector: Collector, tmp_path: Path) -> None:
        text, port = tmp_path / "text.pem", urlsplit(collector.url).port
        text.write_text("no certificate", "utf-8")
        for options, complaint in (
            (["--port", str(port)], "Address already in use"),
            (["--certfile", str(text), "--keyfile", "none.pem"], "No such file or directory: 'none.pem'"),
            (["--certfile", str(text), "--keyfile", str(text)], f"{text}, {text}: must be a certificate chain"),
        ):
            done = run("collector", *options)
            assert (done.returncode, done.stdout) == (3, "")
            assert complaint in done.stderr
            assert "Traceback" not in done.stderr


def break_off(url: str) -> None:
    """Go away in the middle of a request."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1024):
            pass


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [sys.executable, "-m", "gevent_dispatcher", *arguments]
    return subprocess.run(command, timeout=30, capture_output=True, text=True)
