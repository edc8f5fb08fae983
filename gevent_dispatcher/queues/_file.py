"""The file of a `SqliteQueue`: made for its owner only, recognised, or refused before anything in it is changed.

Imported by the thread that works with SQLite, and by nothing else: it imports sqlite3.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Iterator

from gevent_dispatcher.queues._protocol import QueueError, QueueFull, QueueUnavailable, QueueUnusable

# "gEvQ": says that a SQLite file is one of these queues (https://www.sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x67457651
SCHEMA_VERSION = 1

# The smallest page that SQLite has, and so its smallest file.
_LEAST_BYTES = 512

# One try for a lock that another process holds, in seconds; between two, a fork may go first.
BUSY_SECONDS = 0.05
# What the log keeps of the disk once it has been copied into the file, in bytes.
_LOG_BYTES = 16 * 1024 * 1024

# A body has a table of its own: a lease then does not write it anew. `since` and `held` are when and for how long a
# message was set aside, so that a clock that is set back cannot set it aside for longer.
_SCHEMA = """
CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    ready_at REAL NOT NULL,
    since REAL NOT NULL,
    held REAL NOT NULL,
    token INTEGER,
    received INTEGER NOT NULL,
    put_at REAL NOT NULL,
    events INTEGER NOT NULL,
    envelope TEXT NOT NULL
);
CREATE INDEX message_ready_at ON message (ready_at);
CREATE INDEX message_since ON message (since);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY,
    died_at REAL NOT NULL,
    reason TEXT NOT NULL,
    put_at REAL NOT NULL,
    events INTEGER NOT NULL,
    envelope TEXT NOT NULL
);
"""


def identity(path: str) -> tuple[int, int] | None:
    """Which file is at a path now, None when none can be seen."""
    try:
        found = os.stat(path)
    except OSError:  # opening it will tell why
        return None
    return found.st_dev, found.st_ino


def explain(error: sqlite3.Error, path: str) -> QueueError:
    """An error of SQLite's in our own terms."""
    text = str(error)
    if "is full" in text:
        return QueueFull(f"the disk of {path} is full")
    if "malformed" in text or "not a database" in text:
        return QueueUnusable(f"{path} is corrupt, or no SQLite file: {text}. Move it away to go on with a new one")
    if "no such table" in text or "no such column" in text:
        return QueueUnusable(f"{path} lacks a part of a queue: {text}. Move it away to go on with a new one")
    if "unable to open" in text or "readonly" in text:
        text += " (who runs this must be able to read and write it, the files beside it, and their directory)"
    return QueueUnavailable(f"{path}: {text}")


def corrupt(path: str) -> QueueError:
    """What is told of a file that SQLite can say nothing readable about."""
    return QueueUnusable(f"{path} is corrupt: its schema is no text. Move it away to go on with a new one")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process holds a lock."""
    return "locked" in str(error)


Retry = Callable[[Callable[[], Any]], Any]


def connect(path: str, create: bool, retry: Retry) -> sqlite3.Connection:
    """Open a queue's file, and make it first where there is none.

    Args:
        path: of the file.
        create: whether to make it.
        retry: calls what it is given until no other process holds a lock.

    Raises:
        QueueUnavailable: there is no file, or it cannot be opened.
        QueueUnusable: it is something else.
        sqlite3.Error: anything else that SQLite has to say.
    """
    _check_place(path, create)
    connection = _connection(path)
    try:
        retry(lambda: _settle(connection, path))
    except BaseException:
        connection.close()
        raise
    return connection


def _check_place(path: str, create: bool) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if not create:
            raise QueueUnavailable(f"there is no queue at {path}") from None
        _make(path)
    except OSError as error:
        raise QueueUnavailable(f"{path}: {error.strerror}") from error
    else:
        if not stat.S_ISREG(found.st_mode):
            raise QueueUnavailable(f"{path} is not a file")
        if 0 < found.st_size < _LEAST_BYTES:  # SQLite would take it for an empty one, and write over it
            raise QueueUnusable(f"{path} is no SQLite file; it was not touched")


def _make(path: str) -> None:
    try:
        _make_empty(path)
    except FileExistsError:  # pragma: no cover  # another process was faster
        pass
    except FileNotFoundError:
        raise QueueUnavailable(f"{path}: its directory does not exist") from None
    except OSError as error:
        raise QueueUnavailable(f"{path} cannot be made: {error.strerror}") from error


def _make_empty(path: str) -> None:
    """An empty file for its owner only; SQLite gives its companions the same mode."""
    path = os.path.realpath(path)  # a link may be there before what it leads to
    try:
        # Not opened: closing a second descriptor of a file takes away SQLite's locks on it, in the whole process.
        os.mknod(path, stat.S_IFREG | 0o600)
    except PermissionError:  # macOS lets only root make a file in this way
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _connection(path: str) -> sqlite3.Connection:
    uri = Path(path).as_uri() + "?mode=rw"
    connection = sqlite3.connect(uri, timeout=BUSY_SECONDS, isolation_level=None, uri=True, cached_statements=64)
    connection.text_factory = _text
    return connection


def _text(data: bytes) -> str:
    """Text in a file that others may have written need not be UTF-8; what is not is buried later, by its reason."""
    return data.decode("utf-8", "replace")


def _settle(connection: sqlite3.Connection, path: str) -> None:
    version = _look_up_version(connection, path)
    _check_whole(connection, path)
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":  # pragma: no cover  # a file system without shared memory
        raise QueueUnusable(f"{path} cannot have a write-ahead log there: its journal stays {mode!r}")
    for setting in _settings():
        connection.execute(setting)
    if version == 0:
        _create(connection, path)
    pragma(connection, "user_version")  # reads, and so makes the log, where the file had another journal before


def _check_whole(connection: sqlite3.Connection, path: str) -> None:
    """SQLite takes the rest of a page that is cut short for zeros, and so for no rows.

    With a log beside the file, such a page may be one whose writing a power failure has ended: the log has it whole.
    """
    size = os.stat(path).st_size
    with suppress(FileNotFoundError):
        if os.stat(log_of(connection)).st_size:
            return
    if size % pragma(connection, "page_size"):
        raise QueueUnusable(f"{path} is corrupt: it was cut short. Move it away to go on with a new one")


def _settings() -> Iterator[str]:
    yield "PRAGMA synchronous=NORMAL"
    yield f"PRAGMA journal_size_limit={_LOG_BYTES}"
    # Debian's SQLite overwrites what is deleted, at the cost of writing it twice; the file is its owner's alone.
    yield "PRAGMA secure_delete=FAST"


def _look_up_version(connection: sqlite3.Connection, path: str) -> int:
    connection.execute("BEGIN")  # or another process that makes the file could be seen in the middle of it
    try:
        return _recognise(connection, path)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _recognise(connection: sqlite3.Connection, path: str) -> int:
    """The version of the schema, 0 for an empty file."""
    application, version = pragma(connection, "application_id"), pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID:
        raise QueueUnusable(f"{path} is a SQLite file of another application; it was not touched")
    if version != SCHEMA_VERSION:
        raise QueueUnusable(f"{path} has schema {version}; this version of the library knows {SCHEMA_VERSION}")
    return int(version)


def log_of(connection: sqlite3.Connection) -> str:
    """The path of the write-ahead log: it lies beside the file itself, not beside a link to it."""
    return f"{path_of(connection)}-wal"


def path_of(connection: sqlite3.Connection) -> str:
    """Of the file, links followed."""
    connection.text_factory = os.fsdecode  # a name need not be UTF-8
    try:
        return str(connection.execute("PRAGMA database_list").fetchone()[2])
    finally:
        connection.text_factory = _text


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """One number that SQLite tells of the file."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _create(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _recognise(connection, path) == 0:  # another process may have been faster
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error is the one to tell
            connection.execute("ROLLBACK")
        raise


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the file holds, free pages aside."""
    pages = pragma(connection, "page_count") - pragma(connection, "freelist_count")
    return pages * pragma(connection, "page_size")
