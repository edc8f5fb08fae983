"""The greenlets of a consumer that ask a queue for messages.

One always asks. A queue that can wait by itself may be worth several calls at once: others help while there is much,
and end when there is nothing. None is cut off before the end, because what is aborted may swallow a message.
"""

from __future__ import annotations

import time
from typing import Any, Callable

import gevent
from gevent.event import Event

from gevent_dispatcher._log import about, logger
from gevent_dispatcher._notices import Repeats, often
from gevent_dispatcher.queues import Message, OpenQueue, QueueError, QueueUnusable

monotonic = time.monotonic

# Messages that are asked for at once.
AT_ONCE = 10
# A queue that is away is asked again after so many seconds at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0
# After such a pause in vain, a queue is no longer waited for by a consumer that shall end when it is empty.
_ENOUGH = 2.0
# How long a consumer that shall end when the queue is empty has it look for messages, in seconds: a queue of many
# machines may not see all of them at once (Amazon SQS Developer Guide, "Short and long polling").
_LAST_LOOK = 1.0


class Bell:
    """Wakes whoever listened before it was rung."""

    def __init__(self) -> None:
        self._event = Event()

    def ring(self) -> None:
        """Wake all who listen; from any callback or signal handler."""
        event, self._event = self._event, Event()
        event.set()

    def listen(self) -> Event:
        """What to wait for; asked for before the look that says whether to wait."""
        return self._event


class Patience:
    """How long to leave a queue alone that is away, and what is said about it.

    Args:
        doing: what fails meanwhile.
        repeats: so that it is said once in a while.
    """

    def __init__(self, doing: str, repeats: Repeats) -> None:
        self._doing = doing
        self._repeats = repeats
        self._is_said = False
        self.seconds = 0.0

    def failed(self, error: QueueError) -> None:
        """It did not answer."""
        times = 0 if self._is_said else self._repeats.count(f"queue_away: {self._doing}", monotonic())
        if times:
            self._is_said = True
            name = type(error).__name__
            logger.warning(
                "cannot %s the queue%s (%s: %s); trying again",
                self._doing,
                often(times),
                name,
                error,
                extra=about("queue_away", doing=self._doing, error=name, times=times),
            )
        self.seconds = min(max(self.seconds * 2, _FIRST_PAUSE), _LONGEST_PAUSE)

    @property
    def is_at_its_end(self) -> bool:
        """Whether the queue has been away for too long for somebody who will not wait for ever."""
        return self.seconds >= _ENOUGH

    def worked(self) -> None:
        """It answered."""
        if self._is_said:
            self._is_said = False
            logger.info("can %s the queue again", self._doing, extra=about("queue_back", doing=self._doing))
        self.seconds = 0.0


class Receivers:
    """All that ask one opened queue.

    Args:
        opened: the queue.
        repeats: so that each thing is said once in a while.
        lease: seconds for which messages are ours.
        pause: seconds between two looks at a queue that cannot wait by itself.
        wait: seconds for which one that can may do so.
        room: how many messages may be taken now.
        take: gets each message, also those that come after `stop`.
        bell: rung when there may be room again, and at a stop.
        is_over: whether the end has come, given that the queue just said that it is empty; None without an end.
    """

    def __init__(
        self,
        opened: OpenQueue,
        repeats: Repeats,
        lease: float,
        pause: float,
        wait: float,
        room: Callable[[], int],
        take: Callable[[Message], None],
        bell: Bell,
        is_over: Callable[[bool], bool] | None = None,
    ) -> None:
        self._opened: Any = opened
        self._lease = lease
        self._pause = pause
        self._room = room
        self._take = take
        self._bell = bell
        self._is_over = is_over
        polls = getattr(opened, "polls", None)
        self._can_wait = isinstance(polls, int)
        longest = min(wait, getattr(opened, "longest_poll", 0.0)) if self._can_wait else 0.0
        self._wait = longest if is_over is None else min(longest, _LAST_LOOK)
        self._most = polls if isinstance(polls, int) and is_over is None else 1
        self._patience = Patience("receive from", repeats)
        self._asked_for = 0  # messages, by calls that are under way
        self._is_stopped = False
        self._error: Exception | None = None
        self.greenlets: set[Any] = set()

    def start(self) -> None:
        """Have one ask."""
        self._start(self._ask_on)

    def stop(self) -> None:
        """Ask no more; what is under way is let end."""
        self._is_stopped = True

    @property
    def are_asking(self) -> bool:
        """Whether a call is under way, which may still bring messages."""
        return bool(self._asked_for)

    @property
    def is_at_its_end(self) -> bool:
        """Whether the queue has been away for too long."""
        return self._patience.is_at_its_end

    def have_ended(self) -> bool:
        """Whether none is left.

        Raises:
            QueueUnusable: what is there is not a queue.
            Exception: what one of them met besides, that no queue should raise.
        """
        if self._error is not None:
            raise self._error
        return not self.greenlets

    # -- one of them ---------------------------------------------------------------------------------------------------

    def _start(self, work: Callable[[], None]) -> None:
        greenlet = gevent.spawn(self._noting, work)
        self.greenlets.add(greenlet)
        greenlet.rawlink(self._ended)

    def _noting(self, work: Callable[[], None]) -> None:
        """What is raised is for whoever runs the consumer."""
        try:
            work()
        except Exception as error:
            self._error = error

    def _ended(self, greenlet: Any) -> None:
        self.greenlets.discard(greenlet)
        self._bell.ring()

    def _ask_on(self) -> None:
        """The one that always asks."""
        while not self._is_stopped:
            news, begin = self._bell.listen(), monotonic()
            messages = self._ask()
            if messages:
                self._get_help(len(messages))
                continue
            if self._is_over is not None and self._is_over(messages == []):
                return
            self._rest(news, monotonic() - begin)

    def _rest(self, news: Event, spent: float) -> None:
        """Until there is news, or it is time to look again: at once where the queue itself has waited."""
        has_waited = self._wait > 0 and spent >= self._wait / 2 and not self._patience.seconds
        if not has_waited and not self._is_stopped:
            news.wait(self._patience.seconds or self._pause)

    def _get_help(self, found: int) -> None:
        if found == AT_ONCE and len(self.greenlets) < self._most and not self._is_stopped:
            self._start(self._help)

    def _help(self) -> None:
        """For as long as there is much."""
        while not self._is_stopped and self._ask():
            pass

    def _ask(self) -> list[Message] | None:
        """Take what there is; none when there is no room for more, None when the queue did not answer."""
        most = min(self._room() - self._asked_for, AT_ONCE)
        if most <= 0:
            return []
        self._asked_for += most
        try:
            messages = self._received(most)
        except QueueUnusable:
            raise
        except QueueError as error:
            self._patience.failed(error)
            return None
        finally:
            self._asked_for -= most
        self._patience.worked()
        for message in messages:
            self._take(message)
        return messages

    def _received(self, most: int) -> list[Message]:
        if self._can_wait:
            return self._opened.poll(most, self._lease, self._wait)  # type: ignore[no-any-return]  # it is a PollingQueue
        return self._opened.receive(most, self._lease)  # type: ignore[no-any-return]  # it is an OpenQueue
