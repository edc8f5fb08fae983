"""What an answer means, and how long to wait before the next attempt. Pure decisions: time and chance come in."""

from __future__ import annotations

from email.utils import mktime_tz, parsedate_tz
from enum import Enum
from typing import Callable, NamedTuple

# No Retry-After parks events for longer than this: half of the default delivery_timeout.
LONGEST_RETRY_AFTER = 300.0

# 5xx aside: RFC 9110 and RFC 6585 call these the ones for which the same request may succeed later.
_TEMPORARY = frozenset((408, 425, 429))
# Who is asked, what for and with which right: an answer to the address, whatever the request holds.
_OF_THE_ENDPOINT = frozenset((401, 403, 404, 407, 410))
# The request is larger than the endpoint takes.
CONTENT_TOO_LARGE = 413


class Verdict(Enum):
    """What an answer means for the batch that was sent.

    DELIVERED: it was taken. RETRY: later it may be. REFUSED: some event in it is at fault. REJECTED: the endpoint takes
    no event at all.
    """

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"
    REJECTED = "rejected"


class Answer(NamedTuple):
    """What happened to one request.

    Attributes:
        status: the HTTP status, None when there was no answer.
        retry_after: the Retry-After header as it came, None without one.
        error: what went wrong when there was no answer; no url, no payload, no credential.
    """

    status: int | None = None
    retry_after: str | None = None
    error: str = ""

    def __str__(self) -> str:
        return self.error or f"status {self.status}"


def answer_problem(answer: object) -> str | None:
    """What is wrong with what a transport returned, or None: it is anybody's code, and decisions rest on it."""
    if not isinstance(answer, Answer):
        return type(answer).__name__
    for name, accepted in (("status", int), ("retry_after", str), ("error", str)):
        value = getattr(answer, name)
        if value is not None and not isinstance(value, accepted):
            return f"one whose {name} is {type(value).__name__}"
    return None


def judge(answer: Answer) -> Verdict:
    """Decide what an answer means for the batch that was sent."""
    status = answer.status
    if status is None or status in _TEMPORARY or status >= 500:
        return Verdict.RETRY
    if 200 <= status < 300:
        return Verdict.DELIVERED
    return Verdict.REJECTED if status < 400 or status in _OF_THE_ENDPOINT else Verdict.REFUSED


def may_be_the_events_fault(answer: Answer) -> bool:
    """Whether an answer to be retried is of a kind that an event which the endpoint cannot bear would bring about.

    A server error or none at all is, unless the endpoint asks for time; being asked to come later is not.
    """
    return answer.status not in _TEMPORARY and answer.retry_after is None


class Wait(NamedTuple):
    """How long a batch waits.

    Attributes:
        seconds: from now.
        asked: the endpoint asked for it, so that a flush must not cut it short.
    """

    seconds: float
    asked: bool


def wait(
    failures: int,
    retry_after: float | None,
    backoff_base: float,
    backoff_max: float,
    chance: Callable[[float, float], float],
) -> Wait:
    """How long to wait before the next attempt: exponential backoff with full jitter, never less than Retry-After.

    Args:
        failures: how often in a row the batch has failed, at least 1.
        retry_after: what the endpoint asked for, in seconds, None when it did not.
        backoff_base: upper bound of the first wait, in seconds.
        backoff_max: upper bound of any wait, in seconds.
        chance: `random.uniform` or like it.
    """
    bound = min(backoff_max, backoff_base * 2.0 ** min(failures - 1, 60))
    jitter = chance(0.0, bound)
    if retry_after is None:
        return Wait(jitter, asked=False)
    return Wait(min(max(retry_after, 0.0), LONGEST_RETRY_AFTER) + jitter, asked=True)


def parse_retry_after(value: str | None, wall_clock: float) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), None when it says nothing usable.

    Args:
        value: the header, either seconds or an HTTP date.
        wall_clock: seconds since the epoch.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:20]), LONGEST_RETRY_AFTER)
    return _until(text, wall_clock)


def _until(text: str, wall_clock: float) -> float | None:
    try:
        *date, zone = parsedate_tz(text)  # type: ignore[misc]  # None, which is no date, is a TypeError
        # The obsolete form of RFC 9110, section 5.6.7, names no zone, and is in UTC like the others.
        moment = mktime_tz((*date, zone or 0))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(max(moment - wall_clock, 0.0), LONGEST_RETRY_AFTER)
