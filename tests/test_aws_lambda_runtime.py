"""The handler under the client that Lambda's own Python runtime is made of; only the service behind it is ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

import pytest
from gevent.pywsgi import WSGIServer
from gevent.queue import Queue

from tests.hostile import HostileServer
from tests.lambda_events import HELLO_WORLD, event, failed, message, record

pytest.importorskip("awslambdaric")

ROOT = Path(__file__).resolve().parent.parent
NAME = "gevent_dispatcher.aws_lambda.handler"


class Service:
    """Speaks Lambda's runtime API (AWS Lambda developer guide, "Using the Lambda runtime API"); a context manager.

    Args:
        seconds: the function's timeout.
        environ: of the function.

    Attributes:
        left: seconds that were left of the last invocation when it was answered.
    """

    def __init__(self, seconds: float = 30.0, **environ: str) -> None:
        self._seconds = seconds
        self._events, self._answers = Queue(), Queue()
        self._server = WSGIServer(("127.0.0.1", 0), self._app, log=None)
        self._environ = environ
        self._deadline = self.left = 0.0

    def __enter__(self) -> Service:
        self._server.start()
        given = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}", **self._environ}
        named = {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "1"}
        environ = {**os.environ, **given, **named, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "awslambdaric", NAME]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, env=environ, cwd=str(ROOT), **silent)  # type: ignore[call-overload]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._server.stop(0)

    def invoke(self, event: Any) -> tuple[str, Any]:
        """What the function does with an event: "response" or "error", and its content."""
        self._events.put(event)
        return self.answer()

    def answer(self) -> tuple[str, Any]:
        """What the function says next."""
        path, content = self._answers.get(timeout=30)
        return path.rpartition("/")[2], json.loads(content)

    def _app(self, environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.endswith("/invocation/next"):
            body = json.dumps(self._events.get()).encode()
            start("200 OK", [("Content-Type", "application/json"), *self._headers()])
            return [body]
        self.left = self._deadline - time.time()
        self._answers.put((path, environ["wsgi.input"].read()))
        start("202 Accepted", [("Content-Length", "0")])
        return []

    def _headers(self) -> Iterator[tuple[str, str]]:
        self._deadline = time.time() + self._seconds
        yield "Lambda-Runtime-Aws-Request-Id", "1"
        yield "Lambda-Runtime-Deadline-Ms", str(int(1000 * self._deadline))
        yield "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:f"


def test_an_invocation_is_answered_and_the_next_goes_over_the_kept_connection() -> None:
    with HostileServer() as server, Service(GEVENT_DISPATCHER_ALLOW=server.url()) as service:
        url = server.url("v1/events")
        how, answer = service.invoke(event(record(message(url, "a"), id="good"), record("poison", id="poison")))
        assert (how, failed(answer)) == ("response", ["poison"])
        assert service.invoke(event(record(message(url, "b")))) == ("response", {"batchItemFailures": []})
        how, answer = service.invoke(HELLO_WORLD)
        assert (how, answer["errorType"]) == ("error", "ValueError")
        assert (len(server.received), server.connections) == (2, 1)


def test_the_function_s_timeout_is_kept() -> None:
    with HostileServer() as server, Service(2.5, GEVENT_DISPATCHER_ALLOW=server.url()) as service:
        how, answer = service.invoke(event(record(message(server.url("blackhole"), "v"), id="slow")))
        assert (how, failed(answer)) == ("response", ["slow"])
        assert len(server.received) == 1
        assert 0 < service.left < 2.5


def test_a_wrong_variable_is_said_while_the_function_starts() -> None:
    with Service(GEVENT_DISPATCHER_STRIKT="true") as service:
        how, answer = service.answer()
    assert how == "error"
    assert "no setting GEVENT_DISPATCHER_STRIKT; did you mean GEVENT_DISPATCHER_STRICT?" in answer["errorMessage"]
