"""What a consumer tells its queue: what has become of messages, many at once, and that the others are still held."""

from __future__ import annotations

import time
from typing import Any, Callable, Iterable

import gevent
from gevent.event import Event

from gevent_dispatcher._config import ConsumerConfig
from gevent_dispatcher._event import Request
from gevent_dispatcher._held import ConsumerCounters, Ticket, word_of
from gevent_dispatcher._log import about, logger
from gevent_dispatcher._notices import Repeats, often
from gevent_dispatcher._receivers import Patience
from gevent_dispatcher.queues import OpenQueue, QueueError

monotonic = time.monotonic


class Settlement:
    """The messages that have ended, until the queue knows.

    Args:
        config: the consumer's settings.
        counters: messages are counted there once the queue knows.
        changed: called when it knows of some.
    """

    def __init__(self, config: ConsumerConfig, counters: ConsumerCounters, changed: Callable[[], object]) -> None:
        self._config = config
        self._counters = counters
        self._changed = changed
        self._finished: list[Ticket] = []
        self._is_news = Event()
        self._buries = True
        self._has_left = False
        self._error: Exception | None = None

    @property
    def untold(self) -> int:
        """Messages of whose end the queue does not know yet."""
        return len(self._finished)

    def begin(self, opened: OpenQueue, repeats: Repeats, held: Callable[[], Iterable[Ticket]]) -> list[Any]:
        """Start the greenlets that tell the queue; they go on until they are killed.

        Args:
            opened: the queue.
            repeats: so that each thing is said once in a while.
            held: gives the messages that have not ended.
        """
        self._buries = getattr(opened, "buries", True) is not False
        keeping = gevent.spawn(self._noting, lambda: self._keep(opened, repeats, held))
        return [keeping, gevent.spawn(self._noting, lambda: self._tell(opened, repeats))]

    def check(self) -> None:
        """See that the queue can still be told.

        Raises:
            Exception: what the queue raised, that none should raise.
        """
        if self._error is not None:
            raise self._error

    def _noting(self, work: Callable[[], None]) -> None:
        """What is raised is for whoever runs the consumer: nothing would be acknowledged any more."""
        try:
            work()
        except Exception as error:
            self._error = error
            self._changed()

    def add(self, ticket: Ticket) -> None:
        """A message has ended: the queue is to be told."""
        if ticket.dead and not self._buries:
            self._leave(ticket)
        self._finished.append(ticket)
        self._is_news.set()

    def _leave(self, ticket: Ticket) -> None:
        """What a queue without dead letters is to do with the guilty is its own affair: they are given back."""
        if not self._has_left:
            self._has_left = True
            logger.warning(
                "%d events cannot be delivered (%s), and there is no place for dead letters: such messages are given "
                "back, and left to the queue's own redrive policy",
                sum(request.events for request, _ in ticket.dead),
                ticket.dead[0][1],
                extra=about("left_to_redrive", reason=ticket.dead[0][1]),
            )
        ticket.leave_dead()

    # -- what has ended ------------------------------------------------------------------------------------------------

    def _tell(self, opened: OpenQueue, repeats: Repeats) -> None:
        """What ends while the queue is told is told with the next."""
        patience = Patience("settle with", repeats)
        while True:
            self._is_news.wait()
            self._is_news.clear()
            try:
                self._tell_all(opened, repeats)
            except QueueError as error:
                patience.failed(error)
                gevent.sleep(patience.seconds)
                self._is_news.set()
            else:
                patience.worked()

    def _tell_all(self, opened: OpenQueue, repeats: Repeats) -> None:
        word = word_of(self._finished)
        if word.ack:
            opened.ack([ticket.receipt for ticket in word.ack])
            self._confirmed("acked", word.ack)
        for delay, tickets in ((0.0, word.hand_back), (self._config.release_delay, word.release)):
            if tickets:
                opened.release([ticket.receipt for ticket in tickets], delay)
                self._confirmed("released", tickets)
        for reason, tickets in word.bury.items():
            stale = opened.bury([ticket.receipt for ticket in tickets], reason)
            self._confirmed("dead", tickets)
            _say_dead([ticket for ticket in tickets if ticket.receipt not in stale], repeats)
        for ticket in word.replace:
            is_done = opened.replace(ticket.receipt, ticket.left, ticket.dead, self._config.release_delay)
            self._confirmed("released" if ticket.left else "dead", [ticket])
            _say_dead([ticket] if is_done else [], repeats)

    def _confirmed(self, count: str, tickets: list[Ticket]) -> None:
        told = set(map(id, tickets))
        self._finished = [ticket for ticket in self._finished if id(ticket) not in told]
        self._counters.confirm(count, tickets)
        self._changed()

    # -- what is held --------------------------------------------------------------------------------------------------

    def _keep(self, opened: OpenQueue, repeats: Repeats, held: Callable[[], Iterable[Ticket]]) -> None:
        """Hold what is held for longer, waiting, in flight and ended alike."""
        while True:
            gevent.sleep(self._config.lease / 3)
            receipts = [ticket.receipt for ticket in (*held(), *self._finished)]
            try:
                if receipts:
                    opened.extend(receipts, self._config.lease)
            except QueueError as error:
                _say_not_extended(len(receipts), error, repeats)


def _say_dead(tickets: Iterable[Ticket], repeats: Repeats) -> None:
    dead: list[tuple[Request, str]] = [each for ticket in tickets for each in ticket.dead]
    events = sum(request.events for request, _ in dead)
    count = repeats.count("dead_letters", monotonic(), events) if events else 0
    if count:
        why = dead[-1][1]
        logger.warning(
            "%d events went to the dead letters: %s", count, why, extra=about("dead_letters", events=count, why=why)
        )


def _say_not_extended(messages: int, error: QueueError, repeats: Repeats) -> None:
    times = repeats.count("lease_not_extended", monotonic())
    if times:
        logger.warning(
            "the lease of %d messages was not extended%s: %s",
            messages,
            often(times),
            error,
            extra=about("lease_not_extended", messages=messages, error=type(error).__name__, times=times),
        )
