"""Where events arrive: collectors in processes of their own, and the certificates of those that speak https."""

from __future__ import annotations

import json
import re
import ssl
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from queue import Queue
from typing import Any, Iterator
from urllib.parse import urlsplit

import trustme

from tests.lifetimes._processes import Program

# How long an answer takes, in milliseconds: events are under way when the end comes.
LATENCY = 200

# How long the runner waits for the collector's answer to itself, in seconds.
_TIMEOUT = 10.0


class Certificates:
    """A certificate authority, and a certificate of it for this machine's loopback address.

    Args:
        directory: where they are written.
    """

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self.authority = directory / "authority.pem"
        self.chain = directory / "chain.pem"
        self.key = directory / "key.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        certificate.cert_chain_pems[0].write_to_path(str(self.chain))
        certificate.private_key_pem.write_to_path(str(self.key))


class Endpoint:
    """A running collector."""

    def __init__(self, program: Program, certificates: Certificates) -> None:
        found = program.wait_for("the collector's url", lambda: re.search(r"^http\S+$", program.output(), re.M))
        self.url = found.group()  # type: ignore[union-attr]  # wait_for returns what is true
        self.authority = str(certificates.authority)

    def reset(self) -> None:
        """Have it forget what arrived."""
        self._ask("POST", "/reset")

    def arrived(self) -> dict[str, int]:
        """How often each event came, by the name under which it was dispatched."""
        visitors = self._ask("GET", "/visitors")
        return {name: sum(keys.values()) for name, keys in visitors.items()}

    def _ask(self, method: str, path: str) -> Any:
        connection = self._connection()
        try:
            connection.request(method, path)
            body = connection.getresponse().read()
        finally:
            connection.close()
        return json.loads(body) if body else None

    def _connection(self) -> HTTPConnection:
        url = urlsplit(self.url)
        if url.scheme == "http":
            return HTTPConnection(url.netloc, timeout=_TIMEOUT)
        context = ssl.create_default_context(cafile=self.authority)
        return HTTPSConnection(url.netloc, timeout=_TIMEOUT, context=context)


class Endpoints:
    """As many collectors of each scheme as rows are run at once, so that no row sees another's events.

    Args:
        directory: for certificates and output.
        schemes: those that are needed.
        count: how many rows are run at once.
    """

    def __init__(self, directory: Path, schemes: set[str], count: int) -> None:
        self._directory = directory
        self._schemes = schemes
        self._count = count
        self._idle: dict[str, Queue[Endpoint]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Endpoints:
        with ExitStack() as stack:
            certificates = Certificates(self._directory)
            programs = {
                scheme: [self._start(stack, scheme, n, certificates) for n in range(self._count)]
                for scheme in self._schemes
            }
            for scheme, started in programs.items():
                self._idle[scheme] = Queue()
                for program in started:
                    self._idle[scheme].put(Endpoint(program, certificates))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def lent(self, scheme: str) -> Iterator[Endpoint]:
        """A collector that nobody else uses meanwhile, and that remembers nothing."""
        endpoint = self._idle[scheme].get()
        try:
            endpoint.reset()
            yield endpoint
        finally:
            self._idle[scheme].put(endpoint)

    def _start(self, stack: ExitStack, scheme: str, number: int, certificates: Certificates) -> Program:
        directory = self._directory / f"{scheme}-{number}"
        directory.mkdir()
        arguments = ["-m", "gevent_dispatcher", "collector", "--latency", str(LATENCY)]
        if scheme == "https":
            arguments += ["--certfile", str(certificates.chain), "--keyfile", str(certificates.key)]
        return stack.enter_context(Program(arguments, directory))
