"""The contest: each contestant in turn, from the start of gunicorn to its end, and the counts."""

from __future__ import annotations

import dataclasses
import http.client
import json
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence
from urllib.parse import urlsplit

import gevent

from gevent_dispatcher._programs import PATIENCE, Problem, Program
from gevent_dispatcher.demo._driver import Driver

SHOP = Path(__file__).resolve().parent / "shop"

# Milliseconds that the Event API takes to answer.
LATENCY = 100
WORKERS = 2
# An impression and a conversion; checked before each contest.
EVENTS_PER_REQUEST = 2
REQUESTS = 2_000
# Enough to see what becomes of their events.
REQUESTS_OF_OTHERS = 500


class Contestant(NamedTuple):
    """One way to send events.

    Attributes:
        name: for the reader.
        client: its name in the shop's application.
        requests: that it gets.
    """

    name: str
    client: str
    requests: int


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


class Contest:
    """One run of the demonstration.

    Args:
        requests: that our own row gets.
        preload: import the application before gunicorn forks its workers.
        directory: where the output of what it starts goes.

    Attributes:
        total: requests of all contestants.
        current: the contestant whose turn it is.
        failures: requests that were not answered as they should be, by contestant.
    """

    def __init__(self, requests: int, preload: bool, directory: Path) -> None:
        others = min(requests, REQUESTS_OF_OTHERS)
        self._contestants = [
            Contestant("gevent_dispatcher", "ours", requests),
            Contestant("SDK dispatcher, in the request", "sdk-forwarding", others),
            Contestant("SDK default processor", "sdk-default", others),
        ]
        self.total = sum(each.requests for each in self._contestants)
        self.current = self._contestants[0].name
        self.failures: list[str] = []
        self._preload = ["--preload"] if preload else []
        self._directory = directory
        self._finished = 0
        self._driver: Driver | None = None

    @property
    def done(self) -> int:
        """Requests so far; those that a contestant was too slow for count when its turn is over."""
        driver = self._driver
        return self._finished + (0 if driver is None else len(driver.latencies) + len(driver.failures))

    def run(self) -> Iterator[Row]:
        """Give each contestant its turn.

        Raises:
            Problem: something could not be started or ended, or a request does not dispatch what it should.
        """
        arguments = ["-m", "gevent_dispatcher", "collector", "--latency", str(LATENCY)]
        with Program("collector", arguments, self._directory) as program:
            collector = _Collector(program.says(r"(http\S+)\s"))
            self._check_construction()
            for contestant in self._contestants:
                collector.reset()
                yield self._turn(contestant, collector)
            program.stop()

    def _turn(self, contestant: Contestant, collector: _Collector) -> Row:
        self.current = contestant.name
        with self._gunicorn(contestant, collector) as server:
            port = int(server.says(r"Listening at: http://127\.0\.0\.1:(\d+)"))
            server.says("Worker ready", times=WORKERS)
            driver = self._driver = Driver(port, contestant.client, contestant.requests)
            driver.run()
            server.stop()
        self._driver = None
        self._finished += contestant.requests
        self.failures += [f"{contestant.name}: {each}" for each in driver.failures]
        return _row(contestant, driver, collector.counts())

    def _gunicorn(self, contestant: Contestant, collector: _Collector) -> Program:
        """The application under gunicorn, on a free port."""
        # Not `-m gunicorn`, which gunicorn 19 does not have.
        arguments = ["-m", "gunicorn.app.wsgiapp", "-c", "gunicorn.conf.py", "-k", "gevent", "--workers", str(WORKERS)]
        environ = {"BIND": "127.0.0.1:0", "EVENTS_URL": collector.url, "EVENTS_CLIENT": contestant.client}
        name = f"gunicorn with {contestant.client}"
        return Program(name, [*arguments, *self._preload, "flask_app:app"], self._directory, environ, SHOP)

    def _check_construction(self) -> None:
        """Prove that a request dispatches so many events, by serving one with a dispatcher that only counts."""
        with Program("shop", ["one_request.py"], self._directory, {"EVENTS_CLIENT": "sdk-forwarding"}, SHOP) as shop:
            code, said = shop.wait(), shop.output().strip()
        if code != 0 or said != str(EVENTS_PER_REQUEST):
            raise Problem(f"a request should dispatch {EVENTS_PER_REQUEST} events; it said {said!r}\n{shop.errors()}")


class _Collector:
    """What the demonstration asks of the local Event API.

    Args:
        url: where events go.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._host = urlsplit(url).netloc

    def counts(self) -> dict[str, int]:
        """Its counts, once they have stopped to change.

        Raises:
            Problem: they do not.
        """
        before: dict[str, int] = {}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now: dict[str, int] = json.loads(self._ask("GET", "/counts"))
            if now == before:
                return now
            before = now
            gevent.sleep(2 * LATENCY / 1_000)
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


def _row(contestant: Contestant, driver: Driver, counts: dict[str, int]) -> Row:
    """Put together what the driver saw and what the collector received."""
    dispatched = EVENTS_PER_REQUEST * len(driver.latencies)
    return Row(
        contestant=contestant.name,
        answered=len(driver.latencies),
        failed=len(driver.failures),
        p50_ms=_percentile(driver.latencies, 50),
        p99_ms=_percentile(driver.latencies, 99),
        dispatched=dispatched,
        delivered=counts["unique"],
        duplicated=counts["duplicated"],
        lost=dispatched - counts["unique"],
    )


def _percentile(seconds: Sequence[float], percent: int) -> float:
    """The value that so many percent do not exceed, in milliseconds."""
    if not seconds:
        return 0.0
    return round(1_000 * sorted(seconds)[(len(seconds) - 1) * percent // 100], 1)
