"""The load generator in Python, where there is no C compiler. What it does is described in load.c.

`python -m tests.benchmarks.load_fallback PORT AT_ONCE REQUESTS SECONDS <request`

It has one connection for each request under way, and is slow enough not to have one served again at once.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.client import HTTPException, HTTPResponse
from socket import create_connection
from typing import Any


class Load:
    """Sends the same request over kept connections, one thread for each."""

    def __init__(self, port: int, requests: int, seconds: float, request: bytes) -> None:
        self._address = ("127.0.0.1", port)
        self._left = requests
        self._deadline = time.monotonic() + seconds
        self._request = request
        self._latencies: list[int] = []
        self._failed = 0
        self._begun = 0

    def run(self, connections: int) -> dict[str, Any]:
        """Send everything and say how it went."""
        start = time.monotonic()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(self._deadline - time.monotonic(), 0.0))
        return self._summary(time.monotonic() - start)

    def _work(self) -> None:
        while self._begun < self._left and time.monotonic() < self._deadline:
            try:
                with create_connection(self._address) as sock:
                    self._exchange_on(sock)
            except (OSError, HTTPException):
                self._failed += 1

    def _exchange_on(self, sock: Any) -> None:
        while self._begun < self._left and time.monotonic() < self._deadline:
            self._begun += 1
            began = time.monotonic_ns()
            sock.sendall(self._request)
            response = HTTPResponse(sock)
            response.begin()
            response.read()
            if 200 <= response.status < 300:
                self._latencies.append((time.monotonic_ns() - began) // 1000)
            else:
                self._failed += 1

    def _summary(self, seconds: float) -> dict[str, Any]:
        times = sorted(self._latencies) or [0]
        quantiles = {name: times[int(part * (len(times) - 1))] for name, part in _QUANTILES.items()}
        counts = {"answered": len(self._latencies), "failed": self._failed, "begun": self._begun}
        return {**counts, "seconds": seconds, **quantiles}


_QUANTILES = {"p50_us": 0.5, "p99_us": 0.99, "max_us": 1.0}

if __name__ == "__main__":
    port, connections, requests, seconds = map(int, sys.argv[1:])
    load = Load(port, requests, seconds, sys.stdin.buffer.read())
    print(json.dumps(load.run(connections)), flush=True)
