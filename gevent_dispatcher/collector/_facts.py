"""What an event says, picked out of its payload: who did what, in which experiment. No input or output here."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

from gevent_dispatcher.collector._reading import arrivals

DECISION, CONVERSION, INVALID = "decision", "conversion", "invalid"

# The key, or the type, of the event that stands for a decision ("Event API: Get started", "Activate users").
_ACTIVATED = "campaign_activated"


class Facts(NamedTuple):
    """One event. It is flat, and holds nothing but texts and numbers: many of these are kept.

    Args:
        visitor_index: of its visitor in the payload.
        snapshot_index: of its snapshot in the visitor.
        kind: one of the three above.
        uuid: as it is.
        visitor: its id.
        key: as it is.
        revenue: in hundredths of a currency's unit.
        value: as it is.
        experiment: of the decision that it stands for, the first of several: the rule's key, or the experiment's id.
        flag: the key of the flag that was decided.
        variation: the variation's key, or its id.
        rule_type: what the SDK calls the rule: experiment, feature-test, rollout and others.
        names: all by which a decision of the event may be looked for.
        more: decisions besides the first.
    """

    visitor_index: int
    snapshot_index: int
    kind: str
    uuid: str | None = None
    visitor: str | None = None
    key: str | None = None
    revenue: int | None = None
    value: float | None = None
    experiment: str | None = None
    flag: str | None = None
    variation: str | None = None
    rule_type: str | None = None
    names: tuple[str, ...] = ()
    more: int = 0


def facts_of(payload: dict[str, Any]) -> Iterator[Facts]:
    """The events of a valid payload, in its order."""
    for v, visitor in enumerate(payload["visitors"]):
        name = visitor["visitor_id"]
        for s, snapshot in enumerate(visitor["snapshots"]):
            for event in snapshot["events"]:
                key = event.get("key")
                if key == _ACTIVATED or event.get("type") == _ACTIVATED:
                    yield _decision(v, s, name, key, event, snapshot.get("decisions"))
                else:
                    revenue, value = _amounts(event)
                    yield Facts(v, s, CONVERSION, event["uuid"], name, key, revenue, value)


def glimpse(payload: object) -> Facts:
    """What can be read of an invalid payload: its first event that has a uuid."""
    for uuid, visitor, key in arrivals(payload):
        return Facts(0, 0, INVALID, uuid, visitor, key)
    return Facts(0, 0, INVALID)


def _amounts(event: dict[str, Any]) -> tuple[int | None, float | None]:
    """Revenue and value: the event's own, or those of its tags, where they were before."""
    tags = event.get("tags", {})
    revenue, value = event.get("revenue", tags.get("revenue")), event.get("value", tags.get("value"))
    if type(revenue) is float and "revenue" in event:
        revenue = int(revenue)
    return revenue if type(revenue) is int else None, value if type(value) in (int, float) else None


def _decision(v: int, s: int, visitor: str, key: str | None, event: dict[str, Any], decisions: Any) -> Facts:
    """An event that stands for decisions: those of its campaign, or all when there is none of it."""
    campaign = event.get("entity_id")
    ours = [each for each in decisions or () if each["campaign_id"] == campaign] or decisions
    if not ours:
        return Facts(v, s, DECISION, event["uuid"], visitor, key)
    experiment, flag, variation, rule_type = _names(ours[0])
    names = [ours[0]["experiment_id"], experiment, flag]
    if len(ours) > 1:
        names += [name for each in ours[1:] for name in (each["experiment_id"], *_names(each)[:2])]
    return Facts(
        *(v, s, DECISION, event["uuid"], visitor, key, None, None),
        *(experiment, flag, variation, rule_type, tuple(filter(None, names)), len(ours) - 1),
    )


def _names(decision: dict[str, Any]) -> tuple[str | None, str | None, str | None, str | None]:
    told = decision.get("metadata")
    if type(told) is not dict:
        return decision["experiment_id"] or None, None, decision["variation_id"] or None, None
    experiment = _text(told.get("rule_key")) or decision["experiment_id"]
    variation = _text(told.get("variation_key")) or decision["variation_id"]
    return experiment or None, _text(told.get("flag_key")), variation or None, _text(told.get("rule_type"))


def _text(value: object) -> str | None:
    """No document says of which type the metadata are."""
    return value if value and isinstance(value, str) else None
