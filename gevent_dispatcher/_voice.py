"""What operators and the user's hook hear of an engine. Only greenlets that may wait speak: a log handler may."""

from __future__ import annotations

import logging
import time
from typing import Callable, Iterable, Mapping

from gevent_dispatcher._notices import Notices
from gevent_dispatcher._retry import Answer, Verdict
from gevent_dispatcher._stats import Delivery
from gevent_dispatcher._url import Origin
from gevent_dispatcher.doctor import own_findings

logger = logging.getLogger("gevent_dispatcher")


class Voice:
    """Says each thing once, or once in a while.

    Args:
        hook: the user's `on_delivery`.
    """

    def __init__(self, hook: Callable[[Delivery], None] | None) -> None:
        self.notices = Notices()
        self._hook = hook
        self._hook_failed = False
        self._ailing: set[Origin] = set()

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

    def health(self, origin: Origin, verdict: Verdict, answer: Answer, pending: int) -> None:
        """Log a change of an origin's state."""
        if verdict is Verdict.RETRY and origin not in self._ailing:
            self._ailing.add(origin)
            logger.warning("%s does not take events (%s); retrying, %d pending", origin, answer, pending)
        elif verdict is Verdict.DELIVERED and origin in self._ailing:
            self._ailing.remove(origin)
            logger.info("%s takes events again, %d pending", origin, pending)

    def settled(self, deliveries: Iterable[Delivery]) -> None:
        """Tell the hook; what it raises is logged once and changes nothing."""
        if self._hook is not None:
            for delivery in deliveries:
                self._tell(self._hook, delivery)

    def _tell(self, hook: Callable[[Delivery], None], delivery: Delivery) -> None:
        try:
            hook(delivery)
        except Exception:
            if not self._hook_failed:
                self._hook_failed = True
                logger.exception("on_delivery raised; further exceptions of it are not logged")
