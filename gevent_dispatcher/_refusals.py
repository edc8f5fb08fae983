"""Which envelopes an endpoint refuses whatever they hold, so that not each of their batches is taken apart.

A merged request that is refused is split until the guilty event stands alone. Where the envelope itself is at fault (an
account that does not exist, say) that would send each event alone and find all of them guilty.
"""

from __future__ import annotations

from gevent_dispatcher._event import Envelope
from gevent_dispatcher._lane import Batch

# So many events of one envelope refused one by one, and none delivered in between, speak against the envelope. Fewer
# may just be guilty events in a row, and the good ones beside them would be lost.
_TELLING = 10
# Envelopes that are remembered.
_REMEMBERED = 1_000


class Refusals:
    """Counts the events that were refused alone, for each envelope, since one was delivered."""

    def __init__(self) -> None:
        self._in_a_row: dict[Envelope, int] = {}

    def delivered(self, envelope: Envelope) -> None:
        """A request of this envelope was taken."""
        if self._in_a_row:
            self._in_a_row.pop(envelope, None)

    def refused_alone(self, envelope: Envelope) -> None:
        """A request with a single event was refused."""
        if len(self._in_a_row) >= _REMEMBERED:
            self._in_a_row.clear()
        self._in_a_row[envelope] = self._in_a_row.get(envelope, 0) + 1

    def speak_against(self, batch: Batch) -> bool:
        """Whether a batch that was refused whole is to be judged by one of its events instead of being taken apart.

        What is being taken apart already is taken apart to the end.
        """
        return not batch.is_piece and self._in_a_row.get(batch.envelope, 0) >= _TELLING
