"""What a queue takes of its disk: puts leave what it takes to empty it again, and a log that is in the way is cut.

Imported by the thread that works with SQLite, and by nothing else: it imports sqlite3.
"""

from __future__ import annotations

import math
import os
import sqlite3
from contextlib import suppress

from gevent_dispatcher.queues._file import log_of, path_of, pragma

# Bytes of the disk that puts leave alone, or of a small disk a share: to receive and to acknowledge are written, too,
# or a full disk would never be emptied.
_LEFT_FREE = 1024 * 1024
_LEFT_SHARE = 4
# What is put is written into the log, and then into the file.
_TWICE = 2


def check_room(connection: sqlite3.Connection, new: int) -> None:
    """See whether the disk takes what is to be put.

    Args:
        connection: to the queue's file.
        new: bytes.

    Raises:
        sqlite3.OperationalError: it does not; as SQLite itself would raise it a little later.
    """
    free, left = _free(connection)
    spare = pragma(connection, "freelist_count") * pragma(connection, "page_size")
    # What fits into free pages of the file takes the log alone, and leaves less: a queue that was full and was emptied
    # has such pages, and nothing else.
    needed = new + left // 2 if spare >= _TWICE * new else _TWICE * new + left
    if free < needed:
        raise sqlite3.OperationalError("the disk is full but for what it takes to empty the queue")


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk takes no more."""
    return "is full" in str(error)


def is_nearly_full(path: str) -> bool:
    """Whether no more is free than what puts leave alone."""
    disk = _statvfs(path)
    return disk is not None and _available(disk) <= _left_alone(disk)


def shorten_log(connection: sqlite3.Connection) -> bool:
    """Copy the log into the file and cut it to nothing; whether that may have given the disk room.

    It has to be done while there is room for the pages by which the file grows.
    """
    with suppress(OSError, sqlite3.Error):  # what is told is that the disk is full, which is why
        if os.stat(log_of(connection)).st_size:
            return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return False


def _free(connection: sqlite3.Connection) -> tuple[float, int]:
    """What the disk takes beyond the file as it will be when the log is copied into it, and what is left alone."""
    path = path_of(connection)
    disk = _statvfs(path)
    if disk is None:
        return math.inf, 0
    grown = pragma(connection, "page_count") * pragma(connection, "page_size")
    return _available(disk) - max(grown - os.stat(path).st_size, 0), _left_alone(disk)


def _statvfs(path: str) -> os.statvfs_result | None:
    """None where the disk does not say, and where the file was taken away, which is found out afterwards."""
    with suppress(OSError):
        disk = os.statvfs(path)
        return disk if disk.f_blocks else None
    return None


def _available(disk: os.statvfs_result) -> int:
    return (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize


def _left_alone(disk: os.statvfs_result) -> int:
    return min(_LEFT_FREE, disk.f_blocks * disk.f_frsize // _LEFT_SHARE)
