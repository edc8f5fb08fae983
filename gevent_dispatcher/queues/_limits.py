"""What a queue accepts, and why. Pure."""

from __future__ import annotations

import os

from gevent_dispatcher._ranges import seconds, whole

# An hour's outage at 300 requests of 1 KB a second; little for a disk.
DEFAULT_MAX_BYTES = 1 << 30
# A commit takes milliseconds. A disk that takes longer than this is as good as away.
DEFAULT_TIMEOUT = 5.0

# Twelve hours: the longest that Amazon SQS leases or delays, so that a setting suits either queue.
_LONGEST = 43_200
_MOST = 10_000


def check_path(path: object) -> str:
    """The path as text.

    Raises:
        ValueError: it is no path, or names no file on a disk.
    """
    text = os.fsdecode(path) if isinstance(path, (str, os.PathLike)) else ""
    if not text or "\0" in text or text == ":memory:":
        raise ValueError(f"path={path!r}: must be the path of a file")
    return text


def check_max_bytes(value: object) -> int:
    """The bound of what a file holds.

    Raises:
        ValueError: it is outside its range.
    """
    return whole("max_bytes", value, 1_000_000, 1 << 40, "bytes")


def check_timeout(value: object) -> float:
    """How long a call waits.

    Raises:
        ValueError: it is outside its range.
    """
    return seconds("timeout", value, 0.01, 3600)


def check_lease(value: object) -> float:
    """How long messages are held.

    Raises:
        ValueError: it is outside its range.
    """
    return seconds("lease", value, 0.001, _LONGEST)


def check_delay(value: object) -> float:
    """How long nobody can receive a message.

    Raises:
        ValueError: it is outside its range.
    """
    return seconds("delay", value, 0, _LONGEST)


def check_count(name: str, value: object) -> int:
    """How many at once.

    Raises:
        ValueError: it is outside its range.
    """
    return whole(name, value, 1, _MOST, "messages")
