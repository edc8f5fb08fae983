"""The public face: what takes the place of the SDK's own dispatcher."""

from __future__ import annotations

import sys
from os import environ
from typing import TYPE_CHECKING, Any

from gevent_dispatcher import _home, _off_switch, _process
from gevent_dispatcher._config import CONFIG_NAMES, Config, sort_settings
from gevent_dispatcher._disabled import DisabledEngine
from gevent_dispatcher._engine import Engine
from gevent_dispatcher._event import Given
from gevent_dispatcher._health import Health
from gevent_dispatcher._pid import PID, remembered, this_process
from gevent_dispatcher._stats import Stats
from gevent_dispatcher._transport import Transport, transport_of

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from gevent_dispatcher._config import Settings
    from gevent_dispatcher._watch import Observer


# The longest that flush and close wait, in seconds; a longer time is cut to it.
_LONGEST = 86_400.0


_is_over: Any = sys.is_finalizing
# Stands for an argument that was not given.
_NOTHING: Any = object()


class GeventEventDispatcher:
    """Delivers the SDK's events in the background: merged, retried, bounded, counted, flushed at exit.

    Making one has no side effect; the first event of a process makes what is needed there.

    Args:
        transport: how requests are delivered; default `HttpTransport()` with the HTTP settings below.
        batch_size: most visitors in one request; 1 turns merging off. Default 100.
        flush_interval: longest that an event waits for company, in seconds; 0 sends at once. Default 1.
        max_request_bytes: a request is cut before it grows past this; default 1 000 000.
        buffer_events: most events pending; default 10 000.
        buffer_bytes: most bytes pending; default 32 MiB.
        pool_size: most greenlets sending at once; default 10.
        delivery_timeout: seconds from dispatch to giving up; default 600.
        backoff_base: upper bound of the first backoff, in seconds; default 0.5.
        backoff_max: upper bound of any backoff, in seconds; default 30.
        close_timeout: seconds that the exit handler may spend; also the default of flush and close. Default 3.
        spool: a path or a queue: where to put what cannot be delivered now, instead of dropping it. Any process that
            has the same spool delivers it later.
        on_delivery: called by senders with one `Delivery` for each settled request.
        enabled: False counts events as `disabled` and sends nothing; None, the default, does so where the environment
            has GEVENT_DISPATCHER_DISABLED=1 when the dispatcher is made.
        connect_timeout, read_timeout, request_timeout, headers, ssl_context, proxy: see `HttpTransport`.

    Raises:
        ValueError: a setting is outside its accepted range, or would be ignored; the message says which and why.
        TypeError: there is no such setting.
    """

    def __init__(self, *, transport: Transport | None = None, **settings: Unpack[Settings]) -> None:
        own, http = sort_settings(settings, CONFIG_NAMES, transport is not None)
        self._config = Config(**own)
        self._transport = transport_of(transport, http)
        given = self._config.enabled
        self._is_enabled = not _off_switch.is_on(environ) if given is None else given
        self._engines: dict[tuple[int, int], Engine | DisabledEngine] = {}
        self._engine: Engine | DisabledEngine | None = None
        self._observers: list[Observer] = []
        self._closed = False
        if self._is_enabled:
            _home.remember_main_hub()

    def __repr__(self) -> str:
        return f"<GeventEventDispatcher over {self._transport!r}>"

    def dispatch_event(self, event: Any = _NOTHING) -> None:
        """Take over an event; returns at once, never blocks, never switches greenlet, never raises.

        It may be called on the class, too, with the event alone: the vendor's documented sample passes the class itself
        (`Optimizely(datafile, event_dispatcher=EventDispatcher)`). Then the process's default dispatcher takes over.

        Args:
            event: the SDK's Event or LogEvent, or anything with `url`, `params`, `http_verb` and `headers`.
        """
        if event is _NOTHING:  # not a descriptor: that would cost each event an eighth of what its encoding costs
            return default_dispatcher().dispatch_event(self)
        try:
            engine = self._engine
            if engine is None or engine.pid != PID[0]:
                engine = self._engine_of_this_process()
            return engine.accept(event)
        except Exception:  # pragma: no cover  # at the end of the interpreter, where nothing is measured any more
            if _is_over is not None and not _is_over():  # else a destructor calls, and modules are being taken apart
                raise

    def dispatchEvent(self, http_verb: Any, url: Any, params: Any = _NOTHING) -> None:
        """Take over an event in the form that the SDK's documentation describes; on the class, too.

        Args:
            http_verb: "POST" or "GET".
            url: where it goes.
            params: the payload.
        """
        if params is _NOTHING:
            of_the_class: Any = self
            return default_dispatcher().dispatch_event(Given(of_the_class, http_verb, url))
        return self.dispatch_event(Given(http_verb, url, params))

    def flush(self, timeout: float | None = None) -> bool:
        """Send what was dispatched before this call and wait for its outcome.

        Cuts linger and our own backoff short, never a wait that the endpoint asked for.

        Args:
            timeout: most seconds to wait; default `close_timeout`.

        Returns:
            True when all that was dispatched before the call has its outcome.
        """
        engine = self._existing_engine()
        return engine is None or engine.flush(self._timeout(timeout))

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new events, send what is pending, and spool what is left, or count it as `closed`.

        Args:
            timeout: most seconds to wait; default `close_timeout`.

        Returns:
            True when everything pending was settled in time, and nothing was left.
        """
        self._closed = True
        engine = self._existing_engine()
        return engine is None or engine.close(self._timeout(timeout))

    def stats(self) -> Stats:
        """What has become of this process's events so far."""
        engine = self._existing_engine()
        return Stats() if engine is None else engine.stats()

    def health(self) -> Health:
        """What is pending in this process, and how the origins answer."""
        engine = self._existing_engine()
        return Health() if engine is None else engine.health()

    def observe(self, observer: Observer) -> None:
        """Have an observer told soon after something has changed, in this process and in its forks; never unsaid.

        `dispatch_event` pays nothing for it.

        Args:
            observer: its `report` is called; see `Observer`.
        """
        self._observers.append(observer)
        engine = self._existing_engine()
        if engine is not None:
            engine.watch()

    def __enter__(self) -> GeventEventDispatcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _timeout(self, timeout: float | None) -> float:
        return self._config.close_timeout if timeout is None else min(max(timeout, 0.0), _LONGEST)

    def _existing_engine(self) -> Engine | DisabledEngine | None:
        return self._engines.get(this_process())

    def _engine_of_this_process(self) -> Engine | DisabledEngine:
        remembered()
        self._engine = self._existing_engine() or self._new_engine()
        return self._engine

    def _new_engine(self) -> Engine | DisabledEngine:
        """Several native threads may come first at once: one engine wins, and only the winner has side effects."""
        _process.notice_a_fork()
        engine = self._make_engine()
        winner = self._engines.setdefault(this_process(), engine)
        if winner is engine:
            _process.enlist(engine)
            engine.begin()
        return winner

    def _make_engine(self) -> Engine | DisabledEngine:
        if not self._is_enabled:
            return DisabledEngine(self._config, self._observers)
        return Engine(self._config, self._transport, _home.find_home(), self._closed, self._observers)


_defaults: dict[str, GeventEventDispatcher] = {}


def default_dispatcher() -> GeventEventDispatcher:
    """The dispatcher behind the class's and the module's own `dispatch_event`: one per process, default settings."""
    found = _defaults.get("default")
    return found if found is not None else _defaults.setdefault("default", _make_default())


def _make_default() -> GeventEventDispatcher:
    """It may be made by an event, which must not raise: where the off switch cannot be read, a sender says so."""
    try:
        return GeventEventDispatcher()
    except ValueError:
        return GeventEventDispatcher(enabled=True)


def dispatch_event(event: Any) -> None:
    """Take over an event through the default dispatcher, for `event_dispatcher=gevent_dispatcher`, the module."""
    default_dispatcher().dispatch_event(event)


def dispatchEvent(http_verb: str, url: str, params: Any) -> None:
    """Take over an event through the default dispatcher, in the documented form of three arguments."""
    default_dispatcher().dispatchEvent(http_verb, url, params)
