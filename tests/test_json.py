"""The two encoders say the same: where orjson would differ, json decides."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import subprocess
import sys
import uuid
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gevent_dispatcher._json import NotJson, _reuse_encoder, dump, encode_fast, encode_plainly
from tests.floats import floats

orjson = pytest.importorskip("orjson", reason="without it there is one encoder only")


class Text(str):
    pass


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass
class Point:
    x: int = 1


plain = st.none() | st.booleans() | st.integers() | floats() | st.text()
odd = st.binary() | st.uuids() | st.datetimes() | st.dates() | st.sampled_from([Colour.RED, Number.ONE, Point(), {1}])
keys = st.text() | st.text() | st.integers() | st.booleans() | st.none() | floats() | st.tuples(st.integers())
surrogates = st.text(st.characters(categories=("Cs",)))
leaves = plain | plain | odd | surrogates | st.text().map(Text)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.lists(inner).map(tuple), max_leaves=20
)


def said_by(encode: Any, value: Any) -> Any:
    try:
        return "text", json.loads(dump(value, encode))
    except NotJson:
        return "none", None


@given(values)
@example(float("nan"))
@example([float("inf")])
@example({"a": None})
@example(10**400)
@example(2**64)
@example(-(2**63) - 1)
@example({1: "a", "1": "b"})
@example("\ud800")
@example(Text("text"))
@example({Text("key"): 1})
@example(Number.ONE)
@example(Colour.RED)
@example(uuid.UUID(int=1))
@example(datetime.datetime(2020, 1, 1))
@example(Point())
@example(b"bytes")
@example(("a", "tuple"))
@example({"set"})
@example(1 + 2j)
@example(-0.0)
@example(1e16)
def test_both_say_the_same_of_anything(value: Any) -> None:
    assert said_by(encode_fast, value) == said_by(encode_plainly, value)


def test_the_fast_one_is_fast_for_what_the_sdk_sends() -> None:
    assert encode_fast({"name": "é"}) == '{"name":"é"}'.encode()
    assert encode_plainly({"name": "é"}) == b'{"name":"\\u00e9"}'


@pytest.mark.parametrize("encode", [encode_plainly, encode_fast])
def test_what_is_circular_or_nested_too_deeply_is_refused(encode: Any) -> None:
    circle: list[Any] = []
    circle.append(circle)
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for value in (circle, nested):
        with pytest.raises(NotJson, match="circular"):
            dump(value, encode)


MEMORY = """
import resource, sys
from gevent_dispatcher import _json
encode = getattr(_json, sys.argv[1])
def pages():
    return int(open("/proc/self/statm").read().split()[1])
texts = [encode([{"name": "x" * 1_000}])]
before = pages()
texts.extend(encode([{"name": "x" * 1_000}]) for _ in range(20_000))
print((pages() - before) * resource.getpagesize() / sum(map(len, texts)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("encode", ["encode_plainly", "encode_fast"])
def test_a_text_takes_little_more_memory_than_it_is_long(encode: str) -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY, encode], stdout=subprocess.PIPE, timeout=60, check=True)
    assert float(done.stdout) < 1.5


def test_where_python_has_no_encoder_in_c_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"name": "\u00fc", "list": [1, 2.5, None, True]}
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert _reuse_encoder(json.JSONEncoder(separators=(",", ":")))(value) == encode_plainly(value)
