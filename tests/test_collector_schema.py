"""What the Event API documents of a payload: all that the real SDK makes is so, and each single damage is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gevent_dispatcher.collector._reading import read_body, read_query
from gevent_dispatcher.collector._schema import EVENT_API_BYTES, MOST, problems
from gevent_dispatcher.sdk import create_client
from tests.floats import floats

DATAFILE = Path(__file__).resolve().parent.parent / "examples" / "datafile.json"


class Recorder:
    """A dispatcher that keeps what it is called with."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []

    def dispatch_event(self, event: Any) -> None:
        self.payloads.append(event.params)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def client(recorder: Recorder) -> Any:
    return create_client(DATAFILE.read_text(encoding="utf-8"), event_dispatcher=recorder)


NUMBERS = st.integers(-(2**53), 2**53) | floats(-1e15, 1e15)
SCALARS = st.text(max_size=20) | st.booleans() | NUMBERS
JSON_VALUES = st.recursive(
    st.none() | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["plan", "country", "unknown"]), SCALARS | st.none())
TAGS = st.dictionaries(st.text() | st.sampled_from(["revenue", "value"]), SCALARS)


class TestOfTheSdk:
    @settings(deadline=None)
    @given(visitor=st.text(), attributes=ATTRIBUTES, tags=TAGS, key=st.sampled_from(["purchase", "page_view"]))
    def test_every_event_is_valid(
        self, client: Any, recorder: Recorder, visitor: str, attributes: dict[str, Any], tags: dict[str, Any], key: str
    ) -> None:
        recorder.payloads.clear()
        user = client.create_user_context(visitor, attributes)
        for flag in ("checkout_flow", "gift_wrap"):
            user.decide(flag)
        user.track_event(key, tags)
        user.track_event(key)
        assert len(recorder.payloads) == 4
        for payload in recorder.payloads:
            assert read_body(json.dumps(payload).encode()) == (payload, [])


def payload() -> dict[str, Any]:
    """One that has all that is documented: two of each thing in each thing."""
    amounts = {"revenue": 4200, "value": 1.5, "quantity": 2, "tags": {"sku": "a"}, "properties": {"color": "red"}}
    event = {"uuid": "5b1c5bd6", "timestamp": 1_700_000_000_000, "entity_id": "1", "key": "buy", "type": "x", **amounts}
    decision = {"campaign_id": "1", "experiment_id": "2", "variation_id": "3", "is_campaign_holdback": False}
    snapshot = {"decisions": [decision, decision], "events": [event, event]}
    attributes = [{"type": "custom", "entity_id": "1", "key": "plan", "value": "pro"}, {"type": "location", "value": 1}]
    visitor = {"visitor_id": "a", "session_id": "", "attributes": attributes, "snapshots": [snapshot, snapshot]}
    around = {"account_id": "1", "project_id": "2", "client_name": "x", "client_version": "1", "anonymize_ip": True}
    whole: dict[str, Any] = json.loads(json.dumps({**around, "enrich_decisions": True, "visitors": [visitor, visitor]}))
    return whole


VALUES: dict[str, Any] = {"null": None, "boolean": True, "number": 1, "fraction": 1.5, "string": "x", "array": []}
VALUES["object"] = {}
SHOWN = {"null": "null", "boolean": "a boolean", "number": "a number", "fraction": "a number", "string": "a string"}
SHOWN.update(array="an array", object="an object")

# Where each thing is, by its name in the payload; what it has, which of it must be there, and what each must be.
PLACES = {
    "": ("account_id! project_id client_name client_version", "anonymize_ip enrich_decisions"),
    "visitors[1]": ("visitor_id! session_id", ""),
    "visitors[1].attributes[1]": ("type!", ""),
    "visitors[0].snapshots[1].decisions[1]": ("", "is_campaign_holdback"),
    "visitors[1].snapshots[0].events[1]": ("uuid! key type", ""),
    "visitors[0].snapshots[0].events[0].properties": ("color", ""),
}
OTHERS = [
    *[(f"visitors[0].snapshots[0].events[1].{name}", "a whole number", "number") for name in ("revenue", "quantity")],
    ("visitors[1].snapshots[1].events[0].timestamp!", "a whole number", "number"),
    ("visitors[1].snapshots[1].events[0].value", "a number", "number fraction"),
    ("visitors[1].snapshots[1].events[0].entity_id", "a string or null", "string null"),
    *[
        (f"visitors[0].snapshots[1].decisions[0].{name}!", "a string or null", "string null")
        for name in ("campaign_id", "experiment_id", "variation_id")
    ],
    *[
        (name, "a string, a number or a boolean", "string number fraction boolean")
        for name in ("visitors[1].attributes[1].value!", "visitors[1].snapshots[0].events[0].tags.sku")
    ],
    *[
        (name, "an array", "array")
        for name in (
            "visitors!",
            "visitors[1].snapshots!",
            "visitors[0].attributes",
            "visitors[0].snapshots[1].decisions",
        )
    ],
    ("visitors[1].snapshots[0].events!", "an array", "array"),
    *[
        (name, "an object", "object")
        for name in ("visitors[1].snapshots[0].events[0].tags", "visitors[0].snapshots[0].events[0].properties")
    ],
]


def fields() -> list[tuple[str, str, str]]:
    """Each field's path (with ! when it must be there), what it must be, and the values that are."""
    found = list(OTHERS)
    for place, (strings, booleans) in PLACES.items():
        prefix = place + "." if place else ""
        found += [(prefix + name, "a string", "string") for name in strings.split()]
        found += [(prefix + name, "a boolean", "boolean") for name in booleans.split()]
    return found


def reach(whole: Any, path: str) -> tuple[Any, Any]:
    """What a thing is in, and its name or index there."""
    names: list[Any] = [
        int(each) if each.isdecimal() else each for each in path.replace("]", "").replace("[", ".").split(".")
    ]
    for name in names[:-1]:
        whole = whole[name]
    return whole, names[-1]


def damaged(path: str, *value: Any) -> dict[str, Any]:
    """The payload with another value at a path, or with none."""
    whole = payload()
    inside, name = reach(whole, path)
    if value:
        inside[name] = value[0]
    else:
        del inside[name]
    return whole


class TestDamages:
    def test_the_whole_is_valid(self) -> None:
        assert problems(payload()) == []

    @pytest.mark.parametrize(("path", "noun", "fits"), fields())
    def test_a_value_of_another_type(self, path: str, noun: str, fits: str) -> None:
        path = path.rstrip("!")
        for kind in VALUES.keys() - fits.split():
            if (noun, kind) == ("a whole number", "fraction"):
                expected = f"{path}: must be a whole number, has a fraction"
            else:
                expected = f"{path}: must be {noun}, is {SHOWN[kind]}"
            assert problems(damaged(path, VALUES[kind])) == [expected]

    @pytest.mark.parametrize(("path", "noun", "fits"), fields())
    def test_a_field_that_is_not_there(self, path: str, noun: str, fits: str) -> None:
        name = path.rstrip("!")
        assert problems(damaged(name)) == ([f"{name}: is missing"] if path.endswith("!") else [])

    @pytest.mark.parametrize(("path", "noun", "fits"), fields())
    def test_a_value_of_the_right_type(self, path: str, noun: str, fits: str) -> None:
        for kind in fits.split():
            assert problems(damaged(path.rstrip("!"), VALUES[kind])) == []

    @pytest.mark.parametrize(
        "path",
        ["visitors[1]", "visitors[0].snapshots[1]", "visitors[0].attributes[1]"]
        + [f"visitors[1].snapshots[0].{name}[1]" for name in ("events", "decisions")],
    )
    def test_a_thing_that_is_no_object(self, path: str) -> None:
        for kind in VALUES.keys() - {"object"}:
            assert problems(damaged(path, VALUES[kind])) == [f"{path}: must be an object, is {SHOWN[kind]}"]

    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            ("uuid", "", "is empty: without it a repeated event cannot be told from a new one"),
            ("timestamp", -1, "must be the milliseconds since 1970, is negative"),
            ("timestamp", 1.5, "must be a whole number, has a fraction"),
        ],
    )
    def test_a_value_that_cannot_be(self, path: str, value: Any, reason: str) -> None:
        path = f"visitors[0].snapshots[0].events[1].{path}"
        assert problems(damaged(path, value)) == [f"{path}: {reason}"]

    def test_an_attribute_that_is_not_what_its_type_says(self) -> None:
        for name in ("entity_id", "key"):
            path = f"visitors[0].attributes[0].{name}"
            assert problems(damaged(path)) == [f"{path}: is missing, and a custom attribute needs it"]
        path = "visitors[0].attributes[1].entity_id"
        assert problems(damaged(path, "1")) == [f"{path}: belongs to custom attributes only"]

    @settings(deadline=None)
    @given(JSON_VALUES)
    def test_whatever_it_is(self, value: Any) -> None:
        found = problems(value)
        if isinstance(value, dict):
            assert found[0] == "account_id: is missing"
        else:
            assert found[0].startswith("payload: must be an object, is ")


class TestWhatIsLetPass:
    def test_fields_that_no_document_names(self) -> None:
        for path in ("revision", "visitors[0].x", "visitors[0].snapshots[0].x", "visitors[0].attributes[0].x"):
            assert problems(damaged(path, [{}])) == []

    def test_a_whole_number_that_is_written_with_a_point(self) -> None:
        assert problems(damaged("visitors[0].snapshots[0].events[0].timestamp", 1.7e12)) == []

    def test_event_properties(self) -> None:
        tags = {"$opt_event_properties": {"color": "red"}}
        assert problems(damaged("visitors[0].snapshots[0].events[0].tags", tags)) == []
        assert problems(damaged("visitors[0].snapshots[0].events[0].tags", {"other": {}})) != []


class TestTexts:
    def test_a_payload_of_which_much_is_wrong(self) -> None:
        found = problems({"account_id": 1, "visitors": [{}] * 100_000})
        assert found[:2] == ["account_id: must be a string, is a number", "visitors[0].visitor_id: is missing"]
        assert (len(found), found[-1]) == (MOST + 1, "and more")

    def test_a_name_that_is_long(self) -> None:
        [problem] = problems(damaged("visitors[0].snapshots[0].events[0].tags", {"x" * 100_000: None}))
        assert len(problem) < 200

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"", "body: is not JSON: Expecting value, line 1 column 1"),
            (b'{"a":\n 1', "body: is not JSON: Expecting ',' delimiter, line 2 column 3"),
            (b'{"a": "\xff"}', "body: is not UTF-8, at byte 7"),
            (b"\xef\xbb\xbf{}", "body: is not JSON: "),
            (b'{"a": -Infinity}', "body: is not JSON: it has no -Infinity"),
            (b'{"a": NaN}', "body: is not JSON: it has no NaN"),
            (b'{"a": 1e999}', "body: is not JSON: a number is too large"),
            (b"[" * 200_000, "body: is nested too deeply"),
        ],
    )
    def test_a_body_that_is_no_json(self, body: bytes, problem: str) -> None:
        [found] = read_body(body).problems
        assert found.startswith(problem)

    def test_a_body_that_is_too_large(self) -> None:
        text = json.dumps(payload()).encode()
        assert read_body(text.ljust(EVENT_API_BYTES)).problems == []
        [found] = read_body(text.ljust(EVENT_API_BYTES + 1)).problems
        assert found == "body: has 3500001 bytes, and may have 3500000"

    def test_a_query_whose_visitors_are_no_json(self) -> None:
        assert read_query("account_id=1&visitors=[").problems == [
            "visitors: is not JSON: Expecting value, line 1 column 2"
        ]
        assert read_query("account_id=1&visitors=null").problems == ["visitors: must be an array, is null"]
        assert read_query("account_id=1&visitor_id=a&uuid=1&timestamp=yesterday").problems == [
            "visitors[0].snapshots[0].events[0].timestamp: must be a whole number, is a string"
        ]
