"""The processes of a benchmark: compiled where possible, started, asked, ended by their own pid whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]

# What a helper may take to start or to answer, and the longest that one lives, in seconds.
PATIENCE = 20.0
_LIFETIME = 600

_REDIRECTING = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Trouble(Exception):
    """A run could not be brought to its end; the text says why."""


def environ(**more: str) -> dict[str, str]:
    """This process's environment, without what redirects requests or changes trust."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith(_REDIRECTING)}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@contextmanager
def started(arguments: Sequence[str], env: Mapping[str, str] | None = None, **streams: Any) -> Iterator[Any]:
    """A process and its descendants, none of which outlives the block."""
    process = subprocess.Popen(arguments, cwd=ROOT, env=dict(env or environ()), start_new_session=True, **streams)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def run(arguments: Sequence[str], seconds: float, env: Mapping[str, str] | None = None, given: bytes = b"") -> str:
    """Run a program to its end and return what it printed.

    Raises:
        Trouble: it took longer, or failed.
    """
    pipe = subprocess.PIPE
    with started(arguments, env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            out, err = process.communicate(given, seconds)
        except subprocess.TimeoutExpired:
            raise Trouble(f"took longer than {seconds:g} s") from None
    if process.returncode:
        words = err.decode("utf-8", "replace").strip().splitlines()
        raise Trouble(f"ended with {process.returncode}: {words[-1] if words else 'no word'}")
    return str(out.decode("utf-8", "replace"))


class Tools:
    """The endpoint and the load generator: C programs where there is a compiler, Python ones otherwise.

    Args:
        directory: where they are put.
        compiler: its name; "" for the Python ones.
    """

    def __init__(self, directory: Path, compiler: str = "cc") -> None:
        self.compiled = bool(compiler) and shutil.which(compiler) is not None
        self._directory = directory
        self._certificates: tuple[str, str, str] | None = None
        self._sink = self._program("sink", compiler)
        self._load = self._program("load", compiler)

    def _program(self, name: str, compiler: str) -> list[str]:
        if not self.compiled:
            return [sys.executable, "-m", f"tests.benchmarks.{name}_fallback"]
        source, binary = Path(__file__).with_name(f"{name}.c"), self._directory / name
        run([compiler, "-O2", "-o", str(binary), str(source)], PATIENCE * 3)
        return [str(binary)]

    def describe(self) -> str:
        """What these are, for the report."""
        if self.compiled:
            return "endpoint and load generator in C (https: in Python)"
        return "endpoint and load generator in Python, as there is no C compiler: they may be the bottleneck"

    @contextmanager
    def sink(self, delay: float = 0.0, hang: bool = False, tls: bool = False) -> Iterator[Sink]:
        """An endpoint of its own."""
        options = [str(round(delay * 1e6)), str(int(hang)), str(_LIFETIME)]
        program = self._sink
        if tls:
            program = [sys.executable, "-m", "tests.benchmarks.sink_fallback"]
            options += self.certificates()[1:]
        pipe = subprocess.PIPE
        with started([*program, *options], stdin=pipe, stdout=pipe) as process:
            yield Sink(int(process.stdout.readline()), self.certificates()[0] if tls else None)

    def load(self, port: int, at_once: int, requests: int, seconds: int, request: bytes) -> dict[str, Any]:
        """Send a request again and again; what the load generator found."""
        arguments = [*self._load, *map(str, (port, at_once, requests, seconds))]
        return dict(json.loads(run(arguments, seconds + PATIENCE, given=request)))

    def certificates(self) -> tuple[str, str, str]:
        """The files of an authority, of a certificate of it for loopback, and of its key."""
        if self._certificates is None:
            self._certificates = _made_certificates(self._directory)
        return self._certificates


class Sink:
    """A running endpoint."""

    def __init__(self, port: int, authority: str | None) -> None:
        self.port = port
        self.authority = authority
        self.url = f"{'https' if authority else 'http'}://127.0.0.1:{port}/v1/events"

    def counts(self) -> dict[str, int]:
        """What it has counted so far."""
        connection = self._connection()
        try:
            connection.request("GET", "/counts")
            return dict(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self.authority is None:
            return HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        import ssl

        context = ssl.create_default_context(cafile=self.authority)
        return HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=context)


def _made_certificates(directory: Path) -> tuple[str, str, str]:
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = [directory / name for name in ("authority.pem", "chain.pem", "key.pem")]
    pems = (authority.cert_pem, certificate.cert_chain_pems[0], certificate.private_key_pem)
    for path, pem in zip(files, pems):
        pem.write_to_path(str(path))
    return str(files[0]), str(files[1]), str(files[2])


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of loopback where nobody listens, and that nobody else is given meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])
