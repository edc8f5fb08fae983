"""The one logger, and what each of its records carries for machines.

What the levels mean:

    ERROR    events were lost, or something raises that has to be mended by somebody
    WARNING  nothing is lost yet, or it is lost on purpose: an endpoint, a spool or a queue is away
    INFO     what was away is back; how far a command has come
    DEBUG    is not used
"""

from __future__ import annotations

import logging
import traceback
from typing import Mapping

logger = logging.getLogger("gevent_dispatcher")


def about(event: str, **fields: str | int | float | None) -> dict[str, dict[str, str | int | float | None]]:
    """The `extra` of a record: one attribute, `gevent_dispatcher`, whose values are plain, so that they are JSON.

    Args:
        event: what has happened, by a name that stays the same.
        **fields: what the message says, by name; no payload, no query string, no credential.
    """
    return {"gevent_dispatcher": {"event": event, **fields}}


def say_the_rest(repeats: Mapping[str, int]) -> None:
    """Say at an end how often has happened again what was said before.

    Args:
        repeats: how often, by the name of its record and what tells it apart.
    """
    for what, times in repeats.items():
        logger.warning(
            "%s: %d more since it was last said", what, times, extra=about("repeated", what=what, times=times)
        )


def describe(error: BaseException) -> str:
    """Where an exception of somebody else's code came from, without its message: that may hold a payload."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}, raised at\n{frames}".rstrip()
