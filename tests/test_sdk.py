"""The SDK's side, with the real SDK: the processor, the client wired for it, and the SDK's own default client."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from optimizely.event.event_processor import BatchEventProcessor
from optimizely.event.user_event import UserEvent
from optimizely.event_dispatcher import EventDispatcher
from optimizely.helpers.enums import NotificationTypes
from optimizely.notification_center import NotificationCenter
from optimizely.optimizely import Optimizely

import gevent_dispatcher
from gevent_dispatcher import GeventEventDispatcher, default_dispatcher
from gevent_dispatcher.sdk import GeventEventProcessor, create_client
from tests.hostile import HostileProcess

# SDK 3 and 4 have neither client.close() nor event_processor_options.
since_sdk_5 = pytest.mark.skipif(not hasattr(Optimizely, "close"), reason="came with SDK 5")
ROOT = Path(__file__).resolve().parent.parent
DATAFILE = ROOT / "examples" / "datafile.json"


class Recorder:
    """A dispatcher that keeps what it is called with."""

    def __init__(self, answer: Any = True) -> None:
        self.events: list[Any] = []
        self.calls: list[tuple[str, Any]] = []
        self._answer = answer

    def dispatch_event(self, event: Any) -> None:
        self.events.append(event)

    def flush(self, timeout: float | None = None) -> Any:
        self.calls.append(("flush", timeout))
        return self._answer

    def close(self, timeout: float | None = None) -> Any:
        self.calls.append(("close", timeout))
        return self._answer


class Broken:
    """A dispatcher whose every method raises, with text that must stay out of logs."""

    def dispatch_event(self, event: Any) -> None:
        raise RuntimeError(str(event.params))

    def flush(self) -> None:
        raise RuntimeError("flush")


@pytest.fixture(scope="module")
def datafile() -> str:
    """The examples' datafile without rollouts: SDK 5.7 cannot read one on Python 3.8 (`list[...]` at run time)."""
    found = json.loads(DATAFILE.read_text())
    found["rollouts"] = []
    for flag in found["featureFlags"]:
        flag["rolloutId"] = ""
    return json.dumps(found)


@pytest.fixture
def datafile_path(datafile: str, tmp_path: Path) -> str:
    path = tmp_path / "datafile.json"
    path.write_text(datafile)
    return str(path)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def user_event(datafile: str) -> UserEvent:
    """An event as the SDK hands it to a processor."""
    caught = Recorder()
    client = create_client(datafile, caught)
    client.event_processor.process = caught.dispatch_event  # type: ignore[assignment]
    client.track("page_view", "user-1")
    (event,) = caught.events
    assert isinstance(event, UserEvent)
    return event


def visitors(event: Any) -> list[str]:
    return [visitor["visitor_id"] for visitor in event.params["visitors"]]


def test_a_tracked_event_is_dispatched_in_the_caller(datafile: str, recorder: Recorder) -> None:
    client = create_client(datafile, recorder)

    client.track("page_view", "user-1")

    (event,) = recorder.events
    assert visitors(event) == ["user-1"]
    assert (event.http_verb, event.headers) == ("POST", {"Content-Type": "application/json"})


def test_a_decision_is_dispatched_too(datafile: str, recorder: Recorder) -> None:
    client = create_client(datafile=datafile, event_dispatcher=recorder)

    decided = client.create_user_context("user-1").decide("checkout_flow")  # type: ignore[union-attr]

    assert decided.enabled
    assert [visitors(event) for event in recorder.events] == [["user-1"]]


def test_listeners_hear_of_an_event_before_it_is_dispatched(datafile: str) -> None:
    told: list[tuple[str, Any]] = []
    dispatcher = Recorder()
    dispatcher.dispatch_event = lambda event: told.append(("dispatcher", event))  # type: ignore[method-assign]
    client = create_client(datafile, dispatcher)
    client.notification_center.add_notification_listener(
        NotificationTypes.LOG_EVENT, lambda event: told.append(("listener", event))
    )

    client.track("page_view", "user-1")

    assert [who for who, _ in told] == ["listener", "dispatcher"]
    assert told[0][1] is told[1][1]


def test_a_listener_that_raises_hurts_nobody(datafile: str, recorder: Recorder) -> None:
    def listener(event: Any) -> None:
        raise RuntimeError("listener")

    client = create_client(datafile, recorder)
    client.notification_center.add_notification_listener(NotificationTypes.LOG_EVENT, listener)

    client.track("page_view", "user-1")

    assert len(recorder.events) == 1


def test_a_notification_center_that_raises_hurts_nobody(user_event: UserEvent, recorder: Recorder) -> None:
    class Center(NotificationCenter):
        def send_notifications(self, notification_type: str, *args: Any) -> None:
            raise RuntimeError("center")

    GeventEventProcessor(recorder, notification_center=Center()).process(user_event)

    assert len(recorder.events) == 1


def test_a_dispatcher_that_raises_is_logged_without_what_it_says(
    user_event: UserEvent, caplog: pytest.LogCaptureFixture
) -> None:
    GeventEventProcessor(Broken()).process(user_event)

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("gevent_dispatcher", logging.ERROR)
    assert record.getMessage().startswith("event not dispatched: RuntimeError, raised at\n")
    assert "in dispatch_event" in caplog.text
    assert "user-1" not in caplog.text


def test_what_fails_again_is_counted_and_said_at_the_end(
    user_event: UserEvent, caplog: pytest.LogCaptureFixture
) -> None:
    processor = GeventEventProcessor(Broken())
    for _ in range(5):
        processor.process(user_event)
    processor.stop()

    assert [record.getMessage().partition(", raised")[0] for record in caplog.records] == [
        "event not dispatched: RuntimeError",
        "flush failed: RuntimeError",
        "sdk_failed: event not dispatched RuntimeError: 4 more since it was last said",
    ]


def test_the_same_failure_is_said_once_a_minute(user_event: UserEvent, caplog: pytest.LogCaptureFixture) -> None:
    processor = GeventEventProcessor(Broken(), logger=logging.getLogger("mine"))
    for _ in range(3):
        processor.process(user_event)
    assert len([record for record in caplog.records if record.name == "mine" and record.levelname == "ERROR"]) == 1


def test_failures_go_to_the_logger_that_was_given(user_event: UserEvent, caplog: pytest.LogCaptureFixture) -> None:
    GeventEventProcessor(Broken(), logger=logging.getLogger("application")).process(user_event)

    assert [record.name for record in caplog.records] == ["application"]


@pytest.mark.parametrize("kind", ["dict", "NoneType", "UserEvent"])
def test_what_is_no_event_goes_no_further(
    kind: str, user_event: UserEvent, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    bare = UserEvent(user_event.event_context, "user-1", [], None)
    processor = GeventEventProcessor(recorder)
    heard: list[Any] = []
    processor.notification_center.add_notification_listener(NotificationTypes.LOG_EVENT, heard.append)

    processor.process({"dict": {}, "NoneType": None, "UserEvent": bare}[kind])  # type: ignore[arg-type]

    assert recorder.events == heard == []
    assert caplog.records[-1].getMessage() == f"event not built: the SDK makes nothing of a {kind}"


def test_an_event_that_cannot_be_built_hurts_nobody(
    user_event: UserEvent, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    user_event.event_context = None  # type: ignore[assignment]

    GeventEventProcessor(recorder).process(user_event)

    assert recorder.events == []
    assert caplog.records[0].getMessage().startswith("event not built: AttributeError, raised at\n")


@pytest.mark.parametrize(("answer", "result"), [(True, True), (False, False), (None, True)])
def test_flush_and_stop_flush_a_dispatcher_that_was_handed_in(answer: Any, result: bool) -> None:
    recorder = Recorder(answer)
    processor = GeventEventProcessor(recorder)

    assert processor.flush() is result
    assert processor.flush(timeout=5) is result
    assert processor.stop(timeout=2) is result
    assert recorder.calls == [("flush", None), ("flush", 5), ("flush", 2)]


@pytest.mark.parametrize("dispatcher", [EventDispatcher, EventDispatcher()])
def test_a_dispatcher_without_flush_is_done_at_once(dispatcher: Any) -> None:
    processor = GeventEventProcessor(dispatcher)

    assert processor.flush()
    assert processor.stop()


@pytest.mark.parametrize("timeout", [None, 5])
def test_a_flush_that_raises_is_a_flush_that_failed(timeout: float | None, caplog: pytest.LogCaptureFixture) -> None:
    assert GeventEventProcessor(Broken()).flush(timeout) is False
    assert caplog.records[0].getMessage().startswith("flush failed: ")


def test_stop_closes_a_dispatcher_that_the_processor_made(user_event: UserEvent) -> None:
    processor = GeventEventProcessor()

    assert processor.stop()

    processor.process(user_event)
    assert processor.event_dispatcher.stats().dropped["closed"] == 1


@since_sdk_5
def test_closing_the_client_flushes_a_dispatcher_that_was_handed_in(datafile: str, recorder: Recorder) -> None:
    create_client(datafile, recorder).close()

    assert recorder.calls == [("flush", None)]


@since_sdk_5
def test_closing_the_client_closes_a_dispatcher_of_its_own(datafile: str) -> None:
    client = create_client(datafile)
    dispatcher = client.event_dispatcher
    assert isinstance(dispatcher, GeventEventDispatcher)

    client.close()

    client.track("page_view", "user-1")
    assert dispatcher.stats().dropped["closed"] == 1


@pytest.mark.parametrize("stand_in", [GeventEventDispatcher, gevent_dispatcher])
def test_class_and_module_stand_for_the_default_dispatcher(stand_in: Any) -> None:
    processor = GeventEventProcessor(stand_in)

    assert processor.event_dispatcher is default_dispatcher()
    assert processor.flush()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_dispatcher": object()}, r"event_dispatcher is of type object; it must have a method dispatch_event"),
        ({"event_dispatcher": dict}, r"event_dispatcher is the class dict; it must have"),
        ({"notification_center": object()}, r"notification_center is of type object; it must be an instance of"),
        ({"notification_center": NotificationCenter}, r"notification_center is the class NotificationCenter"),
    ],
)
def test_what_cannot_work_is_refused_at_construction(arguments: dict[str, Any], message: str, datafile: str) -> None:
    with pytest.raises(TypeError, match=message):
        GeventEventProcessor(**arguments)
    with pytest.raises(TypeError, match=message):
        create_client(datafile, **arguments)


def test_the_client_has_one_notification_center(datafile: str, recorder: Recorder) -> None:
    client = create_client(datafile, recorder)

    assert isinstance(client.event_processor, GeventEventProcessor)
    assert client.event_processor.notification_center is client.notification_center
    assert client.event_processor.event_dispatcher is client.event_dispatcher is recorder


def test_what_is_given_reaches_the_client(datafile: str, recorder: Recorder) -> None:
    center = NotificationCenter()
    logger = logging.getLogger("application")

    client = create_client(datafile, recorder, logger, notification_center=center)

    assert client.is_valid
    assert client.logger is logger
    assert client.notification_center is client.event_processor.notification_center is center  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_processor": BatchEventProcessor(Recorder())}, "^event_processor: create_client makes the event"),
        pytest.param(
            {"event_processor_options": {"batch_size": 10}},
            "^event_processor_options: they would have no effect",
            marks=since_sdk_5,
        ),
    ],
)
def test_an_argument_that_would_be_ignored_is_refused(datafile: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_client(datafile, **arguments)


def test_an_argument_that_the_sdk_does_not_have_is_refused(datafile: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'datafiel'"):
        create_client(datafiel=datafile)  # type: ignore[call-arg]


# ---- whole processes, patched, against a server in another process ----

PATCHED = """
from gevent import monkey
monkey.patch_all()
import json, sys
import gevent
from optimizely.event.event_factory import EventFactory
from optimizely.optimizely import Optimizely
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.sdk import create_client

url, datafile, count = sys.argv[1], open(sys.argv[2]).read(), int(sys.argv[3])
# One endpoint per region since the SDK knows regions, one in all before.
EventFactory.EVENT_ENDPOINT = url
for region in getattr(EventFactory, "EVENT_ENDPOINTS", ()):
    EventFactory.EVENT_ENDPOINTS[region] = url

def track(client):
    for number in range(count):
        client.track("page_view", "user-%d" % number)
        if number % 500 == 499:
            # The SDK's own queue holds 1000 events and refuses the next, before any dispatcher hears of it:
            # a web application yields between events all the time, this loop must do it itself.
            gevent.sleep(0)

def close(client):
    if hasattr(client, "close"):
        client.close()
"""

OFFICIAL = """
dispatcher = GeventEventDispatcher()
client = Optimizely(datafile, event_dispatcher=dispatcher)
track(client)
close(client)
print(json.dumps([dispatcher.close(timeout=30), dispatcher.stats().delivered]))
"""

WIRED = """
client = create_client(datafile)
track(client)
dispatcher = client.event_dispatcher
print(json.dumps([client.event_processor.stop(timeout=30), dispatcher.stats().delivered]))
"""

LEFT_TO_THE_EXIT = """
client = create_client(datafile)
track(client)
print("null")
"""

VENDORS_SAMPLE = """
from gevent_dispatcher import GeventEventDispatcher as event_dispatcher
client = Optimizely(datafile, event_dispatcher=event_dispatcher)
track(client)
close(client)
print("null")
"""


def run(program: str, *arguments: str) -> Any:
    """Run a program in a process of its own that must end well and silently; what it printed, as JSON."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return json.loads(done.stdout)


def received_users(server: HostileProcess) -> list[str]:
    payloads = map(json.loads, server.bodies())
    return [visitor["visitor_id"] for payload in payloads for visitor in payload["visitors"]]


def users(count: int) -> list[str]:
    return sorted(f"user-{number}" for number in range(count))


@pytest.fixture
def endpoint() -> Iterator[HostileProcess]:
    with HostileProcess() as server:
        yield server


@pytest.mark.parametrize("ending", [OFFICIAL, WIRED], ids=["official", "wired"])
def test_every_one_of_ten_thousand_events_arrives_once(
    ending: str, endpoint: HostileProcess, datafile_path: str
) -> None:
    printed = run(PATCHED + ending, endpoint.url("v1/events"), datafile_path, "10000")

    assert printed == [True, 10000]
    assert sorted(received_users(endpoint)) == users(10000)


@pytest.mark.parametrize("ending", [LEFT_TO_THE_EXIT, VENDORS_SAMPLE], ids=["left to the exit", "vendor's sample"])
def test_nobody_has_to_close_the_dispatcher(ending: str, endpoint: HostileProcess, datafile_path: str) -> None:
    run(PATCHED + ending, endpoint.url("v1/events"), datafile_path, "900")

    assert sorted(received_users(endpoint)) == users(900)


def test_without_the_sdk_the_error_names_the_extra() -> None:
    program = """
import json, sys
sys.modules["optimizely"] = None
try:
    import gevent_dispatcher.sdk
except ImportError as error:
    print(json.dumps(str(error)))
"""
    assert "pip install 'gevent-dispatcher[sdk]'" in run(program)
