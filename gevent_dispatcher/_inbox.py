"""The hand-over to an engine's home, from wherever it cannot be reached directly.

Native threads, signal handlers and destructors leave their events here: appending to a deque cannot be torn apart by
another thread or by a signal. What lies here is bounded like everything else that is pending; of what is refused at the
door only the reason lies here.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Callable, Tuple

from gevent_dispatcher._event import Encoded
from gevent_dispatcher._home import get_ident

# Why an event is dropped, and an example in words.
Refusal = Tuple[str, str]


class Inbox:
    """Events for the home, and what must be counted there.

    Attributes:
        events: looked at by each event, so without a method in between.
    """

    def __init__(self) -> None:
        self.events: deque[Encoded] = deque()
        self._refusals: deque[Refusal] = deque()
        # Bytes given so far by each native thread; a thread writes its own entry only, so nothing is lost to a race.
        self._given: dict[int, int] = {}
        self._taken = 0

    @property
    def bytes(self) -> int:
        """What the events that lie here weigh."""
        return sum(list(self._given.values())) - self._taken

    def give(self, event: Encoded) -> None:
        """Leave an event, from any thread."""
        ident = get_ident()
        self._given[ident] = self._given.get(ident, 0) + event[3]
        self.events.append(event)

    def refuse(self, refusal: Refusal) -> None:
        """Leave word of an event that is refused, from any thread."""
        self._refusals.append(refusal)

    def collect(self, admit: Callable[[Encoded], None], drop: Callable[[Refusal, int], None]) -> None:
        """Take out what lies here now; at home only.

        What comes meanwhile waits for the next time: threads that give faster than the home takes must not hold it.

        Args:
            admit: called with each event.
            drop: called with each reason to refuse events, and how many.
        """
        for _ in range(len(self.events)):
            event = self.events.popleft()
            self._taken += event[3]
            admit(event)
        for refusal, events in Counter(self._refusals.popleft() for _ in range(len(self._refusals))).items():
            drop(refusal, events)
