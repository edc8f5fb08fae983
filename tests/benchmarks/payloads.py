"""Events of the size that the SDK makes: it makes one itself, the others are copies with a uuid of their own."""

from __future__ import annotations

import json
import uuid
from typing import Any

from gevent_dispatcher.bench._events import ATTRIBUTES, TAGS

_EVENT_KEY = "purchase"

DATAFILE = json.dumps(
    {
        "version": "4",
        "accountId": "71000000001",
        "projectId": "71000000002",
        "revision": "17",
        "anonymizeIP": True,
        "botFiltering": False,
        "attributes": [{"id": str(72_000_000_000 + n), "key": key} for n, key in enumerate(ATTRIBUTES)],
        "audiences": [],
        "typedAudiences": [],
        "events": [{"id": "71000000301", "key": _EVENT_KEY, "experimentIds": []}],
        "experiments": [],
        "featureFlags": [],
        "groups": [],
        "rollouts": [],
        "variables": [],
    }
)


class LogEvent:
    """What the SDK hands to a dispatcher: the attributes of its own LogEvent."""

    __slots__ = ("headers", "http_verb", "params", "url")

    def __init__(self, url: str, params: dict[str, Any], headers: dict[str, str]) -> None:
        self.url = url
        self.params = params
        self.http_verb = "POST"
        self.headers = headers


def captured() -> dict[str, Any]:
    """The params of an event that the SDK made for a conversion with attributes and tags."""
    from optimizely.event.event_processor import ForwardingEventProcessor
    from optimizely.optimizely import Optimizely

    capture = _Capture()
    client = Optimizely(DATAFILE, event_processor=ForwardingEventProcessor(capture))
    client.create_user_context("visitor-0123456789abcdef", dict(ATTRIBUTES)).track_event(_EVENT_KEY, dict(TAGS))
    return capture.events[0].params


class _Capture:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def dispatch_event(self, event: Any) -> None:
        self.events.append(event)


class Events:
    """Makes events that differ in visitor and uuid, as those of one application do.

    Args:
        params: of the event to copy.
        url: where they go.
        padding: bytes that are added to each visitor.
    """

    def __init__(self, params: dict[str, Any], url: str, padding: int = 0) -> None:
        self._params = params
        self._visitor = dict(params["visitors"][0])
        if padding:
            self._visitor["padding"] = "x" * padding
        self._url = url
        self._headers = {"Content-Type": "application/json"}

    def one(self) -> LogEvent:
        """One event."""
        number = str(uuid.uuid4())
        visitor = _copy(self._visitor)
        visitor["visitor_id"] = f"visitor-{number[:16]}"
        visitor["snapshots"][0]["events"][0]["uuid"] = number
        return LogEvent(self._url, dict(self._params, visitors=[visitor]), self._headers)

    def many(self, count: int) -> list[LogEvent]:
        """So many events."""
        return [self.one() for _ in range(count)]


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {name: _copy(each) for name, each in value.items()}
    return [_copy(each) for each in value] if type(value) is list else value


class UserEvents:
    """Makes what the SDK's own event processors take: the event before it becomes a payload."""

    def __init__(self) -> None:
        from optimizely.optimizely import Optimizely

        client = Optimizely(DATAFILE, event_processor=_Nobody())
        self._config = client.config_manager.get_config()

    def one(self, visitor: str) -> Any:
        """One user event."""
        from optimizely.event.user_event_factory import UserEventFactory

        return UserEventFactory.create_conversion_event(self._config, _EVENT_KEY, visitor, ATTRIBUTES, TAGS)


class _Nobody:
    def process(self, user_event: Any) -> None:
        """Nothing is tracked with this client."""
