"""The pure part of queues: requests as records, receipts, and what settings are accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher import Request
from gevent_dispatcher._url import Origin
from gevent_dispatcher.queues import SqliteQueue, _limits
from gevent_dispatcher.queues._receipt import LARGEST, Receipt, parse
from gevent_dispatcher.queues._record import Record, decode, encode
from tests.floats import floats
from tests.queues import request

names = st.text("abcXYZ-09!", min_size=1, max_size=20)
values = st.text([chr(code) for code in (9, *range(32, 127), *range(128, 256))], max_size=40)
printable = st.text([chr(code) for code in range(33, 127)], min_size=1, max_size=40)
origins = st.builds(Origin, st.sampled_from(["http", "https"]), printable, st.integers(1, 65_535))
requests = st.builds(
    Request,
    st.sampled_from(["POST", "GET"]),
    origins,
    printable,
    st.dictionaries(names, values, max_size=5),
    st.none() | st.binary(max_size=100),
    st.integers(1, 1 << 31),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(requests)
def test_a_request_comes_back_as_it_was(original: Request) -> None:
    back = decode(encode(original))
    assert back == original
    assert list(back.headers) == list(original.headers)
    assert type(back.origin) is Origin


@given(
    st.fixed_dictionaries({"verb": json_values, "origin": json_values, "target": json_values, "headers": json_values}),
    st.none() | st.binary() | st.text() | st.integers(),
    st.integers() | st.text() | st.none(),
)
def test_what_others_wrote_is_refused_by_a_value_error_or_is_a_request(parts: Any, body: Any, events: Any) -> None:
    try:
        request = decode(Record(json.dumps(parts), body, events))
    except ValueError:
        return
    assert encode(request).body == body


@given(st.text() | st.binary() | st.none() | st.sampled_from(["[" * 100_000, "{}", "[]", "null"]))
def test_an_envelope_that_is_none_is_refused(envelope: Any) -> None:
    with pytest.raises(ValueError, match="unreadable"):
        decode(Record(envelope, b"", 1))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("verb", "DELETE", "verb"),
        ("verb", ["POST"], "verb"),
        ("origin", ["file", "host", 80], "scheme"),
        ("origin", ["http", "host\r\nX: y", 80], "host"),
        ("origin", ["http", "host", 0], "port"),
        ("origin", ["http", "host", True], "port"),
        ("origin", "http", "origin"),
        ("target", "/ HTTP/1.1\r\nX: y", "target"),
        ("headers", [["X", "a\r\nY: b"]], "control character"),
        ("headers", {"X": "y"}, "pairs"),
        ("headers", [["X"]], "pairs"),
    ],
)
def test_nothing_is_smuggled_into_a_request(name: str, value: Any, why: str) -> None:
    record = encode(request())
    parts = {**json.loads(record.envelope), name: value}
    with pytest.raises(ValueError, match=why):
        decode(record._replace(envelope=json.dumps(parts)))


@pytest.mark.parametrize("body", ["{}", 7, 0.5])
def test_a_body_that_became_something_else_is_refused(body: Any) -> None:
    with pytest.raises(ValueError, match="its body is not bytes"):
        decode(encode(request())._replace(body=body))


@given(st.integers(0, LARGEST), st.integers(0, LARGEST))
def test_a_receipt_comes_back_as_it_was(id: int, token: int) -> None:
    assert parse(str(Receipt(id, token))) == Receipt(id, token)


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1-2", "1-2-3", "1-x", "\u0661-\u0662", f"1-{LARGEST + 1}", None, 7, b"1-2"]
)
def test_what_is_no_receipt_is_none(text: Any) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"max_bytes": 999_999},
        {"max_bytes": 1e9},
        {"max_bytes": True},
        {"max_bytes": (1 << 40) + 1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "5"},
        {"timeout": 3601},
        {"path": ""},
        {"path": ":memory:"},
        {"path": "a\0b"},
        {"path": 7},
    ],
)
def test_a_wrong_setting_raises_with_its_name_and_value(settings: Any) -> None:
    (name, value), *_ = settings.items()
    with pytest.raises(ValueError, match=f"^{name}=") as caught:
        SqliteQueue(**{"path": "queue.db", **settings})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("check", "accepted", "refused"),
    [
        (_limits.check_lease, [0.001, 1, 43_200], [0, -1, 43_201, float("inf"), None, True]),
        (_limits.check_delay, [0, 0.5, 43_200], [-0.1, 43_201, float("nan"), "1"]),
        (lambda value: _limits.check_count("most", value), [1, 10_000], [0, 10_001, 1.0, None, True]),
    ],
)
def test_what_calls_accept(check: Any, accepted: list[Any], refused: list[Any]) -> None:
    assert [check(value) for value in accepted] == accepted
    for value in refused:
        with pytest.raises(ValueError, match="must be a"):
            check(value)


def test_making_and_opening_a_queue_touches_nothing(tmp_path: Path) -> None:
    queue = SqliteQueue(tmp_path / "queue.db")
    assert repr(queue) == f"SqliteQueue({str(tmp_path / 'queue.db')!r}, max_bytes=1073741824, timeout=5)"
    queue.open().close()
    assert list(tmp_path.iterdir()) == []
