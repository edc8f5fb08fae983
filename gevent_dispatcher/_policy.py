"""What becomes of a batch after an answer: settled, put back to wait, or taken apart.

Decisions, and the changes in the buffer that follow from them: no socket, no clock and no greenlet, so that a whole
outage can be acted out.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

from gevent_dispatcher import _stats
from gevent_dispatcher._buffer import Buffer
from gevent_dispatcher._config import Config
from gevent_dispatcher._lane import Batch
from gevent_dispatcher._refusals import Refusals
from gevent_dispatcher._retry import (
    CONTENT_TOO_LARGE,
    Answer,
    Verdict,
    judge,
    may_be_the_events_fault,
    parse_retry_after,
    wait,
)
from gevent_dispatcher._stats import Outcome

_OUT_OF_TIME = Answer(error="not delivered in time")


class End(NamedTuple):
    """A batch whose events have ended, how, and what for."""

    batch: Batch
    outcome: Outcome
    reason: str
    answer: Answer


def rescue_nothing(batch: Batch) -> bool:
    """Where there is no other place for a batch whose time is up."""
    return False


class Policy:
    """Decides on the batches of one buffer.

    Args:
        config: `backoff_base` and `backoff_max` are read.
        buffer: what is pending.
        chance: `random.uniform` or like it.
        rescue: takes over a batch whose time is up, and tells whether it did; then the batch is lent.
    """

    def __init__(
        self,
        config: Config,
        buffer: Buffer,
        chance: Callable[[float, float], float],
        rescue: Callable[[Batch], bool] = rescue_nothing,
    ) -> None:
        self._config = config
        self._buffer = buffer
        self._chance = chance
        self._rescue = rescue
        self._refusals = Refusals()

    def conclude(self, batch: Batch, answer: Answer, now: float, wall_clock: float) -> list[End]:
        """Settle a batch that was taken from the buffer, or return it there.

        Args:
            batch: what was sent.
            answer: what came of it.
            now: monotonic seconds.
            wall_clock: seconds since the epoch, for a Retry-After that is a date.

        Returns:
            What has ended; the buffer has forgotten it.
        """
        verdict = judge(answer)
        if verdict is Verdict.RETRY:
            return self._failed(batch, answer, now, wall_clock)
        self._buffer.answered(batch)
        if verdict is Verdict.REFUSED:
            return self._refused(batch, answer)
        if verdict is Verdict.DELIVERED:
            self._refusals.delivered(batch)
            end = self._end(batch, Outcome.DELIVERED, "", answer)
        else:
            end = self._end(batch, Outcome.DROPPED, _stats.REJECTED, answer)
        self._buffer.release_rest(batch)
        return [end]

    def expire(self, now: float) -> list[End]:
        """Settle what was not delivered in time.

        Args:
            now: monotonic seconds.
        """
        return [end for batch in self._buffer.expired(now) for end in self._out_of_time(batch, _OUT_OF_TIME)]

    def _out_of_time(self, batch: Batch, answer: Answer) -> list[End]:
        return [] if self._rescue(batch) else [self._end(batch, Outcome.DROPPED, _stats.EXPIRED, answer)]

    def _refused(self, batch: Batch, answer: Answer) -> list[End]:
        """Some event in it is at fault: take it apart until that one stands alone."""
        if self._buffer.unseal(batch):
            if self._refusals.speak_against(batch):
                self._buffer.send_one_of(batch)
            else:
                self._buffer.halve(batch)
            return []
        self._refusals.refused_alone(batch)
        guilty = [batch] if batch.rest is None or batch.rest.is_settled else [batch, batch.rest]
        reason = _stats.TOO_LARGE if answer.status == CONTENT_TOO_LARGE else _stats.REJECTED
        return [self._end(each, Outcome.DROPPED, reason, answer) for each in guilty]

    def _failed(self, batch: Batch, answer: Answer, now: float, wall_clock: float) -> list[End]:
        """Have a batch wait for its next attempt, split it when it is suspected, or give it up when its time is up."""
        config = self._config
        asked = parse_retry_after(answer.retry_after, wall_clock)
        self._buffer.failed(batch, now, asked or 0.0, may_be_the_events_fault(answer))
        deadline = self._buffer.deadline(batch)
        if now >= deadline:
            return self._out_of_time(batch, answer)
        if batch.is_suspect and self._buffer.unseal(batch):
            self._buffer.halve(batch)
        else:
            pause = wait(batch.failures, asked, config.backoff_base, config.backoff_max, self._chance)
            not_before = now + pause.seconds
            self._buffer.put_back(batch, not_before if pause.asked else min(not_before, deadline), pause.asked)
        return []

    def _end(self, batch: Batch, outcome: Outcome, reason: str, answer: Answer) -> End:
        self._buffer.settle(batch)
        return End(batch, outcome, reason, answer)
