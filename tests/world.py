"""A world in which time is a number: buffer and policy against an endpoint that is a function."""

from __future__ import annotations

import random
from collections import Counter
from heapq import heappop, heappush
from itertools import count
from typing import Any, Callable, Iterable, NamedTuple

from gevent_dispatcher._body import take_apart
from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._event import Encoded, Envelope, merge
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._policy import End, Policy
from gevent_dispatcher._retry import Answer
from gevent_dispatcher._stats import Outcome
from gevent_dispatcher._url import parse

EPOCH = 1_700_000_000.0
US, EU = "http://us.example/v1/events", "http://eu.example/v1/events"


_revisions = count()


class Sent(NamedTuple):
    """One request, as the endpoint sees it."""

    at: float
    origin: str
    parts: tuple[bytes, ...]


# What the endpoint does: how long it takes, in seconds, and what it answers.
Endpoint = Callable[[Sent], "tuple[float, Answer]"]


def envelope(url: str = US) -> Envelope:
    """A new envelope, as an application has one for each datafile revision."""
    return Envelope("POST", parse(url), {}, b'{"revision":"%d","visitors":[' % next(_revisions), b"]}")


class World:
    """What an engine does, without greenlets.

    Args:
        endpoint: answers requests.
        settings: the dispatcher's.
    """

    def __init__(self, endpoint: Endpoint, seed: int = 1, **settings: Any) -> None:
        self.config = Config(**settings)
        chance = random.Random(seed).uniform
        self.buffer = Buffer(self.config, chance)
        self.policy = Policy(self.config, self.buffer, chance)
        self.now = 1_000.0
        self.sent: list[Sent] = []
        self.most_in_flight = 0
        self.delivered: Counter[bytes] = Counter()
        self.dropped: dict[str, Counter[bytes]] = {}
        self.delivered_at: dict[bytes, float] = {}
        self._endpoint = endpoint
        self._in_flight: list[tuple[float, int, Batch, Answer]] = []
        self._turns = count()

    def dispatch(self, data: bytes, where: Envelope) -> None:
        """One event with one visitor."""
        event: Encoded = (where, data, 1, len(data) + 1)
        assert self.buffer.fits(event[3])
        self.buffer.add(event, lambda: self.now)

    def dispatch_all(self, names: Iterable[bytes], where: Envelope | None = None) -> None:
        """Events of one envelope, which is a fresh one unless it is given."""
        where = envelope() if where is None else where
        for name in names:
            self.dispatch(name, where)

    def accept(self, parts: list[bytes], where: Envelope) -> None:
        """A request that was merged before."""
        self.buffer.accept(merge(where, parts), "ticket", self.now)

    def run(self, until: float = float("inf")) -> None:
        """Let time pass until a moment, or until nothing is pending."""
        while True:
            self._send()
            moment = self._next_moment()
            if moment is None or moment > until:
                self.now = max(self.now, until) if until != float("inf") else self.now
                return
            self.now = max(self.now, moment)
            self._arrive()
            self._settle(self.policy.expire(self.now))

    def _next_moment(self) -> float | None:
        moments = [self._in_flight[0][0]] if self._in_flight else []
        due = self.buffer.next_due(self.now)
        if due is not None:
            moments.append(due)
        return min(moments) if moments else None

    def _send(self) -> None:
        while True:
            batch = self.buffer.take(self.now)
            if batch is None:
                return
            batch.attempts += 1
            sent = Sent(self.now, batch.envelope.origin.host, tuple(opened(batch)))
            self.sent.append(sent)
            seconds, answer = self._endpoint(sent)
            heappush(self._in_flight, (self.now + seconds, next(self._turns), batch, answer))
            self.most_in_flight = max(self.most_in_flight, len(self._in_flight))

    def _arrive(self) -> None:
        while self._in_flight and self._in_flight[0][0] <= self.now:
            _, _, batch, answer = heappop(self._in_flight)
            self._settle(self.policy.conclude(batch, answer, self.now, EPOCH + self.now))

    def _settle(self, ends: list[End]) -> None:
        for end in ends:
            parts = opened(end.batch)
            if end.outcome is Outcome.DELIVERED:
                self.delivered.update(parts)
                self.delivered_at.update(dict.fromkeys(parts, self.now))
            else:
                self.dropped.setdefault(end.reason, Counter()).update(parts)


def opened(batch: Batch) -> list[bytes]:
    """The events of a batch, as an endpoint finds them in its request."""
    parts = take_apart(batch.request().body or b"")
    return parts.visitors if parts else batch.parts
