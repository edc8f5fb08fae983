"""How to test a view of Flask's that decides and tracks: pytest examples/test_checkout.py

The first tests look at what the view hands over; nothing is sent, and each takes a few milliseconds. The others look at
what arrives, and at what happens when it cannot.
"""

from __future__ import annotations

from typing import Any

import pytest
from flask_app import DATAFILE, create_app

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.sdk import create_client
from gevent_dispatcher.testing import NO_ANSWER, FakeTransport, LiveCollector, RecordingDispatcher


def browser(dispatcher: Any) -> Any:
    """A test client of the shop, whose events go through a dispatcher."""
    return create_app(create_client(DATAFILE, event_dispatcher=dispatcher)).test_client()


@pytest.fixture
def shop(recording_dispatcher: RecordingDispatcher) -> Any:
    return browser(recording_dispatcher)


def test_a_checkout_is_decided_and_bought(shop: Any, recording_dispatcher: RecordingDispatcher) -> None:
    answer = shop.get("/checkout?user=alice").get_json()
    recording_dispatcher.assert_decided("checkout_flow", visitor="alice", variation=answer["variation"], times=1)
    recording_dispatcher.assert_tracked("purchase", visitor="alice", revenue=4200, attributes={"country": "CH"})


def test_a_request_without_a_user_tracks_nothing(shop: Any, recording_dispatcher: RecordingDispatcher) -> None:
    assert shop.get("/checkout").status_code == 400
    recording_dispatcher.assert_nothing_tracked()


def test_each_variation_has_its_button(shop: Any, recording_dispatcher: RecordingDispatcher) -> None:
    buttons = {}
    for number in range(50):
        answer = shop.get(f"/checkout?user=visitor-{number}").get_json()
        buttons[answer["variation"]] = answer["button"]
    assert {event.variation for event in recording_dispatcher.decisions("checkout_flow")} == set(buttons)
    assert all(buttons.values())


def test_the_events_arrive(event_collector: LiveCollector) -> None:
    with GeventEventDispatcher() as dispatcher:
        browser(dispatcher).get("/checkout?user=alice")
    assert event_collector.visitors() == {"alice": {"campaign_activated": 1, "purchase": 1}}


def test_nothing_is_lost_when_the_event_api_is_away_for_a_moment() -> None:
    transport = FakeTransport([NO_ANSWER, 503, 503])
    with GeventEventDispatcher(transport=transport, backoff_base=0.01, backoff_max=0.01) as dispatcher:
        browser(dispatcher).get("/checkout?user=alice")
        assert dispatcher.flush(10)
        assert dispatcher.stats().delivered == 2
    assert len(transport.requests) == 4
