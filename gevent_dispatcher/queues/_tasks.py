"""What is done within one transaction: one function for each thing that a queue can do.

Each gets the connection, what time it is, and what the caller gave. A message can be received once `ready_at` has come.
`token` proves a lease; it is drawn anew for each, so that a former holder is recognised.
"""

from __future__ import annotations

import sqlite3
from typing import Iterable, Sequence

from gevent_dispatcher._event import Request
from gevent_dispatcher.queues._disk import check_room
from gevent_dispatcher.queues._file import used_bytes
from gevent_dispatcher.queues._protocol import DeadLetter, Message, QueueFull, Status
from gevent_dispatcher.queues._receipt import Receipt
from gevent_dispatcher.queues._record import Record, decode, encode

# A message's row and its entries in two indexes, in bytes, beside envelope and body.
_ROW_BYTES = 120
# In a damaged file a number may have become something else.
_PUT_AT = "coalesce(CAST(put_at AS REAL), 0.0)"
# In such a file the newest message may have lost its body, and must not get another's.
_NEXT_ID = "SELECT 1 + max({})".format(
    ", ".join(f"(SELECT coalesce(max(id), 0) FROM {table})" for table in ("body", "message", "dead"))
)


def put(connection: sqlite3.Connection, now: float, requests: Sequence[Request], max_bytes: int) -> None:
    records = [encode(request) for request in requests]
    _check_room(connection, records, max_bytes)
    _insert(connection, records, now, 0.0, now)


def _insert(connection: sqlite3.Connection, records: Sequence[Record], now: float, delay: float, put_at: float) -> None:
    connection.executemany(
        "INSERT INTO message VALUES (?, ?, ?, ?, NULL, 0, ?, ?, ?)",
        [
            (id, now + delay, now, delay, put_at, each.events, each.envelope)
            for id, each in _insert_bodies(connection, records)
        ],
    )


def _insert_bodies(connection: sqlite3.Connection, records: Sequence[Record]) -> list[tuple[int, Record]]:
    first = connection.execute(_NEXT_ID).fetchone()[0]
    numbered = list(enumerate(records, first))
    connection.executemany("INSERT INTO body VALUES (?, ?)", [(id, each.body) for id, each in numbered])
    return numbered


def _check_room(connection: sqlite3.Connection, records: Iterable[Record], max_bytes: int) -> None:
    new = sum(_ROW_BYTES + len(each.envelope) + len(each.body or b"") for each in records)
    used = used_bytes(connection)
    if used + new > max_bytes:
        raise QueueFull(f"{used} of max_bytes={max_bytes} are used: no room for {new} bytes more")
    check_room(connection, new)


def has_ready(connection: sqlite3.Connection, now: float) -> bool:
    """Whether receiving may change anything: an empty queue is asked without a lock."""
    query = "SELECT EXISTS (SELECT 1 FROM message WHERE ready_at <= ?), EXISTS (SELECT 1 FROM message WHERE since > ?)"
    return any(connection.execute(query, (now, now)).fetchone())


def receive(connection: sqlite3.Connection, now: float, most: int, lease: float, token: int) -> list[Message]:
    _follow_the_clock_back(connection, now)
    rows = connection.execute(
        f"SELECT message.id, body.id IS NOT NULL, data, CAST(received AS INTEGER) + 1, {_PUT_AT}, events, envelope"
        " FROM message LEFT JOIN body USING (id) WHERE ready_at <= ? ORDER BY ready_at, message.id LIMIT ?",
        (now, most),
    ).fetchall()
    connection.executemany(
        "UPDATE message SET ready_at = ?, since = ?, held = ?, token = ?, received = received + 1 WHERE id = ?",
        [(now + lease, now, lease, token, row[0]) for row in rows],
    )
    return [message for row in rows for message in _message(connection, now, row, token)]


def _follow_the_clock_back(connection: sqlite3.Connection, now: float) -> None:
    """What was set aside in the future was set aside before the clock went back: its time starts again now."""
    connection.execute("UPDATE message SET ready_at = ? + held, since = ? WHERE since > ?", (now, now, now))


def _message(
    connection: sqlite3.Connection, now: float, row: tuple[int, int, bytes | None, int, float, int, str], token: int
) -> Iterable[Message]:
    id, has_body, data, received, put_at, events, envelope = row
    receipt = Receipt(id, token)
    try:
        request = _decoded(has_body, Record(envelope, data, events))
    except ValueError as error:
        bury(connection, now, [receipt], str(error))
        return
    yield Message(str(receipt), request, received, put_at)


def _decoded(has_body: int, record: Record) -> Request:
    """In a damaged file the row of a body may be missing; its message must not wait for ever without being seen."""
    if not has_body:
        raise ValueError("its body is missing from the file")
    return decode(record)


def extend(connection: sqlite3.Connection, now: float, receipts: Sequence[Receipt], lease: float) -> list[Receipt]:
    statement = "UPDATE message SET ready_at = ?, since = ?, held = ? WHERE id = ? AND token = ?"
    return _stale(connection, statement, receipts, (now + lease, now, lease))


def release(connection: sqlite3.Connection, now: float, receipts: Sequence[Receipt], delay: float) -> list[Receipt]:
    statement = "UPDATE message SET ready_at = ?, since = ?, held = ?, token = NULL WHERE id = ? AND token = ?"
    return _stale(connection, statement, receipts, (now + delay, now, delay))


def ack(connection: sqlite3.Connection, now: float, receipts: Sequence[Receipt]) -> list[Receipt]:
    stale = _stale(connection, "DELETE FROM message WHERE id = ? AND token = ?", receipts)
    done = set(receipts) - set(stale)
    connection.executemany("DELETE FROM body WHERE id = ?", [(receipt.id,) for receipt in done])
    return stale


def bury(connection: sqlite3.Connection, now: float, receipts: Sequence[Receipt], reason: str) -> list[Receipt]:
    stale = _stale(
        connection,
        "INSERT INTO dead SELECT id, ?, ?, put_at, events, envelope FROM message WHERE id = ? AND token = ?",
        receipts,
        (now, reason),
    )
    done = set(receipts) - set(stale)
    connection.executemany("DELETE FROM message WHERE id = ?", [(receipt.id,) for receipt in done])
    return stale


def replace(
    connection: sqlite3.Connection,
    now: float,
    receipt: Receipt,
    again: Sequence[Request],
    dead: Sequence[tuple[Request, str]],
    delay: float,
) -> bool:
    row = connection.execute("SELECT put_at FROM message WHERE id = ? AND token = ?", receipt).fetchone()
    if row is None:
        return False
    ack(connection, now, [receipt])
    _insert(connection, [encode(request) for request in again], now, delay, row[0])
    buried = _insert_bodies(connection, [encode(request) for request, _ in dead])
    connection.executemany(
        "INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?)",
        [(id, now, reason, row[0], each.events, each.envelope) for (id, each), (_, reason) in zip(buried, dead)],
    )
    return True


def _stale(
    connection: sqlite3.Connection, statement: str, receipts: Iterable[Receipt], values: tuple[object, ...] = ()
) -> list[Receipt]:
    """Run a statement for each receipt, and tell those for which it found no message."""
    return [each for each in dict.fromkeys(receipts) if connection.execute(statement, (*values, *each)).rowcount != 1]


def dead(connection: sqlite3.Connection, now: float, limit: int) -> list[DeadLetter]:
    rows = connection.execute(
        f"SELECT dead.id, reason, died_at, body.id IS NOT NULL, data, events, envelope, {_PUT_AT}"
        " FROM dead LEFT JOIN body USING (id) ORDER BY died_at, dead.id LIMIT ?",
        (limit,),
    )
    return [_letter(*row) for row in rows]


def _letter(
    id: int, reason: str, died_at: float, has_body: int, data: bytes | None, events: int, envelope: str, put_at: float
) -> DeadLetter:
    try:
        request = _decoded(has_body, Record(envelope, data, events))
    except ValueError:  # the reason says so
        request = None
    return DeadLetter(str(id), reason, died_at, request, events, put_at)


def requeue(connection: sqlite3.Connection, now: float, ids: Iterable[int]) -> int:
    revive = "INSERT INTO message SELECT id, ?, ?, 0, NULL, 0, put_at, events, envelope FROM dead WHERE id = ?"
    found = [id for id in dict.fromkeys(ids) if connection.execute(revive, (now, now, id)).rowcount == 1]
    connection.executemany("DELETE FROM dead WHERE id = ?", [(id,) for id in found])
    return len(found)


def dead_ids(connection: sqlite3.Connection, now: float) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM dead ORDER BY died_at, id")]


def purge(connection: sqlite3.Connection, now: float, table: str, most: int) -> int:
    """Delete some, and tell how many."""
    ids = connection.execute(f"SELECT id FROM {table} ORDER BY id LIMIT ?", (most,)).fetchall()
    connection.executemany("DELETE FROM body WHERE id = ?", ids)
    connection.executemany(f"DELETE FROM {table} WHERE id = ?", ids)
    return len(ids)


def status(connection: sqlite3.Connection, now: float) -> Status:
    messages, held, leased, events, oldest = connection.execute(
        "SELECT count(*), coalesce(sum(ready_at > :now), 0), coalesce(sum(ready_at > :now AND token IS NOT NULL), 0),"
        " coalesce(sum(events), 0), min(CAST(put_at AS REAL)) FROM message",
        {"now": now},
    ).fetchone()
    dead = connection.execute("SELECT count(*) FROM dead").fetchone()[0]
    age = 0.0 if oldest is None else max(0.0, now - oldest)
    return Status(messages - held, held - leased, leased, dead, events, used_bytes(connection), age)
