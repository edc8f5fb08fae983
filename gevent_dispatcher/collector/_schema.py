"""The documented shape of an Event API payload, and what is wrong with one that has another. Pure.

What must be there, and of which type, is what "Optimizely Event API Reference" (OpenAPI, version 1.3.0) says:

- the batch needs `account_id` and `visitors`; a visitor `visitor_id` and `snapshots`; a snapshot `events`; an event
  `uuid` and `timestamp`; a decision `campaign_id`, `experiment_id` and `variation_id`; an attribute `type` and `value`,
  and a custom one `entity_id` and `key`, of which no other has an `entity_id`;
- all identifiers, keys and types are strings; `timestamp` is a whole number, of milliseconds since 1970; `revenue` and
  `quantity` are whole numbers; `value` is a number; `anonymize_ip` and `is_campaign_holdback` are booleans;
- the values of attributes and of `tags` are strings, numbers or booleans, those of `properties` strings;
- `experiment_id` and `variation_id` may be null, for visitors that are in no experiment.

From elsewhere: a payload has at most 3.5 MB, and `enrich_decisions` is a boolean ("Event API: Get started"). The SDK
for JavaScript declares `entity_id` and `campaign_id` as strings or null (js-sdk-event-processor 0.10, `buildEventV1`).
The tag `$opt_event_properties` is an object (Feature Experimentation, "Track user events"). Fields that no document
names are let pass: the SDKs send some, as `revision` and a decision's `metadata`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable, NamedTuple, Tuple

EVENT_API_BYTES = 3_500_000

# More problems than these are not listed: whoever wrote the payload will have seen why.
MOST = 20

# Where something is: the place of what it is in, and its name or its index there. None is the payload.
Place = Tuple[Any, Any]
# Looks at the value at a place, which is of the right type, and adds what else is wrong with it.
Check = Callable[[Any, Place, "Problems"], None]

_NOUNS = {str: "a string", bool: "a boolean", int: "a number", float: "a number", dict: "an object", list: "an array"}
_LONGEST_NAME = 50


class _Enough(Exception):
    """As many problems as are listed."""


class Problems:
    """What is wrong with a payload, each with its place."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, at: Place | None, reason: str) -> None:
        """Note one more.

        Raises:
            _Enough: there is no need to look any further.
        """
        if len(self.found) == MOST:
            self.found.append("and more")
            raise _Enough
        self.found.append(f"{_path(at)}: {reason}")


class Rule(NamedTuple):
    """What holds for a value: its types, the words for them, and what else is to be checked.

    json makes no other types than these, so that a bool is never taken for an int.
    """

    kinds: frozenset[type]
    noun: str
    check: Check | None = None


class Shape(NamedTuple):
    """An object: the names that it must have, what holds for each name, and for the whole."""

    required: tuple[str, ...]
    rules: dict[str, Rule]
    check: Check | None = None


def problems(payload: object) -> list[str]:
    """What is wrong with a payload as json reads it; nothing, when it is as documented."""
    found = Problems()
    with suppress(_Enough):
        _follow(_PAYLOAD, payload, None, found)
    return found.found


def _path(at: Place | None) -> str:
    names: list[str] = []
    while at is not None:
        at, name = at
        names.append(f"[{name}]" if isinstance(name, int) else "." + _clamped(name))
    return "".join(reversed(names)).lstrip(".") or "payload"


def _clamped(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."


# -- checks: the innermost runs for each field of each event, and makes nothing while nothing is wrong ---------------


def _follow(rule: Rule, value: object, at: Any, found: Problems) -> None:
    if type(value) not in rule.kinds:
        found.add(at, _mismatch(rule.noun, value))
    elif rule.check is not None:
        rule.check(value, at, found)


def _mismatch(noun: str, value: object) -> str:
    return f"must be {noun}, is {'null' if value is None else _NOUNS[type(value)]}"


def _object(shape: Shape) -> Check:
    required, rules, check_all = shape

    def check(value: dict[str, Any], at: Place, found: Problems) -> None:
        for name in required:
            if name not in value:
                found.add((at, name), "is missing")
        for name, each in value.items():
            if name in rules:
                kinds, noun, check_each = rules[name]
                if type(each) not in kinds:
                    found.add((at, name), _mismatch(noun, each))
                elif check_each is not None:
                    check_each(each, (at, name), found)
        if check_all is not None:
            check_all(value, at, found)

    return check


def _items(check_each: Check) -> Check:
    def check(value: list[Any], at: Place, found: Problems) -> None:
        for index, each in enumerate(value):
            if type(each) is dict:
                check_each(each, (at, index), found)
            else:
                found.add((at, index), _mismatch("an object", each))

    return check


def _values(rule: Rule, *objects: str) -> Check:
    """The values of an object follow a rule, whatever their names, but those that may be objects."""

    def check(value: dict[str, Any], at: Place, found: Problems) -> None:
        for name, each in value.items():
            if type(each) is not dict or name not in objects:
                _follow(rule, each, (at, name), found)

    return check


def _whole(value: float, at: Place, found: Problems) -> None:
    if type(value) is float and not value.is_integer():
        found.add(at, "must be a whole number, has a fraction")


def _since_1970(value: float, at: Place, found: Problems) -> None:
    _whole(value, at, found)
    if value < 0:
        found.add(at, "must be the milliseconds since 1970, is negative")


def _unique(value: str, at: Place, found: Problems) -> None:
    if not value:
        found.add(at, "is empty: without it a repeated event cannot be told from a new one")


def _custom(attribute: dict[str, Any], at: Place, found: Problems) -> None:
    kind = attribute.get("type")
    if kind != "custom":
        if type(kind) is str and attribute.get("entity_id") is not None:
            found.add((at, "entity_id"), "belongs to custom attributes only")
    elif "entity_id" not in attribute or "key" not in attribute:
        for name in [each for each in ("entity_id", "key") if each not in attribute]:
            found.add((at, name), "is missing, and a custom attribute needs it")


# -- shapes, from the inside out ---------------------------------------------------------------------------------------


def _rule(noun: str, *kinds: type, check: Check | None = None) -> Rule:
    return Rule(frozenset(kinds), noun, check)


def _shaped(required: str, rules: dict[str, Rule], check: Check | None = None) -> Check:
    return _object(Shape(tuple(required.split()), rules, check))


def _array(check: Check) -> Rule:
    return _rule("an array", list, check=_items(check))


_STRING = _rule("a string", str)
_STRING_OR_NULL = _rule("a string or null", str, type(None))
_BOOLEAN = _rule("a boolean", bool)
_NUMBER = _rule("a number", int, float)
_WHOLE = _rule("a whole number", int, float, check=_whole)
_SCALAR = _rule("a string, a number or a boolean", str, int, float, bool)

_ATTRIBUTE = _shaped(
    "type value",
    {"type": _STRING, "entity_id": _STRING_OR_NULL, "key": _STRING, "value": _SCALAR},
    _custom,
)
_DECISION = _shaped(
    "campaign_id experiment_id variation_id",
    {
        "campaign_id": _STRING_OR_NULL,
        "experiment_id": _STRING_OR_NULL,
        "variation_id": _STRING_OR_NULL,
        "is_campaign_holdback": _BOOLEAN,
    },
)
_EVENT = _shaped(
    "uuid timestamp",
    {
        "uuid": _rule("a string", str, check=_unique),
        "timestamp": _rule("a whole number", int, float, check=_since_1970),
        "entity_id": _STRING_OR_NULL,
        "key": _STRING,
        "type": _STRING,
        "value": _NUMBER,
        "quantity": _WHOLE,
        "revenue": _WHOLE,
        "tags": _rule("an object", dict, check=_values(_SCALAR, "$opt_event_properties")),
        "properties": _rule("an object", dict, check=_values(_STRING)),
    },
)
_SNAPSHOT = _shaped("events", {"events": _array(_EVENT), "decisions": _array(_DECISION)})
_VISITOR = _shaped(
    "visitor_id snapshots",
    {"visitor_id": _STRING, "session_id": _STRING, "attributes": _array(_ATTRIBUTE), "snapshots": _array(_SNAPSHOT)},
)
_BATCH = _shaped(
    "account_id visitors",
    {
        "account_id": _STRING,
        "project_id": _STRING,
        "client_name": _STRING,
        "client_version": _STRING,
        "anonymize_ip": _BOOLEAN,
        "enrich_decisions": _BOOLEAN,
        "visitors": _array(_VISITOR),
    },
)
_PAYLOAD = _rule("an object", dict, check=_BATCH)
