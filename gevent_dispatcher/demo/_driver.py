"""The visitors of the shop: requests at a steady rate."""

from __future__ import annotations

import http.client
import json
import time
from typing import Iterator

import gevent

from gevent_dispatcher._programs import PATIENCE

# Requests that are begun in a second, when the contestant keeps up.
RATE = 250
# Most requests at once.
CONCURRENCY = 50
# Seconds after which no further request is begun.
DRIVING = 15.0


class Driver:
    """Sends requests over kept connections, each for another user.

    Args:
        port: of the application, on this machine.
        users: begins each user's id.
        requests: how many.

    Attributes:
        latencies: of the requests that were answered, in seconds.
        failures: what became of the others.
    """

    def __init__(self, port: int, users: str, requests: int) -> None:
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self._port = port
        self._users = users
        self._numbers = _paced(requests)

    def run(self) -> None:
        """Send them all, and wait for the answers."""
        senders = [gevent.spawn(self._send) for _ in range(CONCURRENCY)]
        try:
            gevent.joinall(senders, raise_error=True)
        finally:
            gevent.killall(senders)

    def _send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            for number, due in self._numbers:
                gevent.sleep(max(0.0, due - time.monotonic()))
                self._request(connection, f"/checkout?user={self._users}-{number}")
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


def _paced(requests: int) -> Iterator[tuple[int, float]]:
    """The number of each request, and when it is due."""
    begin = time.monotonic()
    for number in range(requests):
        if time.monotonic() > begin + DRIVING:
            return
        yield number, begin + number / RATE
