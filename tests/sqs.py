"""A server that speaks SQS, in a process of its own, and queues in it: for tests."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import gevent

from gevent_dispatcher.queues import PollingQueue
from gevent_dispatcher.queues.sqs import SqsQueue
from tests.waiting import wait_until

# What clients need to sign with; the server does not look at it.
ENVIRON = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
REGION = "eu-west-1"
ALL = "All"

_numbers = count()


class Moto:
    """moto's server; a context manager.

    Args:
        directory: for what it says.
    """

    def __init__(self, directory: Path) -> None:
        self._log = directory / "moto.log"
        self.process: Any = None
        self.url = ""
        self.client: Any = None

    def __enter__(self) -> Moto:
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        with ExitStack() as ended:  # where the wait is in vain
            ended.callback(self._end)
            self.url = wait_until(self._said, 60)
            ended.pop_all()
        self.client = client(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _said(self) -> str:
        assert self.process.poll() is None, self._log.read_text()
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", self._log.read_text())
        return found.group(1) if found else ""

    def queue(self, **attributes: str) -> str:
        """The url of a new queue."""
        name = f"queue-{next(_numbers)}"
        return str(self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def counts(self, url: str) -> tuple[int, int]:
        """Messages that can be received, and those that cannot."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        names.append("ApproximateNumberOfMessagesDelayed")
        found = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        waiting, *others = (int(found[name]) for name in names)
        return waiting, sum(others)

    def left(self, url: str) -> int:
        """Messages in a queue."""
        return sum(self.counts(url))

    def texts(self, url: str) -> list[dict[str, Any]]:
        """What can be received, with its attributes; it stays held."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=[ALL], MessageAttributeNames=[ALL]
            )
            if not answer.get("Messages"):
                return found
            found += answer["Messages"]


def client(endpoint: str, **settings: Any) -> Any:
    """A client of the tests' own."""
    session = botocore.session.Session()
    session.set_credentials("test", "test")
    config = botocore.config.Config(retries={"total_max_attempts": 1}, **settings)
    return session.create_client("sqs", region_name=REGION, endpoint_url=endpoint, config=config)


def opened(url: str, **settings: Any) -> PollingQueue:
    """A queue, opened; the region is not in the url."""
    return SqsQueue(url, region=REGION, **settings).open()


class Recording:
    """A client that writes down what it is asked, and may be told to answer something else.

    Args:
        client: who answers in the end; None accepts everything.

    Attributes:
        calls: operation and parameters.
        script: for each operation, what the next calls get: an answer, an exception, or a function of the parameters.
        most_at_once: how many calls were under way at once.
    """

    def __init__(self, client: Any = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.script: dict[str, list[Any]] = {}
        self.most_at_once = 0
        self._at_once = 0
        self._client = client

    def __getattr__(self, operation: str) -> Any:
        if operation.startswith("_"):
            raise AttributeError(operation)
        return lambda **parameters: self._answer(operation, parameters)

    def close(self) -> None:
        """It belongs to the test."""

    def of(self, operation: str) -> list[dict[str, Any]]:
        """The parameters of the calls of one operation."""
        return [parameters for name, parameters in self.calls if name == operation]

    def _answer(self, operation: str, parameters: dict[str, Any]) -> Any:
        self.calls.append((operation, parameters))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            gevent.sleep(0)
            return self._told(operation, parameters)
        finally:
            self._at_once -= 1

    def _told(self, operation: str, parameters: dict[str, Any]) -> Any:
        told = self.script.get(operation)
        answer = told.pop(0) if told else None
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(parameters)
        if answer is not None:
            return answer
        if self._client is not None:
            return getattr(self._client, operation)(**parameters)
        return {"Successful": [{"Id": entry["Id"]} for entry in parameters.get("Entries", ())]}


def failing(*codes: str | None, is_ours: bool = False) -> Any:
    """An answer in which some entries fail, by their places; None is one that does not."""

    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        failed, done = [], []
        for entry, code in zip(parameters["Entries"], [*codes, *[None] * 10]):
            outcome = {"Id": entry["Id"], "Code": code, "SenderFault": is_ours}
            (done if code is None else failed).append(outcome)
        return {"Successful": done, "Failed": failed}

    return answer


def client_error(code: str, status: int = 400) -> Exception:
    """What a client raises when SQS answers with an error."""
    response: Any = {"Error": {"Code": code, "Message": "S3CRET"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(response, "SendMessageBatch")
