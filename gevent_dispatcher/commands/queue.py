"""`queue`: what operators ask of a queue, and do to it."""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Iterator

from gevent_dispatcher.commands._options import (
    INCOMPLETE,
    USAGE,
    WELL,
    add_command,
    fail,
)
from gevent_dispatcher.commands._queues import add_sqs, described, queue_name, queue_of
from gevent_dispatcher.queues import DeadLetter, OpenQueue, QueueError, Status

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = """\
Look at a queue, and at what could not be delivered from it. No command makes a file that is not there. Queues of Amazon
SQS tell numbers that are about right; their dead letters are in the queue that --dead-letter-url names.

  python -m gevent_dispatcher queue status queue.db
  python -m gevent_dispatcher queue dead queue.db --limit 20
  python -m gevent_dispatcher queue requeue queue.db --all
  python -m gevent_dispatcher queue purge queue.db --dead

They end with 0, with 1 when less was done than was asked for, 2 when called wrongly, and 3 when there is no queue at
the path, or none that can be used: something else, a newer version's, corrupt, locked for too long.
"""

_STATUS = """\
How much waits in a queue, what is held, and how old the oldest is.

  python -m gevent_dispatcher queue status queue.db
  python -m gevent_dispatcher queue status --json queue.db
"""

_DEAD = """\
List the dead letters, those that died first before the others: what was refused, or may not be sent where it asks
to go. Payloads, paths and queries are shown with --bodies only. In a queue of SQS each look counts as a receipt.

  python -m gevent_dispatcher queue dead queue.db
  python -m gevent_dispatcher queue dead --json --bodies --limit 1 queue.db
"""

_REQUEUE = """\
Have dead letters received again, as if they were new: when what refused them has been mended.

  python -m gevent_dispatcher queue requeue queue.db 17 18
  python -m gevent_dispatcher queue requeue queue.db --all
  python -m gevent_dispatcher queue requeue https://sqs... --dead-letter-url https://sqs... 5fea7756-0ea4-451a
"""

_PURGE = """\
Delete every message, held ones included, or with --dead every dead letter. It asks first, unless --yes is given. A
queue of SQS takes up to a minute for it, and can be purged once a minute.

  python -m gevent_dispatcher queue purge queue.db
  python -m gevent_dispatcher queue purge --dead --yes queue.db
"""

# What one call to a queue gives at most.
_MOST_LETTERS = 10_000


def add(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(
        commands, "queue", "look at a queue and its dead letters, requeue or purge them", _DESCRIPTION
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    status = _add(actions, "status", "how much waits, is held, is dead, and how old it is", _STATUS, _status)
    _add_json(status)
    dead = _add(actions, "dead", "list the dead letters", _DEAD, _dead)
    _add_json(dead)
    dead.add_argument("--limit", type=_limit, default=100, metavar="N", help="most letters (default: %(default)s)")
    dead.add_argument("--bodies", action="store_true", help="show the url and the payload, too")
    requeue = _add(actions, "requeue", "have dead letters received again", _REQUEUE, _requeue)
    requeue.add_argument("ids", nargs="*", metavar="ID", help="as `queue dead` shows them")
    requeue.add_argument("--all", action="store_true", help="all dead letters")
    requeue.set_defaults(takes_rest=True)  # argparse takes no id any more that stands behind an option
    purge = _add(actions, "purge", "delete all messages, or all dead letters", _PURGE, _purge)
    purge.add_argument("--dead", action="store_true", help="the dead letters instead of the messages")
    purge.add_argument("--yes", action="store_true", help="do not ask")


def _add(actions: Commands, name: str, help: str, description: str, run: Any) -> argparse.ArgumentParser:
    action = add_command(actions, name, help, description)
    action.add_argument("queue", type=queue_name, metavar="QUEUE", help="a SqliteQueue's path, or a url of Amazon SQS")
    add_sqs(action, puts=name == "requeue")
    action.set_defaults(run=lambda options: _run(run, options))
    return action


def _add_json(action: argparse.ArgumentParser) -> None:
    action.add_argument("--json", action="store_true", help="print JSON")


def _limit(text: str) -> int:
    limit = int(text) if text.isdecimal() else 0
    if not 1 <= limit <= _MOST_LETTERS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MOST_LETTERS}")
    return limit


def _run(action: Any, options: argparse.Namespace) -> int:
    try:
        with _opened(options) as queue:
            return int(action(queue, options))
    except QueueError as error:
        return fail(error)


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[OpenQueue]:
    queue = queue_of(options.queue, options).open()
    try:
        yield queue
    finally:
        queue.close()


# -- status ------------------------------------------------------------------------------------------------------------


def _status(queue: OpenQueue, options: argparse.Namespace) -> int:
    status = queue.status()
    print(json.dumps(asdict(status)) if options.json else _as_table(status))
    return WELL


def _as_table(status: Status) -> str:
    rows = [
        ("waiting", status.waiting, "messages that can be received now"),
        ("delayed", status.delayed, "messages that were given back for later"),
        ("leased", status.leased, "messages that somebody holds"),
        ("events", status.events, "in all of these"),
        ("oldest", _age(status.oldest_age), "since the oldest of them was first put"),
        ("dead", status.dead, "dead letters"),
        ("bytes", status.bytes, "used, dead letters included"),
    ]
    shown = [(name, "?" if value is None else str(value), meaning) for name, value, meaning in rows]
    width = max(len(value) for _, value, _ in shown)
    return "\n".join(f"{name:8} {value:>{width}}  {meaning}" for name, value, meaning in shown)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


# -- dead --------------------------------------------------------------------------------------------------------------


def _dead(queue: OpenQueue, options: argparse.Namespace) -> int:
    letters, now = queue.dead(options.limit), time.time()
    if options.json:
        print(json.dumps([_as_object(letter, now, options.bodies) for letter in letters], indent=2))
        return WELL
    print("\n".join(_as_lines(letter, now, options.bodies) for letter in letters) or "There are no dead letters.")
    dead = queue.status().dead
    if dead is not None and dead > len(letters):
        print(f"{len(letters)} of {dead} are shown; --limit shows more.", file=sys.stderr)
    return WELL


def _as_object(letter: DeadLetter, now: float, with_body: bool) -> dict[str, Any]:
    request = letter.request
    shown = {
        "id": letter.id,
        "reason": letter.reason,
        "age": round(max(now - letter.died_at, 0.0), 3),
        "age_since_put": round(max(now - letter.put_at, 0.0), 3),
        "events": letter.events,
        "origin": None if request is None else str(request.origin),
    }
    return {**shown, **_contents(letter)} if with_body else shown


def _contents(letter: DeadLetter) -> dict[str, Any]:
    request = letter.request
    if request is None:
        return {"verb": None, "url": None, "body": None}
    body = None if request.body is None else request.body.decode("utf-8", "replace")
    return {"verb": request.verb, "url": f"{request.origin}{request.target}", "body": body}


def _as_lines(letter: DeadLetter, now: float, with_body: bool) -> str:
    origin = "unreadable" if letter.request is None else str(letter.request.origin)
    events = f"{letter.events} event{'s' if letter.events != 1 else ''}"
    lines = [f"{letter.id}  {_age(now - letter.died_at)} ago  {events}  {origin}  {letter.reason}"]
    if with_body:
        contents = _contents(letter)
        lines += [f"    {contents['verb']} {contents['url']}", f"    {contents['body'] or ''}"]
    return "\n".join(map(_printable, lines))


def _printable(text: str) -> str:
    """Whoever can write to a queue could write what a terminal obeys."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


# -- requeue and purge -------------------------------------------------------------------------------------------------


def _requeue(queue: OpenQueue, options: argparse.Namespace) -> int:
    ids = _ids(options)
    requeued = queue.requeue(None if options.all else ids)
    print(f"{requeued} dead letters are messages again.")
    wanted = len(set(ids))
    if requeued < wanted:
        print(f"There is no dead letter with {wanted - requeued} of these ids.", file=sys.stderr)
    return INCOMPLETE if requeued < wanted else WELL


def _ids(options: argparse.Namespace) -> list[str]:
    ids = [*options.ids, *options.rest]
    unknown = [each for each in ids if each.startswith("-")]
    if unknown:
        options.complain(f"unrecognized arguments: {' '.join(unknown)}")
    if options.all == bool(ids):
        options.complain("give the ids of dead letters, or --all")
    return ids


def _purge(queue: OpenQueue, options: argparse.Namespace) -> int:
    what = _what(queue.status(), options.dead)
    if not options.yes and not os.isatty(0):
        print(f"gevent_dispatcher: {what} would be deleted, and nobody can be asked: give --yes", file=sys.stderr)
        return USAGE
    if not options.yes and not _is_confirmed(f"Delete {what} in {options.queue} for good?"):
        print("Nothing was deleted.")
        return INCOMPLETE
    deleted = queue.purge_dead() if options.dead else queue.purge()
    print(f"{deleted} {'dead letters' if options.dead else 'messages'} deleted.")
    return WELL


def _what(status: Status, dead: bool) -> str:
    if dead:
        return f"{0 if status.dead is None else status.dead} dead letters"
    return described(status)


def _is_confirmed(question: str) -> bool:
    print(f"{question} Type yes: ", end="", flush=True)
    select.select([sys.stdin], [], [])  # so that Ctrl-C is heard
    return sys.stdin.readline().strip().lower() == "yes"
