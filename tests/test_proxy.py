"""Which proxy: a table of the rules, and requests itself as the judge of everything between."""

from __future__ import annotations

import base64
import os
import traceback
from typing import Mapping
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy, should_bypass_proxies
from urllib3.util import parse_url

from gevent_dispatcher._proxy import proxy_for, split_credentials

P = "http://proxy:3128"
Q = "http://other:3128"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": P}, P),
        ({"https_proxy": P}, P),
        ({"HTTP_PROXY": P}, None),
        ({"ALL_PROXY": P}, P),
        ({"ALL_PROXY": Q, "HTTPS_PROXY": P}, P),
        ({"HTTPS_PROXY": Q, "https_proxy": P}, P),
        ({"https_proxy": P, "HTTPS_PROXY": Q}, P),
        ({"HTTPS_PROXY": P, "https_proxy": ""}, None),
        ({"HTTPS_PROXY": "", "ALL_PROXY": P}, P),
        ({"Https_Proxy": P}, P),
        ({"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P),
    ],
)
def test_the_variable_that_decides(environ: dict[str, str], expected: str | None) -> None:
    assert proxy_for("https", "logx.example.com", 443, environ) == expected


def test_under_cgi_a_client_cannot_set_the_proxy() -> None:
    cgi = {"REQUEST_METHOD": "POST", "HTTP_PROXY": Q}

    assert proxy_for("http", "logx.example.com", 80, cgi) is None
    assert proxy_for("http", "logx.example.com", 80, {**cgi, "http_proxy": P}) == P
    assert proxy_for("http", "logx.example.com", 80, {**cgi, "ALL_PROXY": P}) == P


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("proxy", "http://proxy"),
        ("proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("localhost:3128", "http://localhost:3128"),
        ("//proxy:3128", "http://proxy:3128"),
        ("user:secret@proxy:3128", "http://user:secret@proxy:3128"),
        ("https://proxy:3128", "https://proxy:3128"),
    ],
)
def test_a_proxy_without_scheme_gets_http(value: str, expected: str) -> None:
    assert proxy_for("https", "logx.example.com", 443, {"HTTPS_PROXY": value}) == expected


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "logx.example.com", 443, True),
        (".example.com", "logx.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("example.com", "badexample.com", 443, False),
        ("EXAMPLE.com", "Logx.Example.COM", 443, True),
        ("a.net, example.com ,b.net", "logx.example.com", 443, True),
        ("com", "logx.example.com", 443, True),
        ("*", "logx.example.com", 443, True),
        ("*,a.net", "logx.example.com", 443, False),
        ("*.example.com", "logx.example.com", 443, False),
        (",", "logx.example.com", 443, False),
        (",", "logx.example.com.", 443, False),
        ("example.com:8443", "logx.example.com", 8443, True),
        ("example.com:8443", "logx.example.com", 9443, False),
        ("example.com:443", "logx.example.com", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:443", "10.1.2.3", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.1.2.3/32", "10.1.2.3", 443, True),
        ("10.0.0.0/0", "10.1.2.3", 443, False),
        ("10.0.0.0/33", "10.1.2.3", 443, False),
        ("10.0.0.0/x", "10.1.2.3", 443, False),
        ("ten/8", "10.1.2.3", 443, False),
        ("10.0.0.0/8", "logx.example.com", 443, False),
        ("::1", "::1", 443, True),
        ("fe80::/10", "fe80::1", 443, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, direct: bool) -> None:
    environ = {"ALL_PROXY": P, "NO_PROXY": no_proxy}

    assert proxy_for("https", host, port, environ) == (None if direct else P)


def test_the_lower_case_no_proxy_wins() -> None:
    environ = {"ALL_PROXY": P, "NO_PROXY": "logx.example.com", "no_proxy": "a.net"}

    assert proxy_for("https", "logx.example.com", 443, environ) == P


NAMED = ["example.com", "logx.example.com", "badexample.com", "localhost"]
HOSTS = st.sampled_from([*NAMED, "10.1.2.3", "127.1", "192.168.0.9", "::1", "2001:db8::7"])
PROXIES = st.sampled_from(
    ["", "proxy.net:3128", "http://proxy.net", "//proxy.net:1", "https://u:p@proxy.net", "10.9.9.9:3"]
)
SUFFIXES = ["", "*", ".", ".example.com", "EXAMPLE.com", "com", ".com ", "ex ample.com", "example.com:8080"]
NETWORKS = ["10.0.0.0/8", "10.1.2.3/31", "10/8", "10.0.0.0/ 8", "10.0.0.0/0", "x/8", "1/2/3", "2.3", "10.1.2.3:8080"]
# No ":" in the random text: urllib takes "::1" for host ":" with port 1, and nobody means that by NO_PROXY=":".
ENTRIES = st.one_of(HOSTS, st.sampled_from([*SUFFIXES, *NETWORKS, "::1", "[::1]"]), st.text("1.0/*ecom ", max_size=6))
LOWER = ["http_proxy", "https_proxy", "all_proxy"]
NAMES = [*LOWER, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "Http_Proxy", "HTTPS_proxy"]


@st.composite
def environments(draw: st.DrawFn) -> dict[str, str]:
    """An environment whose variables come in a random order: urllib lets the last spelling win."""
    lists = st.lists(ENTRIES, max_size=3).map(",".join)
    found = draw(st.dictionaries(st.sampled_from(NAMES), PROXIES, max_size=4))
    found.update(draw(st.dictionaries(st.sampled_from(["no_proxy", "NO_PROXY", "No_Proxy"]), lists, max_size=2)))
    found.update(draw(st.sampled_from([{}, {}, {"REQUEST_METHOD": "GET"}])))
    return {name: found[name] for name in draw(st.permutations(sorted(found)))}


def requests_proxy(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """What requests does with a url whose default port is not written."""
    written = "" if port == {"http": 80, "https": 443}[scheme] else f":{port}"
    named = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{named}{written}/v1/events"
    with mock.patch.dict(os.environ, environ, clear=True):
        found = select_proxy(url, get_environ_proxies(url))
    return prepend_scheme_if_needed(found, "http") if found else None


@pytest.mark.skipif(
    should_bypass_proxies("http://badexample.com/", "example.com"),
    reason="this requests is an old one, in which NO_PROXY=example.com also means badexample.com",
)
@given(st.sampled_from(["http", "https"]), HOSTS, st.sampled_from([80, 443, 8080]), environments())
@example("https", "logx.example.com", 443, {"all_proxy": P, "no_proxy": "", "NO_PROXY": "*"})
@example("https", "logx.example.com", 443, {"all_proxy": P, "no_proxy": "", "NO_PROXY": "example.com"})
def test_the_proxy_is_the_one_that_requests_takes(scheme: str, host: str, port: int, environ: dict[str, str]) -> None:
    assert proxy_for(scheme, host, port, environ) == requests_proxy(scheme, host, port, environ)


def basic(pair: bytes) -> str:
    return "Basic " + base64.b64encode(pair).decode("ascii")


@pytest.mark.parametrize(
    ("url", "origin", "header"),
    [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("https://Proxy:443/", "https://proxy", None),
        ("http://user:secret@proxy:3128", "http://proxy:3128", basic(b"user:secret")),
        ("http://us%40er:p%3Aw%2F@proxy:1", "http://proxy:1", basic(b"us@er:p:w/")),
        ("http://user:p@ss@proxy:1", "http://proxy:1", basic(b"user:p@ss")),
        ("http://user:%C3%A9@[::1]:1", "http://[::1]:1", basic(b"user:\xe9")),
        ("http://token@proxy:1", "http://proxy:1", basic(b"token:")),
    ],
)
def test_credentials_leave_the_url(url: str, origin: str, header: str | None) -> None:
    assert split_credentials(url) == (origin, header)


PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E, blacklist_characters="/?#[]\\%:")
CREDENTIALS = st.text(PRINTABLE, min_size=1)


@given(CREDENTIALS, CREDENTIALS, st.sampled_from(["proxy:3128", "10.0.0.1:1", "[::1]:8080"]))
def test_the_header_is_the_one_that_requests_sends(user: str, password: str, place: str) -> None:
    url = f"http://{user}:{password}@{place}"

    origin, header = split_credentials(url)

    assert HTTPAdapter().proxy_headers(url) == {"Proxy-Authorization": header}
    assert parse_url(origin)[:4] == parse_url(url)._replace(auth=None)[:4]


BROKEN: list[str] = [
    "http://user:s3cret@",
    "http://user:s3cret@proxy:port",
    "http://user:s3cret@proxy:99999",
    "http://user:s3cret/x@proxy:3128",
    "http://user:s3cret#x@proxy:3128",
    "http://user:s3cret@[::1",
    "http://user:s3cret\u2100@proxy",
    "http://user:s3cret%E2%82%AC@proxy:3128",
    "http://user:s3cret@pro xy:3128",
    "http:/user:s3cret@proxy",
    "user:s3cret@proxy:3128",
    "socks5://user:s3cret@proxy:1080",
    "SOCKS5H://user:s3cret@proxy:1080",
]


def test_a_socks_proxy_is_refused_by_that_name() -> None:
    with pytest.raises(ValueError, match="a SOCKS proxy's; only http and https ones are supported"):
        split_credentials("socks5://proxy:1080")


@pytest.mark.parametrize("url", BROKEN)
def test_a_malformed_proxy_is_refused_without_its_credentials(url: str) -> None:
    with pytest.raises(ValueError, match="the proxy cannot be used: the url") as caught:
        split_credentials(url)

    shown = "".join(traceback.format_exception_only(caught.type, caught.value))
    assert "s3cret" not in shown
    assert "s3cret" not in repr(caught.value.args)
