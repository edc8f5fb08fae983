"""What the server does with a connection before a byte of HTTP is read, and before TLS is spoken."""

from __future__ import annotations

from typing import Any, Callable, NoReturn

from gevent import socket

from tests.hostile.exchange import RESET, Closed


class Doorway:
    """A raw connection that was accepted, and how long it may last.

    Args:
        connected: the socket.
        pause: waits for so many seconds, None for as long as the server's limits allow, and ends the connection then.
    """

    def __init__(self, connected: Any, pause: Callable[[float | None], None]) -> None:
        self.socket = connected
        self.pause = pause

    def close(self) -> NoReturn:
        """End the connection with a FIN."""
        raise Closed

    def read_hello(self) -> None:
        """Read what the client says first."""
        if not self.socket.recv(65536):
            raise Closed


Door = Callable[[Doorway], None]
DOORS: dict[str, Door] = {}


def door(function: Door) -> Door:
    """Make a function reachable by its name."""
    DOORS[function.__name__] = function
    return function


@door
def open_door(doorway: Doorway) -> None:
    """Nothing: the connection is served."""


@door
def silence(doorway: Doorway) -> None:
    """Accept, and neither read nor say anything."""
    doorway.pause(None)


@door
def shut(doorway: Doorway) -> None:
    """FIN at once."""
    doorway.close()


@door
def reset(doorway: Doorway) -> None:
    """RST at once."""
    doorway.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    doorway.close()


@door
def shut_upon_hello(doorway: Doorway) -> None:
    """FIN upon the client's first bytes: within the handshake where TLS is spoken."""
    doorway.read_hello()
    doorway.close()


@door
def plain(doorway: Doorway) -> None:
    """An answer of plain HTTP, whatever was asked in whatever way."""
    doorway.read_hello()
    doorway.socket.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    doorway.close()


@door
def tls_garbage(doorway: Doorway) -> None:
    """A TLS record of nonsense."""
    doorway.read_hello()
    doorway.socket.sendall(b"\x16\x03\x03\x00\x20" + b"\xff" * 32)
    doorway.close()


@door
def tls_trickle(doorway: Doorway) -> None:
    """A ServerHello that promises to be long, one byte every 50 ms."""
    doorway.read_hello()
    for byte in b"\x16\x03\x03\x3f\x00\x02\x00\x3e\xfc\x03\x03" + bytes(16_000):
        doorway.socket.sendall(bytes([byte]))
        doorway.pause(0.05)


@door
def tls_warnings(doorway: Doorway) -> None:
    """Warning alerts without an end."""
    doorway.read_hello()
    for _ in range(10_000):
        doorway.socket.sendall(b"\x15\x03\x03\x00\x02\x01\x5a" * 1_000)
