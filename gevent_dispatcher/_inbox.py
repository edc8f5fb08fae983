"""The hand-over to an engine's home, from wherever it cannot be reached directly.

Native threads, signal handlers and destructors leave their work here: appending to a deque cannot be torn apart by
another thread or by a signal. What lies here is bounded like everything else that is pending.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

from gevent_dispatcher._home import get_ident


class Inbox:
    """Work for the home, with its weight in bytes.

    Attributes:
        items: the work; looked at by each event, so without a method in between.
    """

    def __init__(self) -> None:
        self.items: deque[tuple[Callable[[Any], None], Any, int]] = deque()
        # Bytes given so far by each native thread; a thread writes its own entry only, so nothing is lost to a race.
        self._given: dict[int, int] = {}
        self._taken = 0

    def __len__(self) -> int:
        return len(self.items)

    @property
    def bytes(self) -> int:
        """What lies here, in bytes."""
        return sum(list(self._given.values())) - self._taken

    def give(self, work: Callable[[Any], None], argument: Any, size: int = 0) -> None:
        """Leave work, from any thread.

        Args:
            work: called at home with the argument.
            argument: its only argument.
            size: what it weighs, in bytes.
        """
        ident = get_ident()
        self._given[ident] = self._given.get(ident, 0) + size
        self.items.append((work, argument, size))

    def collect(self) -> None:
        """Do all the work that lies here; at home only."""
        while self.items:
            work, argument, size = self.items.popleft()
            self._taken += size
            work(argument)
