"""Those who wait until what was dispatched before they came has its outcome."""

from __future__ import annotations

from gevent.event import Event


class Flushes:
    """Waiters, each for all batches up to a number. Batches are numbered in the order in which they were opened."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Event]] = []

    def tell(self, oldest: int | None) -> None:
        """Wake those whose batches are settled.

        Args:
            oldest: the number of the oldest batch that is not, None when all are.
        """
        for newest, settled in self._waiting:
            if oldest is None or oldest > newest:
                settled.set()

    def wait(self, newest: int, oldest: int | None, seconds: float) -> bool:
        """Wait until no batch up to a number is pending.

        Args:
            newest: the number.
            oldest: the number of the oldest batch that is pending now, None when there is none.
            seconds: the longest wait; 0 does not switch.
        """
        entry = (newest, Event())
        self._waiting.append(entry)
        try:
            self.tell(oldest)
            return bool(entry[1].is_set() or (seconds > 0 and entry[1].wait(seconds)))
        finally:
            self._waiting.remove(entry)
