"""The messages of an opened queue of SQS that are held, and for how long SQS can and shall hide each. Pure."""

from __future__ import annotations

from math import ceil
from typing import Iterable, Mapping

from gevent_dispatcher._event import Request
from gevent_dispatcher.queues.sqs._settings import LONGEST_INVISIBLE

# With a grain of salt for clocks that differ, in seconds.
_SALT = 5.0

Receipt = str


class Lease:
    """A message that is held.

    Attributes:
        request: as it was read.
        received: how often it has been received.
        put_at: in seconds since the epoch.
        since: when it was received, in monotonic seconds.
        until: when the lease is over.
        is_moved: what was to be put elsewhere has been put; it only has to be deleted.
    """

    __slots__ = ("is_moved", "put_at", "received", "request", "since", "until")

    def __init__(self, request: Request, received: int, put_at: float, since: float, until: float) -> None:
        self.request = request
        self.received = received
        self.put_at = put_at
        self.since = since
        self.until = until
        self.is_moved = False

    def longest(self, now: float) -> int:
        """Seconds for which SQS would hide it at most, from now on."""
        return max(int(LONGEST_INVISIBLE - (now - self.since) - _SALT), 0)


class Leases:
    """What one process holds.

    Args:
        longest_delay: most seconds before a message that was sent in vain can be received again.
    """

    def __init__(self, longest_delay: float) -> None:
        self._longest_delay = longest_delay
        self._leases: dict[Receipt, Lease] = {}

    def add(self, receipt: Receipt, lease: Lease) -> None:
        """Hold a message."""
        self._leases[receipt] = lease

    def get(self, receipt: Receipt) -> Lease | None:
        """The message of a receipt; None when it is not held here, or no longer."""
        return self._leases.get(receipt)

    def held(self, receipts: Iterable[Receipt]) -> dict[Receipt, Lease]:
        """Those of some messages that are held."""
        return {receipt: self._leases[receipt] for receipt in receipts if receipt in self._leases}

    def forget(self, receipts: Iterable[Receipt]) -> None:
        """Hold messages no longer."""
        for receipt in receipts:
            self._leases.pop(receipt, None)

    def forget_what_is_over(self, now: float) -> None:
        """Hold no longer what others can receive."""
        self.forget([receipt for receipt, lease in self._leases.items() if lease.until < now - _SALT])

    def extensions(self, receipts: Iterable[Receipt], lease: float, now: float) -> dict[Receipt, int]:
        """For how many seconds each is to be hidden to be held for longer."""
        return {each: min(ceil(lease), self._longest(each, now)) for each in receipts}

    def extend(self, seconds: Mapping[Receipt, int], now: float) -> None:
        """Hold messages for longer, now that SQS hides them."""
        for receipt, more in seconds.items():
            lease = self._leases.get(receipt)
            if lease is not None:
                lease.until = now + more

    def delays(self, receipts: Iterable[Receipt], delay: float, now: float) -> dict[Receipt, int]:
        """For how many seconds each is to be hidden when it is given back."""
        return {each: min(self._delay(each, delay), self._longest(each, now)) for each in receipts}

    def growing(self, received: int, delay: float) -> int:
        """A delay in seconds that is twice as long each time that a message is received."""
        most = max(self._longest_delay, delay)
        return ceil(min(delay * 2.0 ** min(max(received - 1, 0), 60), most))

    def _delay(self, receipt: Receipt, delay: float) -> int:
        lease = self._leases.get(receipt)
        return self.growing(1 if lease is None else lease.received, delay)

    def _longest(self, receipt: Receipt, now: float) -> int:
        lease = self._leases.get(receipt)
        return int(LONGEST_INVISIBLE - _SALT) if lease is None else lease.longest(now)
