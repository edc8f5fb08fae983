"""`SqliteQueue`: a queue in one file on the machine, shared by all its processes."""

from __future__ import annotations

import os
import time
from functools import partial
from importlib import import_module
from typing import Any, Callable, Sequence, TypeVar

from gevent_dispatcher._event import Request
from gevent_dispatcher._threads import gate
from gevent_dispatcher.queues import _limits
from gevent_dispatcher.queues._job import Job
from gevent_dispatcher.queues._protocol import DeadLetter, Message, OpenQueue, Status
from gevent_dispatcher.queues._receipt import TOKEN_BITS, parse
from gevent_dispatcher.queues._thread import Session, Worker

T = TypeVar("T")

# Rows that one transaction deletes or revives at most: others must not wait long for the lock.
_PORTION = 500
_REASON_CHARACTERS = 500


class SqliteQueue:
    """A durable queue in a SQLite file, for all processes of one machine; not on a network file system.

    The file is made for its owner only, by the first call that needs it; its directory must be there. SQLite keeps two
    more beside it, `-wal` and `-shm`. What `put` has stored survives the end of any process at any moment, and a power
    failure. A power failure may undo the last acknowledgements, so that messages come again. The file does not shrink;
    what is free in it is used again.

    Args:
        path: of the file; a relative one is taken from the working directory of now.
        max_bytes: what it may hold, dead letters included; 1 000 000 to 2**40, default 2**30. The write-ahead log comes
            on top: about as much as the largest put. A put leaves 1 MiB of the disk free, or a quarter of a small one:
            to take messages out again needs some.
        timeout: seconds that a call waits for the disk, or for another process, before it gives up; 0.01 to 3600,
            default 5.
        create: whether to make the file where there is none.
        clock: seconds since the epoch; all processes, and those after a restart, must agree on it.

    Raises:
        ValueError: a setting is outside its accepted range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = _limits.DEFAULT_MAX_BYTES,
        timeout: float = _limits.DEFAULT_TIMEOUT,
        create: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = os.path.abspath(_limits.check_path(path))
        self._max_bytes = _limits.check_max_bytes(max_bytes)
        self._timeout = _limits.check_timeout(timeout)
        self._create = create
        self._clock = clock

    def __repr__(self) -> str:
        return f"SqliteQueue({self._path!r}, max_bytes={self._max_bytes}, timeout={self._timeout:g})"

    def open(self) -> OpenQueue:
        """Make what this process needs. The file is opened by the first call to it, in a thread of its own."""
        make_store = partial(_make_store, self._path, self._create, self._clock)
        return _OpenSqliteQueue(Worker(make_store, self._timeout), self._max_bytes)


def _make_store(path: str, create: bool, clock: Callable[[], float]) -> Session:
    return _Session(path, create, clock)


class _Session:
    """What the thread works with. sqlite3 is imported there, in the gate that keeps forks away from imports."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._store: Any = None
        self.tasks: Any = None

    @property
    def store(self) -> Any:
        if self._store is None:
            with gate:
                store, self.tasks = import_module(f"{_ROOM}._store"), import_module(f"{_ROOM}._tasks")
            self._store = store.Store(*self._arguments)
        return self._store

    def close(self) -> None:
        if self._store is not None:  # pragma: no branch  # the first job was withdrawn
            self._store.close()


_ROOM = __name__.rpartition(".")[0]


class _OpenSqliteQueue:
    """Checks and translates what callers give, and has the work done in the thread."""

    def __init__(self, worker: Worker, max_bytes: int) -> None:
        self._worker = worker
        self._max_bytes = max_bytes

    def put(self, requests: Sequence[Request]) -> None:
        if requests:
            self._write("put", list(requests), self._max_bytes, durable=True)

    def receive(self, most: int, lease: float) -> list[Message]:
        _limits.check_count("most", most)
        _limits.check_lease(lease)
        token = int.from_bytes(os.urandom(8), "big") >> (64 - TOKEN_BITS)

        def work(session: Any, job: Job) -> Any:
            store = session.store
            if not store.read(job, session.tasks.has_ready):
                return []
            return store.write(job, lambda *now: session.tasks.receive(*now, most, lease, token))

        return self._worker.call(work)

    def extend(self, receipts: Sequence[str], lease: float) -> list[str]:
        _limits.check_lease(lease)
        return self._settle("extend", receipts, lease)

    def ack(self, receipts: Sequence[str]) -> list[str]:
        return self._settle("ack", receipts)

    def release(self, receipts: Sequence[str], delay: float = 0.0) -> list[str]:
        _limits.check_delay(delay)
        return self._settle("release", receipts, delay)

    def bury(self, receipts: Sequence[str], reason: str) -> list[str]:
        return self._settle("bury", receipts, _reason(reason))

    def replace(
        self, receipt: str, again: Sequence[Request], dead: Sequence[tuple[Request, str]], delay: float = 0.0
    ) -> bool:
        _limits.check_delay(delay)
        parsed = parse(receipt)
        letters = [(request, _reason(reason)) for request, reason in dead]
        return parsed is not None and bool(self._write("replace", parsed, list(again), letters, delay, durable=True))

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        _limits.check_count("limit", limit)
        return list(self._read("dead", limit))

    def requeue(self, ids: Sequence[str] | None = None) -> int:
        wanted = self._read("dead_ids") if ids is None else [int(id) for id in ids if _is_id(id)]
        # At least one: where there is no queue, that is said whatever the ids are.
        portions = [wanted[at : at + _PORTION] for at in range(0, len(wanted) or 1, _PORTION)]
        return sum(self._write("requeue", portion, durable=True) for portion in portions)

    def purge(self) -> int:
        return self._purge("message")

    def purge_dead(self) -> int:
        return self._purge("dead")

    def status(self) -> Status:
        return self._read("status")  # type: ignore[no-any-return]  # tasks are imported lazily

    def close(self) -> None:
        self._worker.close()

    def _purge(self, table: str) -> int:
        total = deleted = self._write("purge", table, _PORTION)
        while deleted == _PORTION:
            deleted = self._write("purge", table, _PORTION)
            total += deleted
        return int(total)

    def _settle(self, task: str, texts: Sequence[str], *arguments: Any) -> list[str]:
        if not texts:
            return []
        given = list(texts)

        def work(session: Any, job: Job) -> list[str]:
            store = session.store
            parsed = {text: parse(text) for text in given}
            receipts = [receipt for receipt in parsed.values() if receipt is not None]
            stale = set(store.write(job, lambda *now: getattr(session.tasks, task)(*now, receipts, *arguments)))
            return [text for text, receipt in parsed.items() if receipt is None or receipt in stale]

        return self._worker.call(work)

    def _read(self, task: str, *arguments: Any) -> Any:
        def work(session: Any, job: Job) -> Any:
            store = session.store
            return store.read(job, lambda *now: getattr(session.tasks, task)(*now, *arguments))

        return self._worker.call(work)

    def _write(self, task: str, *arguments: Any, durable: bool = False) -> Any:
        def work(session: Any, job: Job) -> Any:
            store = session.store
            return store.write(job, lambda *now: getattr(session.tasks, task)(*now, *arguments), durable)

        return self._worker.call(work)


def _reason(text: str) -> str:
    """Not too long, and without lone surrogates, which a file cannot hold."""
    return text[:_REASON_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def _is_id(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 18
