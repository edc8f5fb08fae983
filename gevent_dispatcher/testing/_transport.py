"""A transport that sends nothing: its answers are scripted, and it keeps what it was asked to send."""

from __future__ import annotations

from itertools import chain, repeat
from typing import Any, Callable, Iterable, NamedTuple, Sequence

import gevent

from gevent_dispatcher._event import Request
from gevent_dispatcher._retry import Answer
from gevent_dispatcher.testing._events import RecordedEvent, events_of, params_of

# What comes of a connection that breaks off.
NO_ANSWER = Answer(error="no answer")


class _After(NamedTuple):
    seconds: float
    step: Any


def after(seconds: float, step: Any) -> Any:
    """A step of a script that takes its time.

    Args:
        seconds: how long.
        step: what comes then.
    """
    return _checked(_After(seconds, step))


class FakeTransport:
    """Answers requests by a script: `GeventEventDispatcher(transport=FakeTransport([503, 503, 204]))`.

    A step is an HTTP status, an `Answer` (with a Retry-After, say), `NO_ANSWER`, an exception to be raised, `after`
    some seconds another step, or a callable that is given the request and returns a step; it may wait.

    Args:
        script: one step for each request, in the order in which they are sent; may be endless.
        default: the step for each request after the script.
        before: called with each request before its step; may wait, and so hold a sender.

    Raises:
        ValueError: a step is none of these.

    Attributes:
        requests: what it was asked to send, repeated requests included.
        opened: how often it was opened.
        closed: how often it was closed.
    """

    def __init__(
        self, script: Iterable[Any] = (), *, default: Any = 204, before: Callable[[Request], object] | None = None
    ) -> None:
        if isinstance(script, Sequence):
            script = [_checked(step) for step in script]
        self._steps = chain(script, repeat(_checked(default)))
        self._before = before
        self.requests: list[Request] = []
        self.opened = 0
        self.closed = 0

    def __repr__(self) -> str:
        return f"<FakeTransport, {len(self.requests)} requests>"

    @property
    def payloads(self) -> list[Any]:
        """What each request carried: the JSON of its body, or of a GET the fields of its query."""
        return [params_of(request) for request in list(self.requests)]

    @property
    def events(self) -> list[RecordedEvent]:
        """The events of all requests; one that was sent twice is there twice."""
        return [event for request in list(self.requests) for event in events_of(request)]

    def open(self, connections: int) -> FakeTransport:
        """Called by the engine, in a sender's greenlet."""
        self.opened += 1
        return self

    def send(self, request: Request) -> Answer:
        """Called by senders: take the next step."""
        self.requests.append(request)
        step = next(self._steps)
        if self._before is not None:
            self._before(request)
        return _answer(step, request)

    def close(self) -> None:
        """Called by the engine."""
        self.closed += 1


def _answer(step: Any, request: Request) -> Answer:
    step = _checked(step)
    if isinstance(step, _After):
        gevent.sleep(step.seconds)
        return _answer(step.step, request)
    if isinstance(step, Answer):
        return step
    if isinstance(step, int):
        return Answer(step)
    if _is_exception(step):
        raise step
    return _answer(step(request), request)


def _is_exception(step: Any) -> bool:
    return isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException))


def _checked(step: Any) -> Any:
    if isinstance(step, _After):
        _check_seconds(step.seconds)
        _checked(step.step)
        return step
    is_status = isinstance(step, int) and not isinstance(step, bool) and 100 <= step <= 599
    if is_status or isinstance(step, Answer) or _is_exception(step) or callable(step):
        return step
    raise ValueError(
        f"step {step!r}: must be an HTTP status from 100 to 599, an Answer, NO_ANSWER, an exception,"
        " after(seconds, step), or a callable that returns one of these"
    )


def _check_seconds(seconds: object) -> None:
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= 3600:  # type: ignore[operator]  # mypy can't follow is_number
        raise ValueError(f"after({seconds!r}, ...): must be a number of seconds from 0 to 3600")
