"""What was seen in a process, and what it means. Pure: an `Observation` goes in, findings come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable, Iterator, Sequence

from gevent_dispatcher._off_switch import VARIABLE

ERROR, WARNING, INFO = "error", "warning", "info"
LEVELS = (ERROR, WARNING, INFO)

# What must be patched together. With ssl left out HTTPS stops the hub, with threading left out a lock does.
MODULES = ("socket", "ssl", "threading", "time", "select")

# How many names of modules a sentence holds.
_MOST_NAMES = 4
# gunicorn's gevent worker looks once in a second whether it was told to end, and only then closes down. Seconds.
_NOTICE = 1.0

_PATCH_FIRST = (
    "Make `from gevent import monkey; monkey.patch_all()` the first lines of gunicorn.conf.py (of the program, under"
    " another server), or load the application in the workers, without preload."
)
_OWN_CLIENT = (
    "Make the client with `gevent_dispatcher.sdk.create_client(...)`, which has no thread between SDK and dispatcher."
)
_OWN_LOOP = (
    "Make the client with `gevent_dispatcher.sdk.create_client(...)`, which starts one in each process, or in each"
    " worker: without preload, or in gunicorn's post_worker_init."
)


@dataclass(frozen=True)
class Finding:
    """One thing that will hurt, or is good to know.

    Attributes:
        code: a short name that stays the same.
        level: "error" (something is lost or broken), "warning" (under conditions), "info".
        what: one sentence.
        cure: one or two sentences.
    """

    code: str
    level: str
    what: str
    cure: str


@dataclass(frozen=True)
class Held:
    """A module that holds the unpatched original of something, e.g. "ssl.SSLContext"."""

    module: str
    name: str


@dataclass(frozen=True)
class Thread:
    """A thread of the SDK that a fork has left behind, or copied because it is a greenlet.

    Attributes:
        kind: a key of `THREADS`.
        cloned: it runs in this process and in its parent; otherwise it runs in the parent only.
    """

    kind: str
    cloned: bool


@dataclass(frozen=True)
class Observation:
    """What was seen in a process.

    Attributes:
        server: the server that runs it on gevent, in words; "" for any other process.
        patched: those of `MODULES` that are patched.
        held: modules that hold originals of what is patched.
        early_contexts: TLS contexts of the unpatched class, while ssl is patched.
        threads: the SDK's threads that a fork left behind or copied.
        batch_sizes: those of the SDK's batch processors in front of a dispatcher of ours, in events.
        off_switch: what the environment says: "on", "off", or "" when that cannot be read.
        dispatchers: how many dispatchers of ours there are.
        disabled: how many of them send nothing.
        close_timeout: the longest of our dispatchers, in seconds; None when there is none.
        graceful_timeout: what the server gives a worker to end, in seconds; None when that is not known.
    """

    server: str = ""
    patched: frozenset[str] = frozenset()
    held: tuple[Held, ...] = ()
    early_contexts: int = 0
    threads: tuple[Thread, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    off_switch: str = "off"
    dispatchers: int = 0
    disabled: int = 0
    close_timeout: float | None = None
    graceful_timeout: float | None = None


def judge(seen: Observation) -> list[Finding]:
    """What an observation means, errors first."""
    found = (finding for check in _CHECKS for finding in check(seen))
    return sorted(dict.fromkeys(found), key=lambda finding: LEVELS.index(finding.level))


# -- patching ----------------------------------------------------------------------------------------------------------


def _not_patched(seen: Observation) -> Iterator[Finding]:
    if seen.patched:
        return
    if seen.server:
        yield Finding(
            "not-patched",
            ERROR,
            f"{seen.server} runs this process on gevent, but nothing is patched: whoever waits stops all requests.",
            _PATCH_FIRST + " uWSGI has --gevent-early-monkey-patch for it.",
        )
    else:
        yield Finding(
            "not-patched",
            INFO,
            "The process is not patched: events are delivered by a daemon thread with a hub of its own.",
            "Nothing has to be done. Where the server runs on gevent, patch first.",
        )


def _partly_patched(seen: Observation) -> Iterator[Finding]:
    missing = [name for name in MODULES if name not in seen.patched]
    if seen.patched and missing:
        yield Finding(
            "partly-patched",
            WARNING,
            f"gevent has patched {_listed(sorted(seen.patched))}, but not {_listed(missing)}: they stop the hub.",
            "Call `monkey.patch_all()` without arguments that leave something out.",
        )


def _urllib3_before_patch(seen: Observation) -> Iterator[Finding]:
    if any(_is_urllib3(each.module) for each in _holding(seen, "ssl.")):
        yield Finding(
            "urllib3-before-patch",
            ERROR,
            "urllib3 was imported before ssl was patched: each HTTPS request of the application, and of the SDK's"
            " datafile polling, ends in a RecursionError.",
            _PATCH_FIRST,
        )


def _ssl_before_patch(seen: Observation) -> Iterator[Finding]:
    modules = {each.module for each in _holding(seen, "ssl.") if not _is_urllib3(each.module)}
    if modules:
        yield Finding(
            "ssl-before-patch",
            ERROR,
            f"{_listed(sorted(modules))} imported from ssl before it was patched: a TLS context made there fails with"
            " a RecursionError.",
            _PATCH_FIRST,
        )


def _context_before_patch(seen: Observation) -> Iterator[Finding]:
    if seen.early_contexts:
        yield Finding(
            "tls-context-before-patch",
            ERROR,
            f"TLS contexts were made before ssl was patched ({seen.early_contexts} of them): connections that use"
            " them fail with a RecursionError or a TypeError.",
            _PATCH_FIRST,
        )


def _socket_before_patch(seen: Observation) -> Iterator[Finding]:
    held = [each for each in seen.held if not each.name.startswith("ssl.")]
    if held:
        modules = _listed(sorted({each.module for each in held}))
        yield Finding(
            "socket-before-patch",
            WARNING,
            f"{modules} imported {_listed(sorted({each.name for each in held}))} before the patch: using them stops"
            " the hub, and with it all requests of the worker.",
            _PATCH_FIRST,
        )


def _holding(seen: Observation, prefix: str) -> list[Held]:
    return [each for each in seen.held if each.name.startswith(prefix)]


def _is_urllib3(module: str) -> bool:
    return module.split(".")[0] == "urllib3"


# -- the SDK -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """What is lost when a thread of the SDK dies, what comes twice when it is copied, and what helps."""

    noun: str
    dead: str
    cloned: str
    cure: str


THREADS = {
    "event-thread": _Kind(
        "thread of the SDK's batch event processor",
        "what is tracked in this process waits in its queue for ever, and reaches no dispatcher",
        "events that were pending at the fork are sent by each process again",
        _OWN_CLIENT,
    ),
    "polling-thread": _Kind(
        "thread that polls for the datafile",
        "this process keeps the datafile that it had, however old it gets",
        "a request that was under way at the fork has its answer read by several processes",
        _OWN_LOOP,
    ),
    "odp-thread": _Kind(
        "thread of the SDK's ODP event manager",
        "this process sends nothing to ODP",
        "ODP events that were pending at the fork are sent by each process again",
        _OWN_LOOP,
    ),
}


def _sdk_threads(seen: Observation) -> Iterator[Finding]:
    for thread in seen.threads:
        kind = THREADS[thread.kind]
        if thread.cloned:
            what = f"The {kind.noun} is a greenlet that a fork has copied: {kind.cloned}."
            yield Finding(f"{thread.kind}-cloned", WARNING, what, kind.cure)
        else:
            what = f"The {kind.noun} died in a fork: {kind.dead}."
            yield Finding(f"{thread.kind}-dead", ERROR, what, kind.cure)


def _processor_in_front(seen: Observation) -> Iterator[Finding]:
    if seen.batch_sizes:
        is_forked = any(each.kind == "event-thread" for each in seen.threads)
        yield Finding(
            "batch-processor-in-front",
            # One that passes each event on at once holds next to nothing, where no fork gets in its way.
            WARNING if is_forked or max(seen.batch_sizes) > 1 else INFO,
            "The SDK's own batch processor, a thread, stands in front of the dispatcher: what it holds when the"
            " process ends is lost, and what it holds at a fork is lost or sent twice.",
            _OWN_CLIENT,
        )


# -- the off switch ----------------------------------------------------------------------------------------------------


def _switched_off(seen: Observation) -> Iterator[Finding]:
    if seen.disabled or (seen.off_switch == "on" and not seen.dispatchers):
        whose = f"of {seen.disabled} of {seen.dispatchers} dispatchers " if seen.dispatchers else ""
        yield Finding(
            "events-disabled",
            INFO,
            f"The off switch is on: the events {whose}are counted as disabled, and none is sent.",
            f"Where events count, unset {VARIABLE}, and do not pass enabled=False.",
        )


def _off_switch_unreadable(seen: Observation) -> Iterator[Finding]:
    if not seen.off_switch:
        yield Finding(
            "off-switch-unreadable",
            WARNING,
            f"{VARIABLE} says neither yes nor no: GeventEventDispatcher() refuses it, and where the class or the module"
            " is the dispatcher, events are sent.",
            f"Set {VARIABLE} to 1 (send nothing) or 0, or unset it.",
        )


# -- shutdown ----------------------------------------------------------------------------------------------------------


def _close_timeout_too_long(seen: Observation) -> Iterator[Finding]:
    ours, theirs = seen.close_timeout, seen.graceful_timeout
    if ours is not None and theirs is not None and ours + _NOTICE >= theirs:
        yield Finding(
            "close-timeout-too-long",
            WARNING,
            f"close_timeout={ours:g} s does not fit into gunicorn's graceful_timeout of {theirs:g} s: a worker that"
            " still has events to send may be killed, and they are lost uncounted.",
            "Raise graceful_timeout above your longest request plus close_timeout plus a second, or lower"
            " close_timeout.",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown


_CHECKS: tuple[Callable[[Observation], Iterable[Finding]], ...] = (
    _not_patched,
    _partly_patched,
    _urllib3_before_patch,
    _ssl_before_patch,
    _context_before_patch,
    _socket_before_patch,
    _sdk_threads,
    _processor_in_front,
    _switched_off,
    _off_switch_unreadable,
    _close_timeout_too_long,
)
