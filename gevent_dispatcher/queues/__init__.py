"""Durable queues: the protocol, and the one that is embedded, on SQLite."""

from __future__ import annotations

from gevent_dispatcher.queues._legacy import LegacyFormat
from gevent_dispatcher.queues._protocol import (
    DeadLetter,
    Message,
    OpenQueue,
    PollingQueue,
    Queue,
    QueueError,
    QueueForbidden,
    QueueFull,
    QueuePartial,
    QueueRefused,
    QueueUnavailable,
    QueueUncertain,
    QueueUnusable,
    Refusal,
    Status,
)
from gevent_dispatcher.queues._sqlite import SqliteQueue
from gevent_dispatcher.queues._transport import QueueTransport

__all__ = [
    "DeadLetter",
    "LegacyFormat",
    "Message",
    "OpenQueue",
    "PollingQueue",
    "Queue",
    "QueueError",
    "QueueForbidden",
    "QueueFull",
    "QueuePartial",
    "QueueRefused",
    "QueueTransport",
    "QueueUnavailable",
    "QueueUncertain",
    "QueueUnusable",
    "Refusal",
    "SqliteQueue",
    "Status",
]
