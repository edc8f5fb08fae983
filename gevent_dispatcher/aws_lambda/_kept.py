"""A transport that stays open from one invocation to the next.

Each invocation has a consumer of its own, which closes at its end what it has opened. Connections, the TLS context and
urllib3 itself are worth keeping. Lambda may freeze the process in between for so long that the other side has closed
what was kept; the first request finds that out, and goes over a fresh connection.
"""

from __future__ import annotations

import os
from typing import Any

from gevent import get_hub

from gevent_dispatcher._event import Request
from gevent_dispatcher._retry import Answer
from gevent_dispatcher._transport import Link, Transport


class KeptTransport:
    """Opens another transport once for each hub and process.

    Args:
        transport: the other one.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._place: tuple[int, Any] | None = None
        self._link: Link | None = None

    def __repr__(self) -> str:
        return f"KeptTransport({self._transport!r})"

    def open(self, connections: int) -> Link:
        """What is open already. What a fork's child inherited is its parent's, and is not closed either."""
        place = os.getpid(), get_hub()
        if self._link is None or place != self._place:
            self._link, self._place = _KeptLink(self._transport.open(connections)), place
        return self._link


class _KeptLink:
    def __init__(self, link: Link) -> None:
        self._link = link

    def send(self, request: Request) -> Answer:
        return self._link.send(request)

    def close(self) -> None:
        pass  # not at the end of an invocation
