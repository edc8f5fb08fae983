"""Nothing that only the endpoint should see stands in a log line, a repr, an exception or an answer's words."""

from __future__ import annotations

import logging
import traceback
from functools import partial
from typing import Any, Callable, Iterable

import gevent
import pytest

from gevent_dispatcher import Delivery, GeventEventDispatcher, HttpTransport
from gevent_dispatcher._url import parse
from tests.events import LogEvent, params, visitor
from tests.hostile import BEHAVIOURS, DOORS, Certificate, HostileServer, Limits, make_certificates, refusing_port
from tests.links import clear_environment, request

SECRET = "s3cr3t"
# Where a secret may be in an event: url, payload, headers.
USER = f"user:{SECRET}@"
TARGET = f"/{SECRET}/events?key={SECRET}"
PASSWORD_PROXY = f"http://user:{SECRET}@"

ARGUMENTS = {"retry_after": "retry_after/1", "delay": "delay/0.01", "redirect": "redirect/302/http://other.example/"}
SERVED = [ARGUMENTS.get(name, name) for name in BEHAVIOURS if name != "tunnel"]
STATUSES = [f"status/{code}" for code in (200, 301, 400, 401, 404, 413, 422, 429, 500, 503)]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificates(tmp_path_factory.mktemp("certificates"))["good"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clear_environment(monkeypatch)
    # urllib3's own lines below WARNING have paths, which the README says.
    caplog.set_level(logging.DEBUG, logger="gevent_dispatcher")
    caplog.set_level(logging.WARNING, logger="urllib3")


def event(url: str) -> LogEvent:
    headers = {"Authorization": f"Bearer {SECRET}", "X-Key": SECRET}
    return LogEvent(url, params(visitor(SECRET)), headers=headers)


def secret_url(base: str) -> str:
    scheme, _, place = base.rstrip("/").partition("://")
    return f"{scheme}://{USER}{place}{TARGET}"


def what_is_said(base: str, caplog: pytest.LogCaptureFixture, **settings: Any) -> list[str]:
    """Everything that can be read anywhere after an event was sent to a url."""
    heard: list[Delivery] = []
    options = {"request_timeout": 0.3, "read_timeout": 0.2, "connect_timeout": 0.2, "backoff_base": 0.01, **settings}
    options["headers"] = {"X-Other": SECRET}
    dispatcher = GeventEventDispatcher(flush_interval=0, backoff_max=0.02, on_delivery=heard.append, **options)
    dispatcher.dispatch_event(event(secret_url(base)))
    dispatcher.flush(0.3)
    stats = dispatcher.stats()
    dispatcher.close(0.1)
    http = {name: value for name, value in options.items() if name != "backoff_base"}
    transport = HttpTransport(**http)
    link = transport.open(2)
    asked = request(secret_url(base), SECRET.encode(), **{"X-Key": SECRET})
    answer = link.send(asked)
    objects = (dispatcher, stats, dispatcher.stats(), *heard, transport, link, asked, parse(secret_url(base)))
    lines = [f"{record.getMessage()} {record.exc_info} {caplog.handler.format(record)}" for record in caplog.records]
    return [*map(repr, objects), str(answer), answer.error, *lines]


def test_the_secret_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    with HostileServer() as server:
        what_is_said(server.url(), caplog)
        first, second = server.received
    assert first.target == second.target == TARGET
    assert SECRET in (first.header("Authorization") or "")
    assert SECRET.encode() in first.body


def at_once(works: Iterable[Callable[[], list[str]]]) -> list[str]:
    """Do them side by side: each waits for its own server most of the time."""
    running = [gevent.spawn(work) for work in works]
    gevent.joinall(running, timeout=60, raise_error=True)
    return [line for each in running for line in each.value]


def test_whatever_a_server_does(caplog: pytest.LogCaptureFixture) -> None:
    def served(behaviour: str) -> list[str]:
        with HostileServer(default=behaviour, limits=Limits(seconds=10)) as server:
            return what_is_said(server.url(), caplog)

    said = at_once(partial(served, behaviour) for behaviour in SERVED + STATUSES)
    assert not [line for line in said if SECRET in line]


@pytest.mark.parametrize("url", ["http://events.example/", "https://events.example/"])
def test_whatever_a_proxy_does(url: str, caplog: pytest.LogCaptureFixture) -> None:
    def served(behaviour: str) -> list[str]:
        with HostileServer(default=behaviour, limits=Limits(seconds=10)) as server:
            return what_is_said(url, caplog, proxy=f"{PASSWORD_PROXY}127.0.0.1:{server.port}")

    said = at_once(partial(served, behaviour) for behaviour in [*SERVED, "status/204", "status/407", "status/502"])
    assert not [line for line in said if SECRET in line]


@pytest.mark.parametrize("tls", [False, True])
def test_whatever_happens_before_a_request(tls: bool, good: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    def served(door: str) -> list[str]:
        certificate = good if tls else None
        with HostileServer(doors=[door] * 50, certificate=certificate, limits=Limits(seconds=10)) as server:
            return what_is_said(server.url(), caplog)

    said = at_once(partial(served, door) for door in DOORS)
    assert not [line for line in said if SECRET in line]


def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    with refusing_port() as port:
        said = what_is_said(f"http://127.0.0.1:{port}", caplog)
        said += what_is_said(f"http://127.0.0.1:{port}", caplog, proxy=f"{PASSWORD_PROXY}127.0.0.1:{port}")
    said += what_is_said("http://no-such-host.invalid", caplog)
    assert not [line for line in said if SECRET in line]


@pytest.mark.parametrize("proxy", ["socks5://user:s3cr3t@proxy:1", "http://user:s3cr3t@proxy:x", "http://s3cr3t@"])
def test_a_proxy_of_the_environment_that_cannot_be_used(
    proxy: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    said = what_is_said("http://events.example/", caplog)
    assert not [line for line in said if SECRET in line]


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://{USER}host{TARGET}",
        f"http://{USER}host:port{TARGET}",
        f"http://{USER}ho st{TARGET}",
        f"http://{USER}host/{SECRET}\r\nX: y",
        f"http://{USER}host/{SECRET}\ud800",
        f"http://{USER}[::1{TARGET}",
    ],
)
def test_an_event_with_an_unusable_url(url: str, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = GeventEventDispatcher()
    dispatcher.dispatch_event(event(url))
    dispatcher.close(1)
    assert dispatcher.stats().dropped["invalid"] == 1
    assert "1 events dropped as invalid" in caplog.text
    assert not [record for record in caplog.records if SECRET in caplog.handler.format(record)]


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {SECRET}\r\nX: y"}, {"X-Key": f"{SECRET}\0"}, {"X-Key": SECRET.encode()}, [SECRET]],
)
def test_an_event_or_a_setting_with_headers_that_cannot_be_sent(headers: Any, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = GeventEventDispatcher()
    dispatcher.dispatch_event(LogEvent("http://127.0.0.1:9/", params(), headers=headers))
    dispatcher.close(1)
    assert dispatcher.stats().dropped["invalid"] == 1
    assert "1 events dropped as invalid" in caplog.text
    with pytest.raises(ValueError, match="headers") as caught:
        HttpTransport(headers=headers)
    shown = "".join(traceback.format_exception_only(caught.type, caught.value))
    assert SECRET not in shown + caplog.text


@pytest.mark.parametrize("proxy", [f"{PASSWORD_PROXY}host:x", f"{PASSWORD_PROXY}host".encode(), [PASSWORD_PROXY]])
def test_a_proxy_setting_that_cannot_be_used(proxy: Any) -> None:
    with pytest.raises(ValueError, match="proxy") as caught:
        HttpTransport(proxy=proxy)
    assert SECRET not in "".join(traceback.format_exception_only(caught.type, caught.value))
