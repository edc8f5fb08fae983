"""Rows of servers: started, asked, ended."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Callable, Mapping

from tests.lifetimes import contestants
from tests.lifetimes._endpoint import Endpoint
from tests.lifetimes._processes import PATIENCE, ROOT, UWSGI_BINARY, Program, Trouble, wait_for
from tests.lifetimes._result import LATE_STEM, Tally
from tests.lifetimes._rows import GEVENT, GTHREAD, NO, PATCHED, SYNC, UWSGI_EARLY, UWSGI_LATE, Row

WORKERS = 2

# Requests right after the start and right before the end, and events that each dispatches: early ones fill a batch in
# each worker, so that something is under way; late ones wait for company.
EARLY, LATE, EVENTS = 30, 6, 10

# Requests that a worker may answer in rows of max_requests, and workers that are seen to come before the row goes on.
MAX_REQUESTS = 20
GENERATIONS = 3

_APP = "tests.lifetimes.app:app"

# Seconds.
_ANSWER_TIMEOUT = 10.0
_WORKER_TIMEOUT = 3
_GRACEFUL_TIMEOUT = 15
_SHORT_GRACEFUL_TIMEOUT = 2


class Server:
    """A server under way, with the application of `tests.lifetimes.app`.

    Args:
        program: its process.
        tally: where the names of dispatched events are put, once the request that dispatched them was answered.
        tells: whether its workers say when they are ready and when they leave.
    """

    def __init__(self, program: Program, tally: Tally, tells: bool) -> None:
        self.program = program
        self.workers: set[str] = set()
        self._tally = tally
        self._tells = tells
        self._requests = 0
        self._port = 0

    def listen(self) -> None:
        """Wait until it says where it listens."""
        self._port = self.program.port()

    def ask(self, path: str) -> str:
        """Ask for something and return the answer."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_TIMEOUT)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise Trouble(f"the server answered {response.status}: {body[:200]}")
        return body

    def dispatch(self, stem: str = "early") -> None:
        """Have a worker dispatch events; they count as dispatched when the answer has come."""
        self._requests += 1
        stem = f"{stem}-{self._requests}"
        self.workers.add(self.ask(f"/dispatch?stem={stem}&events={EVENTS}"))
        self._tally.dispatched.update(contestants.names(stem, EVENTS))

    def try_to_dispatch(self) -> None:
        """The same while workers come and go, when some requests get no answer."""
        with suppress(OSError, HTTPException):
            self.dispatch()

    def settle(self) -> None:
        """Have every worker dispatch events; only then are signals heard."""
        self.wait_until_ready()
        for _ in range(EARLY):
            self.dispatch()
        self.program.wait_for("every worker to answer", self._has_heard_all)

    def _has_heard_all(self) -> bool:
        self.dispatch()
        return len(self.workers) >= WORKERS

    def dispatch_late(self) -> None:
        """Dispatch what the row is about: the last events."""
        for _ in range(LATE):
            self.dispatch(LATE_STEM)

    def said(self, word: str) -> set[str]:
        """Process ids that the workers have said together with a word."""
        return set(re.findall(rf"^lifetimes: {word} (\d+)$", self.program.output(), re.M))

    def wait_until_ready(self) -> None:
        """Wait for workers at their start or end: gunicorn loses a signal that meets them then."""
        self.program.wait_for("the workers", self.are_ready)

    def are_ready(self, generations: int = 1) -> bool:
        """Whether the workers hear signals, none of them is on its way out, and so many sets of them have come."""
        if not self._tells:
            return True
        ready = self.said("ready")
        return len(ready) >= generations * WORKERS and len(ready - self.said("leaving")) == WORKERS

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end."""
        self.program.signal(number)
        self.program.wait_for_end()


def run(row: Row, directory: Path, environ: Mapping[str, str], endpoint: Endpoint, tally: Tally) -> None:
    """Start a server, have it dispatch events, end it as the row says.

    Raises:
        Trouble: it went otherwise.
    """
    with Program(_COMMANDS[row.launcher](row), directory, {**environ, **_patching(row)}) as program:
        server = Server(program, tally, tells=row.launcher in (GEVENT, GTHREAD, SYNC))
        server.listen()
        server.settle()
        if row.unsaved:
            wait_for("the early events", lambda: tally.dispatched <= set(endpoint.arrived()))
        _ENDS[row.end](server)


# -- commands ----------------------------------------------------------------------------------------------------------


def _patching(row: Row) -> dict[str, str]:
    return {"LIFETIMES_PATCHED": "1"} if row.preload == PATCHED else {}


def _gunicorn(row: Row) -> list[str]:
    options = {
        "config": str(Path(__file__).with_name("gunicorn_conf.py")),
        "bind": "127.0.0.1:0",
        "workers": str(WORKERS),
        "worker-class": row.launcher.split()[-1],
        "graceful-timeout": str(_SHORT_GRACEFUL_TIMEOUT if row.end == "long request" else _GRACEFUL_TIMEOUT),
        "timeout": str(_WORKER_TIMEOUT if row.end == "timeout" else _GRACEFUL_TIMEOUT),
        "max-requests": str(MAX_REQUESTS if row.end == "max_requests" else 0),
    }
    preload = [] if row.preload == NO else ["--preload"]
    return ["-m", "gunicorn.app.wsgiapp", *(f"--{name}={value}" for name, value in options.items()), *preload, _APP]


def _uwsgi(row: Row) -> list[str]:
    patch = "--gevent-early-monkey-patch" if row.launcher == UWSGI_EARLY else "--gevent-monkey-patch"
    lazy = ["--lazy-apps"] if row.preload == NO else []
    return [
        str(UWSGI_BINARY),
        *("--http-socket", f"127.0.0.1:{_free_port()}", "--master", "--processes", str(WORKERS), "--die-on-term"),
        "--disable-logging",
        *("--gevent", "50", patch, "--virtualenv", sys.prefix, "--pythonpath", str(ROOT), "--module", _APP),
        *lazy,
    ]


def _free_port() -> int:
    """A port for a server that would take another one when it reloads, if it chose for itself."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


_COMMANDS: dict[str, Callable[[Row], list[str]]] = {
    GEVENT: _gunicorn,
    GTHREAD: _gunicorn,
    SYNC: _gunicorn,
    UWSGI_EARLY: _uwsgi,
    UWSGI_LATE: _uwsgi,
}

# -- ends --------------------------------------------------------------------------------------------------------------


def _signalled(number: int) -> Callable[[Server], None]:
    def end(server: Server) -> None:
        server.dispatch_late()
        server.stop(number)

    return end


def _reload(server: Server) -> None:
    old = set(server.workers)
    server.program.signal(signal.SIGHUP)
    server.program.wait_for("new workers", lambda: _have_come(server, old))
    _end_when_ready(server)


def _have_come(server: Server, old: set[str]) -> bool:
    server.try_to_dispatch()
    return len(server.workers - old) >= WORKERS


def _recycle(server: Server) -> None:
    server.program.wait_for("workers to come and go", lambda: _keep_on(server, GENERATIONS))
    _end_when_ready(server)


def _keep_on(server: Server, generations: int) -> bool:
    server.try_to_dispatch()
    return server.are_ready(generations)


def _block(server: Server) -> None:
    server.dispatch_late()
    asking = _ask_in_vain(server, "/block")
    server.program.wait_for("a worker to be replaced", lambda: len(server.said("ready")) > WORKERS)
    asking.join(PATIENCE)
    _end_when_ready(server)


def _end_when_ready(server: Server) -> None:
    server.wait_until_ready()
    server.dispatch_late()
    server.stop()


def _kill(server: Server) -> None:
    server.dispatch_late()
    server.program.kill()
    server.program.wait_for_end()


def _interrupt_the_end(server: Server) -> None:
    server.dispatch_late()
    server.program.signal(signal.SIGTERM)
    for worker in server.workers:
        os.kill(int(worker), signal.SIGINT)
    server.program.wait_for_end()


def _outlive(server: Server) -> None:
    asking = _ask_in_vain(server, "/hold")
    server.program.wait_for("a request to be held", lambda: "lifetimes: holding" in server.program.output())
    server.dispatch_late()
    server.stop()
    asking.join(PATIENCE)


def _ask_in_vain(server: Server, path: str) -> threading.Thread:
    """Ask for what will not be answered, without waiting."""

    def ask() -> None:
        with suppress(OSError, HTTPException, Trouble):
            server.ask(path)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


_ENDS: dict[str, Callable[[Server], None]] = {
    "SIGTERM": _signalled(signal.SIGTERM),
    "SIGINT": _signalled(signal.SIGINT),
    "SIGQUIT": _signalled(signal.SIGQUIT),
    "SIGHUP": _reload,
    "max_requests": _recycle,
    "timeout": _block,
    "SIGKILL": _kill,
    "SIGTERM, SIGINT": _interrupt_the_end,
    "long request": _outlive,
}
