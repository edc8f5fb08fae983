"""Requests to a Flask application under gunicorn, flat out, while its events meet an endpoint, well or not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Callable

from tests.benchmarks.programs import PATIENCE, ROOT, Sink, Tools, Trouble, environ, refusing_port, started

# Requests under way at once.
AT_ONCE = 20
# Requests before those that are measured.
WARM_UP = 200
# The worker's time for what it still has, in seconds: more than ours takes by default.
_GRACE = 6.0

# What the endpoint does, by name: the delay of its answers in seconds, and whether it hangs; None: it refuses.
ENDPOINTS: dict[str, tuple[float, bool] | None] = {
    "5 ms": (0.005, False),
    "1 s": (1.0, False),
    "hanging": (0.0, True),
    "refusing": None,
}

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def web(tools: Tools, task: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Start the server, load it, stop it, count.

    Args:
        tools: for the endpoint and the load.
        task: `contestant`, `params`, `scenario` (a name of `ENDPOINTS`), `count` of requests, `deadline` in seconds.
        directory: for the server's output.
    """
    behaviour = ENDPOINTS[task["scenario"]]
    with ExitStack() as stack:
        if behaviour is None:
            sink, url = None, f"http://127.0.0.1:{stack.enter_context(refusing_port())}/v1/events"
        else:
            sink = stack.enter_context(tools.sink(*behaviour))
            url = sink.url
        server = stack.enter_context(Server(directory, {**task, "url": url}))
        warm = tools.load(server.port, AT_ONCE, WARM_UP, int(task["deadline"]), REQUEST)
        cpu = server.cpu_seconds()
        load = tools.load(server.port, AT_ONCE, task["count"], int(task["deadline"]), REQUEST)
        cpu = server.cpu_seconds() - cpu
        server.stop()
        return _figures(load, warm["answered"] + load["answered"], cpu, sink)


def _figures(load: dict[str, Any], answered: int, cpu: float, sink: Sink | None) -> dict[str, Any]:
    return {
        "requests_per_s": load["answered"] / load["seconds"],
        "p50_ms": load["p50_us"] / 1e3,
        "p99_ms": load["p99_us"] / 1e3,
        "failed": load["failed"],
        "cpu_us_per_request": cpu * 1e6 / max(load["answered"], 1),
        "share_in": 0.0 if sink is None else sink.counts()["events"] / max(answered, 1),
    }


class Server:
    """gunicorn with one gevent worker.

    Args:
        directory: for its output.
        task: what the application is told.
        module: that has the application.
    """

    def __init__(self, directory: Path, task: dict[str, Any], module: str = "web_app") -> None:
        self._module = module
        self._output = directory / "gunicorn.txt"
        self._env = environ(BENCHMARKS_TASK=json.dumps(task))
        self._stack = ExitStack()

    def __enter__(self) -> Server:
        arguments = [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", "--workers=1", "--worker-class=gevent"]
        arguments += [f"--config={ROOT / 'tests' / 'lifetimes' / 'gunicorn_conf.py'}"]
        arguments += [f"--graceful-timeout={_GRACE:g}", f"tests.benchmarks.{self._module}:app"]
        with self._output.open("wb") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            self._process = self._stack.enter_context(started(arguments, self._env, **streams))
        try:
            self.port = int(self._said(r"Listening at: http://127\.0\.0\.1:(\d+)"))
            self._worker = int(self._said(r"lifetimes: ready (\d+)"))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cpu_seconds(self) -> float:
        """Of the worker, so far."""
        fields = Path(f"/proc/{self._worker}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ask it to end, as an operator does; it is killed later if it does not."""
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE + 2.0)

    def _said(self, pattern: str) -> str:
        return _until(lambda: re.search(pattern, self._output.read_text("utf-8", "replace"))).group(1)


def _until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.02)
    raise Trouble("the server did not start")
