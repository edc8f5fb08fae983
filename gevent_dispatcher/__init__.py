"""Deliver the Optimizely SDK's events from gevent servers without anyone waiting.

The names below are resolved on first use: importing the package imports neither gevent nor urllib3 nor the SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gevent_dispatcher._consumer import Consumer
    from gevent_dispatcher._dispatcher import (
        GeventEventDispatcher,
        default_dispatcher,
        dispatch_event,
        dispatchEvent,
    )
    from gevent_dispatcher._event import Request
    from gevent_dispatcher._health import BreakerState, Health, OriginHealth
    from gevent_dispatcher._held import ConsumerStats
    from gevent_dispatcher._retry import Answer
    from gevent_dispatcher._stats import Delivery, Outcome, Stats
    from gevent_dispatcher._transport import HttpTransport, Link, Transport
    from gevent_dispatcher._watch import Observer, Settled
    from gevent_dispatcher.queues import Queue, QueueError, QueueTransport, SqliteQueue
    from gevent_dispatcher.queues.sqs import SqsQueue as SqsQueue

# Without SqsQueue, which needs an extra: `import *` must not fail for want of it.
__all__ = [
    "Answer",
    "BreakerState",
    "Consumer",
    "ConsumerStats",
    "Delivery",
    "GeventEventDispatcher",
    "Health",
    "HttpTransport",
    "Link",
    "Observer",
    "OriginHealth",
    "Outcome",
    "Queue",
    "QueueError",
    "QueueTransport",
    "Request",
    "Settled",
    "SqliteQueue",
    "Stats",
    "Transport",
    "default_dispatcher",
    "dispatchEvent",
    "dispatch_event",
]

_HOMES = {
    "Answer": "_retry",
    "BreakerState": "_health",
    "Consumer": "_consumer",
    "ConsumerStats": "_held",
    "Delivery": "_stats",
    "GeventEventDispatcher": "_dispatcher",
    "Health": "_health",
    "HttpTransport": "_transport",
    "Link": "_transport",
    "Observer": "_watch",
    "OriginHealth": "_health",
    "Outcome": "_stats",
    "Queue": "queues",
    "QueueError": "queues",
    "QueueTransport": "queues",
    "Request": "_event",
    "Settled": "_watch",
    "SqliteQueue": "queues",
    "SqsQueue": "queues.sqs",
    "Stats": "_stats",
    "Transport": "_transport",
    "default_dispatcher": "_dispatcher",
    "dispatchEvent": "_dispatcher",
    "dispatch_event": "_dispatcher",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
