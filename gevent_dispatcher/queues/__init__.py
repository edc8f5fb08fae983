"""Durable queues: the protocol, and the one that is embedded, on SQLite."""

from __future__ import annotations

from gevent_dispatcher.queues._legacy import LegacyFormat
from gevent_dispatcher.queues._protocol import (
    DeadLetter,
    Message,
    OpenQueue,
    Queue,
    QueueError,
    QueueFull,
    QueueUnavailable,
    QueueUncertain,
    QueueUnusable,
    Status,
)
from gevent_dispatcher.queues._sqlite import SqliteQueue
from gevent_dispatcher.queues._transport import QueueTransport

__all__ = [
    "DeadLetter",
    "LegacyFormat",
    "Message",
    "OpenQueue",
    "Queue",
    "QueueError",
    "QueueFull",
    "QueueTransport",
    "QueueUnavailable",
    "QueueUncertain",
    "QueueUnusable",
    "SqliteQueue",
    "Status",
]
