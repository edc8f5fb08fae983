"""A body or a query string, read: the payload that it holds, and what is wrong with it. No input or output here."""

from __future__ import annotations

import json
import math
from typing import Any, Iterator, NamedTuple, NoReturn
from urllib.parse import parse_qsl

from gevent_dispatcher.collector._schema import EVENT_API_BYTES, problems


class Reading(NamedTuple):
    """What a request holds.

    Args:
        payload: as json reads it; None when it is not JSON.
        problems: what keeps it from being what the Event API documents; none, when it is valid.
    """

    payload: Any
    problems: list[str]


class Arrival(NamedTuple):
    """One event by what it is counted by."""

    uuid: str
    visitor: str
    key: str


def read_body(body: bytes) -> Reading:
    """The payload of a POST."""
    payload, problem = _parsed(body)
    if problem:
        return Reading(None, [f"body: {problem}"])
    return Reading(payload, _too_large(len(body)) + problems(payload))


def read_query(query: str) -> Reading:
    """The payload of a GET, as old SDKs send it: its params as fields, with `visitors` holding JSON; or one event's."""
    fields: dict[str, Any] = dict(parse_qsl(query))
    if "visitors" in fields:
        visitors, problem = _parsed(fields["visitors"].encode("utf-8", "surrogatepass"))
        if problem:
            return Reading(None, [f"visitors: {problem}"])
        payload = {**fields, "visitors": visitors}
    else:
        payload = _single(fields)
    for name in ("anonymize_ip", "enrich_decisions"):
        if name in fields:
            payload[name] = _BOOLEANS.get(fields[name].lower(), fields[name])
    return Reading(payload, problems(payload))


def arrivals(payload: object) -> Iterator[Arrival]:
    """The events of a payload that can be told apart, whatever else is wrong with it."""
    for visitor in _items(payload, "visitors"):
        for snapshot in _items(visitor, "snapshots"):
            for event in _items(snapshot, "events"):
                if isinstance(event, dict) and isinstance(event.get("uuid"), str):
                    yield Arrival(event["uuid"], str(visitor.get("visitor_id")), str(event.get("key")))


def _parsed(text: bytes) -> tuple[Any, str | None]:
    """What a text holds, or what keeps it from being JSON."""
    try:
        return _decoder.decode(text.decode()), None
    except UnicodeDecodeError as error:
        return None, f"is not UTF-8, at byte {error.start}"
    except json.JSONDecodeError as error:
        return None, f"is not JSON: {error.msg}, line {error.lineno} column {error.colno}"
    except ValueError as error:
        return None, f"is not JSON: {error}"
    except RecursionError:
        return None, "is nested too deeply"


# As Python and as JSON write them.
_BOOLEANS = {"true": True, "false": False}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it has no {name}")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def _too_large(size: int) -> list[str]:
    return [f"body: has {size} bytes, and may have {EVENT_API_BYTES}"] if size > EVENT_API_BYTES else []


def _single(fields: dict[str, Any]) -> dict[str, Any]:
    """The payload of one event whose fields stand side by side."""
    of_event = ("uuid", "timestamp", "key", "type", "entity_id", "revenue", "value", "quantity")
    event = {name: _number(name, fields[name]) for name in of_event if name in fields}
    visitor = {name: fields[name] for name in ("visitor_id", "session_id") if name in fields}
    rest = {name: each for name, each in fields.items() if name not in event and name not in visitor}
    return {**rest, "visitors": [{**visitor, "snapshots": [{"events": [event]}]}]}


def _number(name: str, text: str) -> Any:
    """A field of an event that is a number by its name, if it is one by its text."""
    if name not in ("timestamp", "revenue", "value", "quantity"):
        return text
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError):
        return text


def _items(parent: object, name: str) -> list[Any]:
    items = parent.get(name) if isinstance(parent, dict) else None
    return items if isinstance(items, list) else []
