"""Messages of older formats become requests, and what their visitors hold stays as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher import Request
from gevent_dispatcher._body import members, take_apart
from gevent_dispatcher.queues import LegacyFormat
from gevent_dispatcher.queues._legacy import decode
from tests.events import params, visitor
from tests.floats import floats

LEGACY = LegacyFormat("12001", "111001")
CONFIGURED = {
    "account_id": "12001",
    "project_id": "111001",
    "client_name": "python-sdk",
    "client_version": "1.2.0",
    "anonymize_ip": True,
}
EVENT_API = ("POST", ("https", "logx.optimizely.com", 443), "/v1/events")

plain = st.none() | st.booleans() | st.integers() | floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
objects = st.dictionaries(st.text(), values, max_size=4)
pairs = st.tuples(st.lists(objects, max_size=3), objects)
ways = st.builds(
    dict,
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, 2]),
    separators=st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)


def address(request: Request) -> tuple[Any, ...]:
    return request.verb, request.origin, request.target


def payload(request: Request) -> Any:
    return json.loads(request.body or b"")


def as_reference(*visitors: dict[str, Any]) -> str:
    """What the reference dispatcher of 2017 puts into its queue."""
    return json.dumps({each["visitor_id"]: (each["attributes"], each["snapshots"][0]) for each in visitors})


# -- the reference dispatcher's ----------------------------------------------------------------------------------------


def test_a_message_of_the_reference_becomes_the_payload_that_its_consumer_made() -> None:
    made = visitor("alice")
    request = decode(as_reference(made), LEGACY)
    assert address(request) == EVENT_API
    assert dict(request.headers) == {"Content-Type": "application/json"}
    assert payload(request) == {"visitors": [made], **CONFIGURED}
    assert request.events == 1


def test_each_visitor_of_such_a_message_is_kept() -> None:
    made = [visitor("alice"), visitor("bob")]
    request = decode(as_reference(*made), LEGACY)
    assert (payload(request)["visitors"], request.events) == (made, 2)


@given(st.dictionaries(st.text(), pairs, min_size=1, max_size=3), ways)
def test_what_the_reference_wrote_is_cut_out_as_it_stands(written: dict[str, Any], way: dict[str, Any]) -> None:
    text = json.dumps(written, **way)
    request = decode(text, LEGACY)
    expected = [
        {"visitor_id": name, "attributes": pair[0], "snapshots": [pair[1]]} for name, pair in json.loads(text).items()
    ]
    assert payload(request) == {"visitors": expected, **CONFIGURED}
    for member in members(text):
        for piece in (member.name_text, *member.elements()):
            assert piece.encode() in (request.body or b"")


@pytest.mark.parametrize("name", ["params", "visitors", "url", "visitor_id", "account_id", "", '"\\'])
def test_a_visitor_may_have_any_name(name: str) -> None:
    made = visitor(name)
    assert payload(decode(as_reference(made), LEGACY))["visitors"] == [made]


def test_what_is_configured_is_what_a_request_says() -> None:
    legacy = LegacyFormat("1", "2", False, "shop", "9", "https://eu.logx.optimizely.com/v1/events")
    request = decode(as_reference(visitor("alice")), legacy)
    around = {"account_id": "1", "project_id": "2", "client_name": "shop", "client_version": "9", "anonymize_ip": False}
    assert request.origin.host == "eu.logx.optimizely.com"
    assert {name: value for name, value in payload(request).items() if name != "visitors"} == around


# -- params ------------------------------------------------------------------------------------------------------------


def test_params_that_name_their_account_pass_byte_for_byte() -> None:
    text = " " + json.dumps(params(visitor("alice"), visitor("zo\u00eb")), ensure_ascii=False, indent=1) + "\n"
    request = decode(text, LEGACY)
    assert (address(request), request.body, request.events) == (EVENT_API, text.encode(), 2)


@given(st.lists(objects, min_size=1, max_size=4), st.sampled_from([(), ("project_id",), ("anonymize_ip", "x")]), ways)
def test_params_without_account_get_what_they_lack_and_nothing_else(
    made: list[Any], others: tuple[str, ...], way: dict[str, Any]
) -> None:
    given = {"visitors": made, **{name: {"}": "}"} for name in others}}
    text = json.dumps(given, **way)
    request = decode(text, LEGACY)
    assert payload(request) == {**CONFIGURED, **json.loads(text)}
    before, after = take_apart(text.encode()), take_apart(request.body or b"")
    assert before is not None
    assert after is not None
    assert (after.prefix, after.visitors) == (before.prefix, before.visitors)
    assert request.events == len(made)


def test_a_visitor_alone_gets_an_envelope() -> None:
    made = visitor("alice")
    assert payload(decode(json.dumps(made), LEGACY)) == {"visitors": [made], **CONFIGURED}


# -- the SDK's events --------------------------------------------------------------------------------------------------


def test_an_event_of_the_sdk_goes_where_it_says_with_its_params_as_they_stand() -> None:
    inner = json.dumps(params(visitor("zo\u00eb")), ensure_ascii=False, separators=(" , ", ": "))
    headers = '{"Content-Type": "application/json", "X-Optimizely-Strict": "true"}'
    text = f'{{"url": "https://eu.logx.optimizely.com/v1/events", "params": {inner}, "headers": {headers}}}'
    for legacy in (None, LEGACY):
        request = decode(text, legacy)
        assert request.origin.host == "eu.logx.optimizely.com"
        assert request.body == inner.encode()
        assert dict(request.headers) == json.loads(headers)


def test_an_event_without_url_and_account_gets_them() -> None:
    made = visitor("alice")
    request = decode(json.dumps({"params": {"visitors": [made]}, "http_verb": "POST"}), LEGACY)
    assert (address(request), payload(request)) == (EVENT_API, {"visitors": [made], **CONFIGURED})


def test_a_get_event_carries_its_params_in_the_query() -> None:
    event = {"url": "https://1.log.optimizely.com/event", "params": {"a": "1 2", "n": "x"}, "http_verb": "GET"}
    request = decode(json.dumps(event))
    assert (request.verb, request.target, request.body) == ("GET", "/event?a=1+2&n=x", None)


def test_params_of_another_shape_pass_with_a_url_of_their_own() -> None:
    event = {"url": "https://logx.optimizely.com/log/event", "params": {"accountId": "1", "layerStates": []}}
    request = decode(json.dumps(event))
    assert (request.target, payload(request), request.events) == ("/log/event", event["params"], 1)


# -- what cannot be sent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        as_reference(visitor("secret-visitor")),
        json.dumps(params(visitor("secret-visitor"))),
        json.dumps(visitor("secret-visitor")),
        json.dumps({"params": params(visitor("secret-visitor"))}),
        json.dumps({"url": "https://a.example/v1/events", "params": {"visitors": [visitor("secret-visitor")]}}),
    ],
)
def test_what_lacks_something_says_what_to_configure(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it is in an older format: configure account_id and project_id$"):
        decode(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *(
            (text, "it is neither a message of gevent_dispatcher's nor a JSON object")
            for text in (
                *("", " ", "secret", "null", "[]", '"secret"', "7", "{", "{}x", '{"secret"}', '{"secret":}'),
                *('{"secret":1,}', '{,"secret":1}', '{1:"secret"}', '{"secret":NaN}', '{"secret":1 "b":2}'),
                *('{"secret":Infinity}', "\ufeff{}", '{"secret":' + "[" * 100_000, "{" * 100_000, '{"a":1}{"b":2}'),
            )
        ),
        *((text, "no format that is known") for text in ("{}", '{"secret":1}', '{"secret":[[]]}')),
        ('{"secret":[{},{}]}', "no format that is known"),
        ('{"accountId":"secret","visitorId":"secret"}', "no format that is known"),
        ('{"visitors":[]}', "visitors are not a list of objects"),
        ('{"visitors":{}}', "visitors are not a list of objects"),
        ('{"visitors":["secret"]}', "visitors are not a list of objects"),
        ('{"visitors":[{}],"visitors":[{}]}', "a member twice"),
        ('{"params":{"visitors":[{}],"account_id":"1","account_id":"2"},"url":"https://a.example/"}', "a member twice"),
        ('{"params":{},"url":"ftp://secret/"}', "scheme is not http or https"),
        ('{"params":{},"url":null}', "the url is NoneType"),
        ('{"params":{},"url":"https://a.example/","http_verb":"DELETE"}', "neither POST nor GET"),
        ('{"params":{},"url":"https://a.example/","headers":{"X":"secret\\r\\nY: z"}}', "control character"),
        ('{"params":{},"url":"https://a.example/","headers":["secret"]}', "not a mapping"),
        ('{"visitors":[{"visitor_id":"secret\ud800"}],"account_id":"1"}', "lone surrogate"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_reason_that_shows_nothing(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        decode(text, LEGACY)
    assert "secret" not in str(caught.value)


@given(st.text() | values.map(json.dumps))
def test_any_text_is_a_request_or_a_value_error(text: str) -> None:
    try:
        request = decode(text, LEGACY)
    except ValueError:
        return
    assert request.body is None or json.loads(request.body) is not None


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"account_id": "xxxxxxxx"}, "account_id='xxxxxxxx': must be a string of 1 to 32 digits"),
        ({"account_id": 12001}, "account_id=12001: must be a string"),
        ({"project_id": ""}, "project_id='': must be a string"),
        ({"project_id": "1\n"}, r"project_id='1\\n': must be a string"),
        ({"anonymize_ip": "yes"}, "anonymize_ip='yes': must be True or False"),
        ({"client_name": ""}, "client_name='': must be a text of 1 to 128 characters"),
        ({"client_version": 3}, "client_version=3: must be a text"),
        ({"url": "logx.optimizely.com"}, "url: the url's scheme is not http or https; give the Event API's"),
    ],
)
def test_a_wrong_setting_is_said_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LegacyFormat(**{"account_id": "1", "project_id": "2", **settings})
