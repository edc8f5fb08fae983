"""Batches in the order in which they were opened, which is also that of their deadlines; and what has expired."""

from __future__ import annotations

from collections import OrderedDict
from typing import Iterator

from gevent_dispatcher._lane import Batch

_NEVER = float("inf")


class Pending:
    """All batches that are not settled. The pieces of one that was split share its number, and its place.

    Args:
        delivery_timeout: seconds from the opening of a batch to its deadline.
    """

    def __init__(self, delivery_timeout: float) -> None:
        self._timeout = delivery_timeout
        # What expires is looked for now and then, in one go.
        self._step = min(1.0, delivery_timeout / 20)
        self._batches: OrderedDict[int, tuple[Batch, ...]] = OrderedDict()
        # The number of the batch that was opened last.
        self.newest = 0
        # When to look for what has expired, in monotonic seconds.
        self.next_expiry = _NEVER

    def next_number(self) -> int:
        """The number of the batch that is opened now."""
        self.newest += 1
        return self.newest

    @property
    def oldest(self) -> int | None:
        """The number of the oldest batch, None when there is none."""
        return next(iter(self._batches), None)

    def add(self, batch: Batch) -> None:
        """Take a batch in that was opened last."""
        self._batches[batch.number] = (batch,)
        self.may_expire(batch)

    def replace(self, batch: Batch, pieces: tuple[Batch, ...] = ()) -> None:
        """Forget a batch, and have what was made of it in its place."""
        batch.is_settled = True
        others = tuple(each for each in self._batches[batch.number] if each is not batch)
        if others or pieces:
            self._batches[batch.number] = (*others, *pieces)
        else:
            del self._batches[batch.number]

    def pieces(self, number: int) -> tuple[Batch, ...]:
        """The batches of one number."""
        return self._batches.get(number, ())

    def everything(self) -> list[Batch]:
        """All of them, in flight ones included."""
        return [batch for batches in self._batches.values() for batch in batches]

    # -- deadlines -----------------------------------------------------------------------------------------------------

    def deadline(self, batch: Batch) -> float:
        """When a batch has waited for `delivery_timeout`, in monotonic seconds."""
        return batch.opened + self._timeout

    def may_expire(self, batch: Batch) -> None:
        """A batch is not in flight, or no longer: its deadline counts."""
        self.next_expiry = min(self.next_expiry, self.deadline(batch) + self._step)

    def put_off(self, now: float) -> None:
        """Have what expires wait for the next look at it."""
        self.next_expiry = max(self.next_expiry, now + self._step)

    def forget_expiry(self) -> None:
        """There is nothing that could expire."""
        self.next_expiry = _NEVER

    def expired(self, now: float) -> list[Batch]:
        """The batches whose deadline is over and which are not in flight; the caller settles them."""
        if now < self.next_expiry:
            return []
        over = list(self._resting(until=now))
        first = next((batch for batch in self._resting() if self.deadline(batch) > now), None)
        self.forget_expiry()
        if first is not None:
            self.may_expire(first)
        return over

    def _resting(self, until: float = _NEVER) -> Iterator[Batch]:
        """What is not in flight, oldest first, up to those with a later deadline."""
        for batches in self._batches.values():
            if self.deadline(batches[0]) > until:
                return
            yield from (batch for batch in batches if not batch.in_flight)
