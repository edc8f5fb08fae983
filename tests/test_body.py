"""A merged body is taken apart into exactly the text that it was merged from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher._body import take_apart
from tests.floats import floats

plain = st.none() | st.booleans() | st.integers() | floats(allow_nan=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
visitors = st.lists(st.dictionaries(st.text(), values), min_size=1, max_size=6)
around = st.dictionaries(st.text().filter(lambda name: name != "visitors"), values, max_size=4)


@given(visitors, around, around, st.booleans(), st.sampled_from([None, 2]))
def test_the_parts_are_the_text_itself(
    made: list[Any], before: dict[str, Any], after: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    payload = {**before, "visitors": made, **{name: after[name] for name in after if name not in before}}
    body = json.dumps(payload, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    parts = take_apart(body)
    if parts is None:  # a lone surrogate is not UTF-8
        assert not ascii_only
        return
    assert [json.loads(visitor) for visitor in parts.visitors] == made
    for visitor in parts.visitors:
        alone = json.loads(parts.prefix + visitor + parts.suffix)
        assert alone == {**payload, "visitors": [json.loads(visitor)]}
    assert json.loads(parts.prefix + b",".join(parts.visitors) + parts.suffix) == payload


def test_whatever_stands_around_the_visitors_stays_as_it_is() -> None:
    prefix = b' { "a" : {"visitors":[0]} , "b":[1] ,\n"\\u0076isitors" : ['
    suffix = b'] , "c" : "visitors" }\r\n'
    visitors = [b'{"v" : [1]}', b"2", b'"[,]"']
    assert take_apart(prefix + b" " + b" ,\t".join(visitors) + b"\n" + suffix) == (prefix, visitors, suffix)
    for body in (prefix.replace(b"[1] ,", b"[1] ;"), prefix.replace(b'"b":', b'"b";')):
        assert take_apart(body + b"1" + suffix) is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"not json", b"\xff\xfe", b"{}", b'{"visitors":{}}', b'{"visitors":[]}'),
        *(b'{"visitors":[1', b'{"visitors":[1]', b'{"visitors":[1],', b'{"visitors":[1]}x', b'{"a":{"visitors":[1]}}'),
        *(
            b'{"visitors":[1,]}',
            b'{"visitors":[1 2]}',
            b'{"a" 1,"visitors":[1]}',
            b'{"visitors":[' + b"[" * 100_000,
            b'{"visitors":[1],"visitors":[]}',
        ),
    ],
)
def test_what_is_not_of_that_form_is_left_alone(body: bytes) -> None:
    assert take_apart(body) is None


@given(st.binary())
def test_any_bytes_are_taken_calmly(body: bytes) -> None:
    assert take_apart(body) is None or b"visitors" in body
