"""The examples as their readers run them: every event arrives exactly once, those right before the end included."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Callable, NamedTuple

import gevent
import pytest

from gevent_dispatcher.collector import Collector
from tests.lifetimes._processes import ROOT, Program

EXAMPLES = ROOT / "examples"
USERS = [f"user-{number}" for number in range(40)]
# What each user does.
EVENTS = {"campaign_activated": 1, "purchase": 1}
# All are run at once, so that each takes its time, in seconds.
PATIENCE = 90.0
# Seconds until the collector answers: events are in flight at the end.
LATENCY = 0.2

LISTENING = r"Listening at: http://[^:]+:(\d+)"


class Example(NamedTuple):
    """How an example is run.

    Attributes:
        needs: modules that must be installed.
        arguments: of Python, in the directory of the examples.
        use: waits until it has tracked for all users, having asked it to.
        tasks: of Python, before it starts; the users' names are added.
        end: the signal that ends it.
    """

    needs: tuple[str, ...]
    arguments: tuple[str, ...]
    use: Callable[[Program], None]
    tasks: tuple[str, ...] = ()
    end: int = signal.SIGTERM


# -- requests ----------------------------------------------------------------------------------------------------------


def ask(program: Program) -> None:
    """A request for each user."""
    wait_for_output(program, LISTENING, 1)
    port = int(re.findall(LISTENING, program.output())[0])
    gevent.joinall([gevent.spawn(ask_for, port, USERS[first::8]) for first in range(8)], raise_error=True)


def ask_gunicorn(program: Program) -> None:
    """The same when both workers are ready: gunicorn loses a signal that meets them before."""
    wait_for_output(program, "Worker ready", 2)
    ask(program)


def ask_for(port: int, users: list[str]) -> None:
    """A request for each of some users, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for user in users:
        connection.request("GET", f"/checkout?user={user}")
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        assert b"three_steps" in body or b"one_page" in body
    connection.close()


# -- tasks -------------------------------------------------------------------------------------------------------------


def work(done: str) -> Callable[[Program], None]:
    """Until a task has been done for each user."""
    return lambda program: wait_for_output(program, done, len(USERS))


def work_and_restart(program: Program) -> None:
    """The same, and then a restart by huey, which runs no exit handlers."""
    work(r"huey_app\.buy: \S+ executed in")(program)
    program.signal(signal.SIGHUP)
    wait_for_output(program, "Huey consumer started", 2)
    # It says so before it minds signals; SIGINT would end it as any program.
    program.wait_for("its signal handlers", lambda: catches(program.pid, signal.SIGHUP), PATIENCE)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    return bool(int(re.search(r"^SigCgt:\s*(\w+)", status, re.M).group(1), 16) >> (number - 1) & 1)


def wait_for_output(program: Program, pattern: str, times: int) -> None:
    """Until it has said something so many times."""
    program.wait_for(pattern, lambda: len(re.findall(pattern, program.output())) >= times, PATIENCE)


# Not `-m gunicorn`, which gunicorn 19 does not have.
GUNICORN = ("-m", "gunicorn.app.wsgiapp", "-c", "gunicorn.conf.py", "--bind", "127.0.0.1:0")
CELERY = ("-m", "celery", "--app", "celery_app", "worker", "--concurrency", "4", "--loglevel", "INFO")
HUEY = ("-m", "huey.bin.huey_consumer", "huey_app.huey", "--worker-type", "greenlet", "--workers", "4")

BUY_BY_CELERY = ("celery_app.py",)
BUY_BY_HUEY = ("-c", "import sys, huey_app; [huey_app.buy(name) for name in sys.argv[1:]]")

DONE_BY_CELERY = work(r"celery_app\.buy\[\S+\] succeeded")

FLASK = ("flask", "gunicorn", "optimizely")

RUNS = {
    "shop": Example(FLASK, (*GUNICORN, "shop:create_app()"), ask_gunicorn),
    "shop, preloaded": Example(FLASK, (*GUNICORN, "--preload", "shop:create_app()"), ask_gunicorn),
    "legacy": Example(FLASK, ("legacy_app.py",), ask),
    "legacy, gunicorn": Example(FLASK, (*GUNICORN, "legacy_app:app"), ask_gunicorn),
    "django": Example(("django", *FLASK), (*GUNICORN, "django_app:application"), ask_gunicorn),
    "celery, gevent": Example(("celery",), (*CELERY, "--pool", "gevent"), DONE_BY_CELERY, BUY_BY_CELERY),
    "celery, prefork": Example(("celery",), CELERY, DONE_BY_CELERY, BUY_BY_CELERY),
    "huey, restarted": Example(("huey",), HUEY, work_and_restart, BUY_BY_HUEY, signal.SIGINT),
}


# -- running -----------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What came of a run."""

    code: int
    visitors: dict[str, dict[str, int]]
    output: str


def run(example: Example, directory: Path) -> Outcome:
    """Run an example from its start to its end."""
    with Collector(latency=LATENCY) as collector:
        environ = {
            "EVENTS_URL": collector.url,
            "NO_PROXY": "127.0.0.1",
            "BROKER_FOLDER": str(directory / "broker"),
            "QUEUE_FILE": str(directory / "huey.db"),
            "PORT": "0",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        if example.tasks:
            command = [sys.executable, *example.tasks, *USERS]
            subprocess.run(command, cwd=EXAMPLES, env={**os.environ, **environ}, check=True, timeout=PATIENCE)
        with Program(example.arguments, directory, environ, EXAMPLES) as program:
            example.use(program)
            program.signal(example.end)
            code = program.wait_for_end(PATIENCE)
        return Outcome(code, collector.visitors(), program.output())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> dict[str, gevent.Greenlet]:
    """All that can be run here, run at the same time."""
    chosen = {name: each for name, each in RUNS.items() if all(map(find_spec, each.needs))}
    started = {name: gevent.spawn(run, each, tmp_path_factory.mktemp("example")) for name, each in chosen.items()}
    gevent.joinall(started.values())
    return started


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first waits for all
@pytest.mark.parametrize("name", RUNS)
def test_every_event_arrives_exactly_once(running: dict[str, gevent.Greenlet], name: str) -> None:
    if name not in running:
        pytest.skip(f"not installed: one of {', '.join(RUNS[name].needs)}")
    outcome: Outcome = running[name].get()
    assert outcome.code == 0, outcome.output
    assert outcome.visitors == dict.fromkeys(USERS, EVENTS), outcome.output


def test_the_index_names_every_example() -> None:
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    paths = [path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files = {str(path.relative_to(EXAMPLES)) for path in paths} - {"README.md"}
    assert files == set(re.findall(r"^\| \[([^\]]+)\]\(\1\) \|", index, re.M))
