"""What is to be sent: several putters share a call.

A call of botocore's costs a millisecond and more, whatever it carries. So who finds few calls under way sends all that
wait, up to what a call takes; who comes meanwhile waits for the next. No greenlet lives while there is nothing to send.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any, Callable, Mapping, Sequence

import gevent
from gevent.event import Event

from gevent_dispatcher._retry import CONTENT_TOO_LARGE
from gevent_dispatcher.queues._message import size_of
from gevent_dispatcher.queues._protocol import QueueError, QueueRefused, QueueUnavailable, QueueUncertain, Refusal
from gevent_dispatcher.queues.sqs._batch import MOST_ENTRIES, how_many
from gevent_dispatcher.queues.sqs._faults import Failed, outcomes_of

# Calls under way at once. Two are enough to have one arrive while another is made ready.
_AT_ONCE = 2
# How long a call waits for company, in seconds: little beside the 5 to 20 ms that it takes.
_LINGER = 0.002
# How often an entry that failed by no fault of its own is sent again at once; then its putter is told.
_MOST_TRIES = 3


class Parcel:
    """One message on its way.

    Args:
        text: the message.
        attributes: as SQS has them.
        delay: seconds before it can be received.

    Attributes:
        outcome: None while it is on its way; True, or what came between.
    """

    __slots__ = ("attributes", "delay", "ended", "is_sent", "outcome", "size", "text", "tries")

    def __init__(self, text: str, attributes: Mapping[str, Any] | None = None, delay: int = 0) -> None:
        self.text = text
        self.attributes = attributes or {}
        self.delay = delay
        self.size = size_of(text) + sum(_weight(name, value) for name, value in self.attributes.items())
        self.tries = 0
        self.is_sent = False
        self.outcome: bool | QueueError | Refusal | None = None
        self.ended = Event()

    def end(self, outcome: bool | QueueError | Refusal) -> None:
        """Tell its putter."""
        self.outcome = outcome
        self.ended.set()

    def as_entry(self, id: int) -> dict[str, Any]:
        """As SendMessageBatch takes it."""
        entry: dict[str, Any] = {"Id": str(id), "MessageBody": self.text}
        if self.attributes:
            entry["MessageAttributes"] = self.attributes
        if self.delay:
            entry["DelaySeconds"] = self.delay
        return entry


def _weight(name: str, value: Mapping[str, str]) -> int:
    """Name, type and value of an attribute count (Amazon SQS Developer Guide, "Message attributes")."""
    return size_of(name) + sum(map(size_of, value.values()))


class Outbox:
    """Sends to one queue.

    Args:
        call: makes a call, with its parameters, and returns the answer.
        most_bytes: of all messages in one call.
        timeout: seconds that a putter waits at most for its turn.
    """

    def __init__(self, call: Callable[..., dict[str, Any]], most_bytes: int, timeout: float) -> None:
        self._call = call
        self._most_bytes = most_bytes
        self._timeout = timeout
        self._waiting: deque[Parcel] = deque()
        self._under_way = 0
        self._is_gathering = False

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Send messages, and have the outcome of each in it."""
        deadline = monotonic() + self._timeout
        self._waiting.extend(parcels)
        try:
            for parcel in parcels:
                self._see_to(parcel, deadline)
                if isinstance(parcel.outcome, QueueError):
                    self._give_up(parcels, parcel.outcome)
        finally:
            self._withdraw(parcels)

    def _give_up(self, parcels: Sequence[Parcel], error: QueueError) -> None:
        """SQS is away: what has not been sent need not be tried."""
        self._withdraw(parcels)
        for parcel in parcels:
            if parcel.outcome is None and not parcel.is_sent:
                parcel.end(error)

    def _see_to(self, parcel: Parcel, deadline: float) -> None:
        while parcel.outcome is None:
            if self._may_send():
                self._gather()
                self._send_some()
            elif not parcel.ended.wait(max(deadline - monotonic(), 0.0)):
                parcel.outcome = self._too_late(parcel)
            elif parcel.outcome is None:  # it is this one's turn to send
                parcel.ended.clear()

    def _may_send(self) -> bool:
        return bool(self._waiting) and self._under_way < _AT_ONCE and not self._is_gathering

    def _gather(self) -> None:
        """Wait for those who are about to put, too."""
        if self._next() < MOST_ENTRIES:
            self._is_gathering = True
            try:
                gevent.sleep(_LINGER)
            finally:
                self._is_gathering = False

    def _next(self) -> int:
        """How many of those that wait go into the next call."""
        return how_many((parcel.size for parcel in self._waiting), self._most_bytes)

    def _too_late(self, parcel: Parcel) -> QueueError:
        kind = QueueUncertain if parcel.is_sent else QueueUnavailable
        return kind(f"no room for another call to SQS within {self._timeout:g} s")

    def _withdraw(self, parcels: Sequence[Parcel]) -> None:
        """Its putter leaves, and may have been killed: nothing is sent for nobody, and another takes its turn."""
        if self._waiting:
            gone = set(map(id, parcels))
            self._waiting = deque(parcel for parcel in self._waiting if id(parcel) not in gone)
            self._wake_next()

    # -- one call ------------------------------------------------------------------------------------------------------

    def _send_some(self) -> None:
        parcels = [self._waiting.popleft() for _ in range(self._next())]
        self._under_way += 1
        self._wake_next()
        try:
            self._settle(parcels, self._sent(parcels))
        except QueueRefused as error:
            self._refused(parcels, error.refusals[0])
        except QueueError as error:
            self._end(parcels, error)
        except BaseException:
            self._end(parcels, QueueUncertain("the call to SQS was cut off"))
            raise
        finally:
            self._under_way -= 1
            self._wake_next()

    def _sent(self, parcels: Sequence[Parcel]) -> dict[str, Any]:
        for parcel in parcels:
            parcel.is_sent = True
            parcel.tries += 1
        return self._call(Entries=[parcel.as_entry(at) for at, parcel in enumerate(parcels)])

    def _settle(self, parcels: Sequence[Parcel], answer: Mapping[str, Any]) -> None:
        for parcel, fault in zip(parcels, outcomes_of(answer, len(parcels))):
            if fault is None:
                parcel.end(True)
            else:
                self._failed(parcel, fault)

    def _failed(self, parcel: Parcel, failed: Failed) -> None:
        if failed.is_ours:
            parcel.end(failed.as_refusal())
        elif parcel.tries >= _MOST_TRIES:
            parcel.end(QueueUnavailable(f"SQS did not take a message: {failed.code}"))
        else:
            self._waiting.append(parcel)

    def _refused(self, parcels: Sequence[Parcel], refusal: Refusal) -> None:
        """The call as a whole: some message in it is at fault, or there are too many for this queue."""
        if len(parcels) == 1:
            parcels[0].end(refusal)
            return
        if refusal.status == CONTENT_TOO_LARGE:  # this queue takes less than is said; the next calls will carry less
            self._most_bytes = min(self._most_bytes, sum(parcel.size for parcel in parcels) // 2)
        for half in (parcels[: len(parcels) // 2], parcels[len(parcels) // 2 :]):
            try:
                self._settle(half, self._sent(half))
            except QueueRefused as error:
                self._refused(half, error.refusals[0])
            except QueueError as error:
                self._end(half, error)

    def _end(self, parcels: Sequence[Parcel], error: QueueError) -> None:
        for parcel in parcels:
            if parcel.outcome is None:
                parcel.end(error)

    def _wake_next(self) -> None:
        if self._may_send():
            self._waiting[0].ended.set()
