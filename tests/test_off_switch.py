"""The off switch: events are counted as disabled, and nothing else happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from gevent import monkey

import gevent_dispatcher
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher._off_switch import VARIABLE, is_on
from gevent_dispatcher.collector import Collector
from tests.events import log_event
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
URL = "http://events.example/v1/events"


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")


class Untouchable:
    """An event at which nobody may look."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked at")


# -- what it says ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", "true", "True", "yes", "ON", " on "])
def test_words_that_turn_it_on(value: str) -> None:
    assert is_on({VARIABLE: value})


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_words_that_leave_it_off(value: str) -> None:
    assert not is_on({VARIABLE: value})
    assert not is_on({})


def test_another_word_is_refused_where_a_dispatcher_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ture")
    with pytest.raises(ValueError, match=f"{VARIABLE}='ture': must be 1, true, yes or on to send no event, or 0"):
        GeventEventDispatcher()


@pytest.mark.parametrize("value", ["false", 0, 1, "", []])
def test_a_setting_that_is_no_truth_value_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"enabled=.*: must be True, False, or None"):
        GeventEventDispatcher(enabled=value)


@pytest.mark.usefixtures("off")
def test_what_is_said_in_code_goes_before_the_environment() -> None:
    with Collector() as collector, GeventEventDispatcher(enabled=True, proxy="") as dispatcher:
        dispatcher.dispatch_event(log_event(collector.url))
        assert dispatcher.flush(10)
        assert dispatcher.stats().delivered == 1


def test_what_was_read_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    dispatcher = GeventEventDispatcher()
    monkeypatch.setenv(VARIABLE, "0")
    dispatcher.dispatch_event(log_event(URL))
    assert dispatcher.stats().dropped["disabled"] == 1


# -- what it does ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("off")
def test_events_are_counted_as_disabled_and_nothing_is_sent(tmp_path: Path) -> None:
    spool = tmp_path / "spool.db"
    with Collector() as collector, GeventEventDispatcher(spool=str(spool), proxy="") as dispatcher:
        assert dispatcher.stats().dispatched == 0
        for number in range(10):
            dispatcher.dispatch_event(log_event(collector.url))
            stats = dispatcher.stats()
            assert stats.dispatched == sum(stats.dropped.values()) == stats.dropped["disabled"] == number + 1
        dispatcher.dispatchEvent("POST", collector.url, {})
        assert dispatcher.flush(0)
        assert dispatcher.close(0)
        dispatcher.dispatch_event(log_event(collector.url))
        stats = dispatcher.stats()
        assert (stats.dropped["disabled"], stats.delivered, stats.pending, stats.requests) == (12, 0, 0, 0)
        assert collector.counts()["requests"] == 0
    assert not spool.exists()


def test_an_event_is_not_even_looked_at() -> None:
    dispatcher = GeventEventDispatcher(enabled=False)
    dispatcher.dispatch_event(Untouchable())
    assert dispatcher.stats().dropped["disabled"] == 1


def test_native_threads_count_exactly() -> None:
    dispatcher = GeventEventDispatcher(enabled=False)
    start, finished = monkey.get_original("_thread", "start_new_thread"), []

    def dispatch() -> None:
        for _ in range(20_000):
            dispatcher.dispatch_event(None)
        finished.append(threading.get_ident())

    for _ in range(4):
        start(dispatch, ())
    wait_until(lambda: len(finished) == 4)
    stats = dispatcher.stats()
    assert stats.dispatched == stats.dropped["disabled"] == 80_000


@pytest.mark.usefixtures("off")
def test_the_sdks_client_works_on() -> None:
    create_client = pytest.importorskip("gevent_dispatcher.sdk").create_client
    client = create_client((ROOT / "examples" / "datafile.json").read_text(encoding="utf-8"))
    user = client.create_user_context("alice")
    assert user.decide("checkout_flow").variation_key in ("three_steps", "one_page")
    user.track_event("purchase")
    stats = client.event_processor.event_dispatcher.stats()
    assert stats.dispatched == stats.dropped["disabled"] == 2


# -- in processes of their own -----------------------------------------------------------------------------------------


def run(code: str, switch: str) -> subprocess.CompletedProcess[str]:
    """What a fresh, unpatched interpreter prints, with a log on standard error."""
    prelude = "import logging; logging.basicConfig(format='%(levelname)s %(message)s')\n"
    command = [sys.executable, "-W", "error", "-c", prelude + code]
    environ = {**os.environ, VARIABLE: switch}
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)


def test_there_is_no_hub_no_thread_and_no_client_and_the_end_says_how_many() -> None:
    done = run(
        """
import os, sys, threading
import gevent_dispatcher
from gevent._hub_local import get_hub_if_exists
before = len(os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd') else 0
for _ in range(3):
    gevent_dispatcher.dispatch_event(None)
after = len(os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd') else 0
print(get_hub_if_exists(), threading.active_count(), after - before, 'urllib3' in sys.modules)
print(gevent_dispatcher.default_dispatcher().stats().dropped['disabled'])
""",
        "yes",
    )
    assert done.stdout.splitlines() == ["None 1 0 False", "3"]
    assert done.stderr.splitlines() == [
        f"WARNING 3 events dropped as disabled: nothing is sent, because {VARIABLE} or enabled=False says so"
    ]


def test_a_forks_child_is_off_and_counts_for_itself() -> None:
    done = run(
        """
import os
from gevent_dispatcher import GeventEventDispatcher
dispatcher = GeventEventDispatcher()
dispatcher.dispatch_event(None)
dispatcher.dispatch_event(None)
if os.fork() == 0:
    dispatcher.dispatch_event(None)
    print(dispatcher.stats().dropped['disabled'], flush=True)
    os._exit(0)
os.wait()
print(dispatcher.stats().dropped['disabled'])
""",
        "1",
    )
    assert done.stdout.split() == ["1", "2"]


def test_where_an_event_makes_the_dispatcher_another_word_is_said_by_a_sender_and_events_go() -> None:
    with Collector() as collector:
        done = run(
            f"""
import gevent_dispatcher
from tests.events import log_event
gevent_dispatcher.dispatch_event(log_event({collector.url!r}))
print(gevent_dispatcher.default_dispatcher().flush(10), gevent_dispatcher.default_dispatcher().stats().delivered)
""",
            "ture",
        )
        assert done.stdout.split() == ["True", "1"]
    assert done.stderr.startswith(f"WARNING off-switch-unreadable: {VARIABLE} says neither yes nor no")
    assert len(done.stderr.splitlines()) == 1


# -- the doctor --------------------------------------------------------------------------------------------------------


def test_the_doctor_finds_dispatchers_that_send_nothing() -> None:
    done = run(
        """
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.doctor import examine
kept = [GeventEventDispatcher()]
assert 'events-disabled' not in [each.code for each in examine()]
kept.append(GeventEventDispatcher(enabled=False))
print(*[(each.level, each.what) for each in examine() if each.code == 'events-disabled'])
""",
        "",
    )
    assert "('info', 'The off switch is on: the events of 1 of 2 dispatchers are counted" in done.stdout


@pytest.mark.parametrize(("switch", "code"), [("1", "events-disabled"), ("ture", "off-switch-unreadable")])
def test_the_doctor_reads_the_environment(switch: str, code: str) -> None:
    done = run(
        "import json; from gevent_dispatcher.doctor import examine; print(json.dumps([f.code for f in examine()]))",
        switch,
    )
    assert code in json.loads(done.stdout)


def test_the_reason_is_one_of_the_stats_from_the_start() -> None:
    assert gevent_dispatcher.Stats().dropped["disabled"] == 0
