"""A server that speaks SQS, in a process of its own, and queues in it: for tests."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session

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
        self.url = wait_until(self._said, 60)
        self.client = client(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
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
