"""The off switch, for staging and for tests: whether the environment says that no event is to be sent."""

from __future__ import annotations

from typing import Mapping

VARIABLE = "GEVENT_DISPATCHER_DISABLED"

_ON = frozenset(("1", "true", "yes", "on"))
_OFF = frozenset(("", "0", "false", "no", "off"))


def is_on(environ: Mapping[str, str]) -> bool:
    """Whether no event is to be sent.

    Args:
        environ: the process's environment.

    Raises:
        ValueError: the variable says neither yes nor no.
    """
    value = environ.get(VARIABLE, "")
    word = value.strip().lower()
    if word not in _ON and word not in _OFF:
        raise ValueError(
            f"{VARIABLE}={value!r}: must be 1, true, yes or on to send no event, or 0, false, no, off or empty to send"
        )
    return word in _ON


def is_unreadable(environ: Mapping[str, str]) -> bool:
    """Whether the variable says neither yes nor no.

    Args:
        environ: the process's environment.
    """
    try:
        is_on(environ)
    except ValueError:
        return True
    return False
