"""What operators and the user's hook hear of an engine. Only greenlets that may wait speak: a log handler may."""

from __future__ import annotations

import logging
import time
from typing import Callable, Iterable, Mapping

import gevent

from gevent_dispatcher._log import about, describe, logger, say_the_rest
from gevent_dispatcher._notices import Notices, Repeats, often
from gevent_dispatcher._policy import End
from gevent_dispatcher._retry import Answer, Verdict, judge
from gevent_dispatcher._stats import DISABLED, Delivery
from gevent_dispatcher._url import Origin
from gevent_dispatcher.doctor import own_findings

# An origin that fails and recovers by turns is said to fail at most once in so many seconds.
_REPEAT_AFTER = 10.0

# In an answer's place, for what was not sent.
UNSENT = Answer(error="not sent before the end")


class _Outages:
    """The outages of one origin, and what has been said of them."""

    __slots__ = ("count", "is_said", "silent_until", "since")

    def __init__(self) -> None:
        self.since: float | None = None  # it does not take events
        self.is_said = False
        self.count = 0  # since the last line
        self.silent_until = 0.0


class Voice:
    """Says each thing once, or once in a while.

    Args:
        hook: the user's `on_delivery`.

    Attributes:
        notices: what `dispatch_event` has to say.
        repeats: what has been said a short while ago, for those who speak for themselves.
    """

    def __init__(self, hook: Callable[[Delivery], None] | None) -> None:
        self.notices = Notices()
        self._hook = hook
        self.repeats = Repeats()
        self._outages: dict[Origin, _Outages] = {}
        self._has_given_up = False

    def drops(self, dropped: Mapping[str, int], everything: bool = False) -> None:
        """Log the drops that are due to be said.

        Args:
            dropped: events dropped so far, by reason.
            everything: also what was said a short while ago.
        """
        for notice in self.notices.take(dropped, time.monotonic(), everything):
            logger.log(
                logging.WARNING if notice.reason == DISABLED else logging.ERROR,  # the one reason that is a wish
                "%d events dropped as %s: %s",
                notice.events,
                notice.reason,
                notice.detail,
                extra=about("events_dropped", events=notice.events, reason=notice.reason, detail=notice.detail),
            )

    def findings(self) -> None:
        """Log the few findings that concern the dispatcher's own process."""
        for finding in own_findings():
            if finding.level != "info":
                logger.log(
                    logging.ERROR if finding.level == "error" else logging.WARNING,
                    "%s: %s %s",
                    finding.code,
                    finding.what,
                    finding.cure,
                    extra=about("finding", code=finding.code, what=finding.what, cure=finding.cure),
                )

    def failed(self, origin: Origin, answer: Answer, pending: int) -> None:
        """Say that an origin rests, unless that has been said.

        Args:
            origin: whose breaker is open.
            answer: the failure that is the reason.
            pending: events that are pending, all origins together.
        """
        now = time.monotonic()
        outages = self._outages.setdefault(origin, _Outages())
        if outages.since is None:
            outages.since = now
            outages.count += 1
        if not outages.is_said and now >= outages.silent_until:
            logger.warning(
                "%s does not take events%s (%s); asking now and then, %d pending",
                origin,
                often(outages.count),
                answer,
                pending,
                extra=about(
                    "origin_down",
                    origin=str(origin),
                    status=answer.status,
                    error=answer.error,
                    times=outages.count,
                    pending=pending,
                ),
            )
            outages.is_said, outages.count, outages.silent_until = True, 0, now + _REPEAT_AFTER

    def answered(self, origin: Origin, pending: int) -> None:
        """Say that an origin is well again, if it was said not to be."""
        outages = self._outages.get(origin) if self._outages else None
        if outages is None or outages.since is None:
            return
        seconds = time.monotonic() - outages.since
        outages.since, was_said, outages.is_said = None, outages.is_said, False
        if was_said:
            logger.info(
                "%s takes events again after %.0f s, %d pending",
                origin,
                seconds,
                pending,
                extra=about("origin_up", origin=str(origin), seconds=round(seconds, 3), pending=pending),
            )

    def transport_raised(self, error: BaseException, events: int) -> None:
        """Say that a transport raised instead of returning an answer, which it should not.

        Args:
            error: what it raised.
            events: of the request, which is repeated.
        """
        name = type(error).__name__
        times = self.repeats.count(f"transport_raised: {name}", time.monotonic())
        if times:
            logger.error(
                "the transport raised%s; its %d events are sent again: %s",
                often(times),
                events,
                describe(error),
                extra=about("transport_raised", error=name, events=events, times=times),
            )

    def no_answer(self, problem: str) -> None:
        """Say that a transport returned something that is no answer.

        Args:
            problem: what it returned, in words.
        """
        times = self.repeats.count(f"transport_no_answer: {problem}", time.monotonic())
        if times:
            logger.error(
                "send() of a transport returns an Answer, not %s%s",
                problem,
                often(times),
                extra=about("transport_no_answer", returned=problem, times=times),
            )

    def never_ended(self, events: int) -> None:
        """Say at the end of the process that what sends did not come to an end itself; in another thread.

        Args:
            events: that have no outcome.
        """
        if events and not self._has_given_up:
            self._has_given_up = True
            logger.error(
                "the exit handler failed: %d events have no outcome, because the thread that sends does not answer",
                events,
                extra=about("exit_failed", what="the exit handler", error="Unreachable", events=events),
            )

    def say_the_rest(self) -> None:
        """Say at the end how often has happened again what was said a short while ago."""
        say_the_rest(self.repeats.rest())
        say_the_rest({f"origin_down: {origin}": each.count for origin, each in self._outages.items() if each.count})
        self._outages.clear()

    def settled(self, deliveries: Iterable[Delivery]) -> None:
        """Tell the hook; what it raises is logged now and then, and changes nothing."""
        if self._hook is not None:  # pragma: no branch  # else nobody gets here
            for delivery in deliveries:
                self._tell(self._hook, delivery)

    def _tell(self, hook: Callable[[Delivery], None], delivery: Delivery) -> None:
        try:
            hook(delivery)
        except (Exception, gevent.Timeout) as error:
            times = self.repeats.count("hook_raised", time.monotonic())
            if times:
                logger.error(
                    "on_delivery raised%s: %s",
                    often(times),
                    describe(error),
                    extra=about("hook_raised", error=type(error).__name__, times=times),
                )


def why(end: End) -> str:
    """Why a batch was dropped, in words."""
    if end.answer is UNSENT:
        return str(UNSENT)
    concerns = ", which concerns the address and no single event" if judge(end.answer) is Verdict.REJECTED else ""
    return f"{end.batch.envelope.origin}: {end.answer}{concerns}"
