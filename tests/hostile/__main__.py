"""The hostile server by hand."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gevent.fileobject import FileObject

from tests.hostile.certificates import Certificate
from tests.hostile.exchange import Limits
from tests.hostile.server import HostileServer


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="A hostile HTTP server on loopback.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--default", default="status/204", help="the behaviour of a path that names none")
    parser.add_argument("--seconds", type=float, default=30.0, help="the limit of one connection")
    parser.add_argument("--chain", type=Path, help="a PEM file with key and certificate chain: speak TLS")
    parser.add_argument("--door", action="append", default=[], help="what is done with a first connection: silence")
    parser.add_argument("script", nargs="*", help="behaviours for the first requests: status/503 reset_before")
    given = parser.parse_args()
    certificate = Certificate(given.chain, given.chain) if given.chain else None
    limits = Limits(given.seconds)
    options = {"default": given.default, "host": given.host, "doors": given.door, "certificate": certificate}
    with HostileServer(given.script, **options, limits=limits) as server:
        print(server.port, flush=True)
        FileObject(os.dup(sys.stdin.fileno())).read()


if __name__ == "__main__":
    main()
