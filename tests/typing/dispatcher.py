"""What users write with the dispatcher, its settings, its hook and the SDK."""

from __future__ import annotations

from types import ModuleType
from typing import Mapping

from optimizely.event_dispatcher import CustomEventDispatcher
from optimizely.optimizely import Optimizely

import gevent_dispatcher
from gevent_dispatcher import Delivery, GeventEventDispatcher, HttpTransport, Outcome, SqliteQueue, Stats
from gevent_dispatcher import gunicorn as hooks

dispatcher = GeventEventDispatcher(
    batch_size=50,
    flush_interval=0.5,
    max_request_bytes=500_000,
    buffer_events=1_000,
    buffer_bytes=1_000_000,
    pool_size=4,
    delivery_timeout=60,
    backoff_base=0.1,
    backoff_max=10,
    close_timeout=2,
    spool="events.db",
    connect_timeout=1,
    read_timeout=2.0,
    request_timeout=3,
    headers={"X-Optimizely-Strict": "true"},
    ssl_context=None,
    proxy="",
)

# The SDK takes it, as its own protocol says.
for_the_sdk: CustomEventDispatcher = dispatcher

GeventEventDispatcher(batch_size="100")  # type: ignore[arg-type]
GeventEventDispatcher(flush_interval=None)  # type: ignore[arg-type]
GeventEventDispatcher(spool=5)  # type: ignore[arg-type]
GeventEventDispatcher(headers=["X-Optimizely-Strict"])  # type: ignore[arg-type]
GeventEventDispatcher(proxy=False)  # type: ignore[arg-type]
GeventEventDispatcher(batchsize=100)  # type: ignore[call-arg]
GeventEventDispatcher(HttpTransport())  # type: ignore[call-arg]
HttpTransport(batch_size=100)  # type: ignore[call-arg]
HttpTransport(read_timeout="10")  # type: ignore[arg-type]


class Letters:
    """A dead-letter store of a user's own."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def keep(self, delivery: Delivery) -> None:
        if delivery.outcome is not Outcome.DROPPED:
            return
        self.bodies.extend(delivery.bodies)
        status: int | None = delivery.status
        reason: str | None = delivery.reason
        words: str = f"{delivery.origin} {status} {reason} {delivery.events:d} {delivery.attempts:d}"
        seconds: float = delivery.seconds
        print(words, seconds, delivery.url)


def hook_without_a_record() -> None: ...


def hook_of_something_else(delivery: str) -> None: ...


GeventEventDispatcher(on_delivery=Letters().keep)
GeventEventDispatcher(on_delivery=lambda delivery: print(delivery.events))
GeventEventDispatcher(on_delivery=hook_without_a_record)  # type: ignore[arg-type]
GeventEventDispatcher(on_delivery=hook_of_something_else)  # type: ignore[arg-type]
GeventEventDispatcher(spool=SqliteQueue("events.db"))


def look(dispatcher: GeventEventDispatcher) -> int:
    stats: Stats = dispatcher.stats()
    dropped: Mapping[str, int] = stats.dropped
    stats.delivered = 0  # type: ignore[misc]
    return stats.dispatched - stats.delivered - stats.spooled - stats.pending - sum(dropped.values())


def end(dispatcher: GeventEventDispatcher) -> bool:
    dispatcher.flush("soon")  # type: ignore[arg-type]
    with dispatcher as same:
        settled: bool = same.flush(timeout=5)
    return settled and dispatcher.close(10)


# The module stands for the default dispatcher.
module: ModuleType = gevent_dispatcher
gevent_dispatcher.dispatchEvent("POST", "https://logx.optimizely.com/v1/events", {})
default: GeventEventDispatcher = gevent_dispatcher.default_dispatcher()


def client_of_the_sdk(datafile: str) -> Optimizely:
    return Optimizely(datafile, event_dispatcher=dispatcher)


def client_of_ours(datafile: str) -> Optimizely:
    from gevent_dispatcher.sdk import GeventEventProcessor, create_client

    GeventEventProcessor(event_dispatcher=dispatcher).flush(5)
    GeventEventProcessor(event_dispatcher=5)  # type: ignore[arg-type]
    create_client(datafile=5)  # type: ignore[arg-type]
    return create_client(datafile, event_dispatcher=dispatcher)


worker_exit = hooks.worker_exit
