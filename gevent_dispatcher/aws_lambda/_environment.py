"""Settings of the handler that Lambda imports: the function's environment variables. Pure."""

from __future__ import annotations

import difflib
from typing import Any, Callable, Mapping

from gevent_dispatcher._consumer import EVENT_API
from gevent_dispatcher._off_switch import VARIABLE, is_yes
from gevent_dispatcher.queues import LegacyFormat

PREFIX = "GEVENT_DISPATCHER_"

# Each variable without its prefix: how it is read, and what is accepted.
_PLAIN: dict[str, tuple[Callable[[str], Any], str]] = {
    "DEAD_LETTER_URL": (str, "the url of an SQS queue"),
    "STRICT": (is_yes, "true or false"),
    "MARGIN": (float, "a number of seconds"),
    "POOL_SIZE": (int, "a whole number of greenlets"),
    "CONNECT_TIMEOUT": (float, "a number of seconds"),
    "READ_TIMEOUT": (float, "a number of seconds"),
    "REQUEST_TIMEOUT": (float, "a number of seconds"),
}
_LEGACY: dict[str, tuple[Callable[[str], Any], str]] = {
    "ACCOUNT_ID": (str, "digits"),
    "PROJECT_ID": (str, "digits"),
    "ANONYMIZE_IP": (is_yes, "true or false"),
    "LEGACY_URL": (str, "a url"),
}
_ALLOW = "ALLOW"


def settings_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """The keywords of `make_handler` that the environment asks for.

    Args:
        environ: as `os.environ`; a variable that is empty counts as not set.

    Raises:
        ValueError: there is no such variable, or its value is not of its form.
    """
    # The off switch is for dispatchers, and may stand in a whole environment; a worker does not look at it, either.
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX) and name != VARIABLE}
    given = {name[len(PREFIX) :]: text for name, text in ours.items() if text}
    _check_names(given)
    settings = {name.lower(): _read(name, given[name], *how) for name, how in _PLAIN.items() if name in given}
    if _ALLOW in given:
        settings["destinations"] = [*EVENT_API, *given[_ALLOW].replace(",", " ").split()]
    legacy = {name: _read(name, given[name], *how) for name, how in _LEGACY.items() if name in given}
    if legacy:
        settings["legacy"] = _legacy(legacy)
    return settings


def _check_names(given: Mapping[str, str]) -> None:
    known = {*_PLAIN, *_LEGACY, _ALLOW}
    for name in given.keys() - known:
        near = difflib.get_close_matches(name, known, 1)
        suggestion = f"did you mean {PREFIX}{near[0]}?" if near else f"there are {', '.join(sorted(known))}"
        raise ValueError(f"there is no setting {PREFIX}{name}; {suggestion}")


def _read(name: str, text: str, read: Callable[[str], Any], accepted: str) -> Any:
    try:
        return read(text)
    except ValueError:
        raise ValueError(f"{PREFIX}{name}={text!r}: must be {accepted}") from None


def _legacy(found: dict[str, Any]) -> LegacyFormat:
    for name in ("ACCOUNT_ID", "PROJECT_ID"):
        if name not in found:
            others = ", ".join(PREFIX + each for each in found)
            raise ValueError(f"{PREFIX}{name} is not set: it is needed beside {others}")
    url = {"url": found.pop("LEGACY_URL")} if "LEGACY_URL" in found else {}
    return LegacyFormat(**{name.lower(): value for name, value in found.items()}, **url)
