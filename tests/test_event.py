"""Encoding at the door, and merging: nothing is altered, lost or mixed up."""

from __future__ import annotations

import json
from collections import Counter
from types import MappingProxyType, SimpleNamespace
from typing import Any, Callable, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gevent_dispatcher._event import EVENT_API_BYTES, Encoder, Envelope, Invalid, Request, TooLarge, merge
from tests.floats import floats

URL = "https://logx.optimizely.com/v1/events"
HEADERS = {"Content-Type": "application/json"}


class Event(NamedTuple):
    url: Any = URL
    params: Any = None
    http_verb: Any = "POST"
    headers: Any = HEADERS


def visitor(name: str = "v") -> dict[str, Any]:
    return {"visitor_id": name, "attributes": [], "snapshots": [{"events": [{"uuid": name, "key": "k"}]}]}


def params(*names: str, **envelope: Any) -> dict[str, Any]:
    return {"account_id": "1", "visitors": [visitor(name) for name in names], "anonymize_ip": True, **envelope}


def sent(*events: Event) -> list[Request]:
    """What would be sent for these events if everything that may be merged were merged."""
    encoder = Encoder()
    together: dict[Envelope, list[bytes]] = {}
    alone: list[Request] = []
    for event in events:
        envelope, data, visitors, _ = encoder.encode(event)
        if visitors:
            together.setdefault(envelope, []).append(data)
        else:
            alone.append(merge(envelope, [data]))
    return [merge(envelope, parts) for envelope, parts in together.items()] + alone


def body(request: Request) -> Any:
    assert request.body is not None
    return json.loads(request.body)


# -- the property ------------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
visitors = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), min_size=1, max_size=3)
# Few names and values, so that equal envelopes, and nearly equal ones, do come up.
near = st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False, None, "1", "", [1], [True], {"a": 1}, {"a": 1.0}])
names = st.sampled_from(["account_id", "revision", "anonymize_ip", "region"])


@st.composite
def events(draw: st.DrawFn) -> Event:
    envelope = list(draw(st.dictionaries(names, near, max_size=4)).items())
    at = draw(st.integers(0, len(envelope)))
    fields = [*envelope[:at], ("visitors", draw(visitors)), *envelope[at:]]
    url = draw(st.sampled_from([URL, "http://localhost:1/x"]))
    headers = draw(st.sampled_from([None, {}, HEADERS, {"X-A": "b"}]))
    return Event(url, dict(fields), "POST", headers)


def exact(value: Any) -> str:
    """A text that differs where JSON differs: types, signs of zero and the order of keys included."""
    return json.dumps(value)


def dispatched(event: Event) -> list[tuple[Any, ...]]:
    headers = {"Content-Type": "application/json", **(event.headers or {})}
    return facts(event.http_verb, event.url, headers, event.params)


def received(request: Request) -> list[tuple[Any, ...]]:
    host = request.origin.host if request.origin.port in (80, 443) else f"{request.origin.host}:{request.origin.port}"
    url = f"{request.origin.scheme}://{host}{request.target}"
    return facts(request.verb, url, dict(request.headers), body(request))


def facts(verb: str, url: str, headers: dict[str, str], payload: dict[str, Any]) -> list[tuple[Any, ...]]:
    around = exact({name: value if name != "visitors" else "here" for name, value in payload.items()})
    return [(verb, url, tuple(sorted(headers.items())), around, exact(each)) for each in payload["visitors"]]


@given(st.lists(events(), max_size=12))
def test_what_is_sent_is_what_was_dispatched(given_events: list[Event]) -> None:
    requests = sent(*given_events)
    assert Counter(fact for each in requests for fact in received(each)) == Counter(
        fact for each in given_events for fact in dispatched(each)
    )
    assert sum(request.events for request in requests) == len(given_events)


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=3), min_size=1, max_size=8))
def test_merged_visitors_keep_their_order(groups: list[list[int]]) -> None:
    merged = [{"n": number} for group in groups for number in group]
    (request,) = sent(*(Event(params={"visitors": [{"n": number} for number in group]}) for group in groups))
    assert body(request) == {"visitors": merged}


@given(values)
def test_an_event_that_cannot_be_merged_goes_out_as_json_dumps_would_put_it(payload: Any) -> None:
    (request,) = sent(Event(params=payload))
    assert exact(body(request)) == exact(json.loads(json.dumps(payload)))


# -- envelopes ---------------------------------------------------------------------------------------------------------


def test_events_of_one_envelope_share_a_request() -> None:
    (request,) = sent(Event(params=params("a")), Event(params=params("b", "c")), Event(params=params("d")))
    assert body(request) == params("a", "b", "c", "d")
    assert request.events == 3


@pytest.mark.parametrize(
    "other",
    [
        Event(params=params("b", anonymize_ip=1)),
        Event(params=params("b", anonymize_ip=1.0)),
        Event(params=params("b", anonymize_ip="True")),
        Event(params=params("b", extra=None)),
        Event(params=params("b"), url="https://eu.logx.optimizely.com/v1/events"),
        Event(params=params("b"), headers={"Content-Type": "application/json", "X-A": "b"}),
        Event(params=dict(reversed(list(params("b").items())))),
    ],
)
def test_events_of_another_envelope_do_not(other: Event) -> None:
    assert len(sent(Event(params=params("a")), other)) == 2


@pytest.mark.parametrize(("one", "two"), [(0.0, -0.0), ([True], [1]), ({"a": 1}, {"a": 1.0}), ((1,), (True,))])
def test_envelopes_that_python_calls_equal_but_json_does_not_are_kept_apart(one: Any, two: Any) -> None:
    requests = sent(*(Event(params=params(name, x=value)) for name, value in (("a", one), ("b", two), ("c", one))))
    assert [exact(body(request)["x"]) for request in requests] == [exact(one), exact(two)]


def test_names_that_python_calls_equal_but_json_does_not_are_kept_apart() -> None:
    bodies = [body(each) for each in sent(*(Event(params={name: "x", "visitors": [{}]}) for name in (1, True, 1.0)))]
    assert [next(iter(each)) for each in bodies] == ["1", "true", "1.0"]


def test_a_payload_that_changes_after_dispatch_is_sent_as_it_was() -> None:
    encoder, payload = Encoder(), params("a")
    envelope, data, _, _ = encoder.encode(Event(params=payload))
    payload["visitors"][0]["visitor_id"] = "changed"
    payload["account_id"] = "changed"
    assert body(merge(envelope, [data])) == params("a")


def test_very_many_envelopes_are_told_apart() -> None:
    encoder = Encoder()
    for number in range(3_000):
        envelope, data, _, _ = encoder.encode(Event(params=params("a", revision=str(number))))
        assert body(merge(envelope, [data]))["revision"] == str(number)


@pytest.mark.parametrize("visitors", [[], {}, None, "v", [visitor(), "v"], [visitor(), None], (visitor(),)])
def test_visitors_of_another_shape_go_alone_and_unaltered(visitors: Any) -> None:
    payload = {"visitors": visitors, "a": 1}
    first, second = sent(Event(params=payload), Event(params=payload))
    assert body(first) == body(second) == json.loads(json.dumps(payload))


# -- headers and verbs -------------------------------------------------------------------------------------------------


def test_an_event_without_content_type_gets_one_and_keeps_its_own_otherwise() -> None:
    (bare,) = sent(Event(params=params("a"), headers=None))
    assert bare.headers == {"Content-Type": "application/json"}
    (own,) = sent(Event(params=params("a"), headers={"content-type": "text/plain"}))
    assert own.headers == {"content-type": "text/plain"}


def test_framing_headers_of_an_event_are_left_to_the_transport() -> None:
    (request,) = sent(Event(params=params("a"), headers={"Content-Length": "3", "X-A": "b"}))
    assert request.headers == {"X-A": "b", "Content-Type": "application/json"}


def test_credentials_of_a_url_are_sent_as_requests_sends_them() -> None:
    (request,) = sent(Event(params=params("a"), url="https://u:p@h/x"))
    assert request.headers["Authorization"] == "Basic dTpw"
    assert "u:p" not in repr(request)


def test_a_get_event_carries_its_params_in_the_query_as_requests_puts_them() -> None:
    import requests

    payload = {"a": "x y", "b": [1, 2], "c": None, "d": "\u00fc&", "e": True}
    (request,) = sent(Event(url="http://h/x?z=1", params=payload, http_verb="GET", headers={"X-A": "b"}))
    assert request.target == requests.Request("GET", "http://h/x?z=1", params=payload).prepare().path_url
    assert (request.verb, request.body, request.events, request.headers) == ("GET", None, 1, {"X-A": "b"})


def test_get_events_are_never_merged() -> None:
    assert len(sent(*(Event(params={"a": "1"}, http_verb="GET") for _ in range(2)))) == 2


# -- what is refused ---------------------------------------------------------------------------------------------------


def circular() -> dict[str, Any]:
    one: dict[str, Any] = params("a")
    one["visitors"][0]["self"] = one
    return one


class Hostile:
    http_verb, url = "POST", URL

    @property
    def params(self) -> Any:
        raise RuntimeError("payload-secret")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "no http_verb and no url and no params"),
        (object(), "no http_verb"),
        (Hostile(), "RuntimeError"),
        (Event(url=None, params=params("a")), "url is NoneType"),
        (Event(url="ftp://h/", params=params("a")), "scheme"),
        (Event(url=["x"], params=params("a")), "TypeError"),
        (Event(params=params("a"), http_verb="PUT"), "http_verb"),
        (Event(params=params("a"), http_verb=None), "http_verb"),
        (Event(params=params("a", value=float("nan"))), "NaN"),
        (Event(params={"visitors": [{"v": float("inf")}]}), "infinity"),
        (Event(params=[float("-inf")]), "infinity"),
        (Event(params={"v": float("nan")}, http_verb="GET"), "NaN"),
        (Event(params="a=b", http_verb="GET"), "GET event"),
        (Event(params={"visitors": [{"v": b"payload-secret"}]}), "type that JSON does not have"),
        (Event(params={"visitors": [{(1, 2): 3}]}), "type that JSON does not have"),
        (Event(params={"v": {1, 2}}), "type that JSON does not have"),
        (Event(params=circular()), "circular"),
        (Event(params=params("a"), headers=["x"]), "headers"),
        (Event(params=params("a"), headers={"X-A": 3}), "X-A"),
        (Event(params=params("a"), headers={"X-A": "payload-secret\r\n"}), "X-A"),
        (Event(params=params("a"), headers={"X A": "b"}), "token"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason_and_without_the_payload(event: Any, reason: str) -> None:
    with pytest.raises(Invalid, match=f"^[a-z].*{reason}") as caught:
        Encoder().encode(event)
    assert "payload-secret" not in str(caught.value)


@pytest.mark.parametrize("payload", [{"v": 10**400}, {"v": "\ud800"}, {1: 2, None: 3, False: 4, 1.5: 6}, None, "x", 3])
def test_what_json_can_carry_is_sent_as_json_puts_it(payload: Any) -> None:
    (request,) = sent(Event(params=payload))
    assert body(request) == json.loads(json.dumps(payload))


def test_an_event_larger_than_the_api_takes_is_refused() -> None:
    with pytest.raises(TooLarge, match=r"^it is larger than the 3500000 bytes"):
        Encoder().encode(Event(params={"visitors": [{"v": "x" * EVENT_API_BYTES}]}))


def test_an_object_without_headers_is_an_event() -> None:
    class Bare:
        url, http_verb, params = URL, "POST", {"visitors": [{}]}

    envelope, _, visitors, _ = Encoder().encode(Bare())
    assert visitors == 1
    assert dict(envelope.headers) == HEADERS


# -- the short way -----------------------------------------------------------------------------------------------------


def seen(event: Event) -> Encoder:
    """An encoder that has seen one event."""
    encoder = Encoder()
    encoder.encode(event)
    return encoder


def test_an_event_like_the_last_takes_the_short_way_and_is_encoded_as_by_the_other() -> None:
    encoder, known = Encoder(), params("a")
    event = Event(params=known)
    assert encoder.encode_known(event) is None
    envelope, data, visitors, size = encoder.encode(event)
    assert (visitors, size) == (1, len(data) + 1)
    short = encoder.encode_known(Event(params={**known, "visitors": [visitor("b")]}))
    assert short == encoder.encode(Event(params={**known, "visitors": [visitor("b")]}))
    assert short is not None
    assert short[0] is envelope
    assert (json.loads(short[1]), short[2], short[3]) == (visitor("b"), 1, len(short[1]) + 1)


@pytest.mark.parametrize(
    "other",
    [
        Event(params=params("a"), url=URL + "?x"),
        Event(params=params("a"), headers={**HEADERS, "X-A": "b"}),
        Event(params=params("a"), headers=None),
        Event(params=params("a"), http_verb="GET"),
        Event(params=params("a", anonymize_ip=1)),
        Event(params=params("a", anonymize_ip=1.0)),
        Event(params=params("a", account_id="2")),
        Event(params=params("a", more=1)),
        Event(params=dict(reversed(list(params("a").items())))),
        Event(params=[1]),
        Event(params=None),
        Event(params={**params("a"), "visitors": []}),
        Event(params={**params("a"), "visitors": [visitor(), visitor()]}),
        Event(params={**params("a"), "visitors": ["v"]}),
        Event(params={**params("a"), "visitors": (visitor(),)}),
        Event(params={**params("a"), "visitors": {"v": 1}}),
        Event(params={**params("a"), "visitors": [{"v": "x" * 1_000_000}]}),
    ],
)
def test_any_other_event_takes_the_long_way(other: Event) -> None:
    encoder = seen(Event(params=params("a")))
    assert encoder.encode_known(Event(params=params("b"))) is not None
    assert encoder.encode_known(other) is None


def test_the_short_way_is_for_events_of_up_to_a_million_bytes() -> None:
    encoder = seen(Event(params=params("a")))
    for more, is_short in ((0, True), (1, False)):
        long = [{"v": "x" * (1_000_000 - len('{"v":""},') + more)}]
        assert (encoder.encode_known(Event(params={**params("a"), "visitors": long})) is not None) is is_short


def test_headers_that_change_after_dispatch_are_other_headers() -> None:
    headers = {"X-A": "b"}
    encoder = seen(Event(params=params("a"), headers=headers))
    assert encoder.encode_known(Event(params=params("a"), headers=headers)) is not None
    headers["X-A"] = "c"
    assert encoder.encode_known(Event(params=params("a"), headers=headers)) is None


@pytest.mark.parametrize(
    "around", [{"a": [1], "b": 2}, {"a": {"b": 1}, "b": 2}, {1: "x", "b": 2}, {"a": 1}, {}, {"a": (1,), "b": 2}]
)
def test_what_may_change_or_is_too_little_is_not_recognised(around: dict[Any, Any]) -> None:
    event = Event(params={"visitors": [visitor()], **around})
    assert seen(event).encode_known(event) is None


@pytest.mark.parametrize("around", [{"a": 1, "b": None}, {"a": 1.5, "b": True}, {"a": "1", "b": ""}])
def test_what_cannot_change_is_recognised(around: dict[Any, Any]) -> None:
    event = Event(params={**around, "visitors": [visitor()]})
    assert seen(event).encode_known(event) is not None


def test_an_event_that_the_short_way_cannot_encode_raises_there() -> None:
    encoder = seen(Event(params=params("a")))
    with pytest.raises(TypeError):
        encoder.encode_known(Event(params={**params("a"), "visitors": [{"v": b"x"}]}))
    with pytest.raises(AttributeError):
        encoder.encode_known(None)


def test_events_with_other_members_in_between_take_the_short_way_too() -> None:
    encoder, few, many = Encoder(), Event(params=params("a")), Event(params=params("a", more=1))
    envelopes = [encoder.encode(event)[0] for event in (few, many)]
    for _ in range(2):
        for event, envelope in zip((few, many), envelopes):
            short = encoder.encode_known(event)
            assert short is not None
            assert short[0] is envelope
            assert encoder.encode_known(Event(params={"visitors": []})) is None


def test_the_short_way_knows_no_envelope_that_was_forgotten() -> None:
    event = Event(params=params("a"))
    encoder = seen(event)
    for number in range(1_000):
        assert encoder.encode_known(event) is not None
        encoder.encode(Event(url=f"{URL}/{number}", params={}))
    assert encoder.encode_known(event) is None


def test_a_thousand_envelopes_are_remembered_and_no_more() -> None:
    encoder = Encoder()
    first = Event(params=params("a", revision="0"))
    envelopes = [encoder.encode(Event(params=params("a", revision=str(number))))[0] for number in range(1_000)]
    assert encoder.encode(first)[0] is envelopes[0]
    encoder.encode(Event(params=params("a", revision="1000")))
    assert encoder.encode(first)[0] is not envelopes[0]


def test_a_thousand_envelopes_without_visitors_are_remembered_and_no_more() -> None:
    encoder = Encoder()
    envelopes = [encoder.encode(Event(url=f"{URL}/{number}", params={}))[0] for number in range(1_000)]
    assert encoder.encode(Event(url=f"{URL}/0", params={}))[0] is envelopes[0]
    encoder.encode(Event(url=f"{URL}/1000", params={}))
    assert encoder.encode(Event(url=f"{URL}/0", params={}))[0] is not envelopes[0]


# -- how it reads, and what it weighs ----------------------------------------------------------------------------------


def test_envelopes_and_requests_read_without_what_they_carry() -> None:
    encoder = Encoder()
    envelope, data, _, _ = encoder.encode(Event(url="https://u:p@h/path?q", params=params("secret")))
    request = merge(envelope, [data, data])
    assert repr(envelope) == "<Envelope POST https://h>"
    assert repr(request) == f"<Request POST https://h, 2 events, {len(request.body or b'')} bytes>"
    (get,) = sent(Event(url="http://h/?secret", params={}, http_verb="GET"))
    assert repr(get) == "<Request GET http://h, 1 events, 0 bytes>"


def test_an_envelope_knows_what_a_request_has_beside_its_events() -> None:
    envelope, data, visitors, size = Encoder().encode(Event(params=params("a", "b")))
    assert (envelope.prefix, envelope.suffix) == (b'{"account_id":"1","visitors":[', b'],"anonymize_ip":true}')
    assert (envelope.overhead, visitors, size) == (len(envelope.prefix + envelope.suffix), 2, len(data) + 1)
    around = envelope.around(b"<", b">>")
    assert (around.verb, around.origin, around.target) == ("POST", envelope.origin, envelope.target)
    assert (around.headers, around.overhead) == (envelope.headers, 3)
    assert around.identity != envelope.identity == envelope.around(envelope.prefix, envelope.suffix).identity


def test_an_envelope_is_written_the_same_by_whichever_encoder_is_at_hand() -> None:
    envelope = encoded(params={"a": "\u00fc", "visitors": [{}], "b": "\u00fc"})
    assert (envelope.prefix, envelope.suffix) == (b'{"a":"\\u00fc","visitors":[', b'],"b":"\\u00fc"}')


@pytest.mark.parametrize(("payload", "size"), [({"a": 1}, 7), ({"visitors": []}, 15), (None, 4)])
def test_an_event_that_goes_alone_weighs_what_is_sent(payload: Any, size: int) -> None:
    envelope, data, visitors, weight = Encoder().encode(Event(params=payload))
    assert (envelope.overhead, len(data), visitors, weight) == (0, size, 0, size)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: {"visitors": [{"v": text}]},
        lambda text: {"a": 1, "visitors": [{"v": text}], "b": 2},
        lambda text: {"v": text},
    ],
)
def test_an_event_may_be_as_large_as_the_api_takes(make: Callable[[str], dict[str, Any]]) -> None:
    room = EVENT_API_BYTES - len(json.dumps(make(""), separators=(",", ":")))
    (request,) = sent(Event(params=make("x" * room)))
    assert len(request.body or b"") == EVENT_API_BYTES
    with pytest.raises(TooLarge):
        Encoder().encode(Event(params=make("x" * (room + 1))))


# -- headers, urls and queries -----------------------------------------------------------------------------------------


def encoded(**event: Any) -> Envelope:
    return Encoder().encode(Event(**{"params": params("a"), **event}))[0]


@pytest.mark.parametrize("headers", [None, {}, (), [], "", MappingProxyType({})])
def test_an_event_may_have_no_headers(headers: Any) -> None:
    for verb in ("POST", "GET"):
        envelope = encoded(headers=headers, http_verb=verb)
        assert envelope.headers == ({"Content-Type": "application/json"} if verb == "POST" else {})


def test_headers_may_be_any_mapping_and_equal_ones_are_one_envelope() -> None:
    encoder, headers = Encoder(), {"X-A": "b"}
    envelope = encoder.encode(Event(params=params("a"), headers=headers))[0]
    assert encoder.encode(Event(params=params("a"), headers=MappingProxyType(headers)))[0] is envelope
    assert encoder.encode(Event(params=params("a"), headers={"X-A": "c"}))[0] is not envelope


@pytest.mark.parametrize("payload", [params("a"), {"a": 1}, None])
def test_equal_events_have_one_envelope_and_others_have_not(payload: Any) -> None:
    encoder = Encoder()
    envelopes = [
        encoder.encode(Event(url, payload, headers=headers))[0]
        for _ in range(2)
        for url in (URL, URL + "?x")
        for headers in (HEADERS, {"X-A": "b"})
    ]
    assert envelopes[:4] == envelopes[4:]
    assert len({id(envelope) for envelope in envelopes}) == 4
    assert len({envelope.identity for envelope in envelopes}) == 4


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "TRANSFER-ENCODING", "Transfer-Encoding"])
def test_framing_is_left_out_however_it_is_written(name: str) -> None:
    for verb in ("POST", "GET"):
        assert encoded(headers={name: "3", "Content-Type": "a"}, http_verb=verb).headers == {"Content-Type": "a"}


def test_an_authorization_of_its_own_goes_before_that_of_the_url() -> None:
    for verb in ("POST", "GET"):
        assert encoded(url="https://u:p@h/", http_verb=verb).headers["Authorization"] == "Basic dTpw"
        own = encoded(url="https://u:p@h/", headers={"Authorization": "own"}, http_verb=verb)
        assert own.headers["Authorization"] == "own"
        assert "Authorization" not in encoded(url="https://h/", http_verb=verb).headers


@pytest.mark.parametrize(
    ("url", "payload", "target"),
    [
        ("http://h/x", None, "/x"),
        ("http://h/x", {}, "/x"),
        ("http://h/x?y", None, "/x?y"),
        ("http://h/x", {"a": 1}, "/x?a=1"),
        ("http://h/x?y=z", {"a": 1}, "/x?y=z&a=1"),
        ("http://h/", {"a": None, "b": "c"}, "/?b=c"),
        (
            "http://h/",
            {"a": [1, None, "x y"], "b": (2.5,), "c": {"d": "e"}, "f": frozenset("g"), "h": {"i"}},
            "/?a=1&a=x+y&b=2.5&c=d&f=g&h=i",
        ),
    ],
)
def test_the_query_of_a_get_event(url: str, payload: Any, target: str) -> None:
    envelope, data, visitors, size = Encoder().encode(Event(url, payload, "GET"))
    assert (envelope.verb, envelope.target, data, visitors, size) == ("GET", target, b"", 0, len(target))


@pytest.mark.parametrize("value", [[1.0, float("nan")], (float("inf"),), {float("-inf")}, {float("nan"): 1}])
def test_no_query_holds_what_is_no_number(value: Any) -> None:
    with pytest.raises(Invalid, match=r"^its params hold NaN or an infinity$"):
        encoded(params={"a": value}, http_verb="GET")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "it has no http_verb and no url and no params"),
        (SimpleNamespace(params={}, url=URL), "it has no http_verb"),
        (SimpleNamespace(params={}, http_verb="POST"), "it has no url"),
        (SimpleNamespace(url=URL, http_verb="POST"), "it has no params"),
        (Hostile(), "it raised RuntimeError while being encoded"),
        (Event(params=params("a"), http_verb="PUT"), "its http_verb is neither POST nor GET"),
        (Event(params=params("a"), headers=["x"]), "its headers are list, not a mapping"),
        (Event(params=params("a"), headers=["x"], http_verb="GET"), "its headers are list, not a mapping"),
        (Event(params="a=b", http_verb="GET"), "the params of a GET event are str, not dict"),
        (
            Event(params=params("a", value=float("nan"))),
            "its params hold NaN, an infinity or a number that JSON cannot carry",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(event: Any, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        Encoder().encode(event)
    assert str(caught.value) == reason
