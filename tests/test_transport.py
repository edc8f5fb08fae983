"""HttpTransport against real sockets: what arrives, what comes back, and what is kept."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any, Iterator

import gevent
import gevent.socket
import greenlet
import pytest
import urllib3
from gevent import monkey
from gevent.server import StreamServer
from urllib3.exceptions import ConnectTimeoutError

from gevent_dispatcher import Answer
from tests.hostile import Certificate, HostileProcess, HostileServer, make_certificates, refusing_port
from tests.links import clear_environment, opened, post, request
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)


@pytest.fixture
def server(no_proxy: None) -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


def test_a_request_arrives_as_it_was_given(server: HostileServer) -> None:
    link = opened(headers={"X-Optimizely-Strict": "true", "X-A": "ours"})
    given = request(server.url("status/204") + "?a=b%20c", b'{"a":1}', **{"Content-Type": "text/x", "x-a": "theirs"})
    assert link.send(given) == Answer(204)
    (received,) = server.received
    assert (received.verb, received.target, received.body) == ("POST", "/status/204?a=b%20c", b'{"a":1}')
    assert received.header("Content-Type") == "text/x"
    assert received.header("X-Optimizely-Strict") == "true"
    assert [value for name, value in received.headers if name.lower() == "x-a"] == ["theirs"]
    assert (received.header("User-Agent") or "").startswith("gevent-dispatcher/")


def test_a_get_request_has_no_body(server: HostileServer) -> None:
    assert opened().send(request(server.url("status/200"), None, "GET")) == Answer(200)
    assert (server.received[0].verb, server.received[0].body) == ("GET", b"")


@pytest.mark.parametrize("status", [200, 204, 301, 307, 400, 404, 413, 429, 500, 503, 599])
def test_a_status_comes_back_as_it_is_and_the_connection_is_kept(server: HostileServer, status: int) -> None:
    link = opened()
    assert [post(link, server.url(f"status/{status}")).status for _ in range(3)] == [status] * 3
    assert server.connections == 1


def test_a_redirect_is_not_followed(server: HostileServer) -> None:
    with HostileServer() as elsewhere:
        answer = post(opened(), server.url(f"redirect/302/{elsewhere.url('status/204')}"))
        assert answer.status == 302
        assert not elsewhere.received


def test_retry_after_comes_back(server: HostileServer) -> None:
    assert post(opened(), server.url("retry_after/17/503")) == Answer(503, "17")


@pytest.mark.parametrize(
    "behaviour",
    ["reset_before", "close_before", "garbage", "huge_header", "many_headers/2000", "endless_continue"],
)
def test_no_answer_is_an_error_in_words(server: HostileServer, behaviour: str) -> None:
    answer = post(opened(), server.url(behaviour))
    assert answer.status is None
    assert answer.error
    assert server.url() not in answer.error


def test_a_refused_connection_is_an_error_in_words(no_proxy: None) -> None:
    with refusing_port() as port:
        assert "refused" in post(opened(), f"http://127.0.0.1:{port}/secret-path").error.lower()


def test_a_name_that_is_not_known_is_an_error_in_words(no_proxy: None) -> None:
    answer = post(opened(), "http://no-such-host.invalid/secret-path")
    assert answer.status is None
    assert re.fullmatch(r"gaierror: [\w ]+", answer.error)  # in the system's words


def test_a_name_without_an_address_is_an_error_in_words(no_proxy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_: [])
    assert post(opened(), "http://empty.invalid/secret-path") == Answer(error="OSError: the name has no address")


@pytest.mark.parametrize(
    "behaviour",
    [
        *("length_too_big", "length_too_small", "chunked", "chunked_broken", "chunked_cut", "broken_gzip"),
        *("half_head", "reset_after", "endless_body", "interim/102/103", "interim/100/100", "close_after", "stale"),
        *("many_headers", "huge_header/70000", "reset_head"),
    ],
)
def test_a_2xx_stays_one_whatever_its_body_does(server: HostileServer, behaviour: str) -> None:
    link = opened(read_timeout=5)
    answers = [post(link, server.url(behaviour)).status for _ in range(2)]
    assert answers in ([200, 200], [204, 204])
    assert post(link, server.url("status/204")) == Answer(204)


def test_a_body_that_never_comes_costs_its_connection_and_not_the_answer(server: HostileServer) -> None:
    link = opened(read_timeout=0.1)
    assert post(link, server.url("promised_body")) == Answer(200)
    assert post(link, server.url("status/204")) == Answer(204)
    assert server.connections == 2


def test_a_connection_closed_while_it_was_kept_is_replaced_at_once(server: HostileServer) -> None:
    link = opened()
    for _ in range(3):
        assert post(link, server.url("stale_on_reuse")) == Answer(204)
    assert server.connections == 3


def test_a_connection_closed_before_it_was_ever_used_is_an_error(server: HostileServer) -> None:
    assert post(opened(), server.url("close_before")).error
    assert len(server.received) == 1


@pytest.mark.parametrize("behaviour", ["blackhole", "trickle/0.01", "delay/30"])
def test_one_exchange_ends_within_its_time(server: HostileServer, behaviour: str) -> None:
    started = monotonic()
    answer = post(opened(read_timeout=20, request_timeout=0.2), server.url(behaviour))
    assert answer == Answer(error="no answer within 0.2 s")
    assert monotonic() - started < 5


def test_a_threadpool_that_the_application_has_filled_costs_its_time_and_no_more(server: HostileServer) -> None:
    pool = gevent.get_hub().threadpool
    lock = monkey.get_original("_thread", "allocate_lock")()
    lock.acquire()

    def hang() -> None:
        lock.acquire(True, 20)
        lock.release()

    stuck = [pool.spawn(hang) for _ in range(pool.maxsize)]
    try:
        answer = post(opened(request_timeout=0.2), server.url("status/204"))
        assert answer == Answer(error="no thread to load the HTTP client within 0.2 s")
    finally:
        lock.release()
        wait_until(lambda: all(each.ready() for each in stuck))


def test_an_end_behind_an_interim_answer_is_an_error_and_the_request_is_not_sent_again(no_proxy: None) -> None:
    """An answer had begun on this kept connection, so that the request has arrived."""
    sent: list[bytes] = []

    def serve(connection: Any, _: object) -> None:
        with closing(connection):
            for answer in (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"):
                assert connection.recv(65_536)
                connection.sendall(answer)
                sent.append(answer)

    with closing(StreamServer(("127.0.0.1", 0), serve)) as server:
        server.start()
        link, url = opened(), f"http://127.0.0.1:{server.server_port}/"
        assert post(link, url) == Answer(204)
        assert "RemoteDisconnected" in post(link, url).error
    assert len(sent) == 2


def test_silence_ends_within_the_read_timeout(server: HostileServer) -> None:
    answer = post(opened(read_timeout=0.1), server.url("blackhole"))
    assert "time" in answer.error.lower()


def test_connections_are_kept_for_as_many_as_send_at_once(server: HostileServer) -> None:
    link = opened()
    for _ in range(3):
        senders = [gevent.spawn(post, link, server.url("delay/0.05")) for _ in range(4)]
        gevent.joinall(senders, timeout=10)
        assert [each.value for each in senders] == [Answer(204)] * 4
    assert server.connections == 4


def test_a_killed_exchange_gives_its_connection_up(server: HostileServer) -> None:
    link = opened()
    sender = gevent.spawn(post, link, server.url("blackhole"))
    gevent.idle()
    sender.kill(timeout=5)
    assert [post(link, server.url("status/204")) for _ in range(3)] == [Answer(204)] * 3


def test_a_closed_link_has_closed_its_connections(server: HostileServer) -> None:
    link = opened()
    post(link, server.url("status/204"))
    link.close()
    link.close()
    assert post(link, server.url("status/204")) == Answer(204)
    assert server.connections == 2


def test_ipv6_is_spoken(no_proxy: None) -> None:
    with HostileServer(host="::1") as server:
        assert post(opened(), server.url("status/204")) == Answer(204)
        assert server.received[0].header("Host") == f"[::1]:{server.port}"


def test_https_is_verified_against_the_bundle_that_requests_would_use(
    certificates: dict[str, Certificate], no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates["good"].trust))
    with HostileServer(certificate=certificates["good"]) as server:
        link = opened()
        for _ in range(2):
            assert post(link, server.url("status/204")) == Answer(204)
            assert post(link, server.url("status/204", host="localhost")) == Answer(204)
        assert server.connections == 2


@pytest.mark.parametrize("which", ["wrong_host", "expired", "self_signed"])
def test_a_certificate_that_is_not_good_is_refused(
    certificates: dict[str, Certificate], no_proxy: None, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates["good"].trust))
    with HostileServer(certificate=certificates[which]) as server:
        answer = post(opened(), server.url("status/204"))
        assert answer.status is None
        assert "certificate" in answer.error.lower()
        assert not server.received


def test_a_context_of_the_users_own_is_used(certificates: dict[str, Certificate], no_proxy: None) -> None:
    context = ssl.create_default_context(cafile=str(certificates["good"].trust))
    with HostileServer(certificate=certificates["good"]) as server:
        assert post(opened(ssl_context=context), server.url("status/204")) == Answer(204)


def test_https_after_http_uses_the_same_context(certificates: dict[str, Certificate], no_proxy: None) -> None:
    context = ssl.create_default_context(cafile=str(certificates["good"].trust))
    with HostileServer() as plain, HostileServer(certificate=certificates["good"]) as tls:
        link = opened(ssl_context=context)
        assert post(link, plain.url("status/204")) == Answer(204)
        assert post(link, tls.url("status/204")) == Answer(204)


def test_a_link_that_is_closed_while_an_answer_is_awaited_says_what_came_of_it(server: HostileServer) -> None:
    link = opened(read_timeout=0.3)
    sender = gevent.spawn(post, link, server.url("blackhole"))
    wait_until(lambda: server.received)
    link.close()
    assert "time" in sender.get(timeout=10).error.lower()


def test_more_at_once_than_were_said_are_served_and_as_many_as_were_said_are_kept(server: HostileServer) -> None:
    link = opened()

    def answers(at_once: int) -> list[Answer]:
        senders = [gevent.spawn(post, link, server.url("delay/0.1")) for _ in range(at_once)]
        gevent.joinall(senders, timeout=10)
        return [each.value for each in senders]

    assert answers(1) == [Answer(204)]  # the client is loaded now, so that all begin at once
    assert answers(5) == [Answer(204)] * 5
    assert server.connections == 5
    assert answers(4) == [Answer(204)] * 4
    assert server.connections == 5


def test_after_the_hub_was_held_for_longer_than_connecting_may_take_no_address_is_tried(server: HostileServer) -> None:
    """Not even with what is left of the time, which is less than nothing."""
    from gevent_dispatcher._http_connection import pool_classes

    class Holding:
        def resolve(self, host: str, port: int, seconds: float) -> list[Any]:
            monkey.get_original("time", "sleep")(seconds + 0.01)
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]

    resolver: Any = Holding()
    pool: Any = pool_classes(resolver)["http"]("127.0.0.1", server.port, timeout=urllib3.Timeout(connect=0.05))
    with closing(pool), pytest.raises(ConnectTimeoutError, match="connecting timed out"):
        pool.urlopen("GET", "/status/204", retries=False)
    assert server.connections == 0


def test_a_bundle_that_is_missing_is_an_error_in_words(
    certificates: dict[str, Certificate], no_proxy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with HostileServer(certificate=certificates["good"]) as server:
        assert "No such file" in post(opened(), server.url("status/204")).error


def test_a_proxy_gets_the_whole_url_and_its_credentials(no_proxy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer() as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
        assert post(opened(), "http://events.example/v1/events?a=b") == Answer(204)
        (received,) = proxy.received
        assert received.target == "http://events.example/v1/events?a=b"
        assert received.header("Proxy-Authorization") == "Basic dXNlcjpzZWNyZXQ="
        assert received.header("Host") == "events.example"


def test_a_setting_goes_before_the_environments_proxy(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert post(opened(proxy=""), server.url("status/204")) == Answer(204)
    with HostileServer() as proxy:
        assert post(opened(proxy=f"http://127.0.0.1:{proxy.port}"), server.url("status/204")) == Answer(204)
        assert len(proxy.received) == 1


@pytest.mark.parametrize("proxy", ["http://user:secret@proxy:99999", "socks5h://user:secret@proxy:1080"])
def test_a_proxy_of_the_environment_that_cannot_be_used_is_an_error_without_its_credentials(
    no_proxy: None, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    answer = post(opened(), "http://events.example/")
    assert "the proxy cannot be used: the url" in answer.error
    assert "secret" not in answer.error


def test_our_log_has_no_word_of_a_request(server: HostileServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="gevent_dispatcher"):
        for behaviour in ("status/204", "reset_before", "garbage"):
            post(opened(), server.url(behaviour))
    assert not caplog.records


_AUDITED = """
import sys
from gevent_dispatcher import HttpTransport
from tests.links import post
seen = []
sys.addaudithook(lambda name, args: seen.append((name, *args[1:])) if name.startswith("http.client.") else None)
post(HttpTransport(proxy="").open(1), sys.argv[1], b"{}")
(connected, *address), (sent, data) = seen
assert (connected, sent) == ("http.client.connect", "http.client.send"), seen
assert data.startswith(b"POST /status/204 ") and data.endswith(b"{}"), seen
assert address == ["127.0.0.1", int(sys.argv[2])], seen
"""


def test_who_watches_http_client_sees_our_requests_too(server: HostileServer) -> None:
    """An audit hook stays for the life of its process."""
    command = [sys.executable, "-c", _AUDITED, server.url("status/204"), str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_link_can_be_closed_without_ever_having_been_used() -> None:
    opened().close()


def test_a_request_on_a_kept_connection_takes_one_turn_of_the_hub_at_most(no_proxy: None) -> None:
    """The one in which the answer is awaited, and not even that where the answer is faster; nothing else waits."""
    with HostileProcess() as server:
        link = opened()
        for _ in range(3):
            assert post(link, server.url("status/204")) == Answer(204)
        seen: list[Any] = []
        hub = gevent.get_hub()
        before = greenlet.settrace(lambda event, pair: seen.append(pair[1]))
        try:
            for _ in range(10):
                assert post(link, server.url("delay/0.01")) == Answer(204)
        finally:
            greenlet.settrace(before)
        assert 0 < seen.count(hub) <= 10


def test_an_origin_that_was_put_aside_for_a_hundred_others_is_reached_again(no_proxy: None) -> None:
    """The first urllib3 1.26 closes the pool of such an origin. No more connections are kept than for a hundred."""
    with HostileServer(host="0.0.0.0") as server:
        link = opened()
        origins = [f"http://127.0.{number >> 8}.{number & 255}:{server.port}/" for number in range(1, 303)]
        assert all(post(link, origin) == Answer(204) for origin in [*origins, origins[0]])
        wait_until(lambda: server.open_connections <= 100)
        assert all(post(link, origin) == Answer(204) for origin in origins[-50:])
        assert server.connections == 303
        link.close()
        wait_until(lambda: not server.open_connections)
