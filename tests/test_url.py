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
