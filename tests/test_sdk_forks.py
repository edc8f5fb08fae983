"""A client made with an sdk_key and forked afterwards: each process polls for its own datafile, once."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

import gevent
import pytest
from gevent.pywsgi import WSGIServer

from tests.lifetimes._processes import ROOT, Program, Trouble
from tests.waiting import wait_until

DATAFILE = ROOT / "examples" / "datafile.json"

# What the server takes for an answer, in seconds: several times the interval below, so that two pollers of one process
# would soon ask at once.
LATENCY = 0.05

# Python 3.12 and later warn of every fork of a process with threads, as an unpatched one that polls is.
FORKING = "ignore:This process:DeprecationWarning"

PRELUDE = """
import sys
if sys.argv[2] == "patched":
    from gevent import monkey
    monkey.patch_all()
import logging, os, threading, time, urllib.request
import requests
from optimizely.config_manager import AuthDatafilePollingConfigManager, PollingConfigManager
from optimizely.helpers.enums import ConfigManager, NotificationTypes
from gevent_dispatcher.sdk import create_client

ConfigManager.DEFAULT_UPDATE_INTERVAL = 0.01
PollingConfigManager.DATAFILE_URL_TEMPLATE = sys.argv[1] + "/datafiles/{sdk_key}.json"
AuthDatafilePollingConfigManager.DATAFILE_URL_TEMPLATE = sys.argv[1] + "/datafiles/auth/{sdk_key}.json"

default_headers = requests.sessions.default_headers
requests.sessions.default_headers = lambda: {**default_headers(), "X-Pid": str(os.getpid()), "Connection": "close"}

def wait_until_asking():
    # Returns while the server keeps a request of this process waiting.
    urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/asked", headers={"X-Pid": str(os.getpid())})).close()

class Logger:
    def log(self, level, message):
        if level >= logging.ERROR:
            say("failed: " + message)
    debug = info = warning = staticmethod(lambda *_: None)
    def error(self, message, *_, **__):
        self.log(logging.ERROR, message)
    exception = error

def say(text):
    os.write(1, ("%d %s\\n" % (os.getpid(), text)).encode())

def revision():
    config = client.config_manager.get_config()
    return "no datafile" if config is None else "revision " + config.get_revision()

def stay():
    say(revision())
    while True:
        time.sleep(3600)

client = create_client(sdk_key="key", logger=Logger())
client.notification_center.add_notification_listener(
    NotificationTypes.OPTIMIZELY_CONFIG_UPDATE, lambda: say("told of " + revision()))
"""


class DatafileServer:
    """Serves a datafile and counts who asks for it; takes ODP events too."""

    def __init__(self) -> None:
        self.datafile = json.loads(DATAFILE.read_text())
        # SDK 5.7 cannot read rollouts on Python 3.8.
        self.datafile["rollouts"] = []
        for flag in self.datafile["featureFlags"]:
            flag["rolloutId"] = ""
        self.latency = LATENCY
        self.polls: Counter[int] = Counter()
        self.most_at_once: Counter[int] = Counter()
        self.tokens: set[str] = set()
        self.odp_events: list[tuple[int, str]] = []
        self.odp_latency = 0.0
        self._now: Counter[int] = Counter()

    def __enter__(self) -> DatafileServer:
        self._server = WSGIServer(("127.0.0.1", 0), self._answer, log=None, error_log=None)
        self._server.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(timeout=0)

    def set_revision(self, revision: int) -> None:
        self.datafile["revision"] = str(revision)

    def has_polled(self, pids: Iterable[int], times: int = 10) -> None:
        """Wait until each of the processes has asked so many times from now on."""
        before = Counter(self.polls)
        wait_until(lambda: all(self.polls[pid] >= before[pid] + times for pid in pids), 20)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        pid = int(environ.get("HTTP_X_PID", os.getpid()))
        if environ["PATH_INFO"] == "/asked":
            wait_until(lambda: self._now[pid])
            start_response("204 No Content", [])
            return []
        if environ["PATH_INFO"] == "/v3/events":
            return self._take_odp_events(pid, environ, start_response)
        if "/auth/" in environ["PATH_INFO"]:
            self.tokens.add(environ.get("HTTP_AUTHORIZATION", ""))
        self.polls[pid] += 1
        self._hold(pid, self.latency)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.datafile).encode()]

    def _hold(self, pid: int, seconds: float) -> None:
        self._now[pid] += 1
        self.most_at_once[pid] = max(self.most_at_once[pid], self._now[pid])
        gevent.sleep(seconds)
        self._now[pid] -= 1

    def _take_odp_events(self, pid: int, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self._hold(pid, self.odp_latency)
        self.odp_events += [(pid, event["action"]) for event in json.loads(body)]
        start_response("200 OK", [])
        return [b"{}"]


class Running(Program):
    """A program whose processes say things, each behind its id."""

    def __init__(self, command: list[str], directory: Path) -> None:
        super().__init__(["-W", FORKING, *command], directory, {"PYTHONPATH": str(ROOT)})

    def __enter__(self) -> Running:
        super().__enter__()
        return self

    def said(self, text: str) -> set[int]:
        """The processes that have said this."""
        return {int(pid) for pid in re.findall(rf"^(\d+) {re.escape(text)}$", self.output(), re.M)}

    def wait_until_said(self, text: str, processes: int = 1) -> set[int]:
        """Wait until so many processes have said this, and return them."""

        def has_been_said() -> bool:
            if "Traceback" in self.output():
                raise Trouble(f"a traceback before {text!r} was said")
            return len(self.said(text)) >= processes

        try:
            self.wait_for(f"{processes} processes to say {text!r}", has_been_said)
        except Trouble as error:
            raise AssertionError(f"{error}:\n{self.output()}") from error
        return self.said(text)

    def has_not_complained(self) -> bool:
        return not re.search("failed|Error|Traceback|Warning", self.output())


@pytest.fixture
def server() -> Iterator[DatafileServer]:
    with DatafileServer() as running:
        yield running


Start = Callable[..., Running]


@pytest.fixture
def start(server: DatafileServer, tmp_path: Path) -> Start:
    def start(script: str, *arguments: str) -> Running:
        return Running(["-c", PRELUDE + script, server.url, *arguments], tmp_path)

    return start


def all_follow(server: DatafileServer, program: Running, processes: int, revision: int = 2) -> set[int]:
    """Wait until so many processes have followed a change of the datafile, each by one poller of its own."""
    program.wait_until_said("revision 1", processes)
    server.set_revision(revision)
    pids = program.wait_until_said(f"told of revision {revision}", processes)
    server.has_polled(pids)
    assert {pid: server.most_at_once[pid] for pid in pids} == dict.fromkeys(pids, 1)
    assert program.has_not_complained(), program.output()
    return pids


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_a_process_polls_from_the_start(server: DatafileServer, start: Start, patched: str) -> None:
    with start("stay()", patched) as program:
        program.wait_until_said("told of revision 1")
        all_follow(server, program, 1)


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_a_fork_has_the_parents_datafile_and_its_own_poller(server: DatafileServer, start: Start, patched: str) -> None:
    script = """
revision()
os.fork()
stay()
"""
    with start(script, patched) as program:
        pids = all_follow(server, program, 2)
        assert program.pid in pids
        assert program.said("told of revision 1") == {program.pid}, "the child had to fetch it"


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_a_fork_in_the_middle_of_a_poll_takes_nothing_from_the_parent(
    server: DatafileServer, start: Start, patched: str
) -> None:
    server.latency = 0.3
    script = """
wait_until_asking()
for _ in range(5):
    if os.fork() == 0:
        break
started = time.monotonic()
revision()
say("waited little" if time.monotonic() - started < 5 else "waited long")
stay()
"""
    with start(script, patched) as program:
        # One that had lost its answer to another would wait until the request's timeout.
        program.wait_until_said("waited little", 6)
        server.latency = LATENCY
        assert program.pid in all_follow(server, program, 6)


def test_an_unpatched_fork_waits_for_the_datafile_that_is_being_fetched(server: DatafileServer, start: Start) -> None:
    server.latency = 0.3
    script = """
wait_until_asking()
if os.fork() == 0:
    say("inherits " + str(client.config_manager._config is not None))
stay()
"""
    with start(script, "unpatched") as program:
        program.wait_until_said("inherits True")


def test_a_fork_does_not_wait_long_for_a_datafile_that_does_not_come(server: DatafileServer, start: Start) -> None:
    server.latency = 60
    script = """
wait_until_asking()
started = time.monotonic()
for _ in range(3):
    if os.fork() == 0:
        os._exit(0)
say("waited once" if time.monotonic() - started < 2 else "waited %f s" % (time.monotonic() - started))
"""
    with start(script, "unpatched") as program:
        program.wait_until_said("waited once")


def test_a_listener_may_fork(server: DatafileServer, start: Start) -> None:
    script = """
def fork(*_):
    if os.fork() == 0:
        say("forked")
        os._exit(0)
client.notification_center.add_notification_listener(NotificationTypes.OPTIMIZELY_CONFIG_UPDATE, fork)
stay()
"""
    with start(script, "unpatched") as program:
        program.wait_until_said("told of revision 1")
        program.wait_until_said("forked")
        all_follow(server, program, 1)


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_many_come_first_in_a_child_and_one_poller_is_made(server: DatafileServer, start: Start, patched: str) -> None:
    script = """
from gevent.monkey import get_original
native = get_original("_thread", "start_new_thread")
revision()
if os.fork() == 0:
    sys.setswitchinterval(1e-6)
    for _ in range(20):
        threading.Thread(target=revision).start()
        native(revision, ())
stay()
"""
    with start(script, patched) as program:
        all_follow(server, program, 2)


def test_a_native_thread_that_comes_first_leaves_the_polling_to_the_hub(server: DatafileServer, start: Start) -> None:
    script = """
import gevent
revision()
if os.fork() == 0:
    gevent.get_hub().threadpool.apply(revision)
stay()
"""
    with start(script, "patched") as program:
        all_follow(server, program, 2)


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_a_child_of_multiprocessing_polls(server: DatafileServer, start: Start, patched: str) -> None:
    script = """
from multiprocessing import get_context
revision()
get_context("fork").Process(target=stay).start()
stay()
"""
    with start(script, patched) as program:
        all_follow(server, program, 2)


def test_a_grandchild_polls(server: DatafileServer, start: Start) -> None:
    script = """
revision()
if os.fork() == 0:
    revision()
    os.fork()
stay()
"""
    with start(script, "patched") as program:
        all_follow(server, program, 3)


def test_a_subprocess_disturbs_nothing(server: DatafileServer, start: Start) -> None:
    script = """
import subprocess
wait_until_asking()
for _ in range(3):
    subprocess.run([sys.executable, "-c", ""], check=True)
say("done")
stay()
"""
    with start(script, "patched") as program:
        program.wait_until_said("done")
        all_follow(server, program, 1)
        assert set(server.polls) == {program.pid}


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_nothing_polls_after_stop(server: DatafileServer, start: Start, patched: str) -> None:
    script = """
revision()
child = os.fork()
if child == 0:
    client.config_manager.stop()
    say("stopped %s" % client.config_manager.is_running)
    revision()
    os.fork()
stay()
"""
    with start(script, patched) as program:
        stopped = program.wait_until_said("stopped False")
        children = program.wait_until_said("revision 1", 3) - {program.pid}
        server.has_polled([program.pid])
        assert stopped < children
        assert set(server.polls) == {program.pid}
        assert program.has_not_complained(), program.output()


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_stop_ends_a_poller_that_runs(server: DatafileServer, start: Start, patched: str) -> None:
    script = """
revision()
if os.fork() == 0:
    revision()
    client.config_manager.stop()
    say("stopped %s" % client.config_manager.is_running)
stay()
"""
    with start(script, patched) as program:
        (stopped,) = program.wait_until_said("stopped False")
        polls = server.polls[stopped]
        server.has_polled([program.pid])
        assert server.polls[stopped] == polls


def test_an_authenticated_datafile_is_polled_too(server: DatafileServer, start: Start) -> None:
    script = """
client.config_manager.stop()
client = create_client(sdk_key="key", datafile_access_token="secret", logger=Logger())
client.notification_center.add_notification_listener(
    NotificationTypes.OPTIMIZELY_CONFIG_UPDATE, lambda: say("told of " + revision()))
if os.fork() == 0:
    revision()
stay()
"""
    with start(script, "patched") as program:
        all_follow(server, program, 2)
        assert server.tokens == {"Bearer secret"}


APP = """
import json
def app(environ, start_response):
    start_response("200 OK", [("Connection", "close")])
    return [json.dumps([os.getpid(), revision()]).encode()]
"""


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_gunicorns_preload(server: DatafileServer, tmp_path: Path, patched: str) -> None:
    (tmp_path / "preloaded.py").write_text("import sys; sys.argv[1:] = %r" % [server.url, "unpatched"] + PRELUDE + APP)
    (tmp_path / "conf.py").write_text("from gevent import monkey; monkey.patch_all()" if patched == "patched" else "")
    options = ["--preload", "-k", "gevent", "-w", "2", "-b", "127.0.0.1:0", "-c", str(tmp_path / "conf.py")]
    command = ["-m", "gunicorn", *options, "--pythonpath", str(tmp_path), "preloaded:app"]
    with Running(command, tmp_path) as program:
        port = program.port()
        workers = wait_until(lambda: workers_at(port, "revision 1"), 30)
        server.set_revision(2)
        wait_until(lambda: workers_at(port, "revision 2"), 30)
        server.has_polled([program.pid, *workers])
        assert set(server.most_at_once.values()) == {1}
        assert set(server.polls) == {program.pid, *workers}


def workers_at(port: int, revision: str) -> set[int]:
    """Both workers, when several requests in a row were answered with this revision; none otherwise."""
    answers = [ask(port) for _ in range(20)]
    pids = {pid for pid, _ in answers}
    return pids if len(pids) == 2 and {found for _, found in answers} == {revision} else set()


def ask(port: int) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        pid, revision = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return pid, revision
