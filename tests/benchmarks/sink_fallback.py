"""The endpoint in Python: for https, and where there is no C compiler. What it does is described in sink.c.

`python -m tests.benchmarks.sink_fallback DELAY_US HANG SECONDS [CHAIN KEY]`
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from typing import Any

_LIMIT = 1 << 28
_COUNTED = ("requests", "connections", "events", "received", "bytes", "first_us", "last_us")
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink:
    """Counts what arrives.

    Args:
        delay: seconds until an answer.
        hang: never answer.
    """

    def __init__(self, delay: float, hang: bool) -> None:
        self._delay = delay
        self._hang = hang
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._changed = asyncio.Condition()

    async def serve(self, reader: Any, writer: Any) -> None:
        """One connection."""
        known = False
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    await self._tell(head.split()[1].decode(), writer)
                    continue
                body = await reader.readexactly(_content_length(head))
                self._counts["connections"] += not known
                known = True
                await self._take(len(head) + len(body), body.count(b'"uuid"'), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _take(self, size: int, events: int, writer: Any) -> None:
        counts = self._counts
        counts["first_us"] = counts["first_us"] or _now_us()
        counts["requests"] += 1
        counts["received"] += events
        counts["bytes"] += size
        if self._hang:
            return
        if self._delay:
            await asyncio.sleep(self._delay)
        writer.write(_ANSWER)
        counts["events"] += events
        counts["last_us"] = _now_us()
        async with self._changed:
            self._changed.notify_all()

    async def _tell(self, target: str, writer: Any) -> None:
        if target.startswith("/wait?events="):
            wanted = int(target.split("=")[1])
            async with self._changed:
                await self._changed.wait_for(lambda: self._counts["events"] >= wanted)
        body = json.dumps({**self._counts, "cpu_us": round(time.process_time() * 1e6)})
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _context(files: list[str]) -> ssl.SSLContext | None:
    if not files:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


async def _main(delay_us: str, hang: str, *files: str) -> None:
    sink = Sink(int(delay_us) / 1e6, hang == "1")
    options = {"ssl": _context(list(files)), "limit": _LIMIT, "backlog": 4096}
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, **options)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    await ended.wait()
    os._exit(0)


if __name__ == "__main__":
    signal.alarm(int(sys.argv[3]))
    asyncio.run(_main(*sys.argv[1:3], *sys.argv[4:]))
