"""How the collector misbehaves, so that an application can be rehearsed against a bad day. No clock, no server here."""

from __future__ import annotations

import dataclasses
import enum
import json
from dataclasses import dataclass
from random import Random
from typing import Any

# What the Event API answers when all is well.
WELL = 204

# Each setting: its types, its range if it is a number, and what it has to be.
_NUMBERS = {"status": (200, 599), "rate": (0, 1), "latency": (0, 3600)}
_NOUNS = {"status": "a whole number", "rate": "a share", "latency": "a number of seconds"}


class Break(enum.Enum):
    """How a request ends that is not answered."""

    HANG = "hang"
    RESET = "reset"


@dataclass(frozen=True)
class Faults:
    """How requests with events are answered.

    Args:
        status: the HTTP status of those that fail; events count as received only with a 2xx.
        rate: the share of requests that fail, from 0 to 1; the others are answered with 204.
        latency: how long each answer takes, in seconds.
        hang: whether those that fail are never answered.
        reset: whether the connections of those that fail are reset. Each of several ways to fail gets an equal share.
        strict: whether what is not as documented is answered with 400, as the header `X-Optimizely-Strict` asks for.

    Raises:
        ValueError: a value is outside its range; the message has name, value and range.
    """

    status: int = WELL
    rate: float = 1.0
    latency: float = 0.0
    hang: bool = False
    reset: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name))

    def ways(self) -> list[int | Break]:
        """The ways to fail."""
        status: list[int | Break] = [self.status] if self.status != WELL else []
        return [*status, *([Break.HANG] if self.hang else []), *([Break.RESET] if self.reset else [])]

    def draw(self, chance: Random) -> int | Break:
        """What becomes of one request: the status of its answer, or how it ends without one."""
        ways = self.ways()
        if not ways or (self.rate < 1 and chance.random() >= self.rate):
            return WELL
        return ways[0] if len(ways) == 1 else chance.choice(ways)


def _check(name: str, value: object) -> None:
    if name not in _NUMBERS:
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}: must be true or false")
        return
    low, high = _NUMBERS[name]
    kinds: Any = (int,) if name == "status" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise ValueError(f"{name}={value!r}: must be {_NOUNS[name]} from {low} to {high}")


def settings_of(body: bytes) -> dict[str, Any]:
    """The settings that a request's body holds, by name; their values are not looked at.

    Raises:
        ValueError: it holds something else.
    """
    known = [field.name for field in dataclasses.fields(Faults)]
    try:
        settings = json.loads(body)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"the body must be a JSON object of any of {', '.join(known)}")
    for name in settings:
        if name not in known:
            raise ValueError(f"{name[:50]!r}: there is no such setting; there are {', '.join(known)}")
    return settings
