"""Where the SDK's events go, for tests: the SDK has no setting for it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

from optimizely.event.event_factory import EventFactory


@contextmanager
def events_sent_to(url: str) -> Iterator[None]:
    """Have the SDK make its events for another url, in this process, while the block runs.

    The SDK looks the url up when it makes an event: by region in a table (5.7.0), or in one constant (before it knew
    regions).

    Args:
        url: what takes the place of Optimizely's.

    Raises:
        RuntimeError: this SDK keeps it elsewhere.
    """
    factory: Any = EventFactory
    names = {"EVENT_ENDPOINTS": {"US": url, "EU": url}, "EVENT_ENDPOINT": url}
    before = {name: getattr(factory, name) for name in names if hasattr(factory, name)}
    if not before:
        raise RuntimeError("this version of the SDK keeps the url of events where nobody can change it")
    for name in before:
        setattr(factory, name, names[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(factory, name, value)
