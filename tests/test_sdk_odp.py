"""ODP events of a client that create_client made: sent by the process that they belong to, before it ends, in time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

import pytest
from optimizely.optimizely import Optimizely

from gevent_dispatcher.sdk import create_client
from tests.test_sdk_forks import PRELUDE, DatafileServer, Running, Start

if not hasattr(Optimizely, "close"):
    pytest.skip("ODP came with SDK 5", allow_module_level=True)

from optimizely.helpers.sdk_settings import OptimizelySdkSettings
from optimizely.odp.odp_event_manager import OdpEventManager

# A client with a long flush interval: what arrives was flushed by the end of the process.
SETUP = """
import atexit, socket
ended = []
# Registered before anything of ours, so it runs after it.
atexit.register(lambda: say("the end took " + ("long" if time.monotonic() - ended[0] > 2 else "little")))

client.config_manager.stop()
from optimizely.helpers.sdk_settings import OptimizelySdkSettings
client = create_client(
    sdk_key="key", logger=Logger(), settings=OptimizelySdkSettings(odp_event_flush_interval=3600))

def send(action):
    revision()
    # As a process that has lived does: Python 3.12 starts no thread at the end, and gevent's first look-up needs one.
    socket.getaddrinfo("127.0.0.1", 80)
    client.send_odp_event(action, {"fs_user_id": "user-1"})
"""
FINISH = """
ended.append(time.monotonic())
"""


@pytest.fixture
def server() -> Iterator[DatafileServer]:
    with DatafileServer() as running:
        running.datafile["integrations"] = [{"key": "odp", "publicKey": "key", "host": running.url}]
        yield running


@pytest.fixture
def datafile(server: DatafileServer) -> str:
    return json.dumps({**server.datafile, "integrations": []})


@pytest.fixture
def start(server: DatafileServer, tmp_path: Path) -> Start:
    def start(script: str, *arguments: str) -> Running:
        return Running(["-c", PRELUDE + SETUP + script + FINISH, server.url, *arguments], tmp_path)

    return start


def finish(program: Running) -> None:
    assert program.wait_for_end() == 0
    assert program.said("the end took little")
    assert not program.said("the end took long")


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_the_end_of_the_process_sends_what_is_queued(server: DatafileServer, start: Start, patched: str) -> None:
    with start('send("a")\nsend("b")', patched) as program:
        finish(program)
        assert program.has_not_complained(), program.output()
        assert server.odp_events == [(program.pid, "a"), (program.pid, "b")]


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_an_endpoint_that_hangs_does_not_delay_the_end_by_much(
    server: DatafileServer, start: Start, patched: str
) -> None:
    server.odp_latency = 60
    with start('send("a")', patched) as program:
        finish(program)


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_closing_the_client_leaves_nothing_to_the_end(server: DatafileServer, start: Start, patched: str) -> None:
    with start('send("a")\nclient.close()\nsay("closed")\nsend("b")', patched) as program:
        finish(program)
        assert program.said("closed")
        assert server.odp_events == [(program.pid, "a")]


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_a_fork_sends_its_own_events_and_not_its_parents(server: DatafileServer, start: Start, patched: str) -> None:
    script = """
send("parent")
child = os.fork()
if child == 0:
    send("child")
    say("child")
else:
    assert os.waitpid(child, 0)[1] == 0
"""
    with start(script, patched) as program:
        finish(program)
        (child,) = program.said("child")
        assert sorted(server.odp_events) == sorted([(program.pid, "parent"), (child, "child")])
        assert program.has_not_complained(), program.output()


def test_a_fork_in_the_middle_of_a_request_sends_nothing_twice(server: DatafileServer, start: Start) -> None:
    server.odp_latency = 0.3
    script = """
send("parent")
client.config_manager.stop()
client.odp_manager.event_manager.flush()
wait_until_asking()
child = os.fork()
if child == 0:
    send("child")
    say("child")
else:
    assert os.waitpid(child, 0)[1] == 0
"""
    with start(script, "patched") as program:
        finish(program)
        (child,) = program.said("child")
        assert sorted(server.odp_events) == sorted([(program.pid, "parent"), (child, "child")])


def test_the_settings_of_the_user_stay_as_they_are(datafile: str) -> None:
    settings = OptimizelySdkSettings(odp_event_flush_interval=7)

    client = create_client(datafile, settings=settings)

    assert settings.odp_event_manager is None
    assert client.odp_manager.event_manager is not None
    assert client.odp_manager.event_manager.flush_interval == 7


def test_an_event_manager_of_the_users_own_is_used(datafile: str) -> None:
    own = OdpEventManager()

    client = create_client(datafile, settings=OptimizelySdkSettings(odp_event_manager=own))

    assert client.odp_manager.event_manager is own


def test_what_is_disabled_stays_disabled(datafile: str) -> None:
    client = create_client(datafile, settings=OptimizelySdkSettings(odp_disabled=True))

    assert client.odp_manager.event_manager is None
