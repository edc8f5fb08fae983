"""Which envelopes an endpoint refuses whatever they hold, so that not each of their batches is taken apart.

A merged request that is refused is split until the guilty event stands alone. Where the envelope itself is at fault (an
account that does not exist, say) that would send each event alone and find all of them guilty.
"""

from __future__ import annotations

from typing import Hashable

from gevent_dispatcher._event import Envelope
from gevent_dispatcher._lane import Batch, Kin

# So many events of one envelope, in batches of which each event was refused, and none delivered in between, speak
# against the envelope. Fewer may just be guilty events in a row, and the good ones beside them would be lost.
_TELLING = 50
# Envelopes that are remembered.
_REMEMBERED = 1_000


class Refusals:
    """Counts the events of batches that were refused to the last event, for each envelope, since one was delivered."""

    def __init__(self) -> None:
        self._in_a_row: dict[Hashable, tuple[Envelope, int]] = {}

    def delivered(self, batch: Batch) -> None:
        """A request was taken."""
        if batch.sealed:
            for identity, (envelope, _) in list(self._in_a_row.items()):
                if batch.parts[0].startswith(envelope.prefix):
                    del self._in_a_row[identity]
        elif self._in_a_row:
            self._in_a_row.pop(batch.envelope.identity, None)

    def refused_alone(self, batch: Batch) -> None:
        """A request with a single event was refused."""
        kin = batch.kin or Kin(batch.events)
        kin.refused += batch.events
        if kin.refused == kin.events:
            self._refused_whole(batch.envelope, kin.events)

    def _refused_whole(self, envelope: Envelope, events: int) -> None:
        if len(self._in_a_row) >= _REMEMBERED:
            self._in_a_row.clear()
        _, before = self._in_a_row.get(envelope.identity, (envelope, 0))
        self._in_a_row[envelope.identity] = envelope, before + events

    def speak_against(self, batch: Batch) -> bool:
        """Whether a batch that was refused whole is to be judged by one of its events instead of being taken apart.

        What is being taken apart already is taken apart to the end.
        """
        _, events = self._in_a_row.get(batch.envelope.identity, (None, 0))
        return not batch.is_piece and events >= _TELLING
