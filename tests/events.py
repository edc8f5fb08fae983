"""Events as the SDK makes them, for tests."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

_numbers = itertools.count()

HEADERS = {"Content-Type": "application/json"}


class LogEvent:
    """What the SDK hands to a dispatcher: the attributes of its own LogEvent."""

    def __init__(self, url: Any, params: Any, http_verb: Any = "POST", headers: Any = HEADERS) -> None:
        self.url = url
        self.params = params
        self.http_verb = http_verb
        self.headers = headers


def visitor(name: str | None = None, key: str = "purchase") -> dict[str, Any]:
    """One visitor with one conversion, whose uuid no other has."""
    event = {"entity_id": "1", "uuid": str(uuid.uuid4()), "key": key, "timestamp": 1_700_000_000_000}
    name = f"visitor-{next(_numbers)}" if name is None else name
    return {"visitor_id": name, "attributes": [], "snapshots": [{"decisions": [], "events": [event]}]}


def params(*visitors: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    """A payload of the SDK's shape."""
    around = {"account_id": "1", "project_id": "2", "revision": "3", "anonymize_ip": True, **envelope}
    return {"visitors": list(visitors) or [visitor()], **around}


def names(number: int, prefix: str = "v") -> list[str]:
    """Of so many visitors."""
    return [f"{prefix}{each}" for each in range(number)]


def log_event(url: str, *visitors: dict[str, Any], **envelope: Any) -> LogEvent:
    """One event of the SDK's shape."""
    return LogEvent(url, params(*visitors, **envelope))
