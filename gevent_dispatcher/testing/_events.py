"""The events in a request, as a test wants to see them. No input or output here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from gevent_dispatcher._event import Request

DECISION, CONVERSION, OTHER = "decision", "conversion", "other"

# The key that the SDK gives to the event of a decision (its `event_factory`, 5.7.0).
_ACTIVATED = "campaign_activated"


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class RecordedEvent:
    """One event, as it would be sent; it does not change with what the application does afterwards.

    Attributes:
        kind: "decision", "conversion", or "other" for what is not of the SDK's shape.
        visitor: the user id.
        key: the event's key; "campaign_activated" of a decision.
        flag: the key of the flag that was decided; "" of a conversion.
        experiment: the key of the experiment or rule; its id where the SDK sends no key.
        experiment_id: its id.
        rule_type: "experiment", "feature-test", "rollout" and the like.
        variation: the key of the variation; its id where the SDK sends no key.
        variation_id: its id.
        enabled: whether the flag was on; None where the SDK does not say.
        revenue: in cents; None without one.
        value: a number; None without one.
        tags: the conversion's tags, revenue and value included.
        attributes: the user's attributes, by key.
        uuid: the event's uuid.
        timestamp: milliseconds since the epoch.
        url: where it would go.
        params: all that was dispatched with it, a copy; not in the repr.
    """

    kind: str
    visitor: str = ""
    key: str = ""
    flag: str = ""
    experiment: str = ""
    experiment_id: str = ""
    rule_type: str = ""
    variation: str = ""
    variation_id: str = ""
    enabled: bool | None = None
    revenue: int | None = None
    value: float | None = None
    tags: Mapping[str, Any] = field(default_factory=_nothing)
    attributes: Mapping[str, Any] = field(default_factory=_nothing)
    uuid: str = ""
    timestamp: int | None = None
    url: str = ""
    params: Any = field(default=None, repr=False)


def events_of(request: Request) -> tuple[RecordedEvent, ...]:
    """The events of a request, in their order."""
    url, params = f"{request.origin}{request.target}", params_of(request)
    return tuple(_events(url, params)) or (RecordedEvent(OTHER, url=url, params=params),)


def params_of(request: Request) -> Any:
    """What a request carries: the JSON of its body, or of a GET the fields of its query."""
    if request.body is None:
        return dict(parse_qsl(urlsplit(request.target).query))
    return json.loads(request.body)


def _events(url: str, params: Any) -> Iterator[RecordedEvent]:
    for visitor in _dicts(params, "visitors"):
        for snapshot in _dicts(visitor, "snapshots"):
            decisions = _dicts(snapshot, "decisions")
            for event in _dicts(snapshot, "events"):
                yield _event(url, params, visitor, decisions, event)


def _dicts(parent: Any, name: str) -> list[dict[str, Any]]:
    """A list's objects; what has another shape is no event."""
    items = parent.get(name) if isinstance(parent, dict) else None
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def _event(
    url: str, params: Any, visitor: dict[str, Any], decisions: list[dict[str, Any]], event: dict[str, Any]
) -> RecordedEvent:
    key = _text(event.get("key"))
    return RecordedEvent(
        kind=DECISION if decisions and key == _ACTIVATED else CONVERSION,
        visitor=_text(visitor.get("visitor_id")),
        key=key,
        **_decided(decisions[0] if decisions and key == _ACTIVATED else {}),
        revenue=event.get("revenue"),
        value=event.get("value"),
        tags=_frozen(event.get("tags")),
        attributes=_frozen({_text(each.get("key")): each.get("value") for each in _dicts(visitor, "attributes")}),
        uuid=_text(event.get("uuid")),
        timestamp=event.get("timestamp"),
        url=url,
        params=params,
    )


def _decided(decision: dict[str, Any]) -> dict[str, Any]:
    found = decision.get("metadata")
    metadata: dict[str, Any] = found if isinstance(found, dict) else {}
    experiment_id, variation_id = _text(decision.get("experiment_id")), _text(decision.get("variation_id"))
    return {
        "flag": _text(metadata.get("flag_key")),
        "experiment": _text(metadata.get("rule_key")) or experiment_id,
        "experiment_id": experiment_id,
        "rule_type": _text(metadata.get("rule_type")),
        "variation": _text(metadata.get("variation_key")) or variation_id,
        "variation_id": variation_id,
        "enabled": metadata.get("enabled"),
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _frozen(value: Any) -> Mapping[str, Any]:
    return MappingProxyType(value) if isinstance(value, dict) else _nothing()
