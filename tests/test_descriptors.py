"""However exchanges fail, and wherever they are killed, no socket stays open behind them."""

from __future__ import annotations

import gc
import os
from functools import partial
from typing import Any, Callable, Iterator

import gevent
import pytest
from gevent.pool import Pool

from gevent_dispatcher import Link
from tests.hostile import (
    BEHAVIOURS,
    DOORS,
    Certificate,
    HostileProcess,
    HostileServer,
    Limits,
    make_certificates,
    refusing_port,
)
from tests.links import clear_environment, opened, post
from tests.waiting import wait_until

ARGUMENTS = {"retry_after": "retry_after/1", "delay": "delay/0.01", "redirect": "redirect/302/http://other.example/"}
SERVED = ["status/204", *(ARGUMENTS.get(name, name) for name in BEHAVIOURS if name != "tunnel")]
# Of each kind: some that end by themselves, and some that are killed meanwhile.
TIMES, KILLED = 8, 4
LIMITS = Limits(seconds=5, sent=1_000_000)
# More than the kernel buffers on both sides, so that sending itself meets the end of the connection.
LARGE = bytes(3_000_000)

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the kernel does not list them")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificates(tmp_path_factory.mktemp("certificates"))["good"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, good: Certificate) -> Iterator[None]:
    clear_environment(monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(good.trust))
    gc.collect()
    gc.disable()  # what only the collector would close is a leak
    yield
    gc.enable()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def tried(url: str, body: bytes = b"{}", **settings: Any) -> None:
    """Post, and post, and close the link."""
    link = opened(4, request_timeout=0.3, read_timeout=0.15, connect_timeout=0.15, **settings)
    try:
        for _ in range(TIMES // 4):
            gevent.joinall([gevent.spawn(post, link, url, body) for _ in range(4)], raise_error=True)
        for number in range(KILLED):
            _killed(link, url, body, 0.002 * number)
    finally:
        link.close()


def _killed(link: Link, url: str, body: bytes, seconds: float) -> None:
    posting = gevent.spawn(post, link, url, body)
    gevent.sleep(seconds)
    posting.kill(timeout=5)


def leak_nothing(works: list[Callable[[], None]]) -> None:
    """Do them side by side, some at once."""
    with HostileServer() as server:  # imports what is imported but once
        tried(server.url())
    before = descriptors()
    pool = Pool(16)
    running = [pool.spawn(work) for work in works]
    gevent.joinall(running, timeout=60, raise_error=True)
    assert all(each.ready() for each in running)
    wait_until(lambda: descriptors() <= before)


@pytest.mark.parametrize("kind", ["http", "https", "large", "http proxy", "tunnel"])
def test_whatever_a_server_does(kind: str, good: Certificate) -> None:
    def served(behaviour: str) -> None:
        certificate = good if kind == "https" else None
        with HostileServer(default=behaviour, limits=LIMITS, certificate=certificate) as server:
            if kind in ("http proxy", "tunnel"):
                scheme = "http" if kind == "http proxy" else "https"
                tried(f"{scheme}://events.example/", proxy=server.url())
            else:
                tried(server.url(), LARGE if kind == "large" else b"{}")

    leak_nothing([partial(served, behaviour) for behaviour in SERVED])


@pytest.mark.parametrize("tls", [False, True])
def test_whatever_happens_before_a_request(tls: bool, good: Certificate) -> None:
    def served(door: str) -> None:
        certificate = good if tls else None
        with HostileServer(doors=[door] * 50, certificate=certificate, limits=LIMITS) as server:
            tried(server.url())

    leak_nothing([partial(served, door) for door in DOORS])


def test_nobody_is_there(good: Certificate) -> None:
    with refusing_port() as port:
        urls = [f"http://127.0.0.1:{port}/", f"https://127.0.0.1:{port}/", "http://no-such-host.invalid/"]
        proxied = [partial(tried, "https://events.example/", proxy=f"http://127.0.0.1:{port}")]
        leak_nothing([*(partial(tried, url) for url in urls), *proxied])


def test_tls_within_the_tls_of_a_proxy(good: Certificate) -> None:
    """The servers are in other processes: gevent forgets to close a server's socket whose handshake fails."""
    origin = HostileProcess(certificate=good, seconds=2)
    with origin as server, HostileProcess(default="tunnel", certificate=good, seconds=2) as proxy:

        def served(behaviour: str) -> None:
            tried(server.url(behaviour), proxy=proxy.url())

        leak_nothing([partial(served, behaviour) for behaviour in ("status/204", "stale", "reset_within", "blackhole")])
