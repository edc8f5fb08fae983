"""One connection to a queue's file, and one transaction at a time; lives in the thread that made it."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any, Callable, TypeVar

from gevent_dispatcher.queues import _disk, _file
from gevent_dispatcher.queues._job import Job
from gevent_dispatcher.queues._protocol import QueueUnavailable, QueueUncertain

T = TypeVar("T")

Task = Callable[[sqlite3.Connection, float], T]

# How often work is done anew because the file was replaced under it.
_MOST_MOVES = 3


class Store:
    """Connects when it is needed, and anew when the file at the path, or the log beside it, is another one.

    Args:
        path: of the file.
        create: whether to make it.
        clock: seconds since the epoch.
    """

    def __init__(self, path: str, create: bool, clock: Callable[[], float]) -> None:
        self._path = path
        self._create = create
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._log = ""
        self._log_identity: tuple[int, int] | None = None
        self._is_durable = False

    def read(self, job: Job, task: Task[T]) -> T:
        """Look, without a lock.

        Raises:
            QueueError: it could not be done.
        """
        return self._in_the_file(job, lambda connection: self._look(connection, task))

    def write(self, job: Job, task: Task[T], durable: bool = False) -> T:
        """Change something: wholly or not at all.

        Args:
            job: says how long to wait, and may be withdrawn until the commit begins.
            task: what to do.
            durable: whether it shall survive a power failure; it survives the end of any process in any case.

        Raises:
            QueueError: it was not done, or that is uncertain.
        """
        return self._in_the_file(job, lambda connection: self._change(connection, job, task, durable))

    def close(self) -> None:
        """Close the file; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # there is nothing more to be done about it
                connection.close()

    def _in_the_file(self, job: Job, work: Callable[[sqlite3.Connection], T]) -> T:
        """What was done in a file that is no longer at the path is done anew in the one that is."""
        for move in range(_MOST_MOVES):
            try:
                result = work(self._connected(job))
            except sqlite3.Error as error:
                if not _disk.is_full(error):  # opened anew, it would find no room for the file of its locks
                    self.close()
                raise _file.explain(error, self._path) from error
            except UnicodeDecodeError as error:  # sqlite3 would have told of a damaged schema, in that schema's words
                self.close()
                raise _file.corrupt(self._path) from error
            except QueueUnavailable as error:
                if move:  # what was done first went with the file, wherever that is now
                    raise QueueUncertain(str(error)) from error
                raise
            if self._is_in_place():
                return result
            self.close()
        raise QueueUncertain(f"{self._path} is replaced again and again")

    def _connected(self, job: Job) -> sqlite3.Connection:
        if self._connection is not None and self._is_in_place():
            return self._connection
        self.close()
        before = _file.identity(self._path)
        self._connection = _file.connect(self._path, self._create, lambda work: _retry(job, work, self._path))
        self._is_durable = False
        self._identity = before or _file.identity(self._path)
        self._log = _file.log_of(self._connection)
        self._log_identity = _file.identity(self._log)
        return self._connection

    def _is_in_place(self) -> bool:
        """What is written into a log that was deleted is seen by nobody else, and goes with the process."""
        is_file = self._identity is not None and _file.identity(self._path) == self._identity
        return is_file and _file.identity(self._log) == self._log_identity

    def _look(self, connection: sqlite3.Connection, task: Task[T]) -> T:
        connection.execute("BEGIN")
        try:
            return task(connection, self._clock())
        finally:
            _roll_back(connection)

    def _change(self, connection: sqlite3.Connection, job: Job, task: Task[T], durable: bool) -> T:
        """Twice, where a shorter log gives a full disk room; the log of a disk that is nearly full is kept short.

        That is done before: afterwards a caller whose patience ends would not learn that its work was done.
        """
        if _disk.is_nearly_full(self._path):
            _disk.shorten_log(connection)
        try:
            return self._transact(connection, job, task, durable)
        except sqlite3.OperationalError as error:
            if not (_disk.is_full(error) and _disk.shorten_log(connection)):
                raise
        return self._transact(connection, job, task, durable)

    def _transact(self, connection: sqlite3.Connection, job: Job, task: Task[T], durable: bool) -> T:
        self._set_durable(connection, durable)
        _retry(job, lambda: connection.execute("BEGIN IMMEDIATE"), self._path)
        try:
            result = task(connection, self._clock())
            job.claim()
            self._commit(connection)
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def _set_durable(self, connection: sqlite3.Connection, durable: bool) -> None:
        """FULL waits for the disk at each commit, NORMAL only when the log is copied into the file."""
        if durable != self._is_durable:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._is_durable = durable

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            explained = _file.explain(error, self._path)
            if isinstance(explained, QueueUnavailable):
                self.close()
                raise QueueUncertain(str(explained)) from error
            raise


def _retry(job: Job, work: Callable[[], Any], path: str) -> Any:
    """Do work again for as long as another process holds a lock, and the caller's patience lasts."""
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _file.is_busy(error):
                raise
            if not job.has_time_for(_file.BUSY_SECONDS):
                raise QueueUnavailable(f"{path} is locked by another process") from error
        job.breathe()


def _roll_back(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # the first error is the one to tell, and SQLite may have rolled back by itself
        if connection.in_transaction:
            connection.execute("ROLLBACK")
