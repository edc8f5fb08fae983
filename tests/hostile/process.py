"""The server in a process of its own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterable
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from tests.hostile.certificates import Certificate, client_context
from tests.hostile.exchange import Received
from tests.hostile.server import RECEIVED, Endpoint

ROOT = Path(__file__).resolve().parent.parent.parent


class HostileProcess(Endpoint):
    """The server in a process of its own; a context manager with the same url(), received and bodies().

    Args:
        script: behaviours for the first requests.
        default: the behaviour of a path that names none.
        host: the address to listen on.
        doors: what is done with the first connections.
        certificate: speak TLS with it.
        seconds: the limit of one connection.
    """

    def __init__(
        self,
        script: Iterable[str] = (),
        *,
        default: str = "status/204",
        host: str = "127.0.0.1",
        doors: Iterable[str] = (),
        certificate: Certificate | None = None,
        seconds: float = 30.0,
    ) -> None:
        super().__init__(host, certificate)
        chain = ["--chain", str(certificate.chain)] if certificate else []
        self._context = client_context() if certificate else None
        opened = [f"--door={each}" for each in doors]
        self._options = ["--host", host, "--default", default, "--seconds", str(seconds), *chain, *opened, *script]

    def __enter__(self) -> HostileProcess:
        # Its life hangs on this pipe: when the test's process ends, however it does, the server ends too.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile", *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=str(ROOT),
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        # communicate() closes the pipe, which ends the process.
        self._process.communicate(timeout=10)

    @property
    def received(self) -> list[Received]:
        """All requests so far that came whole, asked of the process."""
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=self._context))
        with opener.open(self.url(RECEIVED.lstrip("/")), timeout=30) as answer:
            return [_restored(row) for row in json.load(answer)]


def _restored(row: dict[str, Any]) -> Received:
    headers = tuple((name, value) for name, value in row["headers"])
    return Received(**{**row, "headers": headers, "body": base64.b64decode(row["body"])})
