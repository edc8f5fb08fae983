"""Ports behind which there is no server."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import Any, Iterator


def family(host: str) -> int:
    return int(socket.AF_INET6 if ":" in host else socket.AF_INET)


@contextmanager
def refusing_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port with nothing behind it, and which nobody else can get meanwhile: bound, not listening."""
    with socket.socket(family(host), socket.SOCK_STREAM) as held:
        held.bind((host, 0))
        yield int(held.getsockname()[1])


@contextmanager
def silent_port(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that never completes a connection: nobody accepts, and the queue of those who wait is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family(host), socket.SOCK_STREAM))
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(3):
            _queue_up(stack.enter_context(socket.socket(family(host), socket.SOCK_STREAM)), listener.getsockname())
        yield int(listener.getsockname()[1])


def _queue_up(waiting: Any, address: Any) -> None:
    waiting.setblocking(False)
    waiting.connect_ex(address)
