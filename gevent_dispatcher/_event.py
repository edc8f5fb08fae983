"""Encode an SDK event once, at the door, and merge encoded events into a request.

An event's visitors become bytes in the caller, so the payload cannot change later, its size is exact, and merging is a
join. Everything but the visitors is the envelope: recognised, and encoded only when it is new.
Nothing here opens, reorders or repairs what the SDK produced.
"""

from __future__ import annotations

import math
from operator import is_, itemgetter
from typing import Any, Callable, Hashable, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import urlencode

from gevent_dispatcher import _url
from gevent_dispatcher._config import FRAMING, header_problem
from gevent_dispatcher._json import NotJson, dump, encode, encode_plainly
from gevent_dispatcher._url import Origin

# The Event API takes one JSON object of at most 3.5 MB (Optimizely Event API documentation, "Limits").
EVENT_API_BYTES = 3_500_000

# An event of no more than this needs no exact look at that limit.
_CERTAINLY_TAKEN = 1_000_000

# Envelopes that are remembered. An application has a handful: one for each datafile revision and region.
_REMEMBERED = 1_000

# Types of values that cannot change.
_PLAIN = frozenset((str, int, float, bool, type(None)))


class Refused(Exception):
    """This event cannot be sent as it is; the text says why and never shows the payload."""


class Invalid(Refused):
    """The event is not something that can be put into a request."""


class TooLarge(Refused):
    """The event alone is larger than the Event API takes."""


class Envelope:
    """What events must have in common to share a request, ready for the wire."""

    __slots__ = ("headers", "origin", "overhead", "prefix", "suffix", "target", "verb")

    def __init__(
        self, verb: str, address: _url.Address, headers: dict[str, str], prefix: bytes = b"", suffix: bytes = b""
    ) -> None:
        self.verb = verb
        self.origin: Origin = address.origin
        self.target = address.target
        self.headers: Mapping[str, str] = headers
        self.prefix = prefix
        self.suffix = suffix
        # Bytes that a request has beside its events.
        self.overhead = len(prefix) + len(suffix)

    def __repr__(self) -> str:
        return f"<Envelope {self.verb} {self.origin}>"

    @property
    def identity(self) -> Hashable:
        """What is equal for equal envelopes."""
        return self.verb, self.origin, self.target, tuple(self.headers.items()), self.prefix, self.suffix

    def around(self, prefix: bytes, suffix: bytes) -> Envelope:
        """The same with other bytes before and behind the events."""
        return Envelope(self.verb, _url.Address(self.origin, self.target, None), dict(self.headers), prefix, suffix)


# One event, ready to be merged: its envelope; its visitors (or its whole body) as JSON; how many visitors it holds, 0
# when it goes alone; what it weighs in the buffer, in bytes. A bare tuple: making a named one costs ten times as much.
Encoded = Tuple[Envelope, bytes, int, int]


class Given(NamedTuple):
    """An event that was put together here, with what the encoder asks of the SDK's own."""

    http_verb: Any
    url: Any
    params: Any
    headers: Any = None


class Request(NamedTuple):
    """One request, ready for a transport. A retry of a batch makes an equal one, byte for byte.

    Attributes:
        verb: POST or GET.
        origin: scheme, host and port; `str` of it begins the url.
        target: path and query, which end it.
        headers: the events' own; a transport adds those of its settings.
        body: UTF-8 JSON; None for GET, whose params are in the query.
        events: how many it holds.
    """

    verb: str
    origin: Origin
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    events: int

    def __repr__(self) -> str:
        return f"<Request {self.verb} {self.origin}, {self.events} events, {len(self.body or b'')} bytes>"


def merge(envelope: Envelope, parts: Sequence[bytes]) -> Request:
    """Put the encoded events of one envelope into one request, in their order."""
    body = None
    if envelope.verb == "POST":
        body = b"".join((envelope.prefix, b",".join(parts), envelope.suffix))
    return Request(envelope.verb, envelope.origin, envelope.target, envelope.headers, body, len(parts))


class _Recent(NamedTuple):
    """The envelope that was last seen with certain names in params, to recognise it by identity."""

    names: tuple[Any, ...]
    pick: Callable[[Any], Sequence[Any]]  # all values of params but the visitors
    values: Sequence[Any]
    url: str
    headers: Mapping[str, str] | None
    envelope: Envelope


class Encoder:
    """Turns SDK events into `Encoded` ones and remembers their envelopes."""

    def __init__(self) -> None:
        self._envelopes: dict[Hashable, Envelope] = {}
        self._recent: dict[tuple[Any, ...], _Recent] = {}
        self._last: _Recent | None = None

    def encode(self, event: Any) -> Encoded:
        """Encode one event.

        Args:
            event: anything with the attributes `url`, `params`, `http_verb` and, optionally, `headers`.

        Raises:
            Invalid: it has no usable url, an unknown verb, or params that are not JSON.
            TooLarge: it alone is larger than the Event API takes.
        """
        try:
            encoded = self._encode(event)
        except Refused:
            raise
        except NotJson as error:
            raise Invalid(f"its params hold {error}") from None
        except Exception as error:  # a hostile attribute or container may raise anything; it costs that event only
            raise Invalid(f"it raised {type(error).__name__} while being encoded") from None
        envelope, data, _, _ = encoded
        if envelope.overhead + len(data or envelope.target) > EVENT_API_BYTES:  # a GET event is all in its target
            raise TooLarge(f"it is larger than the {EVENT_API_BYTES} bytes that the Event API takes")
        return encoded

    def encode_known(self, event: Any) -> Encoded | None:
        """The short way, which nearly all events take: the envelope is one that was seen last.

        Returns:
            None for an event that must go the other way, `encode`.

        Raises:
            Exception: of any kind; `encode` will say what is wrong with the event.
        """
        params = event.params
        if type(params) is not dict:
            return None
        recent, present = self._last, tuple(params)
        if recent is None or recent[0] != present:
            recent = self._last = self._recent.get(present)
            if recent is None:
                return None
        _, pick, values, url, headers, envelope = recent  # by name, each would cost as much as a look-up in a dict
        if (
            not all(map(is_, pick(params), values))
            or event.url != url
            or event.headers != headers
            or event.http_verb != "POST"
        ):
            return None
        visitors = params["visitors"]
        if type(visitors) is not list or len(visitors) != 1 or type(visitors[0]) is not dict:
            return None
        data = encode(visitors[0])
        size = len(data) + 1
        return (envelope, data, 1, size) if size <= _CERTAINLY_TAKEN else None

    def _encode(self, event: Any) -> Encoded:
        try:
            verb, url, params, headers = event.http_verb, event.url, event.params, event.headers
        except AttributeError:
            verb, url, params, headers = _attributes(event)
        if verb == "POST":
            if type(params) is dict and _are_visitors(params.get("visitors")):
                return self._encode_visitors(url, headers, params)
            return self._encode_alone(url, headers, params)
        if verb == "GET":
            return _encode_query(url, headers, params)
        raise Invalid("its http_verb is neither POST nor GET")

    def _encode_visitors(self, url: Any, headers: Any, params: dict[Any, Any]) -> Encoded:
        envelope = self._look_up(url, headers, params)
        visitors = params["visitors"]
        data = dump(visitors)[1:-1]
        return envelope, data, len(visitors), len(data) + 1

    def _look_up(self, url: Any, headers: Any, params: dict[Any, Any]) -> Envelope:
        """By its JSON text, which is exact: True == 1 and 0.0 == -0.0 in Python, but not in JSON."""
        prefix, suffix = _around_visitors(params)
        key = (url, _header_key(headers), prefix, suffix)
        envelope = self._envelopes.get(key)
        if envelope is None:
            envelope = _envelope(url, headers, prefix, suffix)
            self._remember(key, envelope)
        self._remember_recent(url, headers, params, envelope)
        return envelope

    def _remember_recent(self, url: str, headers: Any, params: dict[Any, Any], envelope: Envelope) -> None:
        """The SDK puts the same objects into each event, so they are recognised by identity, unless they can change."""
        names = tuple(params)
        others = [name for name in names if name != "visitors"]
        values = [params[name] for name in others]
        are_text = all(type(name) is str for name in names)
        if are_text and len(others) > 1 and all(type(value) in _PLAIN for value in values):
            copied = dict(headers) if headers else headers
            self._last = self._recent[names] = _Recent(names, itemgetter(*others), values, url, copied, envelope)

    def _encode_alone(self, url: Any, headers: Any, params: Any) -> Encoded:
        key = (url, _header_key(headers))
        envelope = self._envelopes.get(key)
        if envelope is None:
            envelope = _envelope(url, headers)
            self._remember(key, envelope)
        data = dump(params)
        return envelope, data, 0, len(data)

    def _remember(self, key: Hashable, envelope: Envelope) -> None:
        if len(self._envelopes) >= _REMEMBERED:
            self._envelopes.clear()
            self._recent.clear()
            self._last = None
        self._envelopes[key] = envelope


def _attributes(event: Any) -> tuple[Any, Any, Any, Any]:
    """Those of an event that lacks one: it may be without headers."""
    try:
        return event.http_verb, event.url, event.params, None
    except AttributeError:
        names = [name for name in ("http_verb", "url", "params") if not hasattr(event, name)]
        raise Invalid("it has no {}".format(" and no ".join(names))) from None


def _are_visitors(visitors: Any) -> bool:
    if type(visitors) is not list or not visitors:
        return False
    return all(type(visitor) is dict for visitor in visitors)


def _header_key(headers: Any) -> Hashable:
    if type(headers) is dict:
        return tuple(headers.items())
    if not headers:
        return ()
    if not isinstance(headers, Mapping):
        raise Invalid(f"its headers are {type(headers).__name__}, not a mapping")
    return tuple(headers.items())


def _around_visitors(params: dict[Any, Any]) -> tuple[bytes, bytes]:
    """The JSON text of params before and after its visitors."""
    names = list(params)
    at = names.index("visitors")
    before = dump({name: params[name] for name in names[:at]}, encode_plainly)[1:-1]
    after = dump({name: params[name] for name in names[at + 1 :]}, encode_plainly)[1:-1]
    prefix = b"{" + before + (b"," if before else b"") + b'"visitors":['
    return prefix, b"]" + (b"," if after else b"") + after + b"}"


def _envelope(url: Any, headers: Any, prefix: bytes = b"", suffix: bytes = b"") -> Envelope:
    address = _address(url)
    sent = _checked_headers(headers, address)
    if not any(name.lower() == "content-type" for name in sent):
        sent["Content-Type"] = "application/json"
    return Envelope("POST", address, sent, prefix, suffix)


def _address(url: Any) -> _url.Address:
    try:
        return _url.parse(url)
    except ValueError as error:
        raise Invalid(str(error)) from None


def _checked_headers(headers: Any, address: _url.Address) -> dict[str, str]:
    sent: dict[str, str] = {}
    for name, value in dict(headers or {}).items():
        problem = header_problem(name, value)
        if problem:
            raise Invalid(problem)
        if name.lower() not in FRAMING:
            sent[name] = value
    if address.authorization:
        sent.setdefault("Authorization", address.authorization)
    return sent


def _encode_query(url: Any, headers: Any, params: Any) -> Encoded:
    """A GET event of an old SDK: its params go into the query string as requests would put them, never merged."""
    _header_key(headers)
    address = _address(url)
    if params is not None and not isinstance(params, dict):
        raise Invalid(f"the params of a GET event are {type(params).__name__}, not dict")
    query = urlencode([pair for name, value in (params or {}).items() for pair in _query_pairs(name, value)])
    if query:
        address = address._replace(target=address.target + ("&" if "?" in address.target else "?") + query)
    envelope = Envelope("GET", address, _checked_headers(headers, address))
    return envelope, b"", 0, len(address.target)


def _query_pairs(name: Any, value: Any) -> list[tuple[Any, Any]]:
    values = value if isinstance(value, (list, tuple, set, frozenset, dict)) else (value,)
    if any(isinstance(each, float) and not math.isfinite(each) for each in values):
        raise Invalid("its params hold NaN or an infinity")
    return [(name, each) for each in values if each is not None]
