"""How often each event key came, and each variation of each experiment: bounded by names. Pure."""

from __future__ import annotations

from typing import Iterable, Mapping

from gevent_dispatcher.collector._facts import Facts
from gevent_dispatcher.collector._sentences import clamped

# Names that are counted, each by itself; an application has fewer.
_MOST = 1_000
_LONGEST = 200
# Where all further names are counted.
OTHERS = "(others)"


class Tallies:
    """Counts of valid events since they were made."""

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._experiments: dict[str, dict[str, int]] = {}

    def add(self, events: Iterable[Facts]) -> None:
        """Count some events."""
        for facts in events:
            if facts.key is not None:
                _count(facts.key, self._keys)
            if facts.experiment is not None:
                name = _name(facts.experiment, self._experiments)
                _count(facts.variation or "", self._experiments.setdefault(name, {}))

    def keys(self) -> dict[str, int]:
        """How often each key came."""
        return dict(self._keys)

    def experiments(self) -> dict[str, dict[str, int]]:
        """How often each variation of each experiment was seen; "" is none."""
        return {name: dict(variations) for name, variations in self._experiments.items()}


def _count(name: str, counts: dict[str, int]) -> None:
    name = _name(name, counts)
    counts[name] = counts.get(name, 0) + 1


def _name(name: str, known: Mapping[str, object]) -> str:
    if name in known:
        return name
    name = clamped(name, _LONGEST)
    return name if name in known or len(known) < _MOST else OTHERS
