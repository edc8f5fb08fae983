"""Something that speaks as much of SQS as producers and workers need, fast enough to be no bottleneck; for measuring.

`python -m tests.benchmarks.sqs_stand_in SECONDS` prints its port. Each call takes 5 ms, about what SQS takes within its
region. Messages are given in the order in which they came, and none twice; no lease ever ends.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import deque
from typing import Any, Callable

_LATENCY = 0.005
_LIMIT = 1 << 28
_OLDEST = time.time() * 1000


class StandIn:
    """One queue, whatever its url."""

    def __init__(self) -> None:
        self.messages: deque[str] = deque()
        self._number = 0
        self._calls: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "SendMessageBatch": self._send,
            "ReceiveMessage": self._receive,
            "DeleteMessageBatch": self._agree,
            "ChangeMessageVisibilityBatch": self._agree,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                asked = json.loads(await reader.readexactly(int(headers["content-length"])))
                operation = operation_of(headers)
                await asyncio.sleep(_LATENCY)
                body = json.dumps(next(call for name, call in self._calls.items() if name.lower() == operation)(asked))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body.encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _send(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.messages.extend(entry["MessageBody"] for entry in asked["Entries"])
        return self._agree(asked)

    def _receive(self, asked: dict[str, Any]) -> dict[str, Any]:
        count = min(asked["MaxNumberOfMessages"], len(self.messages))
        return {"Messages": [self._given(self.messages.popleft()) for _ in range(count)]}

    def _given(self, text: str) -> dict[str, Any]:
        self._number += 1
        attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": f"{_OLDEST:.0f}"}
        # As long as SQS's own.
        receipt = f"{self._number:0>412}"
        return {"MessageId": str(self._number), "ReceiptHandle": receipt, "Body": text, "Attributes": attributes}

    def _agree(self, asked: dict[str, Any]) -> dict[str, Any]:
        done = [{"Id": entry["Id"], "MessageId": "0", "MD5OfMessageBody": "0" * 32} for entry in asked["Entries"]]
        return {"Successful": done, "Failed": []}


def operation_of(headers: dict[str, str]) -> str:
    """The operation's name, in small letters."""
    return headers["x-amz-target"].rpartition(".")[2]


async def main(seconds: int) -> None:
    """Listen until the time is over."""
    server = await asyncio.start_server(StandIn().serve, "127.0.0.1", 0, limit=_LIMIT)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(seconds)


if __name__ == "__main__":
    signal.alarm(int(sys.argv[1]))
    asyncio.run(main(int(sys.argv[1])))
