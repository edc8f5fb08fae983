"""The fixtures, in runs of pytest of their own: as users have them, unpatched and patched."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.testing import LiveCollector, events_sent_to
from tests.events import log_event
from tests.links import clear_environment

pytest.importorskip("optimizely")

from optimizely.event.event_factory import EventFactory

from gevent_dispatcher.sdk import create_client

pytest_plugins = "pytester"

DATAFILE = (Path(__file__).resolve().parent.parent / "examples" / "datafile.json").read_text(encoding="utf-8")

ASKED_FOR = 'pytest_plugins = ["gevent_dispatcher.testing.fixtures"]'
PATCHED = f"from gevent import monkey; monkey.patch_all()\n{ASKED_FOR}"

TESTS = """
import os

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.sdk import create_client

DATAFILE = os.environ["DATAFILE"]

def test_recorded(recording_dispatcher):
    create_client(DATAFILE, event_dispatcher=recording_dispatcher).track("purchase", "alice")
    recording_dispatcher.assert_tracked("purchase", visitor="alice")

def test_each_test_has_its_own(recording_dispatcher):
    recording_dispatcher.assert_nothing_tracked()

def test_a_failure_shows_what_came(recording_dispatcher):
    create_client(DATAFILE, event_dispatcher=recording_dispatcher).track("purchase", "alice")
    recording_dispatcher.assert_tracked("purchase", visitor="bob")

def test_collected(event_collector):
    client = create_client(DATAFILE)
    client.track("purchase", "alice")
    client.track("page_view", "bob")
    assert client.event_processor.flush(10)
    assert event_collector.visitors() == {"alice": {"purchase": 1}, "bob": {"page_view": 1}}
    assert len(event_collector.uuids()) == event_collector.counts()["unique"] == 2
    assert [each["line"] for each in event_collector.events(visitor="alice")] == ['alice converted "purchase"']
    assert event_collector.summary()["keys"] == {"purchase": 1, "page_view": 1}

def test_an_outage(event_collector):
    dispatcher = GeventEventDispatcher(proxy="", backoff_base=0.01, backoff_max=0.01)
    client = create_client(DATAFILE, event_dispatcher=dispatcher)
    event_collector.change(status=503)
    client.track("purchase", "alice")
    assert not client.event_processor.flush(0.1)
    event_collector.change(status=204)
    assert dispatcher.close(10)
    assert event_collector.counts()["unique"] == 1
    event_collector.reset()
    assert event_collector.counts()["requests"] == 0
"""


@pytest.mark.parametrize(
    ("conftest", "direct"),
    [(ASKED_FOR, ""), (PATCHED, "example.com"), (PATCHED, "*")],
    ids=["unpatched", "patched", "all"],
)
def test_the_fixtures_work_where_they_are_asked_for(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, conftest: str, direct: str
) -> None:
    monkeypatch.setenv("DATAFILE", DATAFILE)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others would only take time
    clear_environment(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", direct)
    pytester.makeconftest(conftest)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*but visitor is 'alice', not 'bob'*"])
    result.stdout.no_fnmatch_line("*_wait_for*")  # the frames that concern nobody are hidden


def test_pytest_loads_nothing_of_it_unasked() -> None:
    assert not [each for each in distribution("gevent-dispatcher").entry_points if each.group == "pytest11"]


def test_without_pytest_it_is_said_what_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import gevent_dispatcher.testing.fixtures"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'gevent-dispatcher[pytest]'" in done.stderr


# -- without pytest ----------------------------------------------------------------------------------------------------


def test_the_sdks_events_are_made_for_the_collector_while_the_block_runs() -> None:
    before = vars(EventFactory).copy()
    with LiveCollector() as collector:
        client: Any = create_client(DATAFILE, event_dispatcher=GeventEventDispatcher(proxy=""))
        with events_sent_to(collector.url):
            client.track("purchase", "alice")
        assert client.event_processor.flush(10)
        assert collector.visitors() == {"alice": {"purchase": 1}}
    assert vars(EventFactory) == before


def test_an_old_sdk_has_one_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(EventFactory, "EVENT_ENDPOINTS", raising=False)
    monkeypatch.setattr(EventFactory, "EVENT_ENDPOINT", "https://before", raising=False)
    with events_sent_to("http://x"):
        assert vars(EventFactory)["EVENT_ENDPOINT"] == "http://x"
    assert vars(EventFactory)["EVENT_ENDPOINT"] == "https://before"


def test_an_sdk_that_keeps_it_elsewhere_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVENT_ENDPOINTS", "EVENT_ENDPOINT"):
        monkeypatch.delattr(EventFactory, name, raising=False)
    with pytest.raises(RuntimeError, match="keeps the url of events where nobody can change it"), events_sent_to("x"):
        pass


def test_a_live_collector_acts_out_an_outage() -> None:
    collector = LiveCollector()
    assert collector.counts()["events"] == 0  # nothing is opened before it is started
    with collector, GeventEventDispatcher(proxy="", backoff_base=0.01, backoff_max=0.01) as dispatcher:
        collector.stop()
        dispatcher.dispatch_event(log_event(collector.url))
        assert not dispatcher.flush(0.05)
        collector.start()
        assert dispatcher.close(10)
        assert collector.counts()["unique"] == 1
