"""What operators and the user's hook hear of an engine. Only greenlets that may wait speak: a log handler may."""

from __future__ import annotations

import logging
import time
import traceback
from typing import Callable, Iterable, Mapping

import gevent

from gevent_dispatcher._notices import Notices
from gevent_dispatcher._retry import Answer
from gevent_dispatcher._stats import Delivery
from gevent_dispatcher._url import Origin
from gevent_dispatcher.doctor import own_findings

logger = logging.getLogger("gevent_dispatcher")

# An origin that fails and recovers by turns is said to fail at most once in so many seconds.
_REPEAT_AFTER = 10.0


def describe(error: BaseException) -> str:
    """Where an exception of the user's own code came from, without its message: that may hold a payload."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}, raised at\n{frames}".rstrip()


class Voice:
    """Says each thing once, or once in a while.

    Args:
        hook: the user's `on_delivery`.
    """

    def __init__(self, hook: Callable[[Delivery], None] | None) -> None:
        self.notices = Notices()
        self._hook = hook
        self._hook_failed = False
        self._ailing: dict[Origin, float] = {}  # since when
        self._silent_until: dict[Origin, float] = {}

    def drops(self, dropped: Mapping[str, int], everything: bool = False) -> None:
        """Log the drops that are due to be said.

        Args:
            dropped: events dropped so far, by reason.
            everything: also what was said a short while ago.
        """
        for notice in self.notices.take(dropped, time.monotonic(), everything):
            logger.warning("%d events dropped as %s: %s", notice.events, notice.reason, notice.detail)

    def findings(self) -> None:
        """Log the few findings that concern the dispatcher's own process."""
        for finding in own_findings():
            if finding.level != "info":
                logger.warning("%s: %s %s", finding.code, finding.what, finding.cure)

    def failed(self, origin: Origin, answer: Answer, pending: int) -> None:
        """Say that an origin rests, unless that has been said.

        Args:
            origin: whose breaker is open.
            answer: the failure that is the reason.
            pending: events that are pending, all origins together.
        """
        now = time.monotonic()
        if origin not in self._ailing and now >= self._silent_until.get(origin, 0.0):
            self._ailing[origin] = now
            self._silent_until[origin] = now + _REPEAT_AFTER
            logger.warning("%s does not take events (%s); asking now and then, %d pending", origin, answer, pending)

    def answered(self, origin: Origin, pending: int) -> None:
        """Say that an origin is well again, if it was said not to be."""
        since = self._ailing.pop(origin, None) if self._ailing else None
        if since is not None:
            seconds = time.monotonic() - since
            logger.info("%s takes events again after %.0f s, %d pending", origin, seconds, pending)

    def settled(self, deliveries: Iterable[Delivery]) -> None:
        """Tell the hook; what it raises is logged once and changes nothing."""
        if self._hook is not None:
            for delivery in deliveries:
                self._tell(self._hook, delivery)

    def _tell(self, hook: Callable[[Delivery], None], delivery: Delivery) -> None:
        try:
            hook(delivery)
        except (Exception, gevent.Timeout) as error:
            if not self._hook_failed:
                self._hook_failed = True
                logger.error("on_delivery raised; further exceptions of it are not logged: %s", describe(error))
