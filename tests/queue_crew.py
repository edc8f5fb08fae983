"""A producer or a consumer of a queue, to be killed at any moment: `python -m tests.queue_crew PATH ROLE NAME SEED`.

It says each thing on a line of its own once it is certain: a body whose put has returned, a body that is about to be
acknowledged as delivered. A line of a pipe is written whole or not at all, and outlives its writer.
"""

# ruff: noqa: E402  # the patch comes first, as in the servers
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os
import random
import sys

from gevent_dispatcher.queues import OpenQueue, SqliteQueue
from tests.queues import request

LEASE = 2.0


def say(bodies: list[str]) -> None:
    """Write lines past every buffer of the process."""
    os.write(1, "".join(f"{body}\n" for body in bodies).encode())


def produce(queue: OpenQueue, name: str, chance: random.Random) -> None:
    number = 0
    while True:
        bodies = [f"{name}-{number + n}" for n in range(chance.randint(1, 20))]
        number += len(bodies)
        queue.put([request(body) for body in bodies])
        say(bodies)


def consume(queue: OpenQueue, name: str, chance: random.Random) -> None:
    while True:
        messages = queue.receive(chance.randint(1, 20), LEASE)
        say([str(message.request.body, "ascii") for message in messages if message.request.body])
        queue.ack([message.receipt for message in messages])


if __name__ == "__main__":
    path, role, name, seed = sys.argv[1:]
    opened = SqliteQueue(path, timeout=60).open()
    {"produce": produce, "consume": consume}[role](opened, name, random.Random(seed))
