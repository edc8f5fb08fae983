"""Events of the size and shape that the SDK makes for a conversion with attributes and tags."""

from __future__ import annotations

import json
import uuid
from typing import Any

ATTRIBUTES = {
    "browser": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0",
    "country": "DE",
    "device": "desktop",
    "is_logged_in": True,
    "plan": "professional",
    "sessions": 42,
    "signed_up": "2024-03-17T09:26:53Z",
}
TAGS = {"revenue": 4_200, "value": 42.5, "currency": "EUR", "category": "shoes / running", "items": 3}
_HEADERS = {"Content-Type": "application/json"}


class Event:
    """What the SDK hands to a dispatcher: the attributes of its own LogEvent.

    Args:
        url: where it goes.
        number: told apart by it.
    """

    __slots__ = ("headers", "http_verb", "params", "url")

    def __init__(self, url: str, number: int) -> None:
        self.url = url
        self.params = _params(number)
        self.http_verb = "POST"
        self.headers = _HEADERS


def size() -> int:
    """Of an event's JSON, in bytes."""
    return len(json.dumps(_params(0), separators=(",", ":")))


def _params(number: int) -> dict[str, Any]:
    return {
        "account_id": "71000000001",
        "project_id": "71000000002",
        "visitors": [_visitor(number)],
        "revision": "17",
        "client_name": "python-sdk",
        "client_version": "5.7.0",
        "anonymize_ip": True,
        "enrich_decisions": True,
    }


def _visitor(number: int) -> dict[str, Any]:
    return {
        "visitor_id": f"visitor-{number:016x}",
        "attributes": _LISTED,
        "snapshots": [{"events": [_conversion()]}],
    }


def _conversion() -> dict[str, Any]:
    return {
        "entity_id": "71000000301",
        "key": "purchase",
        "revenue": TAGS["revenue"],
        "value": TAGS["value"],
        "tags": TAGS,
        "timestamp": 1_700_000_000_000,
        "uuid": str(uuid.uuid4()),
    }


_LISTED = [
    {"entity_id": str(72_000_000_000 + number), "key": key, "type": "custom", "value": value}
    for number, (key, value) in enumerate(ATTRIBUTES.items())
]
_LISTED.append({"entity_id": "$opt_bot_filtering", "key": "$opt_bot_filtering", "type": "custom", "value": False})
