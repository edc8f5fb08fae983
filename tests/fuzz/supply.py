"""Values made of bytes, so that whoever chooses the bytes, hypothesis or atheris, chooses the values."""

from __future__ import annotations

from typing import Any, Callable, Mapping, NoReturn, Sequence, TypeVar

T = TypeVar("T")

_DEEPEST = 4
_LONGEST = 5

_TEXTS = ("", "visitors", "params", "url", "\ud800", "\x00", "é", "1", "null", "\ufffe", "gevent_dispatcher", "a" * 300)
_NUMBERS = (0, -1, 1, 2**63, 2**64, 10**400, 1.5, -0.0, float("nan"), float("inf"), 1e308)


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise OSError(name)

    def __iter__(self) -> NoReturn:
        raise KeyError

    def __len__(self) -> NoReturn:
        raise MemoryError

    def __eq__(self, other: object) -> NoReturn:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 1

    def __str__(self) -> NoReturn:
        raise RecursionError


class LyingDict(dict):  # type: ignore[type-arg]
    """Has something else each time that it is looked at."""

    def items(self) -> Any:
        return [("visitors", 1, 2)]

    def __len__(self) -> int:
        return 0


class Supply:
    """Hands out what some bytes stand for; when they are used up, zeros.

    Args:
        data: the bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """0 to 255."""
        at, self._at = self._at, self._at + 1
        return self._data[at] if at < len(self._data) else 0

    def rest(self) -> bytes:
        """All that is left."""
        at, self._at = self._at, len(self._data)
        return self._data[at:]

    def one_of(self, choices: Sequence[T]) -> T:
        """One of some values."""
        return choices[self.byte() % len(choices)]

    def bytes(self) -> bytes:
        """Up to 31 bytes."""
        count, at = self.byte() % 32, self._at
        self._at += count
        return self._data[at : self._at]

    def text(self) -> str:
        """One of those that hurt, or any."""
        return self.one_of(_TEXTS) if self.byte() % 2 else self.bytes().decode("utf-8", "surrogateescape")

    def json(self, depth: int = 0) -> Any:
        """What JSON has, NaN and lone surrogates included."""
        kinds: list[Callable[[], Any]] = [lambda: None, lambda: True, self.text, lambda: self.one_of(_NUMBERS)]
        if depth < _DEEPEST:
            kinds += [lambda: self._list(self.json, depth), lambda: self._dict(self.text, self.json, depth)]
        return self.one_of(kinds)()

    def any(self, depth: int = 0) -> Any:
        """What an application might put into an event: JSON, other types, objects that lie or raise."""
        kinds: list[Callable[[], Any]] = [self.json, self.json, self.bytes, Hostile, object, lambda: LyingDict(a=1)]
        if depth < _DEEPEST:
            kinds += [
                lambda: self._list(self.any, depth),
                lambda: tuple(self._list(self.any, depth)),
                lambda: self._dict(lambda: self.one_of((None, 1, True, 1.5, (), self.text())), self.any, depth),
                lambda: {self.text(), 1},
                _circle,
            ]
        return self.one_of(kinds)()

    def changed(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """An object with some of its members replaced, one perhaps missing, one perhaps added."""
        found = {name: self.json() if self.byte() % 4 == 1 else value for name, value in members.items()}
        if self.byte() % 4 == 1 and found:
            found.pop(self.one_of(list(found)))
        if self.byte() % 4 == 1:
            found[self.text()] = self.json()
        return found

    def _list(self, item: Callable[[int], Any], depth: int) -> list[Any]:
        return [item(depth + 1) for _ in range(self.byte() % _LONGEST)]

    def _dict(self, name: Callable[[], Any], value: Callable[[int], Any], depth: int) -> dict[Any, Any]:
        return {name(): value(depth + 1) for _ in range(self.byte() % _LONGEST)}


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle
