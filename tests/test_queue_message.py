"""The text of a queue's message: a request comes back as it was, and what others wrote is read or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher import Request
from gevent_dispatcher._url import Origin
from gevent_dispatcher.queues import LegacyFormat
from gevent_dispatcher.queues._message import decode, encode, is_carried, left_out, size_of
from tests.floats import floats
from tests.queues import request

# As the API reference of SQS has it, written down anew.
LEGAL = [(0x9, 0xA), (0xD, 0xD), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF)]

printable = st.text([chr(code) for code in range(33, 127)], min_size=1, max_size=40)
values = st.text([chr(code) for code in (9, *range(32, 127), *range(128, 256))], max_size=40)
carried = st.sampled_from(["Content-Type", "content-type", "Accept", "User-Agent", "X-Optimizely-Strict"])
bodies = st.one_of(
    st.none(),
    st.binary(max_size=100),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=100).map(lambda text: json.dumps({"visitors": [text]}).encode()),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=50).map(
        lambda text: json.dumps({"visitors": [text]}, ensure_ascii=False).encode()
    ),
)
requests = st.builds(
    Request,
    st.sampled_from(["POST", "GET"]),
    st.builds(Origin, st.sampled_from(["http", "https"]), printable, st.integers(1, 65_535)),
    printable,
    st.dictionaries(carried, values, max_size=4),
    bodies,
    st.integers(1, 1 << 31),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def is_legal(text: str) -> bool:
    return all(any(low <= ord(each) <= high for low, high in LEGAL) for each in text)


def header_of(text: str) -> dict[str, Any]:
    return dict(json.loads(text.partition("\n")[0]))


def with_header(**members: Any) -> str:
    line, _, body = encode(request()).partition("\n")
    return json.dumps({**json.loads(line), **members}, separators=(",", ":")) + "\n" + body


@given(requests)
def test_a_request_comes_back_as_it_was(original: Request) -> None:
    text = encode(original)
    back = decode(text)
    assert back == original
    assert list(back.headers) == list(original.headers)
    assert type(back.origin) is Origin


@given(requests)
def test_a_message_is_legal_text_with_one_line_of_header_and_its_size_is_that_of_utf_8(original: Request) -> None:
    text = encode(original)
    assert is_legal(text)
    assert "\r" not in text
    assert header_of(text)["gevent_dispatcher"] == 1
    assert size_of(text) == len(text.encode("utf-8"))


def test_a_body_stands_in_a_message_as_it_is_sent() -> None:
    body = '{"account_id":"1","visitors":[{"visitor_id":"größer 😀"}]}'
    header, _, rest = encode(request()._replace(body=body.encode())).partition("\n")
    assert rest == body
    assert json.loads(header) == {
        "gevent_dispatcher": 1,
        "verb": "POST",
        "origin": ["https", "events.example", 443],
        "target": "/v1/events",
        "headers": [["Content-Type", "application/json"]],
        "events": 1,
        "body": "text",
    }


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff", "\r"])
def test_a_body_with_a_character_that_would_not_arrive_is_written_as_base64(character: str) -> None:
    body = f'{{"visitors":["{character}"]}}'.encode()
    text = encode(request()._replace(body=body))
    assert header_of(text)["body"] == "base64"
    assert text.isascii()
    assert decode(text).body == body


@pytest.mark.parametrize(
    "character", ["\x20", "\x7f", "\x85", "\ud7ff", "\ue000", "\ufffd", "\U00010000", "\U0010ffff"]
)
def test_a_body_with_any_other_character_is_written_as_text(character: str) -> None:
    body = f'{{"visitors":["{character}"]}}'.encode()
    text = encode(request()._replace(body=body))
    assert header_of(text)["body"] == "text"
    assert decode(text).body == body


@pytest.mark.parametrize(
    "name", ["Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Host", "Content-Length"]
)
@pytest.mark.parametrize("form", [str, str.lower, str.upper])
def test_credentials_and_framing_never_go_into_a_message(name: str, form: Any) -> None:
    secret = request()._replace(headers={"Content-Type": "application/json", form(name): "S3CRET"})
    text = encode(secret)
    assert "S3CRET" not in text
    assert form(name) not in text
    assert dict(decode(text).headers) == {"Content-Type": "application/json"}
    assert left_out(secret) == [form(name)]
    assert left_out(request()) == []


@pytest.mark.parametrize(
    ("name", "is_taken"),
    [
        ("Content-Type", True),
        ("X-Optimizely-Strict", True),
        ("x-optimizely-anything", True),
        ("X-Optimizely-Auth-Token", False),
        ("X-Optimizely-Api-Key", False),
        ("Content-Type-Options", False),
        ("Traceparent", False),
        ("", False),
    ],
)
def test_which_headers_are_carried(name: str, is_taken: bool) -> None:
    assert is_carried(name) is is_taken


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"gevent_dispatcher": 2}, "version"),
        ({"gevent_dispatcher": True}, "version"),
        ({"gevent_dispatcher": None}, "version"),
        ({"more": 1}, "form of its version"),
        ({"verb": "DELETE"}, "verb"),
        ({"origin": ["file", "host", 80]}, "scheme"),
        ({"origin": ["http", "host\r\nX: y", 80]}, "host"),
        ({"origin": ["http", "host", 0]}, "port"),
        ({"target": "/ HTTP/1.1\r\nX: y"}, "target"),
        ({"headers": [["Content-Type", "a\r\nY: b"]]}, "control character"),
        ({"headers": [["Host", "elsewhere"]]}, "do not carry"),
        ({"headers": [["Transfer-Encoding", "chunked"]]}, "do not carry"),
        ({"headers": [[]]}, "pairs"),
        ({"headers": [[["Content-Type"], "a"]]}, "not a token"),
        ({"headers": "x"}, "pairs"),
        ({"events": 0}, "number of events"),
        ({"events": 1.0}, "number of events"),
        ({"body": "none"}, "known way"),
        ({"body": "gzip"}, "known way"),
        ({"body": ["text"]}, "known way"),
        ({"body": "base64"}, "unreadable"),
    ],
)
def test_nothing_is_smuggled_into_a_request(members: Any, why: str) -> None:
    decode(with_header())
    with pytest.raises(ValueError, match=f"^[a-z].*{why}"):
        decode(with_header(**members))


@pytest.mark.parametrize("name", ["verb", "origin", "target", "headers", "events", "body"])
def test_a_header_without_a_member_is_refused(name: str) -> None:
    line, _, body = encode(request()).partition("\n")
    members = json.loads(line)
    del members[name]
    with pytest.raises(ValueError, match="form of its version"):
        decode(json.dumps(members, separators=(",", ":")) + "\n" + body)


@pytest.mark.parametrize(
    "text", ['{"gevent_dispatcher":', '{"gevent_dispatcher":1', '{"gevent_dispatcher":' + "[" * 100_000, "\ud800"]
)
def test_a_header_that_cannot_be_read_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"unreadable|nor a JSON object") as caught:
        decode(text + "SECRET")
    assert "SECRET" not in str(caught.value)


def test_a_body_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^its body is unreadable$"):
        decode(encode(request()) + "\ud800")


def test_a_text_without_its_body_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^its body is not written in a known way$"):
        decode(encode(request()).partition("\n")[0])


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("verb", "origin", "target", "headers", "events"), json_values),
        optional={"body": json_values},
    ),
    st.text(max_size=30),
)
def test_what_others_wrote_is_refused_by_a_value_error_or_is_a_request(members: Any, rest: str) -> None:
    try:
        read = decode(with_header(**members) + rest)
    except ValueError:
        return
    assert decode(encode(read)) == read


@given(st.text(max_size=60))
def test_no_text_at_all_raises_anything_but_a_value_error(text: str) -> None:
    for each in (text, '{"gevent_dispatcher":' + text, '{"gevent_dispatcher":1,' + text):
        with pytest.raises(ValueError, match=r"^its? "):
            decode(each)


def test_what_has_no_header_is_of_an_older_format() -> None:
    payload = json.dumps({"visitors": [{"visitor_id": "v"}], "account_id": "1"})
    assert decode(payload, LegacyFormat("1", "2")).body == payload.encode()
    with pytest.raises(ValueError, match="configure account_id and project_id"):
        decode(payload)


def test_what_is_of_an_older_format_loses_the_headers_that_are_not_carried() -> None:
    headers = {"Authorization": "Basic x", "Host": "y", "X-Optimizely-Strict": "true", "Content-Type": "text/json"}
    event = {"url": "https://user:password@a.example/", "params": {}, "headers": headers}
    assert set(decode(json.dumps(event)).headers) == {"X-Optimizely-Strict", "Content-Type"}


def test_a_body_need_not_be_json() -> None:
    assert decode(with_header() + "not JSON").body == b"{}not JSON"
