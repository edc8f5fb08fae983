"""A hostile HTTP server on raw sockets, for tests.

A request's path names a behaviour and its arguments: `/status/503`, `/delay/0.5`, `/redirect/302/http://other/`. A path
that names none gets the server's default. `/first/2/reset_before` misbehaves for the first two requests of that target
and is the default afterwards. A script of behaviours, consumed one per request, goes before the path; a script of
doors, consumed one per connection, before anything is read or TLS is spoken.

In the test's own process (greenlets):

    with HostileServer(script=["status/503", "reset_before"]) as server:
        post(server.url("status/204"))
        assert server.received[0].behaviour == "status/503"

In a process of its own, which cannot be stopped by what it does to the client's hub:

    with HostileProcess() as server:
        post(server.url("endless_continue"))

A server whose default is `tunnel` is a proxy. By hand: `python -m tests.hostile` prints its port and runs until its
standard input ends.
"""

from __future__ import annotations

from tests.hostile.behaviours import BEHAVIOURS, http_date
from tests.hostile.certificates import Certificate, make_certificates
from tests.hostile.doors import DOORS
from tests.hostile.exchange import Exchange, Limits, Received
from tests.hostile.ports import refusing_port, silent_port
from tests.hostile.process import HostileProcess
from tests.hostile.server import HostileServer

__all__ = [
    "BEHAVIOURS",
    "DOORS",
    "Certificate",
    "Exchange",
    "HostileProcess",
    "HostileServer",
    "Limits",
    "Received",
    "http_date",
    "make_certificates",
    "refusing_port",
    "silent_port",
]
