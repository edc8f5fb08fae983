"""Send events to a server of your own instead of Optimizely's.

The SDK decides where events go when it builds them: it looks the url up in a table by the project's region, and offers
no setting for it. For demonstrations and tests this file points every region in that table at one url. A dispatcher
sends an event to the url that the event carries, so nothing else has to change. Leave this out in production.
"""

from __future__ import annotations

from typing import Any


def send_events_to(url: str) -> None:
    """Make the SDK build events for another url, in this process.

    Args:
        url: what takes the place of `https://logx.optimizely.com/v1/events`.
    """
    factory = _factory()
    factory.EVENT_ENDPOINTS = {"US": url, "EU": url}
    factory.EVENT_ENDPOINT = factory.EVENTS_URL = url  # the names in SDKs that know no regions


def _factory() -> Any:
    try:
        from optimizely.event.event_factory import EventFactory
    except ImportError:  # SDK 2
        from optimizely.event_builder import EventBuilder

        return EventBuilder
    return EventFactory
