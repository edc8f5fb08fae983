"""A client's connection, as far as the application may know it."""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import Any, NoReturn

from gevent import monkey

# gevent's own knows nothing of a peer that has gone.
_poll = monkey.get_original("select", "poll") if hasattr(select, "poll") else None
# Linux tells when the peer has stopped sending; elsewhere a connection must have ended for good.
_GONE = getattr(select, "POLLRDHUP", 0)


class Connection:
    """One client's connection; there is one such object for each.

    Args:
        sock: its socket.
    """

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    def is_gone(self) -> bool:
        """Whether the client has ended it, as far as the kernel knows; it does not wait."""
        if _poll is None:  # pragma: no cover  # where the system has no poll, as Windows
            return False
        poll = _poll()
        poll.register(self._socket.fileno(), _GONE)  # that it was closed or broken is told in any case
        return bool(poll.poll(0))

    def limit_writes(self, seconds: float) -> None:
        """Have each write, and read, fail that takes longer."""
        self._socket.settimeout(seconds)

    def break_off(self) -> NoReturn:
        """End the request without an answer, and the connection with a reset.

        Raises:
            ConnectionResetError: always; the server then closes the connection.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop()

    def drop(self) -> NoReturn:
        """End the request without an answer, and the connection.

        Raises:
            ConnectionResetError: always; the server then closes the connection.
        """
        raise ConnectionResetError(errno.ECONNRESET, "the collector ends the connection")
