"""The shop that examples and demonstration share, in this process."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from gevent_dispatcher.testing import RecordingDispatcher

pytest.importorskip("flask")
pytest.importorskip("optimizely")

from optimizely.event.event_factory import EventFactory
from optimizely.event.event_processor import ForwardingEventProcessor
from optimizely.helpers import validator
from optimizely.optimizely import Optimizely

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
DATAFILE = (EXAMPLES / "datafile.json").read_text(encoding="utf-8")


@pytest.fixture
def recorder() -> RecordingDispatcher:
    return RecordingDispatcher()


def keys(recorder: RecordingDispatcher) -> list[str]:
    """The key of each event, in order."""
    return [each.key for each in recorder.events]


@pytest.fixture
def client(recorder: RecordingDispatcher) -> Any:
    return Optimizely(DATAFILE, event_processor=ForwardingEventProcessor(recorder))


@pytest.fixture
def flask_app(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("EVENTS_CLIENT", "sdk-forwarding")
    monkeypatch.delenv("EVENTS_URL", raising=False)
    return importlib.import_module("flask_app")


class TestDatafile:
    def test_is_valid(self) -> None:
        assert validator.is_datafile_valid(DATAFILE)
        assert json.loads(DATAFILE)["version"] == "4"

    def test_each_decision_sends_one_impression(self, client: Any, recorder: RecordingDispatcher) -> None:
        variations = {client.create_user_context(f"user-{n}").decide("checkout_flow").variation_key for n in range(50)}
        assert variations == {"three_steps", "one_page"}
        assert keys(recorder) == ["campaign_activated"] * 50

    def test_the_other_flag_is_on_for_its_audience(self, client: Any) -> None:
        paying = client.create_user_context("a", {"plan": "pro"}).decide("gift_wrap")
        other = client.create_user_context("a", {"plan": "free"}).decide("gift_wrap")
        assert (paying.enabled, other.enabled) == (True, False)

    def test_its_events_can_be_tracked(self, client: Any, recorder: RecordingDispatcher) -> None:
        for key in ("page_view", "add_to_cart", "purchase"):
            client.create_user_context("a").track_event(key)
        assert keys(recorder) == ["page_view", "add_to_cart", "purchase"]


class TestShop:
    def test_a_request_sends_an_impression_and_a_purchase(
        self, flask_app: Any, client: Any, recorder: RecordingDispatcher
    ) -> None:
        answer = flask_app.create_app(client).test_client().get("/checkout?user=alice")
        assert answer.status_code == 200
        assert answer.get_json()["variation"] in ("three_steps", "one_page")
        assert keys(recorder) == ["campaign_activated", "purchase"]
        recorder.assert_tracked("purchase", visitor="alice", revenue=4200)

    def test_a_request_without_user_is_refused(self, flask_app: Any, client: Any) -> None:
        assert flask_app.create_app(client).test_client().get("/checkout").status_code == 400

    def test_events_go_to_a_local_endpoint(
        self, flask_app: Any, monkeypatch: pytest.MonkeyPatch, client: Any, recorder: RecordingDispatcher
    ) -> None:
        for name in ("EVENT_ENDPOINTS", "EVENT_ENDPOINT"):  # restored after the test
            monkeypatch.setattr(EventFactory, name, None, raising=False)
        flask_app.send_events_to("http://127.0.0.1:1/v1/events")
        flask_app.create_app(client).test_client().get("/checkout?user=alice")
        assert [each.url for each in recorder.events] == ["http://127.0.0.1:1/v1/events"] * 2
