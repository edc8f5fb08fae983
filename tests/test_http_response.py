"""The head of an answer, as it is read; whole answers from real servers are in test_time and test_endpoints."""

from __future__ import annotations

import http.client
import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher._http_response import Plain, Unusable, read_headers

_TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
_TEXT = st.characters(min_codepoint=0, max_codepoint=255, blacklist_characters="\r\n\x00")

names = st.text(_TOKEN, min_size=1, max_size=20)
values = st.text(_TEXT, max_size=40)
plain = st.tuples(names, st.sampled_from([":", ": ", ":\t "]), values, st.sampled_from(["\r\n", "\n"])).map("".join)
odd = st.sampled_from([" folded\r\n", "no colon\r\n", ": no name\r\n", "space : 1\r\n", "From x\r\n", "a: \x00\r\n"])


def as_http_client_reads(head: bytes) -> list[tuple[str, str]]:
    return http.client.parse_headers(io.BytesIO(head)).items()


@given(st.lists(st.one_of(plain, plain, odd), max_size=12))
def test_headers_are_what_http_client_reads(lines: list[str]) -> None:
    head = "".join((*lines, "\r\n")).encode("iso-8859-1")
    behind = io.BytesIO(head + b"body")
    read = read_headers(behind)
    expected = [(name, value.strip(" \t")) for name, value in as_http_client_reads(head)]
    assert [(name, value.strip(" \t")) for name, value in read.items()] == expected
    assert behind.read() == b"body"


@pytest.mark.parametrize("head", [b"no header\r\n\r\n", b"A: 1\r\n: 2\r\n\r\n"])
def test_what_is_no_header_is_noticed(head: bytes) -> None:
    read = read_headers(io.BytesIO(head))
    assert read.defects or read.get_payload()


def test_a_head_that_ends_early() -> None:
    assert read_headers(io.BytesIO(b"A: 1\r\n")).items() == [("A", "1")]


def test_too_many_of_them() -> None:
    with pytest.raises(Unusable, match="more than 1000 headers"):
        read_headers(io.BytesIO(b"A: 1\r\n" * 1_001))


def test_more_than_http_client_takes() -> None:
    head = b"A: 1\r\n" * 999 + b"B: " + b"x" * 90_000 + b"\r\n\r\n"
    assert len(read_headers(io.BytesIO(head)).items()) == 1_000


def test_a_plain_answer_has_what_pools_of_each_version_of_urllib3_ask_of_it() -> None:
    plain = Plain(204)
    assert (plain.status, plain.length_remaining, plain.headers.get("Retry-After")) == (204, 0, None)
    assert (plain.version, plain.version_string) == (11, "HTTP/1.1")  # 2.2, and later
    assert (plain.length, plain.msg.items(), plain.getheader("Retry-After")) == (0, [], None)  # 1.26
