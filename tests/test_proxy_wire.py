"""Proxies over real sockets: what a proxy and the origin behind it receive is what they receive from requests."""

from __future__ import annotations

import ssl
import warnings
from typing import Iterator, NamedTuple

import pytest
import requests

from gevent_dispatcher import Answer
from tests.hostile import Certificate, HostileServer, make_certificates
from tests.links import clear_environment, opened, post


class Place(NamedTuple):
    """Two origins and two proxies. To the proxies every name is one of the https origin."""

    plain: HostileServer
    tls: HostileServer
    proxy: HostileServer
    tls_proxy: HostileServer

    def fill(self, text: str) -> str:
        ports = {name: server.port for name, server in self._asdict().items()}
        return text.format(**ports)

    def received(self) -> list[tuple[str, object]]:
        """What each of them received, without what the two clients say of themselves."""
        return [
            (name, (each.verb, each.target, each.header("Host"), each.header("Proxy-Authorization"), each.body))
            for name, server in self._asdict().items()
            for each in server.received
        ]

    def forget(self) -> None:
        for server in self:
            server.received.clear()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def place(certificates: dict[str, Certificate], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    clear_environment(monkeypatch)
    good = certificates["good"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(good.trust))
    with HostileServer() as plain, HostileServer(certificate=good) as tls:
        default = f"tunnel/{tls.port}"
        with HostileServer(default=default) as proxy, HostileServer(default=default, certificate=good) as tls_proxy:
            yield Place(plain, tls, proxy, tls_proxy)


DIRECT = "http://127.0.0.1:{plain}/status/204?a=b"
ANY = "http://127.0.0.1:9/status/204?a=b"
HTTPS = "https://events.example/v1/events?a=b"
SECURE = "https://127.0.0.1:{tls}/v1/events?a=b"
PROXY = "http://127.0.0.1:{proxy}"
WITH_PASSWORD = "http://user:p%40ss@127.0.0.1:{proxy}"
TLS_PROXY = "https://user:p%40ss@127.0.0.1:{tls_proxy}"


@pytest.mark.parametrize(
    ("environment", "url", "through"),
    [
        ({}, DIRECT, ["plain"]),
        ({"HTTP_PROXY": PROXY}, ANY, ["proxy"]),
        ({"http_proxy": WITH_PASSWORD}, ANY, ["proxy"]),
        ({"HTTP_PROXY": "127.0.0.1:{proxy}"}, ANY, ["proxy"]),
        ({"ALL_PROXY": WITH_PASSWORD}, ANY, ["proxy"]),
        ({"all_proxy": PROXY}, HTTPS, ["tls", "proxy"]),
        ({"HTTPS_PROXY": PROXY}, DIRECT, ["plain"]),
        ({"HTTP_PROXY": PROXY}, SECURE, ["tls"]),
        ({"HTTPS_PROXY": PROXY}, HTTPS, ["tls", "proxy"]),
        ({"https_proxy": WITH_PASSWORD}, HTTPS, ["tls", "proxy"]),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://127.0.0.1:9"}, HTTPS, ["tls", "proxy"]),
        ({"HTTPS_PROXY": WITH_PASSWORD}, SECURE, ["tls", "proxy"]),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "127.0.0.0/8"}, SECURE, ["tls"]),
        ({"HTTP_PROXY": PROXY, "no_proxy": "localhost,127.0.0.1"}, DIRECT, ["plain"]),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "example"}, ANY, ["proxy"]),
        ({"HTTP_PROXY": TLS_PROXY}, ANY, ["tls_proxy"]),
        ({"HTTPS_PROXY": TLS_PROXY}, HTTPS, ["tls", "tls_proxy"]),
        ({"HTTPS_PROXY": TLS_PROXY}, SECURE, ["tls", "tls_proxy"]),
    ],
)
def test_what_arrives_is_what_arrives_from_requests(
    place: Place, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, through: list[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, place.fill(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # requests does not verify an https proxy's certificate; we do
        assert requests.post(place.fill(url), b"{}", timeout=10).status_code == 204
    expected = place.received()
    place.forget()

    assert post(opened(), place.fill(url)) == Answer(204)

    assert place.received() == expected
    assert [name for name, _ in expected] == through


def test_a_tunnel_is_kept_and_shows_the_origin_no_credentials_of_the_proxy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", place.fill(WITH_PASSWORD))
    link = opened()
    assert [post(link, HTTPS) for _ in range(3)] == [Answer(204)] * 3
    assert [each.target for each in place.proxy.received] == ["events.example:443"]
    assert not any(each.header("Proxy-Authorization") for each in place.tls.received)


@pytest.mark.parametrize("proxy", [PROXY, TLS_PROXY])
def test_the_origins_certificate_is_verified_within_the_tunnel(
    place: Place, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", place.fill(proxy))
    answer = post(opened(), "https://elsewhere.example/v1/events")
    assert "certificate" in answer.error
    assert not place.tls.received


@pytest.mark.parametrize("url", [ANY, HTTPS])
def test_an_https_proxys_own_certificate_is_verified(
    place: Place, certificates: dict[str, Certificate], url: str
) -> None:
    with HostileServer(certificate=certificates["wrong_host"], default=f"tunnel/{place.tls.port}") as proxy:
        answer = post(opened(proxy=proxy.url()), url)
        assert "certificate" in answer.error
        assert not proxy.received


def test_a_context_of_the_users_own_is_for_the_https_proxy_too(
    place: Place, certificates: dict[str, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=str(certificates["good"].trust))
    link = opened(ssl_context=context, proxy=place.tls_proxy.url())
    assert [post(link, url) for url in (ANY, HTTPS)] == [Answer(204)] * 2


@pytest.mark.parametrize("status", [204, 302, 403, 407, 502])
def test_a_proxy_that_refuses_the_tunnel_is_an_error_with_its_status(status: int) -> None:
    with HostileServer(default=f"status/{status}") as proxy:
        answer = post(opened(proxy=proxy.url()), HTTPS)
    assert answer.status is None
    assert f"the proxy refused the tunnel with status {status}" in answer.error


def test_a_proxy_that_wants_another_password_is_an_error_with_or_without_a_tunnel() -> None:
    with HostileServer(default="status/407") as proxy:
        link = opened(proxy=proxy.url())
        said = [post(link, url) for url in ("http://events.example/v1/events", HTTPS)]
    assert [each.status for each in said] == [None, None]
    assert said[0].error == "ProxyError: the proxy refused the request with status 407"
    assert said[1].error.endswith("the proxy refused the tunnel with status 407")


def test_an_endpoint_that_answers_as_only_a_proxy_should_is_taken_at_its_word(place: Place) -> None:
    direct = post(opened(proxy=""), place.plain.url("status/407"))
    tunnelled = post(opened(proxy=place.proxy.url()), "https://events.example/status/407")
    assert [direct, tunnelled] == [Answer(407)] * 2


def test_a_proxy_that_closes_instead_of_answering_is_asked_once() -> None:
    with HostileServer(default="close_before") as proxy:
        assert "closed before an answer" in post(opened(proxy=proxy.url()), HTTPS).error
        assert len(proxy.received) == 1


def test_a_proxy_that_is_not_there_is_an_error_that_says_so() -> None:
    answer = post(opened(proxy="http://user:secret@127.0.0.1:9"), HTTPS)
    assert answer.error == "ProxyError: ConnectionRefusedError: Connection refused"


@pytest.mark.parametrize(
    "proxy", ["socks5://user:s3cret@proxy:1080", "socks4a://proxy", "proxy:3128", "http://user:s3cret@proxy:x"]
)
def test_a_proxy_that_cannot_be_used_raises_where_it_is_set_without_its_credentials(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy: the proxy cannot be used: the url") as caught:
        opened(proxy=proxy)
    assert "s3cret" not in str(caught.value)
