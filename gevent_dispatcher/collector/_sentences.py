"""An event as a line of English. Pure."""

from __future__ import annotations

from gevent_dispatcher.collector._facts import DECISION, INVALID, Facts

# Of each name in a line, in characters.
_LONGEST = 100
# What the SDK's rule types are called, where that is no experiment.
_NOUNS = {"rollout": "rollout", "holdout": "holdout"}


def line_of(facts: Facts, problems: list[str]) -> str:
    """What an event says, e.g. `visitor-1 converted "purchase", revenue 42.00`.

    Args:
        facts: of the event.
        problems: of an invalid one.
    """
    if facts.kind == INVALID:
        return _invalid(facts, problems)
    visitor = clamped(facts.visitor or "a visitor without a name", _LONGEST)
    return f"{visitor} {_decision(facts) if facts.kind == DECISION else _conversion(facts)}"


def clamped(text: str, longest: int) -> str:
    """A text without what is beyond so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _invalid(facts: Facts, problems: list[str]) -> str:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    sender = f"{clamped(facts.visitor, _LONGEST)} sent an" if facts.visitor else "an"
    return f"{sender} invalid payload: {clamped(problems[0], 2 * _LONGEST)}{more}"


def _decision(facts: Facts) -> str:
    seen = f"saw variation {clamped(facts.variation, _LONGEST)}" if facts.variation else "saw no variation"
    more = f", and {facts.more} more" if facts.more else ""
    return seen + _of_what(facts) + more


def _of_what(facts: Facts) -> str:
    if facts.experiment:
        noun = _NOUNS.get(facts.rule_type or "", "experiment")
        return f" of {noun} {clamped(facts.experiment, _LONGEST)}"
    return f" of flag {clamped(facts.flag, _LONGEST)}" if facts.flag else ", and the event does not say of what"


def _conversion(facts: Facts) -> str:
    what = f'converted "{clamped(facts.key, _LONGEST)}"' if facts.key else "converted an event without a key"
    revenue = "" if facts.revenue is None else f", revenue {_money(facts.revenue)}"
    value = "" if facts.value is None else f", value {clamped(_number(facts.value), _LONGEST)}"
    return what + revenue + value


def _money(hundredths: int) -> str:
    whole, rest = divmod(abs(hundredths), 100)
    return clamped(f"{'-' if hundredths < 0 else ''}{whole}.{rest:02}", _LONGEST)


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else str(value)
