"""Fixtures for pytest, for those who ask for them in the conftest.py beside their pytest.ini or pyproject.toml:

    pytest_plugins = ["gevent_dispatcher.testing.fixtures"]

An entry point would bring them into each run of pytest in each environment that has the package, and with them gevent.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Iterator

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "gevent_dispatcher.testing.fixtures needs pytest: pip install 'gevent-dispatcher[pytest]'"
    ) from error

from gevent_dispatcher.testing import LiveCollector, RecordingDispatcher, events_sent_to


@pytest.fixture
def recording_dispatcher() -> Iterator[RecordingDispatcher]:
    """A dispatcher that keeps what it is given; closed after the test."""
    with RecordingDispatcher() as dispatcher:
        yield dispatcher


@pytest.fixture
def event_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveCollector]:
    """A local Event API on a free port. While the test runs the SDK's events are made for it, not for Optimizely's, and
    the environment's proxy is not asked for this machine.
    """
    _go_past_proxies(monkeypatch)
    with LiveCollector() as collector, _sdk_events_sent_to(collector.url):
        yield collector


def _go_past_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if named != "*":
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, f"{named},127.0.0.1".lstrip(","))


def _sdk_events_sent_to(url: str) -> AbstractContextManager[None]:
    return events_sent_to(url) if find_spec("optimizely") else nullcontext()
