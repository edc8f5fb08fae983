"""Transports, queues and consumers: the ones that are there, and ones that a user writes."""

from __future__ import annotations

from typing import Sequence

from gevent_dispatcher import (
    Answer,
    Consumer,
    ConsumerStats,
    GeventEventDispatcher,
    HttpTransport,
    Link,
    Queue,
    QueueTransport,
    Request,
    SqliteQueue,
    Transport,
)
from gevent_dispatcher.queues import DeadLetter, Message, OpenQueue, Status


class Printer:
    """A transport of a user's own."""

    def open(self, connections: int) -> Printed:
        return Printed()


class Printed:
    """What it opens."""

    def send(self, request: Request) -> Answer:
        verb: str = request.verb
        body: bytes | None = request.body
        print(verb, request.origin, request.target, body, dict(request.headers))
        return Answer(status=204)

    def close(self) -> None: ...


class ClosesNothing:
    """No link: it cannot be closed."""

    def send(self, request: Request) -> Answer:
        return Answer(status=204)


class OpensNothing:
    """No transport: what it opens is no link."""

    def open(self, connections: int) -> ClosesNothing:
        return ClosesNothing()


class Kept:
    """An opened queue of a user's own."""

    def put(self, requests: Sequence[Request]) -> None: ...

    def receive(self, most: int, lease: float) -> list[Message]:
        return []

    def extend(self, receipts: Sequence[str], lease: float) -> list[str]:
        return list(receipts)

    def ack(self, receipts: Sequence[str]) -> list[str]:
        return list(receipts)

    def release(self, receipts: Sequence[str], delay: float = 0.0) -> list[str]:
        return list(receipts)

    def bury(self, receipts: Sequence[str], reason: str) -> list[str]:
        return list(receipts)

    def replace(
        self, receipt: str, again: Sequence[Request], dead: Sequence[tuple[Request, str]], delay: float = 0.0
    ) -> bool:
        return False

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        return []

    def requeue(self, ids: Sequence[str] | None = None) -> int:
        return 0

    def purge(self) -> int:
        return 0

    def purge_dead(self) -> int:
        return 0

    def status(self) -> Status:
        raise NotImplementedError

    def close(self) -> None: ...


class Store:
    """A queue of a user's own."""

    def open(self) -> Kept:
        return Kept()


link: Link = Printed()
opened: OpenQueue = Kept()
transports: list[Transport] = [Printer(), HttpTransport(proxy=""), QueueTransport(Store())]
queues: list[Queue] = [Store(), SqliteQueue("events.db", max_bytes=1_000_000)]

GeventEventDispatcher(transport=Printer())
GeventEventDispatcher(spool=Store())
GeventEventDispatcher(transport=QueueTransport(SqliteQueue("events.db")))
GeventEventDispatcher(transport=OpensNothing())  # type: ignore[arg-type]
GeventEventDispatcher(transport=Printed())  # type: ignore[arg-type]
GeventEventDispatcher(transport=Store())  # type: ignore[arg-type]
GeventEventDispatcher(spool=Printer())  # type: ignore[arg-type]
QueueTransport(Printer())  # type: ignore[arg-type]


def consume() -> ConsumerStats:
    consumer = Consumer(Store(), transport=Printer(), destinations=["https://logx.optimizely.com"], lease=30)
    Consumer(Printer())  # type: ignore[arg-type]
    Consumer(Store(), lease="30")  # type: ignore[arg-type]
    consumer.run()
    return consumer.stats()
