"""Connections that were kept and have died meanwhile: the next request goes out again at once, once, on a fresh one."""

from __future__ import annotations

from typing import Any, Callable, Iterator

import gevent
import pytest

from gevent_dispatcher import Answer, Link
from tests.hostile import Certificate, HostileServer, make_certificates
from tests.links import clear_environment, opened, post
from tests.waiting import wait_until

# More than the kernel buffers on both sides, so that sending itself meets the end of the connection.
LARGE = bytes(12_000_000)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificates(tmp_path_factory.mktemp("certificates"))["good"]


Serve = Callable[..., HostileServer]


@pytest.fixture(params=["http", "https"])
def serve(request: pytest.FixtureRequest, good: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    clear_environment(monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(good.trust))
    running: list[HostileServer] = []

    def start(*args: Any, **options: Any) -> HostileServer:
        options["certificate"] = good if request.param == "https" else None
        running.append(HostileServer(*args, **options).__enter__())
        return running[-1]

    yield start
    for each in running:
        each.stop()


def post_at_once(link: Link, url: str, count: int) -> list[Any]:
    senders = [gevent.spawn(post, link, url) for _ in range(count)]
    gevent.joinall(senders, timeout=20)
    return [each.value for each in senders]


def ten_kept(link: Link, server: HostileServer) -> None:
    assert post_at_once(link, server.url("delay/0.2"), 10) == [Answer(204)] * 10
    assert server.connections == 10


def test_ten_that_break_when_they_are_used_again(serve: Serve) -> None:
    server, link = serve(), opened(connections=10)
    ten_kept(link, server)
    server.doom()
    assert post_at_once(link, server.url("status/204"), 10) == [Answer(204)] * 10


def test_ten_that_an_endpoint_has_forgotten_in_a_restart(serve: Serve) -> None:
    server, link = serve(), opened(connections=10)
    ten_kept(link, server)
    server.stop()
    again = serve(port=server.port)
    assert post_at_once(link, again.url("status/204"), 10) == [Answer(204)] * 10


def test_the_second_try_is_on_a_fresh_connection_and_the_other_dead_ones_are_gone(serve: Serve) -> None:
    server, link = serve(), opened(connections=10)
    ten_kept(link, server)
    server.doom()
    assert post(link, server.url("status/204")) == Answer(204)
    wait_until(lambda: server.open_connections == 1)
    assert post(link, server.url("status/204")) == Answer(204)
    assert server.connections == 11


def test_one_that_breaks_while_a_large_body_is_sent(serve: Serve) -> None:
    server, link = serve(), opened()
    assert post(link, server.url("stale_on_reuse")) == Answer(204)
    assert post(link, server.url("status/204"), LARGE) == Answer(204)
    assert [len(body) for body in server.bodies()] == [2, len(LARGE)]


def test_the_second_try_is_the_last(serve: Serve) -> None:
    server, link = serve(["status/204", "close_before", "close_before", "close_before"]), opened()
    assert post(link, server.url()) == Answer(204)
    assert "closed before an answer" in post(link, server.url()).error
    assert len(server.received) == 3


def test_a_fresh_connection_that_is_closed_without_an_answer_is_not_tried_again(serve: Serve) -> None:
    server = serve(["reset_before"])
    assert "closed before an answer" in post(opened(), server.url()).error
    assert len(server.received) == 1


@pytest.mark.parametrize("behaviour", ["half_status", "half_head", "reset_within"])
def test_an_answer_that_had_begun_is_not_asked_for_again(serve: Serve, behaviour: str) -> None:
    server, link = serve(), opened()
    post(link, server.url("status/204"))
    post(link, server.url(behaviour))
    assert len(server.received) == 2


@pytest.mark.parametrize("kept", [False, True])
def test_an_early_answer_is_read_although_sending_failed(serve: Serve, kept: bool) -> None:
    server, link = serve(), opened()
    if kept or server.url().startswith("https"):
        # OpenSSL does not read on behind a write that failed while the server's first session tickets are unread.
        post(link, server.url("status/204"))
    assert post(link, server.url("answer_unread/413"), LARGE).status == 413
    assert len(server.bodies("answer_unread/413")) == 1


def test_a_connection_that_fell_silent_is_no_reason_to_trust_the_others(serve: Serve) -> None:
    server, link = serve(), opened(connections=10, read_timeout=1)
    ten_kept(link, server)
    assert post(link, server.url("blackhole")).status is None
    assert post(link, server.url("status/204")) == Answer(204)
    assert server.connections == 11
    wait_until(lambda: server.open_connections == 2)  # the silent one has not noticed
