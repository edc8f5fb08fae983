"""The engine's other door: receives from a queue, delivers through a transport, and acknowledges afterwards."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Iterable

import gevent
from gevent import get_hub

from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import CONSUMER_NAMES, Config, ConsumerConfig, sort_settings
from gevent_dispatcher._health import Health
from gevent_dispatcher._held import ConsumerCounters, ConsumerStats, Ticket
from gevent_dispatcher._home import Home, end_at_once, get_ident
from gevent_dispatcher._inside import Inside
from gevent_dispatcher._log import about, logger
from gevent_dispatcher._policy import End
from gevent_dispatcher._receivers import Bell, Receivers
from gevent_dispatcher._senders import Senders
from gevent_dispatcher._settlement import Settlement
from gevent_dispatcher._stats import Counters
from gevent_dispatcher._transport import Transport, transport_of
from gevent_dispatcher._url import Origin, parse
from gevent_dispatcher._voice import Voice
from gevent_dispatcher._watch import Observer, Watch
from gevent_dispatcher.queues import Message, OpenQueue, Queue

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gevent_dispatcher._config import ConsumerSettings

monotonic = time.monotonic

# What a killed sender may take to close its socket, in seconds.
_KILL_TIMEOUT = 0.05
# A consumer that shall end when the queue is empty does not wait for an origin that asked for more time, in seconds.
_SOON = 2.0
# How often a consumer that stops looks whether what was under way waits again, in seconds.
_LOOK = 0.05
# What is kept of the time to stop for giving back what was not delivered: a quarter, and in seconds at most.
_MARGIN, _LONGEST_MARGIN = 0.25, 2.0
# What a queue that waited for messages may take to say that there are none, in seconds.
_ANSWER = 1.0
_NEVER = float("inf")

# Where the SDK sends its events, and so where a message may ask to be sent (its `event_factory`, 5.7.0).
EVENT_API = ("https://logx.optimizely.com", "https://eu.logx.optimizely.com")


class Consumer:
    """Delivers what is in a queue, in the process and on the hub on which `run` is called.

    A message is acknowledged after a 2xx, and never before. Delivery is at least once: when a consumer is killed, what
    it held comes again after its lease; a request that was under way may then be sent twice.

    Args:
        queue: opened by `run`.
        transport: how requests are delivered; default `HttpTransport()` with the HTTP settings below.
        destinations: urls to whose scheme, host and port requests may go: whoever can write to the queue could name
            any. What would go elsewhere goes to the dead letters. Default `EVENT_API`; None lets them go anywhere, and
            is for queues to which nobody else can write.
        pool_size: most greenlets sending at once; default 10.
        lease: seconds for which a message is ours; extended while it is held. Default 60.
        hold_timeout: longest that a message is held before it is given back, in seconds; default 600.
        release_delay: seconds before a message that was sent in vain, or held for too long, can be received again once
            it was given back; default 30.
        max_held: most messages held at once; default 200.
        max_held_bytes: bytes of messages held from which on none are received; default 32 MiB.
        poll_interval: how often an empty queue is asked, in seconds; default 1.
        backoff_base, backoff_max, on_delivery: as for a dispatcher.
        close_timeout: seconds that `stop` gives `run` to return; default 10.
        connect_timeout, read_timeout, request_timeout, headers, ssl_context, proxy: see `HttpTransport`.

    Raises:
        ValueError: a setting is outside its accepted range, or would be ignored.
        TypeError: there is no such setting.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        transport: Transport | None = None,
        destinations: Iterable[str] | None = EVENT_API,
        **settings: Unpack[ConsumerSettings],
    ) -> None:
        own, http = sort_settings(settings, CONSUMER_NAMES, transport is not None)
        self._config = ConsumerConfig(**own)
        self._transport = transport_of(transport, http)
        self._queue = queue
        self._destinations = None if destinations is None else frozenset(map(_origin, destinations))
        self._buffer = Buffer(_for_the_engine(self._config), random.uniform)
        self._inside = Inside()
        self._sent = Counters()
        self._counters = ConsumerCounters()
        self._tickets: dict[int, Ticket] = {}  # by the number of their batch
        self._changed = Bell()  # the queue knows of an end, or it is time to stop
        self._settlement = Settlement(self._config, self._counters, self._told)
        self._helpers: list[Any] = []
        self._observers: list[Observer] = []
        self._voice = self._own_voice = Voice(self._config.on_delivery)
        self._watch = Watch(self._observers, lambda: self._held, self._own_voice.repeats)
        self._senders: Senders | None = None
        self._receivers: Receivers | None = None
        self._has_run = False
        self._is_stopping = False
        self._is_abandoned = False
        self._deadline = _NEVER

    # -- run and stop --------------------------------------------------------------------------------------------------

    def run(self, until_empty: bool = False) -> None:
        """Deliver until `stop` is called.

        Args:
            until_empty: or until the queue gives nothing more and what is held has ended, or is for origins that rest
                or asked for some seconds; or the queue has been away for some.

        Raises:
            QueueUnusable: what is there is not a queue.
            RuntimeError: it was called before.
        """
        if self._has_run:
            raise RuntimeError("a consumer runs once; make another one")
        self._has_run = True
        opened, senders = self._queue.open(), self._make_senders()
        receivers = self._make_receivers(opened, senders, until_empty)
        self._helpers = self._settlement.begin(opened, self._voice.repeats, self._tickets.values)
        self._senders, self._receivers = senders, receivers
        try:
            receivers.start()
            self._wait_for_a_stop(receivers)
            self._finish(senders, receivers)
        finally:
            if not self._is_abandoned:
                gevent.killall([*self._helpers, *receivers.greenlets], timeout=_KILL_TIMEOUT)
                senders.stop(_KILL_TIMEOUT, _KILL_TIMEOUT)
                senders.close()
                self._watch.close()
                opened.close()
                self._own_voice.say_the_rest()

    def _make_senders(self) -> Senders:
        """They live on the hub of whoever runs this."""
        engine, home = _for_the_engine(self._config), Home(get_hub(), get_ident())
        return Senders(
            engine, self._transport, home, self._buffer, self._inside, self._sent, self._voice, self._account
        )

    def speak_through(self, voice: Voice) -> None:
        """Say nothing that somebody else has said: a spool is emptied by one consumer after the other.

        Args:
            voice: theirs, with the same hook; before `run`.
        """
        self._voice = voice

    def _make_receivers(self, opened: OpenQueue, senders: Senders, until_empty: bool) -> Receivers:
        config = self._config

        def is_over(is_empty: bool) -> bool:
            is_done = is_empty and not self._held
            return is_done or self._buffer.waits_in_vain(monotonic() + _SOON) or receivers.is_at_its_end

        receivers = Receivers(
            opened,
            self._voice.repeats,
            config.lease,
            config.poll_interval,
            max(config.close_timeout - _margin(config.close_timeout) - _ANSWER, 0.0),  # a stop lets what asks end
            self._room,
            lambda message: self._take(message, senders),
            self._changed,
            is_over if until_empty else None,
        )
        return receivers

    def _room(self) -> int:
        """How many messages more may be held."""
        return self._config.max_held - self._held if self._buffer.bytes < self._config.max_held_bytes else 0

    def _wait_for_a_stop(self, receivers: Receivers) -> None:
        while not self._is_stopping:
            news = self._changed.listen()
            self._settlement.check()
            if receivers.have_ended():
                return
            news.wait()

    def stop(self, timeout: float | None = None) -> None:
        """Receive no more, finish what is under way, give the rest back; `run` returns within the time. Does not wait.

        What is under way is a request that has been sent; what waits for its turn, or for an endpoint that is away, is
        given back at once.

        Args:
            timeout: seconds; None takes `close_timeout`, within which calls that wait for messages end. One that takes
                longer is cut off, and what it might have brought comes again after its lease.
        """
        seconds = self._config.close_timeout if timeout is None else timeout
        self._deadline = min(self._deadline, monotonic() + seconds)
        self._is_stopping = True
        self._changed.ring()

    def abandon(self) -> None:
        """In a fork's child, before its hub runs: all of this belongs to the parent. Cheap, and starts nothing."""
        self._is_abandoned = self._is_stopping = True
        self._watch.abandon()
        if self._senders is not None:
            self._senders.abandon()
        for helper in (*self._helpers, *(self._receivers.greenlets if self._receivers else ())):
            end_at_once(helper)

    def leave_behind(self) -> None:
        """Its hub was destroyed: what it holds comes again after its lease. Starts nothing, and does not wait."""
        self._is_abandoned = self._is_stopping = True
        for helper in (*self._helpers, *(self._receivers.greenlets if self._receivers else ())):
            helper.parent = get_hub()  # see `Senders.move`
        if self._senders is not None:
            self._senders.move()
            self._senders.stop(0.0, 0.0)

    def stats(self) -> ConsumerStats:
        """What has become of the messages so far."""
        return self._counters.snapshot(self._held, self._sent.requests, self._sent.retries, self._buffer.splits)

    def health(self) -> Health:
        """What is held, and how the origins answer."""
        return self._buffer.health(monotonic())

    def observe(self, observer: Observer) -> None:
        """Have an observer told soon after something has changed, from the next change on; never unsaid.

        Args:
            observer: its `report` is called; see `Observer`.
        """
        self._observers.append(observer)

    @property
    def _held(self) -> int:
        return len(self._tickets) + self._settlement.untold

    # -- in ------------------------------------------------------------------------------------------------------------

    def _take(self, message: Message, senders: Senders) -> None:
        self._watch.changed()
        ticket = Ticket(message.receipt, message.request)
        self._counters.received += 1
        if self._is_stopping:
            ticket.note_unsent()
            self._settlement.add(ticket)
        elif self._destinations is None or message.request.origin in self._destinations:
            with self._inside:
                batch = self._buffer.accept(message.request, ticket, monotonic())
                self._tickets[batch.number] = ticket
                senders.attend()
        else:
            ticket.dead.append((message.request, f"not an allowed destination: {message.request.origin}"))
            self._settlement.add(ticket)

    # -- out -----------------------------------------------------------------------------------------------------------

    def _account(self, end: End) -> None:
        ticket = end.batch.ticket
        ticket.note(end)
        self._watch.settled(end)
        self._counters.delivered_events += end.batch.events if not end.reason else 0
        if not self._buffer.pieces(end.batch.number):
            del self._tickets[end.batch.number]
            self._settlement.add(ticket)

    def _told(self) -> None:
        """The queue knows of some that have ended."""
        self._watch.changed()
        self._changed.ring()

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, senders: Senders, receivers: Receivers) -> None:
        """Wait for what is under way, give the rest back, and have the queue know, as far as time goes."""
        if self._deadline == _NEVER:
            self.stop()
        receivers.stop()
        self._finish_what_is_under_way(receivers, self._deadline - _margin(max(self._deadline - monotonic(), 0.0)))
        senders.stop(_KILL_TIMEOUT, _KILL_TIMEOUT)
        self._give_up()
        self._wait_for_the_end(self._deadline)
        if self._held:
            logger.warning(
                "%d messages are neither settled nor given back; their leases end by themselves",
                self._held,
                extra=about("messages_left", messages=self._held),
            )

    def _finish_what_is_under_way(self, receivers: Receivers, deadline: float) -> None:
        """A request that is cut off may have arrived, and would then come twice; one that waits loses nothing. A call
        that asks for messages is let end: cut off, it may swallow some.
        """
        self._give_back_what_waits()
        while (self._tickets or receivers.are_asking) and monotonic() < deadline:
            self._changed.listen().wait(min(deadline - monotonic(), _LOOK))
            self._give_back_what_waits()

    def _give_back_what_waits(self) -> None:
        with self._inside:
            for number, ticket in list(self._tickets.items()):
                waiting = [batch for batch in self._buffer.pieces(number) if not batch.in_flight]
                for batch in waiting:
                    self._buffer.settle(batch)
                ticket.note_left(waiting)
                if not self._buffer.pieces(number):
                    del self._tickets[number]
                    self._settlement.add(ticket)

    def _wait_for_the_end(self, deadline: float) -> None:
        while self._held and monotonic() < deadline:
            news = self._changed.listen()
            self._settlement.check()
            news.wait(max(deadline - monotonic(), 0.0))

    def _give_up(self) -> None:
        for number, ticket in list(self._tickets.items()):
            ticket.note_left(self._buffer.pieces(number))
            del self._tickets[number]
            self._settlement.add(ticket)


def _margin(seconds: float) -> float:
    """What is kept of the time to stop."""
    return min(seconds * _MARGIN, _LONGEST_MARGIN)


def _origin(destination: str) -> Origin:
    try:
        return parse(destination).origin
    except ValueError as error:
        raise ValueError(f"destinations: {error}; each is like {EVENT_API[0]}") from None


def _for_the_engine(config: ConsumerConfig) -> Config:
    return Config(
        pool_size=config.pool_size,
        backoff_base=config.backoff_base,
        backoff_max=config.backoff_max,
        delivery_timeout=config.hold_timeout,
        on_delivery=config.on_delivery,
    )
