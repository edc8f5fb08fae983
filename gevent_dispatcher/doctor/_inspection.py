"""Look at this process and fill in an `Observation`.

Whatever is looked for is found through `sys.modules` or among the interpreter's objects, by type and identity: nothing
is imported, and no object of the application is compared, hashed or asked for its class, which may run its code.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, Iterable, Iterator

from gevent_dispatcher._off_switch import is_on, is_unreadable
from gevent_dispatcher.doctor._findings import MODULES, Held, Observation, Thread

# Originals that break or stop the hub when a module that was imported before the patch goes on using them.
_ORIGINALS = (
    ("ssl", "SSLContext"),
    ("ssl", "SSLSocket"),
    ("socket", "socket"),
    ("socket", "create_connection"),
    ("socket", "getaddrinfo"),
    ("socket", "gethostbyname"),
    ("time", "sleep"),
)

# The SDK's classes that have a thread: the kind, where the class is, and the attribute that holds the thread.
_WITH_THREAD = (
    ("event-thread", "optimizely.event.event_processor", "BatchEventProcessor", "executor"),
    ("polling-thread", "optimizely.config_manager", "PollingConfigManager", "_polling_thread"),
    ("odp-thread", "optimizely.odp.odp_event_manager", "OdpEventManager", "thread"),
)

_OURS = "gevent_dispatcher"
_STANDARD = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def look() -> Observation:
    """What can be seen at no cost."""
    held = tuple(_held(["urllib3.util.ssl_"]))
    return Observation(server=_server(), patched=_patched(), held=held, off_switch=_switch())


def look_closely(graceful_timeout: float | None) -> Observation:
    """All that can be seen: goes through all modules and all objects once."""
    objects = _Objects()
    dispatchers = objects.of(_class(f"{_OURS}._dispatcher", "GeventEventDispatcher"))
    return Observation(
        server=_server(),
        patched=_patched(),
        held=tuple(_held(list(sys.modules))),
        early_contexts=len(objects.of(_original("ssl", "SSLContext"))),
        threads=tuple(_threads(objects)),
        batch_sizes=tuple(_batch_sizes(objects)),
        off_switch=_switch(),
        dispatchers=len(dispatchers),
        disabled=sum(not each._is_enabled for each in dispatchers),
        close_timeout=max((each._config.close_timeout for each in dispatchers), default=None),
        graceful_timeout=_graceful_timeout(objects) if graceful_timeout is None else graceful_timeout,
    )


# -- server and patching -----------------------------------------------------------------------------------------------


def _server() -> str:
    """The server that runs this process on gevent, in words, or ""."""
    if "gunicorn.workers.ggevent" in sys.modules:
        return "gunicorn's gevent worker"
    options = getattr(sys.modules.get("uwsgi"), "opt", {})
    return "uWSGI --gevent" if "gevent" in options or b"gevent" in options else ""


def _switch() -> str:
    """What the environment says: "on", "off", or "" when that cannot be read."""
    if is_unreadable(os.environ):
        return ""
    return "on" if is_on(os.environ) else "off"


def _patched() -> frozenset[str]:
    monkey: Any = sys.modules.get("gevent.monkey")
    return frozenset(name for name in MODULES if monkey is not None and monkey.is_module_patched(name))


def _original(module: str, name: str) -> Any:
    """What a name stood for before it was patched; None when it is not patched."""
    monkey: Any = sys.modules.get("gevent.monkey")
    is_patched = monkey is not None and monkey.is_object_patched(module, name)
    return monkey.get_original(module, name) if is_patched else None


def _held(modules: Iterable[str]) -> list[Held]:
    """Who among the modules holds an original; the standard library and gevent do, and know what they do."""
    originals = {id(_original(*each)): ".".join(each) for each in _ORIGINALS}
    originals.pop(id(None), None)
    found: set[Held] = set()
    for namespace in map(_namespace, modules if originals else ()):
        names = {originals[id(value)] for value in _related(namespace) if id(value) in originals}
        if names and not _is_exempt(namespace):
            found.update(Held(str(namespace.get("__name__")), name) for name in names)
    return sorted(found, key=lambda each: (each.module, each.name))


def _namespace(module: str) -> dict[str, Any]:
    """A module's names, without waking one that loads itself lazily."""
    try:
        namespace = object.__getattribute__(sys.modules.get(module), "__dict__")
    except AttributeError:
        return {}
    return namespace if type(namespace) is dict else {}


def _related(namespace: dict[str, Any]) -> Iterator[Any]:
    """What a module's names stand for, and what the classes that it defines are derived from."""
    for value in list(namespace.values()):
        yield value
        if _is_a(type(value), type) and _home(value) == namespace.get("__name__"):
            yield from type.__getattribute__(value, "__bases__")


def _is_a(kind: type, other: Any) -> bool:
    """What issubclass says, without the hooks of a metaclass."""
    return any(each is other for each in type.__getattribute__(kind, "__mro__"))


def _home(kind: type) -> str:
    """The module that defines a class."""
    return str(type.__getattribute__(kind, "__module__"))


def _is_exempt(namespace: dict[str, Any]) -> bool:
    path = namespace.get("__file__")
    if str(namespace.get("__name__")).split(".")[0] == "gevent" or not isinstance(path, str):
        return True
    return path.startswith(_STANDARD) and not any(part in path for part in _INSTALLED)


# -- the SDK -----------------------------------------------------------------------------------------------------------


def _threads(objects: _Objects) -> Iterator[Thread]:
    greenlets = {id(each) for each in objects.of(_class("gevent", "Greenlet")) if not each.dead}
    for kind, module, name, attribute in _WITH_THREAD:
        for owner in objects.of(_class(module, name)):
            thread = getattr(owner, attribute, None)
            if thread is not None and thread.ident is not None and _stayed_behind(thread):
                yield Thread(kind, cloned=thread.ident in greenlets)


def _stayed_behind(thread: Any) -> bool:
    """Whether a thread was started by a process that this one was forked from, rather than stopped in this one.

    Linux numbers threads and processes in one ascending row, so what was there before the fork has a lower number; a
    greenlet has that of the thread it runs in, the process's own. Other systems don't, and there each dead one counts.
    """
    return not thread.is_alive() and (sys.platform != "linux" or thread.native_id < os.getpid())


def _batch_sizes(objects: _Objects) -> Iterator[int]:
    for each in objects.of(_class("optimizely.event.event_processor", "BatchEventProcessor")):
        if _is_ours(getattr(each, "event_dispatcher", None)):
            yield each.batch_size


def _is_ours(dispatcher: Any) -> bool:
    """Whether a dispatcher is our package, our class, or an instance of it."""
    ours = _class(f"{_OURS}._dispatcher", "GeventEventDispatcher")
    kind = dispatcher if _is_a(type(dispatcher), type) else type(dispatcher)
    return dispatcher is sys.modules.get(_OURS) or _is_a(kind, ours)


def _graceful_timeout(objects: _Objects) -> float | None:
    configs = objects.of(_class("gunicorn.config", "Config"))
    return float(configs[0].graceful_timeout) if configs else None


# -- objects -----------------------------------------------------------------------------------------------------------


def _class(module: str, name: str) -> Any:
    """A class that the process has imported, or None."""
    return getattr(sys.modules.get(module), name, None)


class _Objects:
    """The interpreter's objects of the classes that are looked for, found in one go."""

    def __init__(self) -> None:
        wanted = [_class("gevent", "Greenlet"), _class("gunicorn.config", "Config"), _original("ssl", "SSLContext")]
        wanted += [_class(module, name) for _, module, name, _ in _WITH_THREAD]
        wanted += [_class(f"{_OURS}._dispatcher", "GeventEventDispatcher")]
        kinds = {id(kind) for each in wanted if each is not None for kind in _family(each)}
        self._found = [each for each in _all_objects() if id(type(each)) in kinds]

    def of(self, kind: Any) -> list[Any]:
        """The instances of a class, or of one derived from it outside this package; none of None."""
        if kind is None:
            return []
        kinds = {id(each) for each in _family(kind)}
        return [each for each in self._found if id(type(each)) in kinds]


def _family(kind: type) -> Iterator[type]:
    """A class and those derived from it that share its fate: gevent's and our own have been cared for."""
    yield kind
    subclasses: list[type] = type.__subclasses__(kind)
    for derived in subclasses:
        if _home(derived).split(".")[0] not in ("gevent", _OURS):
            yield from _family(derived)


def _all_objects() -> Iterable[Any]:
    # A master that calls gc.freeze() before it forks hides what it made from gc.get_objects().
    return [*gc.get_objects(), *(_reachable() if gc.get_freeze_count() else ())]


def _reachable() -> list[Any]:
    """What can be reached from the modules."""
    found: dict[int, Any] = {}
    fresh: list[Any] = [sys.modules]
    while fresh:
        found.update((id(each), each) for each in fresh)
        fresh = [each for each in gc.get_referents(*fresh) if gc.is_tracked(each) and id(each) not in found]
    return list(found.values())
