"""Names that were seen lately, counted: bounded, so that a collector may run for weeks. Pure.

What has not been seen for longest is forgotten first; should it come again, it counts as new.
"""

from __future__ import annotations

from collections import OrderedDict

# Names may have any length: together no more characters than these are kept.
MOST_CHARACTERS = 64 * 1024 * 1024


class Recent:
    """How often each name was seen.

    Args:
        most: names that are remembered.
        characters: of all names together.
    """

    def __init__(self, most: int, characters: int = MOST_CHARACTERS) -> None:
        self.distinct = 0
        self._most = most
        self._room = characters
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, name: str) -> bool:
        """Count a name once more; whether it was seen before."""
        seen = self._counts.get(name, 0)
        self._counts[name] = seen + 1
        if seen:
            self._counts.move_to_end(name)
            return True
        self.distinct += 1
        self._room -= len(name)
        while len(self._counts) > self._most or self._room < 0:
            self._room += len(self._counts.popitem(last=False)[0])
        return False

    def counts(self) -> dict[str, int]:
        """How often each remembered name was seen."""
        return dict(self._counts)


class RecentPairs:
    """How often each name was seen with each key.

    Args:
        most: pairs that are remembered.
        characters: of all names and keys together.
    """

    def __init__(self, most: int, characters: int = MOST_CHARACTERS) -> None:
        self.distinct = 0
        self._most = most
        self._room = characters
        self._pairs = 0
        self._counts: OrderedDict[str, dict[str, int]] = OrderedDict()

    def add(self, name: str, key: str) -> None:
        """Count a pair once more."""
        keys = self._counts.get(name)
        if keys is None:
            keys = self._counts[name] = {}
            self.distinct += 1
            self._room -= len(name)
        else:
            self._counts.move_to_end(name)
        if key not in keys:
            self._pairs += 1
            self._room -= len(key)
        keys[key] = keys.get(key, 0) + 1
        while self._pairs > self._most or self._room < 0:
            self._forget_one()

    def counts(self) -> dict[str, dict[str, int]]:
        """How often each remembered name was seen, by key."""
        return {name: dict(keys) for name, keys in self._counts.items()}

    def _forget_one(self) -> None:
        name, keys = self._counts.popitem(last=False)
        self._pairs -= len(keys)
        self._room += len(name) + sum(map(len, keys))
