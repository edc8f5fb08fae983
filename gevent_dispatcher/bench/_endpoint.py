"""The endpoint: answers 204 to each request after a while, and counts the events in it without reading them.

    python -m gevent_dispatcher.bench._endpoint SECONDS_TO_ANSWER SECONDS_TO_LIVE

It prints its port. GET tells how many events were answered.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import gevent
from gevent.server import StreamServer

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Endpoint:
    """Serves connections.

    Args:
        delay: seconds until an answer.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._answered = 0

    def serve(self, socket: Any, _: object) -> None:
        """One connection."""
        reader = socket.makefile("rb")
        try:
            while self._exchange(reader, socket):
                pass
        except OSError:
            pass  # the client has gone

    def _exchange(self, reader: Any, socket: Any) -> bool:
        """Answer one request; false when there is none any more."""
        first = reader.readline()
        if not first:
            return False
        body = reader.read(_length(reader))
        if first.startswith(b"GET "):
            count = b"%d" % self._answered
            socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(count), count))
            return True
        gevent.sleep(self._delay)
        socket.sendall(_ANSWER)
        self._answered += body.count(b'"uuid"')
        return True


def _length(reader: Any) -> int:
    """Read the head to its end; how long the body is."""
    length = 0
    for line in iter(reader.readline, b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if not line:
            raise OSError("the head has no end")
    return length


def main(delay: float, life: int) -> None:  # pragma: no cover  # its process is killed when a run has ended
    """Serve until the end of its life: whoever started it may have been killed."""
    signal.alarm(life)
    server = StreamServer(("127.0.0.1", 0), Endpoint(delay).serve, backlog=1_024)
    server.start()
    print(f"port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":  # pragma: no cover  # as above
    main(float(sys.argv[1]), int(sys.argv[2]))
