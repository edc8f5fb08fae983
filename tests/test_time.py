"""No exchange takes longer than its time, whatever the other side does, and none holds the hub."""

from __future__ import annotations

import _socket
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any, Callable, Iterator

import gevent
import pytest
from gevent import monkey
from gevent import socket as gevent_socket

from gevent_dispatcher import Answer, Link
from gevent_dispatcher._resolver import Resolver
from tests.hostile import Certificate, HostileProcess, HostileServer, Limits, make_certificates, silent_port
from tests.links import Ticking, clear_environment, opened, post
from tests.waiting import wait_until

# One exchange is given this, in seconds; no other timeout helps.
TIME = 0.4
LONG = 60.0
# What a shared machine may add, in seconds.
SLACK = 4.0
# A hub that is held by a stream stands still for as long as the server sends: 64 MB, many seconds.
LONGEST_HOLD = 1.0


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)


@pytest.fixture(scope="module")
def server() -> Iterator[HostileProcess]:
    with HostileProcess() as running:
        post(opened(proxy=""), running.url("status/204"))  # loads the client, which takes a busy machine long
        yield running


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificates(tmp_path_factory.mktemp("certificates"))["good"]


def patient(**settings: Any) -> Link:
    """A link of which nothing but `request_timeout` ends an exchange."""
    return opened(**{"connect_timeout": LONG, "read_timeout": LONG, "request_timeout": TIME, **settings})


def timed(link: Link, url: str, body: bytes = b"{}", seconds: float = TIME) -> Answer:
    """The answer, which came in time, and while others had their turns."""
    with Ticking() as ticking:
        started = monotonic()
        answer = post(link, url, body)
        assert monotonic() - started < seconds + SLACK
    assert ticking.longest < LONGEST_HOLD
    return answer


@pytest.mark.parametrize(
    "behaviour",
    ["blackhole", "delay/60", "trickle/0.01", "trickled_interim/0.01"],
)
def test_an_answer_that_does_not_come_ends_with_the_request_timeout(server: HostileProcess, behaviour: str) -> None:
    assert timed(patient(), server.url(behaviour)) == Answer(error=f"no answer within {TIME} s")


@pytest.mark.parametrize(
    "behaviour",
    [
        *("switching", "endless_continue", "endless_interim", "endless_headers"),
        *("endless_header_line", "endless_status_line"),
    ],
)
def test_an_answer_that_never_comes_to_the_point_is_none(server: HostileProcess, behaviour: str) -> None:
    answer = timed(patient(request_timeout=LONG), server.url(behaviour))
    assert answer.status is None
    assert answer.error


@pytest.mark.parametrize(
    "behaviour",
    [
        *("promised_body", "trickled_body/0.01", "trickled_trailer/0.01", "endless_body", "endless_trailer"),
        *("endless_chunk_extension", "endless_chunks", "gzip_bomb"),
    ],
)
@pytest.mark.parametrize("limit", [TIME, LONG])
def test_a_status_is_known_whatever_its_body_does(server: HostileProcess, behaviour: str, limit: float) -> None:
    link = patient(request_timeout=limit)
    assert timed(link, server.url(behaviour)) == Answer(200)
    assert post(link, server.url("status/204")) == Answer(204)


@pytest.mark.parametrize("behaviour", ["endless_body", "endless_trailer", "endless_chunks", "gzip_bomb"])
def test_a_body_takes_little_memory(server: HostileProcess, behaviour: str) -> None:
    import tracemalloc

    link = opened()
    post(link, server.url("status/204"))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert post(link, server.url(behaviour)) == Answer(200)
        assert tracemalloc.get_traced_memory()[1] - before < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_server_that_does_not_read_is_given_up(server: HostileProcess) -> None:
    answer = timed(patient(), server.url("unread_body"), bytes(50_000_000))
    assert answer == Answer(error=f"no answer within {TIME} s")


def test_a_server_that_reads_slowly_is_given_all_the_time_of_the_exchange(server: HostileProcess) -> None:
    link = opened(connect_timeout=0.2, read_timeout=LONG, request_timeout=LONG)
    started = monotonic()
    assert post(link, server.url("slow_read/2000000/0.05"), bytes(50_000_000)) == Answer(204)
    assert monotonic() - started > 0.2


# -- before the first byte of a request ------------------------------------------------------------


@contextmanager
def an_accepting_server(_: Certificate) -> Iterator[str]:
    with HostileServer(doors=["silence"] * 9) as running:
        yield running.url()


@contextmanager
def a_port_that_never_accepts(_: Certificate) -> Iterator[str]:
    with silent_port() as port:
        yield f"http://127.0.0.1:{port}/"


def of_tls(door: str) -> Callable[[Certificate], Any]:
    @contextmanager
    def running(good: Certificate) -> Iterator[str]:
        with HostileProcess(doors=[door] * 9, certificate=good) as server:
            yield server.url()

    return running


def hanging_proxy(behaviour: str) -> Callable[[Certificate], Any]:
    """To an https origin through a proxy that misbehaves upon CONNECT."""

    @contextmanager
    def running(_: Certificate) -> Iterator[str]:
        with HostileProcess(default=behaviour) as proxy, pytest.MonkeyPatch.context() as environment:
            environment.setenv("https_proxy", proxy.url())
            yield "https://events.example/"

    return running


WAITING = {
    "never accepts": a_port_that_never_accepts,
    "tls, silent": of_tls("silence"),
    "tls, trickled": of_tls("tls_trickle"),
    "proxy, silent": hanging_proxy("blackhole"),
    "proxy, trickled": hanging_proxy("trickle/0.01"),
    "proxy, trickled interim": hanging_proxy("trickled_interim/0.01"),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_is_never_opened_ends_with_either_timeout(name: str, good: Certificate, environment: None) -> None:
    with WAITING[name](good) as url:
        assert timed(patient(), url) == Answer(error=f"no answer within {TIME} s")
        answer = timed(patient(connect_timeout=TIME, request_timeout=LONG), url)
        assert "ConnectTimeoutError" in answer.error


@pytest.fixture
def environment(good: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(good.trust))


# Where the reset comes before the handshake has begun, gevent's SSLSocket leaves itself to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket object:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("door", ["tls_warnings", "tls_garbage", "shut_upon_hello", "shut", "reset", "plain"])
def test_a_handshake_that_cannot_succeed_is_an_error(good: Certificate, environment: None, door: str) -> None:
    with of_tls(door)(good) as url:
        answer = timed(patient(request_timeout=LONG), url)
        assert answer.status is None
        assert answer.error


@pytest.mark.parametrize(
    "behaviour",
    ["endless_headers", "endless_header_line", "endless_continue", "endless_interim", "endless_status_line"],
)
def test_a_proxys_endless_answer_to_connect_does_not_hold_the_hub(good: Certificate, behaviour: str) -> None:
    with hanging_proxy(behaviour)(good) as url:
        answer = timed(patient(request_timeout=LONG), url)
        assert answer.status is None
        assert answer.error


def test_an_accepting_server_that_is_silent_ends_with_either_timeout(good: Certificate) -> None:
    with an_accepting_server(good) as url:
        assert timed(patient(), url) == Answer(error=f"no answer within {TIME} s")
        assert "time" in timed(patient(read_timeout=TIME, request_timeout=LONG), url).error.lower()


def test_an_address_that_is_silent_does_not_cost_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer() as server, silent_port("127.0.0.2", server.port):
        known = [
            (gevent_socket.AF_INET, gevent_socket.SOCK_STREAM, 6, "", (each, 0)) for each in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: known)
        link = opened(connect_timeout=1.0)
        assert post(link, server.url("status/204", host="two.example")) == Answer(204)


# -- name look-ups ------------------------------------------------------------


class Names:
    """A resolver that never answers for some names; native, so that it blocks its thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._answers = _socket.getaddrinfo
        self._lock = monkey.get_original("_thread", "allocate_lock")()
        self._lock.acquire()
        monkeypatch.setattr(_socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, *how: Any) -> Any:
        self.asked.append(host)
        if host.endswith(".hanging"):
            self._lock.acquire(True, LONG)
            self._lock.release()
            raise gevent_socket.gaierror(gevent_socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._answers(host, *how)

    def let_go(self) -> None:
        if self._lock.locked():
            self._lock.release()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names(monkeypatch)
    yield made
    made.let_go()
    pool = gevent.get_hub().threadpool
    wait_until(lambda: not pool.task_queue.unfinished_tasks)


def test_a_resolver_that_hangs_ends_with_either_timeout(names: Names) -> None:
    assert timed(patient(), "http://a.hanging/") == Answer(error=f"no answer within {TIME} s")
    answer = timed(patient(connect_timeout=TIME, request_timeout=LONG), "http://b.hanging/")
    assert "ConnectTimeoutError" in answer.error


def test_a_look_up_that_takes_too_long_is_given_up(names: Names) -> None:
    with pytest.raises(gevent_socket.timeout, match="looking the name up timed out"):
        Resolver().resolve("c.hanging", 80, 0.01)


def test_a_name_that_is_none_is_an_answer_like_any_other() -> None:
    resolver = Resolver()
    with pytest.raises(gevent_socket.gaierror, match="the name is malformed"):
        resolver.resolve("a" * 64 + ".example", 80, TIME)


def test_a_resolver_that_hangs_takes_one_thread_for_each_name_and_the_application_goes_on(names: Names) -> None:
    link = patient(connections=20)
    urls = ["http://a.hanging/", "http://a.hanging:8080/", "https://a.hanging/"] * 7
    with Ticking() as ticking:
        answers = [gevent.spawn(post, link, url) for url in urls]
        assert wait_until(lambda: names.asked)
        assert gevent_socket.getaddrinfo("localhost", 80)
        gevent.joinall(answers, timeout=TIME + SLACK)
        assert [each.value for each in answers] == [Answer(error=f"no answer within {TIME} s")] * 21
        post(link, urls[0])
    assert ticking.longest < LONGEST_HOLD
    assert names.asked.count("a.hanging") == 1


def test_names_that_hang_leave_most_threads_to_the_application(names: Names) -> None:
    link = patient(connections=20)
    answers = [gevent.spawn(post, link, f"http://{number}.hanging/") for number in range(20)]
    assert wait_until(lambda: len(names.asked) == 4)
    with gevent.Timeout(TIME):
        assert gevent_socket.getaddrinfo("localhost", 80)
    gevent.joinall(answers, timeout=TIME + SLACK)
    assert [each.value for each in answers] == [Answer(error=f"no answer within {TIME} s")] * 20
    names.let_go()
    post(link, "http://localhost:9/")
    assert [host for host in names.asked if host.endswith(".hanging")] == names.asked[:4]


# -- the client itself ------------------------------------------------------------


def test_the_time_that_loading_the_client_took_is_part_of_the_exchange(server: HostileProcess) -> None:
    pool = gevent.get_hub().threadpool
    lock = monkey.get_original("_thread", "allocate_lock")()
    lock.acquire()

    def hang() -> None:
        lock.acquire(True, LONG)
        lock.release()

    stuck = [pool.spawn(hang) for _ in range(pool.maxsize)]
    gevent.spawn_later(1.5, lock.release)
    started = monotonic()
    answer = post(patient(request_timeout=2.0), server.url("blackhole"))
    assert answer == Answer(error="no answer within 2 s")
    assert monotonic() - started < 3.2
    wait_until(lambda: all(each.ready() for each in stuck))


def test_a_tls_context_that_cannot_be_made_in_time_costs_no_more(good: Certificate, environment: None) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(HostileServer(certificate=good, limits=Limits(5)))
        link = patient()
        post(link, "http://127.0.0.1:1/")  # loads the client
        pool = gevent.get_hub().threadpool
        lock = monkey.get_original("_thread", "allocate_lock")()
        lock.acquire()
        stuck = [pool.spawn(lock.acquire, True, LONG) for _ in range(pool.maxsize)]
        try:
            assert timed(link, server.url("status/204")) == Answer(error=f"no answer within {TIME} s")
        finally:
            _release_all(lock, stuck)
        assert post(link, server.url("status/204")) == Answer(204)


def _release_all(lock: Any, stuck: list[Any]) -> None:
    for _ in stuck:
        wait_until(lock.locked)
        lock.release()
    wait_until(lambda: all(each.ready() for each in stuck))
