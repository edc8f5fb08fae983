"""The demonstration: one shop, three ways to send its events, and what became of them.

    python -m pip install '.[examples]'
    python examples/demo.py

It starts a local stand-in for the Optimizely Event API that takes 100 ms to answer, and then, for each contestant, the
Flask application of this directory under gunicorn with two gevent workers. It asks at a steady rate, stops gunicorn as
a deployment would (SIGTERM), and compares what was dispatched with what arrived. Everything stays on this machine.
"""

# ruff: noqa: E402  # what is missing is said, and the standard library patched, before anything else is imported
from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("gevent", "gevent_dispatcher", "optimizely", "flask", "gunicorn", "tqdm")
MISSING = [name for name in NEEDED if find_spec(name) is None]
if MISSING:
    sys.exit(f"demo.py: not installed: {', '.join(MISSING)}. Try: {sys.executable} -m pip install '.[examples]'")

from gevent import monkey

# subprocess stays as it is: a signal must not come between the start of a process and our taking note of it. It needs
# the os module as it is, too: gevent's os.close may put off closing, and subprocess waits for the end of a pipe. (The
# patch of signal is of use only with that of os.)
monkey.patch_all(subprocess=False, os=False, signal=False)

import argparse
import dataclasses
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence
from urllib.parse import urlsplit

import gevent
from tqdm import tqdm

HERE = Path(__file__).resolve().parent

LATENCY = 100  # milliseconds that the Event API takes to answer
WORKERS = 2
RATE = 250  # requests that are begun in a second, when the contestant keeps up
CONCURRENCY = 50  # most requests at once
EVENTS_PER_REQUEST = 2  # an impression and a conversion
REQUESTS = 2000
REQUESTS_OF_OTHERS = 500  # enough to see what becomes of their events
DRIVING = 15.0  # seconds after which no further request is begun
PATIENCE = 20.0  # seconds that a process may take to start, or to end


class Problem(Exception):
    """The demonstration cannot go on; the text is for the user."""


class Contestant(NamedTuple):
    """One way to send events."""

    name: str
    client: str  # its name in flask_app.py
    requests: int
    preload: bool  # whether the application is imported before gunicorn forks its workers


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of one contestant."""

    contestant: str
    answered: int
    failed: int
    p50_ms: float
    p99_ms: float
    dispatched: int
    delivered: int
    duplicated: int
    lost: int


def wait_until(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """Wait for something true, and return it.

    Args:
        condition: asked again and again.
        timeout: in seconds.
        what: names what is waited for, for the user.

    Raises:
        Problem: the time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Problem(f"waited {timeout:g} s for {what}")
        gevent.sleep(0.02)


class Program:
    """A process with its descendants. None of them outlives the `with` block.

    Args:
        name: for the user.
        arguments: of the Python interpreter that runs this demonstration.
        log: where its output goes.
        environ: added to this process's environment.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path, **environ: str) -> None:
        self._name = name
        self._arguments = [sys.executable, *arguments]
        self._log = log
        self._environ = {**os.environ, **environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def __enter__(self) -> Program:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group, so that all of them can be ended
            )
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):  # the usual case: they have ended by themselves
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    def says(self, pattern: str, times: int = 1) -> str:
        """Wait until its output has a pattern, and return the pattern's group."""
        return str(wait_until(lambda: self._said(pattern, times), PATIENCE, f"{self._name} to say {pattern!r}"))

    def stop(self) -> None:
        """Ask it to end, as a deployment would, and wait until it has."""
        self._process.send_signal(signal.SIGTERM)
        wait_until(lambda: self._process.poll() is not None, PATIENCE, f"{self._name} to end")

    def _said(self, pattern: str, times: int) -> str | None:
        output = self._log.read_text(encoding="utf-8", errors="replace")
        found = re.findall(pattern, output)
        if len(found) >= times:
            return str(found[0])
        if self._process.poll() is not None:
            raise Problem(f"{self._name} ended with exit code {self._process.returncode}:\n{output[-4000:]}")
        return None


class Collector:
    """What the demonstration asks of the local Event API.

    Args:
        url: where events go.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._host = urlsplit(url).netloc

    def counts(self) -> dict[str, int]:
        """Its counts, once they have stopped to change."""
        before: dict[str, int] = {}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = json.loads(self._ask("GET", "/counts"))
            if now == before:
                return before
            before = now
            gevent.sleep(2 * LATENCY / 1000)
        raise Problem("events still arrive although the application has ended")

    def reset(self) -> None:
        """Make it forget what it has received."""
        self._ask("POST", "/reset")

    def _ask(self, verb: str, path: str) -> bytes:
        connection = http.client.HTTPConnection(self._host, timeout=PATIENCE)
        try:
            connection.request(verb, path)
            return connection.getresponse().read()
        finally:
            connection.close()


class Driver:
    """Sends the requests: at a steady rate, over kept connections, each for another user.

    Args:
        port: of the application, on this machine.
        users: begins each user's id.
        requests: how many.
        advance: called after each.
    """

    def __init__(self, port: int, users: str, requests: int, advance: Callable[[], Any]) -> None:
        self.latencies: list[float] = []  # of the requests that were answered, in seconds
        self.failures: list[str] = []
        self._port = port
        self._users = users
        self._advance = advance
        self._numbers = self._paced(requests)

    def run(self) -> None:
        """Send them all, and wait for the answers."""
        senders = [gevent.spawn(self._send) for _ in range(CONCURRENCY)]
        try:
            gevent.joinall(senders, raise_error=True)
        finally:
            gevent.killall(senders)

    def _paced(self, requests: int) -> Iterator[tuple[int, float]]:
        begin = time.monotonic()
        for number in range(requests):
            if time.monotonic() > begin + DRIVING:
                return
            yield number, begin + number / RATE

    def _send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            for number, due in self._numbers:
                gevent.sleep(max(0.0, due - time.monotonic()))
                self._request(connection, f"/checkout?user={self._users}-{number}")
                self._advance()
        finally:
            connection.close()

    def _request(self, connection: http.client.HTTPConnection, path: str) -> None:
        begin = time.perf_counter()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{path}: {error!r}")
            connection.close()  # the next request opens a new one
            return
        if response.status == 200 and json.loads(body)["variation"]:
            self.latencies.append(time.perf_counter() - begin)
        else:
            self.failures.append(f"{path}: {response.status} {body[:200]!r}")


def check_construction() -> None:
    """Prove that a request dispatches two events, by serving one with a dispatcher that only takes note.

    Raises:
        Problem: it does not.
    """
    os.environ["EVENTS_CLIENT"] = "sdk-forwarding"  # the client that the import below makes, and nobody uses
    from flask_app import DATAFILE, create_app
    from optimizely.event.event_processor import ForwardingEventProcessor
    from optimizely.optimizely import Optimizely

    events = Recorder()
    app = create_app(Optimizely(DATAFILE, event_processor=ForwardingEventProcessor(events)))
    answer = app.test_client().get("/checkout?user=alice")
    if answer.status_code != 200 or len(events.taken) != EVENTS_PER_REQUEST:
        raise Problem(
            f"a request dispatched {len(events.taken)} events instead of {EVENTS_PER_REQUEST}: {answer.data!r}"
        )


class Recorder:
    """A dispatcher that keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def dispatch_event(self, event: Any) -> None:
        """Keep it."""
        self.taken.append(event)


def measure(contestant: Contestant, collector: Collector, log: Path, progress: tqdm[Any]) -> Row:
    """Run the application with one contestant, from the start of gunicorn to its end, and count."""
    progress.set_description(contestant.name)
    collector.reset()
    with gunicorn(contestant, collector, log) as server:
        port = int(server.says(r"Listening at: http://127\.0\.0\.1:(\d+)"))
        server.says("Worker ready", times=WORKERS)
        driver = Driver(port, contestant.client, contestant.requests, progress.update)
        driver.run()
        server.stop()
    progress.update(contestant.requests - len(driver.latencies) - len(driver.failures))
    for failure in driver.failures[:3]:
        tqdm.write(f"{contestant.name}: {failure}", file=sys.stderr)
    return row(contestant, driver, collector.counts())


def gunicorn(contestant: Contestant, collector: Collector, log: Path) -> Program:
    """The application under gunicorn, on a free port."""
    arguments = ["-m", "gunicorn", "-c", str(HERE / "gunicorn.conf.py"), "-k", "gevent", "--workers", str(WORKERS)]
    preload = ["--preload"] if contestant.preload else []
    return Program(
        f"gunicorn with {contestant.name}",
        [*arguments, *preload, "flask_app:app"],
        log,
        BIND="127.0.0.1:0",
        EVENTS_URL=collector.url,
        EVENTS_CLIENT=contestant.client,
    )


def row(contestant: Contestant, driver: Driver, counts: dict[str, int]) -> Row:
    """Put together what the driver saw and what the collector received."""
    dispatched = EVENTS_PER_REQUEST * len(driver.latencies)
    return Row(
        contestant=contestant.name,
        answered=len(driver.latencies),
        failed=len(driver.failures),
        p50_ms=percentile(driver.latencies, 50),
        p99_ms=percentile(driver.latencies, 99),
        dispatched=dispatched,
        delivered=counts["unique"],
        duplicated=counts["duplicated"],
        lost=dispatched - counts["unique"],
    )


def percentile(seconds: Sequence[float], percent: int) -> float:
    """The value that so many percent do not exceed, in milliseconds."""
    if not seconds:
        return 0.0
    return round(1000 * sorted(seconds)[(len(seconds) - 1) * percent // 100], 1)


def contestants(requests: int, preload: bool) -> list[Contestant]:
    """Who takes part: ours first."""
    others = min(requests, REQUESTS_OF_OTHERS)
    return [
        Contestant("gevent_dispatcher", "ours", requests, preload),
        Contestant("SDK dispatcher, in the request", "sdk-forwarding", others, preload),
        Contestant("SDK default processor", "sdk-default", others, preload),
    ]


def run(requests: int, preload: bool) -> list[Row]:
    """Run the demonstration.

    Args:
        requests: how many our own row gets.
        preload: import the application before gunicorn forks its workers.

    Raises:
        Problem: something could not be started or ended.
    """
    check_construction()
    everyone = contestants(requests, preload)
    arguments = ["-m", "gevent_dispatcher", "collector", "--latency", str(LATENCY)]
    with tempfile.TemporaryDirectory() as logs, Program("the collector", arguments, Path(logs, "collector")) as program:
        collector = Collector(program.says(r"(http\S+)\n"))
        with progress_bar(sum(each.requests for each in everyone)) as progress:
            rows = [announced(measure(each, collector, Path(logs, each.client), progress)) for each in everyone]
        program.stop()
    return rows


def progress_bar(total: int) -> tqdm[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    return tqdm(total=total, unit="request", disable=None, leave=False)


def announced(finished: Row) -> Row:
    """Say a line for each finished row where there is no progress bar."""
    if not sys.stderr.isatty():
        print(f"{finished.contestant}: {finished.answered} requests answered", file=sys.stderr, flush=True)
    return finished


def problems(rows: Sequence[Row]) -> list[str]:
    """What makes the demonstration fail: a lost or duplicated event of ours, or a request of anyone."""
    found = [f"{each.contestant}: {each.failed} requests failed" for each in rows if each.failed]
    mine = rows[0]
    if mine.lost or mine.duplicated:
        found.append(f"{mine.contestant}: {mine.lost} events lost, {mine.duplicated} duplicated")
    return found


COLUMNS = {
    "": "contestant",
    "requests answered": "answered",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "events dispatched": "dispatched",
    "delivered": "delivered",
    "duplicated": "duplicated",
    "lost": "lost",
}


def table(rows: Sequence[Row]) -> str:
    """The rows for a reader."""
    lines = [list(COLUMNS)] + [[str(getattr(each, field)) for field in COLUMNS.values()] for each in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:]))])


def report(rows: Sequence[Row], chosen: argparse.Namespace) -> int:
    """Print the outcome, and return the exit code."""
    found = problems(rows)
    if chosen.json:
        print(json.dumps({"rows": [dataclasses.asdict(each) for each in rows], "problems": found}, indent=2))
    else:
        server = "gunicorn -k gevent --preload" if chosen.preload else "gunicorn -k gevent"
        print(f"\nEvent API: {LATENCY} ms. {server}, {WORKERS} workers, stopped by SIGTERM at the end.\n")
        print(table(rows))
    for each in found:
        print(f"demo.py: {each}", file=sys.stderr)
    return 1 if found else 0


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--requests", type=int, default=REQUESTS, metavar="N", help="for our row (default: %(default)s)"
    )
    parser.add_argument("--preload", action="store_true", help="import the application before gunicorn forks")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parsed = parser.parse_args()
    if parsed.requests < 1:
        parser.error(f"--requests {parsed.requests}: must be at least 1")
    return parsed


def main() -> int:
    """Run in a greenlet of its own: a signal ends that one, and its `with` blocks end the processes."""
    chosen = options()
    ended_by: list[int] = []
    work = gevent.spawn(attempt, chosen)

    def end(number: int) -> None:
        ended_by.append(number)
        if len(ended_by) == 1:  # the second would interrupt the cleaning up
            work.kill(block=False)

    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, end, number)
    work.join()
    if ended_by:
        return 128 + ended_by[0]
    return int(work.value) if work.successful() else 1


def attempt(chosen: argparse.Namespace) -> int:
    """Run and report; a problem is told in a sentence."""
    try:
        return report(run(chosen.requests, chosen.preload), chosen)
    except Problem as problem:
        print(f"demo.py: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
