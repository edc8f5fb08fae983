"""Messages of older formats, made into requests: a queue need not be emptied before a migration. Pure.

Three formats are known; each is one JSON object:

- `{visitor_id: [attributes, snapshot]}`, as the reference bulk dispatcher for the Python SDK of 2017 puts it into SQS
  (github.com/mauerbac/opti_fullstack_event_dispatcher, `event_dispatcher_bulk.py`). Account, project, client and
  `anonymize_ip` were dropped, so they have to be configured.
- bare params, the payload of the Event API with its `visitors`; or one visitor alone, of that payload's form.
- an SDK event: `{"url": ..., "params": ..., "http_verb": ..., "headers": ...}`, of which all but params may be missing.

Visitors are cut out of the text as they stand, so that no uuid, no timestamp and no byte of theirs is altered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, Sequence

from gevent_dispatcher import _url
from gevent_dispatcher._body import Member, members
from gevent_dispatcher._event import Encoder, Given, Refused, Request, merge
from gevent_dispatcher._json import encode_plainly

_ID = re.compile(r"[0-9]{1,32}\Z")
_SDK_EVENT = frozenset(("url", "params", "http_verb", "headers"))


@dataclass(frozen=True)
class LegacyFormat:
    """What messages of older formats lack.

    Args:
        account_id, project_id: digits, as the datafile has them (`accountId`, `projectId`).
        anonymize_ip: whether Optimizely shall cut the address off that the request comes from. Default True: it is that
            of the consumer, and says nothing of the visitor.
        client_name, client_version: what the events are said to come from. Default: what the reference dispatcher said.
        url: where events go that do not say so themselves; default the Event API's. Projects in the EU need
            `https://eu.logx.optimizely.com/v1/events`.

    Raises:
        ValueError: a setting is not of its form; the message has name, value and what is accepted.
    """

    account_id: str
    project_id: str
    anonymize_ip: bool = True
    client_name: str = "python-sdk"
    client_version: str = "1.2.0"
    url: str = "https://logx.optimizely.com/v1/events"

    def __post_init__(self) -> None:
        for name in ("account_id", "project_id"):
            _check_id(name, getattr(self, name))
        if not isinstance(self.anonymize_ip, bool):
            raise ValueError(f"anonymize_ip={self.anonymize_ip!r}: must be True or False")
        for name in ("client_name", "client_version"):
            _check_text(name, getattr(self, name))
        try:
            _url.parse(self.url)
        except ValueError as error:
            raise ValueError(f"url: {error}; give the Event API's, such as {LegacyFormat.url}") from None

    def lacking(self, names: Sequence[str]) -> bytes:
        """The JSON text of those members of a payload that are not among some names, with commas between them."""
        own = {
            "account_id": self.account_id,
            "project_id": self.project_id,
            "client_name": self.client_name,
            "client_version": self.client_version,
            "anonymize_ip": self.anonymize_ip,
        }
        return encode_plainly({name: value for name, value in own.items() if name not in names})[1:-1]


def _check_id(name: str, value: object) -> None:
    if not isinstance(value, str) or not _ID.match(value):
        raise ValueError(f"{name}={value!r}: must be a string of 1 to 32 digits, as the datafile has it")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= 128:
        raise ValueError(f"{name}={value!r}: must be a text of 1 to 128 characters")


def decode(text: str, legacy: LegacyFormat | None = None) -> Request:
    """Make a request of a message's text.

    Args:
        text: of the message.
        legacy: what it may lack; None refuses what lacks anything.

    Raises:
        ValueError: this is nothing that could be sent; the text says why, and shows nothing of it.
    """
    found = _members(text)
    if found and all(_is_of_the_reference(each) for each in found):
        return _of_the_reference(found, _needed(legacy))
    named = _by_name(found)
    if "params" in named and named.keys() <= _SDK_EVENT:
        return _of_the_sdk(named, legacy)
    if "visitors" in named:
        visitors = _count(named["visitors"])
        return _post(_payload(text, named, legacy), _needed(legacy), visitors)
    if named.keys() >= {"visitor_id", "snapshots"}:
        return _of_visitors([_bytes(text)], _needed(legacy))
    raise ValueError("it is in no format that is known")


def _members(text: str) -> list[Member]:
    try:
        return members(text)
    except (ValueError, IndexError, RecursionError):
        raise ValueError("it is neither a message of gevent_dispatcher's nor a JSON object") from None


def _by_name(found: Sequence[Member]) -> dict[str, Member]:
    named = {each.name: each for each in found}
    if len(named) != len(found):
        raise ValueError("it has a member twice")
    return named


def _needed(legacy: LegacyFormat | None) -> LegacyFormat:
    if legacy is None:
        raise ValueError("it is in an older format: configure account_id and project_id")
    return legacy


# -- the reference dispatcher's ----------------------------------------------------------------------------------------


def _is_of_the_reference(member: Member) -> bool:
    pair = member.value
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], list) and isinstance(pair[1], dict)


def _of_the_reference(found: Sequence[Member], legacy: LegacyFormat) -> Request:
    return _of_visitors([_visitor(each) for each in found], legacy)


def _visitor(member: Member) -> bytes:
    attributes, snapshot = map(_bytes, member.elements())
    parts = (b'{"visitor_id":', _bytes(member.name_text), b',"attributes":', attributes, b',"snapshots":[', snapshot)
    return b"".join((*parts, b"]}"))


def _of_visitors(visitors: Sequence[bytes], legacy: LegacyFormat) -> Request:
    body = b"".join((b'{"visitors":[', b",".join(visitors), b"],", legacy.lacking(()), b"}"))
    return _post(body, legacy, len(visitors))


# -- params ------------------------------------------------------------------------------------------------------------


def _count(member: Member) -> int:
    """How many there are. Each counts as an event: how they were dispatched cannot be told any more."""
    visitors = member.value
    if not isinstance(visitors, list) or not visitors or not all(isinstance(each, dict) for each in visitors):
        raise ValueError("its visitors are not a list of objects, or there is none")
    return len(visitors)


def _payload(text: str, named: Mapping[str, Member], legacy: LegacyFormat | None) -> bytes:
    """As it stands if it names its account, which is all that the Event API asks of it beside visitors."""
    if "account_id" in named:
        return _bytes(text)
    open_end = _bytes(text[: text.rindex("}")])
    return b"".join((open_end, b",", _needed(legacy).lacking(list(named)), b"}"))


# -- the SDK's events --------------------------------------------------------------------------------------------------


def _of_the_sdk(named: Mapping[str, Member], legacy: LegacyFormat | None) -> Request:
    given = {name: member.value for name, member in named.items()}
    url = given["url"] if "url" in given else _needed(legacy).url
    request = _encoded(Given(given.get("http_verb", "POST"), url, given["params"], given.get("headers")))
    if request.verb == "GET" or not isinstance(given["params"], dict):
        return request
    text = named["params"].text
    inner = _by_name(_members(text))
    if "visitors" not in inner:
        return request._replace(body=_bytes(text))
    return request._replace(body=_payload(text, inner, legacy), events=_count(inner["visitors"]))


def _encoded(event: Given) -> Request:
    try:
        envelope, data, _, _ = Encoder().encode(event)
    except Refused as error:
        raise ValueError(str(error)) from None
    return merge(envelope, [data])


def _post(body: bytes, legacy: LegacyFormat, events: int) -> Request:
    return _encoded(Given("POST", legacy.url, None))._replace(body=body, events=events)


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it has a lone surrogate in it") from None
