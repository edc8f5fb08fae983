"""Requests to a collector as bytes on a socket, so that a test may send what no client would."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

from gevent_dispatcher.collector import Collector


class Reply:
    """An answer, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in fields)}

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def connect(collector: Collector) -> socket.socket:
    """A connection to a collector."""
    parts = urlsplit(collector.base_url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def send(collector: Collector, raw: bytes) -> Reply:
    """Send bytes, and read to the end of the connection."""
    with connect(collector) as connection:
        connection.sendall(raw)
        return Reply(b"".join(iter(lambda: connection.recv(65_536), b"")))


def ask(collector: Collector, request: str, *fields: str, host: str | None = "127.0.0.1", body: bytes = b"") -> Reply:
    """Send a request line, header fields and a body with its length, and read the answer."""
    lines = [f"{request} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), "Connection: close", *fields]
    return send(collector, "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body)


def get(collector: Collector, path: str) -> Any:
    """The JSON at a path."""
    return ask(collector, f"GET {path}").json()


def post(collector: Collector, path: str, value: Any, *fields: str) -> Reply:
    """Post JSON."""
    return ask(collector, f"POST {path}", *fields, body=json.dumps(value).encode())
