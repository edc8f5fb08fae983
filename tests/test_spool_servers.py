"""Two gunicorn workers share one spool through an outage and a restart: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from gevent_dispatcher import SqliteQueue
from tests.lifetimes._processes import Program
from tests.picky import PickyServer
from tests.waiting import wait_until

pytest.importorskip("gunicorn")

WORKERS = 2
CONFIG = Path(__file__).parent / "lifetimes" / "gunicorn_conf.py"


class Worker(NamedTuple):
    """What a worker says of itself."""

    pid: int
    spooled: int
    pending: int
    dropped: int


class Server:
    """gunicorn with two gevent workers."""

    def __init__(self, directory: Path, events_url: str) -> None:
        options = ["--worker-class=gevent", f"--workers={WORKERS}", "--bind=127.0.0.1:0", f"--config={CONFIG}"]
        environ = {"SPOOL": str(directory / "spool.db"), "EVENTS_URL": events_url}
        self.program = Program(["-m", "gunicorn", *options, "tests.spool_app:app"], directory, environ)
        self.workers: dict[int, Worker] = {}
        self._port = 0

    def __enter__(self) -> Server:
        with ExitStack() as ended:  # where a wait is in vain
            program = ended.enter_context(self.program)
            self._port = program.port()
            program.wait_for("the workers", lambda: program.output().count("lifetimes: ready") == WORKERS)
            program.wait_for("every worker to answer", lambda: self.ask() and len(self.workers) == WORKERS)
            ended.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.program.__exit__()

    def ask(self, *names: str) -> Worker:
        """Have a worker dispatch events."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("GET", f"/?names={quote(' '.join(names))}", headers={"Connection": "close"})
            worker = Worker(*map(int, connection.getresponse().read().split()))
        finally:
            connection.close()
        self.workers[worker.pid] = worker
        return worker

    def stop(self) -> None:
        """SIGTERM, as a deployment sends it."""
        self.program.signal(signal.SIGTERM)
        assert self.program.wait_for_end() == 0


@pytest.mark.slow
def test_two_workers_share_one_spool_through_an_outage_and_a_restart(tmp_path: Path) -> None:
    dispatched: list[str] = []
    is_well: list[bool] = []

    def dispatch(server: Server, requests: int) -> None:
        for _ in range(requests):
            names = [f"{len(dispatched) + each}" for each in range(10)]
            worker = server.ask(*names)
            assert worker.dropped == 0
            dispatched.extend(names)

    with PickyServer(lambda visitors: 204 if is_well else 503) as endpoint:
        with Server(tmp_path, endpoint.url) as server:
            for _ in range(30):
                dispatch(server, 10)
                wait_until(lambda: all(server.ask().pending < 400 for _ in range(4)))
            assert all(worker.spooled > 0 for worker in server.workers.values())
            server.stop()
        queue = SqliteQueue(tmp_path / "spool.db").open()
        assert queue.status().events == len(dispatched) == 3_000
        is_well.append(True)
        with Server(tmp_path, endpoint.url) as server:
            dispatch(server, 10)
            wait_until(lambda: len(endpoint.accepted) == len(dispatched), 30)
            wait_until(lambda: queue.status().events == 0)
            server.stop()
        assert endpoint.accepted == Counter(dispatched)
        assert (queue.status().dead, queue.status().leased) == (0, 0)
        queue.close()
