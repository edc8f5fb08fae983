"""RecordingDispatcher: the dispatcher's interface, what it keeps, and what it says when a test fails."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import unittest
from pathlib import Path
from typing import Any

import pytest

from gevent_dispatcher import GeventEventDispatcher, Health
from gevent_dispatcher.testing import RecordingDispatcher
from gevent_dispatcher.testing._wanted import ANY
from tests.events import LogEvent, log_event, params, visitor

pytest.importorskip("optimizely")

from optimizely.event.event_processor import BatchEventProcessor
from optimizely.optimizely import Optimizely

from gevent_dispatcher.sdk import create_client

URL = "http://events.example/v1/events"
DATAFILE = (Path(__file__).resolve().parent.parent / "examples" / "datafile.json").read_text(encoding="utf-8")


@pytest.fixture
def recorder() -> RecordingDispatcher:
    return RecordingDispatcher()


@pytest.fixture
def shopped(recorder: RecordingDispatcher) -> RecordingDispatcher:
    """What a visit to a shop leaves behind."""
    client: Any = create_client(DATAFILE, event_dispatcher=recorder)
    user = client.create_user_context("alice", {"plan": "pro"})
    user.decide("checkout_flow")
    user.track_event("page_view")
    user.track_event("purchase", {"revenue": 4200, "value": 42.0, "sku": "A-1"})
    return recorder


def said(call: Any, *args: Any, **kwargs: Any) -> str:
    """What a failed assertion says."""
    with pytest.raises(AssertionError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# -- in the dispatcher's place -----------------------------------------------------------------------------------------


def public(kind: type) -> dict[str, Any]:
    names = [name for name in vars(kind) if not name.startswith("_") or name in ("__enter__", "__exit__", "__init__")]
    return {name: inspect.signature(getattr(kind, name)) for name in names if callable(getattr(kind, name))}


def test_it_has_the_dispatchers_whole_interface() -> None:
    ours, theirs = public(RecordingDispatcher), public(GeventEventDispatcher)
    assert len(theirs) >= 8
    for name, signature in theirs.items():
        parameters = {each.name: each.kind for each in signature.parameters.values()}
        assert {each.name: each.kind for each in ours[name].parameters.values()} == parameters, name


def test_it_takes_the_dispatchers_settings_and_refuses_what_it_refuses() -> None:
    RecordingDispatcher(batch_size=10, spool="events.db", read_timeout=3)
    for settings in ({"batch_size": 0}, {"read_timeout": -1}, {"transport": 3}, {"enabled": "no"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            RecordingDispatcher(**settings)
    with pytest.raises(TypeError, match="there is no setting 'batchsize'; did you mean 'batch_size'"):
        RecordingDispatcher(batchsize=10)  # type: ignore[call-arg]  # what is tested


def test_the_accounts_are_right_at_every_moment(recorder: RecordingDispatcher) -> None:
    events: list[Any] = [
        log_event(URL),
        LogEvent("ftp://x/", params()),
        LogEvent(URL, {"visitors": [float("nan")]}),
        log_event(URL, {"v": "x" * 3_600_000}),
        None,
    ]
    for number, event in enumerate(events):
        recorder.dispatch_event(event)
        stats = recorder.stats()
        assert stats.dispatched == stats.delivered + sum(stats.dropped.values()) == number + 1
    recorder.close()
    recorder.dispatch_event(log_event(URL))
    dropped = {reason: count for reason, count in recorder.stats().dropped.items() if count}
    assert dropped == {"invalid": 3, "too_large": 1, "closed": 1}
    assert [each.reason for each in recorder.refused] == ["invalid", "invalid", "too_large", "invalid", "closed"]
    assert "NaN" in recorder.refused[1].why
    assert len(recorder.events) == 1


def test_what_is_refused_is_what_the_dispatcher_refuses(recorder: RecordingDispatcher) -> None:
    events = [log_event(URL), LogEvent(URL, object()), LogEvent("x", {}), LogEvent(URL, {}, "PUT"), 3]
    with GeventEventDispatcher(flush_interval=60, close_timeout=0, proxy="") as dispatcher:
        for event in events:
            dispatcher.dispatch_event(event)
            recorder.dispatch_event(event)
        assert recorder.stats().dropped["invalid"] == dispatcher.stats().dropped["invalid"] == 4
    with GeventEventDispatcher(enabled=False) as dispatcher, RecordingDispatcher(enabled=False) as other:
        for each in (dispatcher, other):
            each.dispatch_event(log_event(URL))
        assert dispatcher.stats() == other.stats()


def test_the_off_switch_of_the_environment_does_not_concern_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEVENT_DISPATCHER_DISABLED", "1")
    recorder = RecordingDispatcher()
    recorder.dispatch_event(log_event(URL))
    assert recorder.stats().delivered == 1


def test_flush_and_close_are_done_at_once(recorder: RecordingDispatcher) -> None:
    with recorder as entered:
        assert entered is recorder
        assert recorder.flush()
        assert recorder.flush(timeout=3)
    assert recorder.close(timeout=3)
    recorder.dispatchEvent("POST", URL, params())
    assert recorder.stats().dropped["closed"] == 1


def test_any_number_of_threads_may_dispatch(recorder: RecordingDispatcher) -> None:
    code = """
import sys, threading
from gevent_dispatcher.testing import RecordingDispatcher
from tests.events import log_event
from gevent._hub_local import get_hub_if_exists
recorder = RecordingDispatcher()
def dispatch():
    for _ in range(500):
        recorder.dispatch_event(log_event("http://events.example/"))
threads = [threading.Thread(target=dispatch) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
recorder.assert_tracked("purchase", times=2000)
assert len({event.uuid for event in recorder.events}) == 2000
print(recorder.stats().delivered, get_hub_if_exists(), 'urllib3' in sys.modules, 'pytest' in sys.modules)
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["2000", "None", "False", "False"]


# -- what it keeps -----------------------------------------------------------------------------------------------------


def test_a_decision_is_read(shopped: RecordingDispatcher) -> None:
    (decision,) = shopped.decisions()
    assert (decision.kind, decision.visitor, decision.key) == ("decision", "alice", "campaign_activated")
    assert (decision.flag, decision.rule_type, decision.enabled) == ("checkout_flow", "feature-test", True)
    assert decision.experiment.startswith("checkout_")
    assert decision.variation in ("three_steps", "one_page")
    assert decision.experiment_id.isdigit()
    assert decision.variation_id.isdigit()
    assert decision.attributes["plan"] == "pro"
    assert (decision.revenue, decision.value, dict(decision.tags)) == (None, None, {})


def test_a_conversion_is_read(shopped: RecordingDispatcher) -> None:
    (purchase,) = shopped.conversions("purchase")
    assert (purchase.kind, purchase.visitor, purchase.revenue, purchase.value) == ("conversion", "alice", 4200, 42.0)
    assert dict(purchase.tags) == {"revenue": 4200, "value": 42.0, "sku": "A-1"}
    assert (purchase.flag, purchase.enabled) == ("", None)
    assert len(purchase.uuid) == 36
    assert isinstance(purchase.timestamp, int)
    assert purchase.url == "https://logx.optimizely.com/v1/events"
    assert purchase.params["visitors"][0]["visitor_id"] == "alice"


def test_events_are_found_by_what_they_are(shopped: RecordingDispatcher) -> None:
    assert len(shopped.events) == 3
    assert [each.key for each in shopped.conversions()] == ["page_view", "purchase"]
    assert len(shopped.conversions(visitor="alice", revenue=4200)) == 1
    assert shopped.conversions("purchase", revenue=None) == shopped.conversions("nothing") == []
    variation = shopped.decisions()[0].variation
    assert len(shopped.decisions("checkout_flow", variation=variation, visitor="alice")) == 1
    assert shopped.decisions(variation="another") == shopped.decisions(experiment="another") == []


def test_an_event_stays_as_it_was(recorder: RecordingDispatcher) -> None:
    payload = params(visitor("before"))
    recorder.dispatch_event(LogEvent(URL, payload))
    payload["visitors"][0]["visitor_id"] = "after"
    recorder.assert_tracked("purchase", visitor="before")


def test_each_visitor_of_an_event_is_one(recorder: RecordingDispatcher) -> None:
    recorder.dispatch_event(log_event(URL, visitor("a"), visitor("b", key="page_view")))
    assert [(each.visitor, each.key) for each in recorder.events] == [("a", "purchase"), ("b", "page_view")]
    assert recorder.stats().dispatched == 1


@pytest.mark.parametrize(
    "payload",
    [
        {"a": "1"},
        {"visitors": [{"snapshots": None}]},
        {"visitors": [{"snapshots": [{"events": 3}]}]},
        {"visitors": {}},
        [],
        "text",
    ],
)
def test_what_is_not_of_the_sdks_shape_is_kept_as_it_is(recorder: RecordingDispatcher, payload: Any) -> None:
    recorder.dispatch_event(LogEvent(URL, payload))
    (event,) = recorder.events
    assert (event.kind, event.params, event.url) == ("other", payload, URL)


def test_a_get_event_of_a_very_old_sdk_is_kept_with_its_fields(recorder: RecordingDispatcher) -> None:
    recorder.dispatchEvent("GET", URL, {"n": "purchase", "u": "alice"})
    (event,) = recorder.events
    assert (event.kind, event.params) == ("other", {"n": "purchase", "u": "alice"})


def test_shapes_that_the_sdk_does_not_make_do_no_harm(recorder: RecordingDispatcher) -> None:
    odd = {"decisions": [{"metadata": 3, "variation_id": None}], "events": [{"key": "campaign_activated", "tags": 3}]}
    recorder.dispatch_event(LogEvent(URL, {"visitors": [{"snapshots": [odd], "attributes": [3, {"key": None}]}]}))
    (event,) = recorder.events
    assert (event.kind, event.variation, dict(event.tags), event.visitor) == ("decision", "", {}, "")


def test_clear_forgets_all(shopped: RecordingDispatcher) -> None:
    shopped.dispatch_event(None)
    shopped.clear()
    shopped.assert_nothing_tracked()
    assert (shopped.events, shopped.refused, shopped.stats().dispatched) == ([], [], 0)


# -- assertions --------------------------------------------------------------------------------------------------------


def test_what_came_can_be_asserted(shopped: RecordingDispatcher) -> None:
    (found,) = shopped.assert_tracked("purchase", visitor="alice", revenue=4200, value=pytest.approx(42), times=1)
    assert found.tags["sku"] == "A-1"
    shopped.assert_tracked("purchase", tags={"sku": "A-1"}, attributes={"plan": "pro"})
    shopped.assert_tracked("page_view", revenue=None)
    shopped.assert_decided("checkout_flow", visitor="alice", enabled=True, times=1)
    shopped.assert_not_tracked("add_to_cart")
    shopped.assert_not_tracked("purchase", visitor="bob")
    shopped.assert_not_decided("gift_wrap")


def test_what_did_not_come_is_told_from_what_did_the_nearest_first(shopped: RecordingDispatcher) -> None:
    text = said(shopped.assert_tracked, "purchase", visitor="alice", revenue=4100, tags={"sku": "B", "size": 3})
    lines = text.splitlines()
    assert lines[0] == (
        "0 came, at least one expected: conversion with key='purchase', visitor='alice', revenue=4100,"
        " tags={'sku': 'B', 'size': 3}"
    )
    assert lines[1] == "What came, the nearest first:"
    assert lines[2].startswith("  - conversion key='purchase' visitor='alice' revenue=4200 value=42.0 tags={")
    assert lines[2].endswith("attributes={'plan': 'pro'}")
    assert lines[3] == "      but revenue is 4200, not 4100; tags['sku'] is 'A-1', not 'B'; no tags['size']"
    assert lines[4].startswith("  - conversion key='page_view'")
    assert lines[6].startswith("  - decision flag='checkout_flow'")
    assert lines[7] == "      but it is a decision"


def test_what_came_too_often_is_told(shopped: RecordingDispatcher) -> None:
    text = said(shopped.assert_tracked, "purchase", times=2)
    assert text.startswith("1 came, 2 expected: conversion with key='purchase'\n")
    assert "revenue=4200" in text
    assert "which matches" in text


def test_a_decision_that_did_not_come_is_told(shopped: RecordingDispatcher) -> None:
    text = said(shopped.assert_decided, "checkout_flow", variation="four_steps")
    assert "  - decision flag='checkout_flow'" in text.splitlines()[2]
    assert ", not 'four_steps'" in text.splitlines()[3]


def test_what_came_though_it_should_not_have_is_told(shopped: RecordingDispatcher) -> None:
    assert said(shopped.assert_not_tracked, "purchase").startswith("1 came, 0 expected: conversion with key='purchase'")
    assert said(shopped.assert_not_tracked).startswith("2 came, 0 expected: conversion\n")
    assert said(shopped.assert_not_decided).startswith("1 came, 0 expected: decision\n")
    assert said(shopped.assert_nothing_tracked).startswith("3 came, 0 expected: event\n")


def test_where_nothing_came_the_likely_reason_is_told(recorder: RecordingDispatcher) -> None:
    assert "Nothing came at all. The SDK's own batch processor" in said(recorder.assert_tracked, "purchase")


def test_what_was_refused_is_told(recorder: RecordingDispatcher) -> None:
    recorder.dispatch_event(LogEvent("", params()))
    text = said(recorder.assert_tracked, "purchase")
    assert "Refused, and so not recorded: invalid, " in text
    assert "Refused" in said(recorder.assert_nothing_tracked)


def test_a_message_is_short_whatever_came(recorder: RecordingDispatcher) -> None:
    for _ in range(1_000):
        recorder.dispatch_event(log_event(URL, visitor("x" * 10_000)))
        recorder.dispatch_event(None)
    text = said(recorder.assert_tracked, "purchase", visitor="y" * 10_000)
    assert "and 994 more" in text
    assert len(text) < 5_000


def test_it_serves_unittest_as_well() -> None:
    class Case(unittest.TestCase):
        def runTest(self) -> None:
            RecordingDispatcher().assert_tracked("purchase")

    result = unittest.TestResult()
    Case().run(result)
    assert len(result.failures) == 1  # and not an error


# -- behind the SDK's own processor ------------------------------------------------------------------------------------


def test_events_that_a_thread_hands_over_are_waited_for(recorder: RecordingDispatcher) -> None:
    processor = BatchEventProcessor(recorder, batch_size=2, flush_interval=30, start_on_init=True)
    client = Optimizely(DATAFILE, event_processor=processor)
    try:
        client.track("purchase", "alice")
        client.track("purchase", "bob")
        recorder.assert_tracked("purchase", times=2, timeout=10)
        recorder.assert_tracked("purchase", visitor="bob")
    finally:
        processor.stop()


def test_what_does_not_come_is_waited_for_no_longer_than_was_said(recorder: RecordingDispatcher) -> None:
    threading.Timer(0.02, recorder.dispatch_event, [log_event(URL, visitor("late"))]).start()
    recorder.assert_tracked("purchase", visitor="late", timeout=10)
    assert said(recorder.assert_tracked, "purchase", times=2, timeout=0.01).startswith("1 came, 2 expected")


def test_nothing_is_ever_pending() -> None:
    assert RecordingDispatcher().health() == Health()


def test_a_field_of_which_nothing_is_asked_reads_like_its_name() -> None:
    assert repr(ANY) == "ANY"
