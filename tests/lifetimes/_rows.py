"""The table: which processes are run, and how they end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Iterator

GEVENT, GTHREAD, SYNC = "gunicorn gevent", "gunicorn gthread", "gunicorn sync"
UWSGI_EARLY, UWSGI_LATE = "uwsgi early-patch", "uwsgi late-patch"
SCRIPT = "script"

NO, YES, UNPATCHED, PATCHED = "no", "yes", "unpatched", "patched"
FIRST, LATE, NEVER = "first", "late", "never"

SCHEMES = ("http", "https")
OURS, CLIENT, SDK = "ours", "client", "sdk"

# Why no code can keep every event of some rows.
_KILLED = "nothing runs after SIGKILL: lost is what was dispatched within flush_interval, or is under way"
_EXITED = "os._exit runs nothing: lost is what was dispatched within flush_interval, or is under way"
_DEFAULT_SIGTERM = "without a handler SIGTERM ends a script as SIGKILL does"
_OUTLIVED = "a request that outlives graceful_timeout has its worker killed: lost is what SIGKILL loses"
_TWO_SIGNALS = "SIGINT interrupts the flush that SIGTERM began: lost is what this flush had not sent"


@dataclass(frozen=True)
class Row:
    """One kind of process with one kind of end.

    Args:
        launcher: what runs the application.
        preload: for a server, whether the application is imported before the fork, and for gunicorn whether that
            process is patched by then; for a script, when it is patched.
        scheme: of the collector's url.
        end: a signal, or what else happens.
        contestant: `ours` is the dispatcher alone, `client` our create_client, `sdk` the SDK as it comes.
        at_fork: "waiting" or "in flight": the state of events that were dispatched in the master before it forked.
        unsaved: why no code can save the events that were dispatched last; empty when all must arrive.
    """

    launcher: str
    preload: str
    scheme: str
    end: str
    contestant: str = OURS
    at_fork: str = ""
    unsaved: str = ""

    @property
    def name(self) -> str:
        """What `--only` is matched with."""
        at_fork = f", {self.at_fork} at fork" if self.at_fork else ""
        return f"{self.contestant}: {self.launcher} {self.preload}, {self.scheme}, {self.end}{at_fork}"


def rows() -> list[Row]:
    """All rows of all contestants, in the order of the table."""
    ours = [*_of_gunicorn(), *_of_native_gunicorn(), *_of_uwsgi(), *_of_scripts(), *_of_forking_scripts()]
    unsaved = list(_that_no_code_can_save())
    clients = [replace(row, contestant=CLIENT) for row in ours if _is_for_client(row)]
    sdk = [replace(row, contestant=SDK) for row in ours if not row.at_fork]
    return [*ours, *clients, *unsaved, *sdk]


def _of_gunicorn() -> Iterator[Row]:
    ends = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "max_requests", "timeout")
    for preload, scheme, end in product((NO, UNPATCHED, PATCHED), SCHEMES, ends):
        yield Row(GEVENT, preload, scheme, end)
    for preload, scheme, at_fork in product((UNPATCHED, PATCHED), SCHEMES, ("waiting", "in flight")):
        yield Row(GEVENT, preload, scheme, "SIGTERM", at_fork=at_fork)


def _of_native_gunicorn() -> Iterator[Row]:
    for launcher, preload in product((GTHREAD, SYNC), (NO, UNPATCHED)):
        for scheme, end in (("https", "SIGTERM"), ("http", "SIGINT"), ("https", "max_requests")):
            yield Row(launcher, preload, scheme, end)
    yield Row(SYNC, NO, "https", "timeout")
    for launcher in (GTHREAD, SYNC):
        yield Row(launcher, UNPATCHED, "https", "SIGTERM", at_fork="in flight")


def _of_uwsgi() -> Iterator[Row]:
    for launcher, preload, scheme in product((UWSGI_EARLY, UWSGI_LATE), (NO, YES), SCHEMES):
        yield Row(launcher, preload, scheme, "SIGTERM")
    for launcher, preload in product((UWSGI_EARLY, UWSGI_LATE), (NO, YES)):
        yield Row(launcher, preload, "https", "SIGHUP")


def _of_scripts() -> Iterator[Row]:
    ends = ("end", "sys.exit", "exception", "SIGINT")
    for patched, scheme, end in product((FIRST, LATE, NEVER), SCHEMES, ends):
        yield Row(SCRIPT, patched, scheme, end)
    for scheme, end in product(SCHEMES, ("greenlet sys.exit", "subprocess")):
        yield Row(SCRIPT, FIRST, scheme, end)


def _of_forking_scripts() -> Iterator[Row]:
    for scheme, end in product(SCHEMES, ("fork", "raw fork", "mp fork", "mp spawn")):
        yield Row(SCRIPT, FIRST, scheme, end)
    for scheme, end in product(SCHEMES, ("fork", "fork, patch", "mp fork", "mp spawn")):
        yield Row(SCRIPT, NEVER, scheme, end)


def _that_no_code_can_save() -> Iterator[Row]:
    yield Row(GEVENT, NO, "http", "SIGKILL", unsaved=_KILLED)
    yield Row(GEVENT, NO, "http", "SIGTERM, SIGINT", unsaved=_TWO_SIGNALS)
    yield Row(GEVENT, NO, "http", "long request", unsaved=_OUTLIVED)
    yield Row(SCRIPT, FIRST, "http", "os._exit", unsaved=_EXITED)
    yield Row(SCRIPT, FIRST, "http", "SIGKILL", unsaved=_KILLED)
    yield Row(SCRIPT, FIRST, "http", "SIGTERM", unsaved=_DEFAULT_SIGTERM)


def _is_for_client(row: Row) -> bool:
    """The client differs from the dispatcher alone in what it imports and in what the SDK does on its own."""
    if row.scheme != "https":
        return False
    if row.launcher == GEVENT:
        return row.end in ("SIGTERM", "max_requests") and row.at_fork != "waiting"
    return row.launcher == SCRIPT and row.end in ("end", "fork", "mp fork")
