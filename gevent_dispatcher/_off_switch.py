"""The off switch, for staging and for tests: whether the environment says that no event is to be sent."""

from __future__ import annotations

from typing import Mapping

VARIABLE = "GEVENT_DISPATCHER_DISABLED"

_YES = frozenset(("1", "true", "yes", "on"))
_NO = frozenset(("", "0", "false", "no", "off"))


def is_yes(text: str) -> bool:
    """What a variable of the environment says that means yes or no.

    Args:
        text: its value.

    Raises:
        ValueError: it says neither.
    """
    word = text.strip().lower()
    if word not in _YES and word not in _NO:
        raise ValueError(f"{text!r} says neither yes nor no")
    return word in _YES


def is_on(environ: Mapping[str, str]) -> bool:
    """Whether no event is to be sent.

    Args:
        environ: the process's environment.

    Raises:
        ValueError: the variable says neither yes nor no.
    """
    value = environ.get(VARIABLE, "")
    try:
        return is_yes(value)
    except ValueError:
        raise ValueError(
            f"{VARIABLE}={value!r}: must be 1, true, yes or on to send no event, or 0, false, no, off or empty to send"
        ) from None


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
