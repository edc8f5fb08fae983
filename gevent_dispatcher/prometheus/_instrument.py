"""`instrument`: which way a dispatcher or a consumer is exported."""

from __future__ import annotations

import os
from typing import Callable, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, values

from gevent_dispatcher._consumer import Consumer
from gevent_dispatcher._dispatcher import GeventEventDispatcher
from gevent_dispatcher.prometheus._families import (
    CONSUMERS,
    DISPATCHERS,
    Kind,
    Origins,
    Values,
    of_consumer,
    of_dispatcher,
)
from gevent_dispatcher.prometheus._scraped import Scraped
from gevent_dispatcher.prometheus._written import Written

S = TypeVar("S", GeventEventDispatcher, Consumer)

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

_scraped: WeakKeyDictionary[CollectorRegistry, dict[Kind, Scraped]] = WeakKeyDictionary()
_written: dict[Kind, Written] = {}
_origins: dict[Kind, Origins] = {DISPATCHERS: Origins(), CONSUMERS: Origins()}
# What was asked for of each; also keeps them, so that what they have counted stays when they are closed.
_instrumented: dict[int, tuple[object, str, CollectorRegistry | None]] = {}


def instrument(source: S, *, name: str = "default", registry: CollectorRegistry | None = None) -> S:
    """Export all that a dispatcher or a consumer counts, in this process and in its forks; return what was given.

    In multiprocess mode (the environment variable PROMETHEUS_MULTIPROC_DIR names a directory) metrics are what
    `prometheus_client.multiprocess.MultiProcessCollector` collects. A second call for the same source does nothing.

    Args:
        source: a dispatcher, or a consumer before its `run`. It is kept for the life of the process.
        name: the value of the label `dispatcher` or `consumer`. Sources of one name are added up.
        registry: where metrics are registered; default prometheus_client's own. None in multiprocess mode, which knows
            no registries.

    Raises:
        TypeError: it is neither a dispatcher nor a consumer.
        ValueError: it is exported already, in another way; or the environment variable came too late, or names no
            directory; or a registry was given in multiprocess mode.
    """
    kind = _kind_of(source, name)
    registry = _checked(registry)
    known = _instrumented.get(id(source))
    if known is None:
        read = _reader(source, _origins[kind])
        source.observe(_export(kind, registry).add(name, read))
        _instrumented[id(source)] = (source, name, registry)
    elif known[1:] != (name, registry):
        raise ValueError(f"name={name!r}: this {kind.label} is exported as {known[1]!r} already; instrument it once")
    return source


def _kind_of(source: object, name: object) -> Kind:
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r}: must be a string that is not empty, the value of a label")
    if isinstance(source, GeventEventDispatcher):
        return DISPATCHERS
    if isinstance(source, Consumer):
        return CONSUMERS
    raise TypeError(
        f"instrument() takes a GeventEventDispatcher or a Consumer, not {source!r}; "
        "what the class itself dispatches goes through gevent_dispatcher.default_dispatcher()"
    )


def is_multiprocess() -> bool:
    """Whether prometheus_client writes to files that several processes share; it was decided when it was imported."""
    return values.ValueClass is not values.MutexValue


def _checked(registry: CollectorRegistry | None) -> CollectorRegistry | None:
    """The registry to use; None in multiprocess mode."""
    directory = os.environ.get(_DIRECTORY)
    if not is_multiprocess():
        if directory:
            raise ValueError(
                f"{_DIRECTORY}={directory!r}: was set after prometheus_client was imported, which is too late; "
                "set it before the server starts"
            )
        return registry or REGISTRY
    if directory is None or not os.path.isdir(directory):
        raise ValueError(f"{_DIRECTORY}={directory!r}: must be a directory; make it before the server starts, empty")
    if registry is not None:
        raise ValueError(f"registry={registry!r}: must be None with {_DIRECTORY}: what is in it is collected, whole")
    return None


def _export(kind: Kind, registry: CollectorRegistry | None) -> Scraped | Written:
    if registry is None:
        if kind not in _written:
            _written[kind] = Written(kind)
        return _written[kind]
    exports = _scraped.setdefault(registry, {})
    if kind not in exports:
        exports[kind] = Scraped(kind, registry)
    return exports[kind]


def _reader(source: GeventEventDispatcher | Consumer, origins: Origins) -> Callable[[], Values]:
    if isinstance(source, Consumer):
        consumer = source
        return lambda: of_consumer(consumer.stats(), consumer.health(), origins)
    dispatcher = source
    return lambda: of_dispatcher(dispatcher.stats(), dispatcher.health(), origins)
