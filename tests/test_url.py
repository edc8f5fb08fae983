"""An event's url, taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher._url import Origin, parse


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://logx.optimizely.com/v1/events", ("https", "logx.optimizely.com", 443), "/v1/events"),
        ("http://localhost:8080", ("http", "localhost", 8080), "/"),
        ("HTTP://LocalHost/A?b=c", ("http", "localhost", 80), "/A?b=c"),
        ("https://h/p?x=%20&y=a+b#fragment", ("https", "h", 443), "/p?x=%20&y=a+b"),
        ("http://[::1]:99/x", ("http", "::1", 99), "/x"),
        ("http://b\u00fccher.example/\u00fc", ("http", "xn--bcher-kva.example", 80), "/%C3%BC"),
        ("http://h?q", ("http", "h", 80), "/?q"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: tuple[str, str, int], target: str) -> None:
    address = parse(url)
    assert (address.origin, address.target) == (Origin(*origin), target)
    assert address.authorization is None


def test_user_and_password_become_a_header_and_leave_the_origin() -> None:
    address = parse("https://us%40er:p%3Aw@host:8443/x")
    assert address.authorization == "Basic dXNAZXI6cDp3"
    assert str(address.origin) == "https://host:8443"


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ("user", "Basic dXNlcjo="),
        (":p", "Basic OnA="),
        ("u:", "Basic dTo="),
        (":", None),
        ("u%3A:p:q", "Basic dTo6cDpx"),
        ("\u00fc:p", "Basic /Dpw"),
    ],
)
def test_either_of_user_and_password_is_enough(user: str, header: str | None) -> None:
    assert parse(f"http://{user}@h/").authorization == header


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "the url is NoneType, not str"),
        (b"http://h/", "the url is bytes, not str"),
        ("http://h/a b", "the url has a space or control character in it"),
        ("http://h/\x7f", "the url has a space or control character in it"),
        ("http://[::1", "the url is malformed"),
        ("ftp://h/", "the url's scheme is not http or https"),
        ("http:///x", "the url has no host"),
        ("http://a,b/", "the url's host is not a valid name"),
        ("http://\u20ac\ud800/", "the url's host is not a valid name"),
        *((f"http://{host}/", "the url's host is not a valid name") for host in ("a..b", ".a", "a..", "x..y", ".")),
        *((f"http://{host}/", "the url's host is not a valid name") for host in ("a" * 64, f"{'a' * 64}.b")),
        ("http://h:0/", "the url's port is not a number from 1 to 65535"),
        ("http://h:65536/", "the url's port is not a number from 1 to 65535"),
        ("http://h:x/", "the url's port is not a number from 1 to 65535"),
        ("http://h/\ud800", "the url has a lone surrogate in it"),
        ("http://\u20ac:p@h/", "the url's user and password are not Latin-1"),
    ],
)
def test_a_refusal_says_what_is_wrong(url: object, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^the url") as caught:
        parse(url)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "host", ["h", "h.", "a" * 63, f"{'x' * 63}.y", "a_b-c.d", "[::]", "[::ffff:1.2.3.4]", "[fe80::1%25eth0]", "1.2.3.4"]
)
def test_what_may_be_a_host(host: str) -> None:
    address = parse(f"http://{host}:65535/")
    assert address.origin == ("http", host.strip("[]"), 65_535)
    assert str(address.origin) == f"http://{host}:65535"


@pytest.mark.parametrize(
    "target", ["/!#$%&'()*+,/:;=?@[]~-._".replace("#", ""), "/a%2Fb%2fc", "/%", "/?a=b&c=%C3%BC", "/?a?b"]
)
def test_what_may_stand_in_a_target_stays_as_it_is(target: str) -> None:
    assert parse("http://h" + target).target == target


@pytest.mark.parametrize(
    ("target", "quoted"), [('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"), ("?\u00fc", "/?%C3%BC")]
)
def test_what_may_not_is_quoted(target: str, quoted: str) -> None:
    assert parse("http://h" + target).target == quoted


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin("http", "h", 80), "http://h"),
        (Origin("http", "h", 443), "http://h:443"),
        (Origin("https", "h", 443), "https://h"),
        (Origin("https", "h", 80), "https://h:80"),
    ],
)
def test_an_origin_reads_without_the_port_that_its_scheme_has(origin: Origin, text: str) -> None:
    assert str(origin) == text


@pytest.mark.parametrize(
    "url",
    ["", "logx.optimizely.com", "ftp://h/", "http://", "http:///x", "http://h:0/", "http://h:99999/", "http://h:x/"]
    + ["http://a b/", "http://h/a b", "http://h/\r\nX: y", " http://h/", "http://[::1", "http://a<b>/", "http://a,b/"]
    + ["javascript:alert(1)", "file:///etc/passwd", "http://\u20ac\ud800/", "http://h/\ud800", None, 3, b"http://h/"],
)
def test_what_is_not_a_usable_url_is_refused_without_showing_it(url: object) -> None:
    with pytest.raises(ValueError, match=r"^the url") as caught:
        parse(url)
    assert not url or str(url) not in str(caught.value)


def test_credentials_never_stand_in_a_refusal() -> None:
    with pytest.raises(ValueError, match="port") as caught:
        parse("http://user:secret@host:99999/")
    assert "secret" not in str(caught.value)


def test_an_address_does_not_show_its_credentials_and_its_target() -> None:
    assert repr(parse("https://user:secret@host/path?query=secret")) == "<Address at https://host>"


def test_an_ipv6_origin_reads_with_its_brackets() -> None:
    assert str(Origin("http", "::1", 8080)) == "http://[::1]:8080"
    assert str(Origin("http", "::1", 80)) == "http://[::1]"


@given(st.text())
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    try:
        address = parse("http://" + text)
    except ValueError:
        return
    assert address.target.isascii()
    assert not any(character.isspace() for character in address.target + address.origin.host)
