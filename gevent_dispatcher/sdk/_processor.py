"""An event processor without a thread or a queue of its own."""

from __future__ import annotations

import logging
import os
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable

from optimizely.event.event_factory import EventFactory
from optimizely.event.event_processor import BaseEventProcessor
from optimizely.event.user_event import UserEvent
from optimizely.helpers.enums import NotificationTypes
from optimizely.logger import NoOpLogger, adapt_logger
from optimizely.notification_center import NotificationCenter

import gevent_dispatcher
from gevent_dispatcher import _process
from gevent_dispatcher._dispatcher import GeventEventDispatcher, default_dispatcher
from gevent_dispatcher._log import about, describe
from gevent_dispatcher._log import logger as our_logger
from gevent_dispatcher._notices import Repeats, often

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Protocol

    from optimizely.logger import Logger

    class Dispatcher(Protocol):
        """What the SDK asks of a dispatcher."""

        def dispatch_event(self, event: Any) -> Any:
            """Take an event over."""


class GeventEventProcessor(BaseEventProcessor):
    """Hand each event to the dispatcher in the caller, without a thread or a queue in between.

    Args:
        event_dispatcher: an object, class or module with `dispatch_event`. None makes a `GeventEventDispatcher()`
            that belongs to the processor.
        logger: where failures go; the package's logger ("gevent_dispatcher") when there is none.
        notification_center: the one that the client has. With another, the client's LOG_EVENT listeners go deaf.

    Raises:
        TypeError: `event_dispatcher` has no dispatch_event, or `notification_center` is not the SDK's.
    """

    def __init__(
        self,
        event_dispatcher: Dispatcher | type[Dispatcher] | ModuleType | None = None,
        logger: Logger | None = None,
        notification_center: NotificationCenter | None = None,
    ) -> None:
        self.logger = _adapted(logger)
        self.notification_center = _checked_center(notification_center, self.logger)
        self.event_dispatcher: Any = _checked_dispatcher(event_dispatcher)
        self._owns_dispatcher = event_dispatcher is None
        # The SDK's default logger is silent: a failure that nobody can see would be the worst of both.
        self._failures: Any = our_logger if logger is None else self.logger
        self._repeats = Repeats()
        self._speaker = 0  # the process that will say the rest

    def process(self, user_event: UserEvent) -> None:
        """Build the log event, tell the LOG_EVENT listeners, dispatch; no exception comes back.

        Args:
            user_event: the SDK's ImpressionEvent or ConversionEvent.
        """
        log_event = self._attempt("event not built", self._build, user_event)
        if log_event is not None:
            self._attempt("LOG_EVENT listeners not told", self._notify, log_event)
            self._attempt("event not dispatched", self.event_dispatcher.dispatch_event, log_event)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the dispatcher has done what was tracked before the call.

        Args:
            timeout: seconds; None is the dispatcher's own default.

        Returns:
            False when the time ran out or the dispatcher failed. True at once when it has no flush.
        """
        return self._finish("flush", timeout)

    def stop(self, timeout: float | None = None) -> bool:
        """Close a dispatcher that the processor made; flush one that was handed in, it may serve others.

        The SDK calls this from `client.close()`.

        Args:
            timeout: seconds; None is the dispatcher's own default.

        Returns:
            False when the time ran out or the dispatcher failed.
        """
        is_done = self._finish("close" if self._owns_dispatcher else "flush", timeout)
        self._say_the_rest()
        return is_done

    def _build(self, user_event: Any) -> Any:
        is_event = isinstance(user_event, UserEvent)
        log_event = EventFactory.create_log_event(user_event, self.logger) if is_event else None
        if log_event is None:
            self._say("event not built", f"the SDK makes nothing of a {type(user_event).__name__}", "")
        return log_event

    def _notify(self, log_event: Any) -> None:
        self.notification_center.send_notifications(NotificationTypes.LOG_EVENT, log_event)

    def _finish(self, name: str, timeout: float | None) -> bool:
        method = getattr(self.event_dispatcher, name, None)
        if method is None:
            return True
        given = {} if timeout is None else {"timeout": timeout}
        # A dispatcher that isn't ours may return nothing, which is no failure.
        return self._attempt(f"{name} failed", lambda: method(**given) is not False) is True

    def _attempt(self, failure: str, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except Exception as error:
            self._say(failure, describe(error), type(error).__name__)
            return None

    def _say(self, failure: str, why: str, error: str) -> None:
        """In the request, as nothing else is; so what fails for each event is said once a minute."""
        times = self._repeats.count(f"sdk_failed: {failure} {error}".rstrip(), monotonic())
        if times:
            self._have_the_rest_said()
            fields = about("sdk_failed", failure=failure, error=error, times=times)
            self._log(fields, "%s%s: %s", failure, often(times), why)

    def _have_the_rest_said(self) -> None:
        """At the end of this process, where nobody may call `stop`."""
        if self._speaker != os.getpid():
            self._speaker = os.getpid()
            _process.before_drain(self._say_the_rest)

    def _say_the_rest(self) -> None:
        for what, times in self._repeats.rest().items():
            fields = about("repeated", what=what, times=times)
            self._log(fields, "%s: %d more since it was last said", what, times)

    def _log(self, fields: dict[str, Any], *said: object) -> None:
        """A logger of the SDK's own kind takes no extra."""
        extra = {"extra": fields} if isinstance(self._failures, logging.Logger) else {}
        self._failures.error(*said, **extra)


def _adapted(logger: Logger | None) -> Logger:
    return adapt_logger(NoOpLogger() if logger is None else logger)


def _checked_center(center: NotificationCenter | None, logger: Logger) -> NotificationCenter:
    if center is None:
        return NotificationCenter(logger)
    if not isinstance(center, NotificationCenter):
        raise TypeError(
            f"notification_center is {_described(center)}; it must be an instance of"
            " optimizely.notification_center.NotificationCenter, the same that the client has"
        )
    return center


def _checked_dispatcher(dispatcher: Any) -> Any:
    if dispatcher is None:
        return GeventEventDispatcher()
    if _stands_for_default(dispatcher):
        # Class and module can dispatch, but only the instance behind them can be flushed.
        return default_dispatcher()
    if not callable(getattr(dispatcher, "dispatch_event", None)):
        raise TypeError(
            f"event_dispatcher is {_described(dispatcher)}; it must have a method dispatch_event(event),"
            " as GeventEventDispatcher() has"
        )
    return dispatcher


def _stands_for_default(dispatcher: Any) -> bool:
    is_class = isinstance(dispatcher, type) and issubclass(dispatcher, GeventEventDispatcher)
    return is_class or dispatcher is gevent_dispatcher


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
