"""The last events, kept to be looked at: bounded in number and in bytes. No input or output here."""

from __future__ import annotations

from collections import deque
from typing import Any, Iterator, NamedTuple

from gevent_dispatcher.collector._facts import INVALID, Facts
from gevent_dispatcher.collector._reading import Reading, read_body, read_query
from gevent_dispatcher.collector._sentences import clamped, line_of

# Events that are kept to be looked at: some 10 MB of the SDK's.
KEEP = 10_000
# Bytes of all bodies that these events came in.
KEEP_BYTES = 64 * 1024 * 1024

# No running number has as many digits.
_DIGITS = 19

# Of a value in an item, in characters; an item's details have all of it.
_LONGEST_VALUE = 1_000
# Of a text that is no payload, in characters.
_LONGEST_TEXT = 65_536


def number_of(text: str) -> int | None:
    """The number that a text is, as large as running numbers may be; None when it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else None


class Envelope:
    """A request that brought events.

    Args:
        number: of the request.
        at: seconds since 1970.
        raw: the body of a POST, or the query string of a GET.
        headers: without those that may hold credentials.
    """

    __slots__ = ("at", "headers", "number", "raw")

    def __init__(self, number: int, at: float, raw: bytes | str, headers: dict[str, str]) -> None:
        self.number = number
        self.at = at
        self.raw = raw
        self.headers = headers

    def read(self) -> Reading:
        """The payload, as often as it is wanted."""
        return read_body(self.raw) if isinstance(self.raw, bytes) else read_query(self.raw)

    def text(self) -> str:
        """What came, for a payload that has no parts."""
        raw = self.raw.decode("utf-8", "replace") if isinstance(self.raw, bytes) else self.raw
        return clamped(raw, _LONGEST_TEXT)


class Kept(NamedTuple):
    """One event with its running number."""

    n: int
    facts: Facts
    duplicate: bool
    problems: list[str]
    envelope: Envelope

    def item(self) -> dict[str, Any]:
        """What the API tells of it."""
        facts = self.facts
        return {
            "n": self.n,
            "at": self.envelope.at,
            "kind": facts.kind,
            "valid": facts.kind != INVALID,
            "problems": self.problems,
            "duplicate": self.duplicate,
            "uuid": _clamped(facts.uuid),
            "visitor": _clamped(facts.visitor),
            "key": _clamped(facts.key),
            "experiment": _clamped(facts.experiment),
            "flag": _clamped(facts.flag),
            "variation": _clamped(facts.variation),
            "revenue": facts.revenue,
            "value": facts.value,
            "line": line_of(facts, self.problems),
            "request": self.envelope.number,
        }

    def details(self, as_text: bool = False) -> dict[str, Any]:
        """The item, the event's own part of the payload, what is around that, and the headers.

        Args:
            as_text: the whole text instead of that part; so it is for an invalid payload in any case.
        """
        payload = self.envelope.read().payload
        parts = payload if type(payload) is dict and not as_text else {}
        around = {name: each for name, each in parts.items() if name != "visitors"}
        is_text = self.facts.kind == INVALID or not parts
        visitor = self.envelope.text() if is_text else _part(parts, self.facts.visitor_index, self.facts.snapshot_index)
        return {"item": self.item(), "visitor": visitor, "envelope": around, "headers": self.envelope.headers}


class _Bundle(NamedTuple):
    """The events of one request."""

    first: int
    facts: list[Facts]
    duplicates: list[bool]
    problems: list[str]
    envelope: Envelope

    def kept(self, n: int) -> Kept:
        index = n - self.first
        return Kept(n, self.facts[index], self.duplicates[index], self.problems, self.envelope)


class Shelf:
    """The last events, by their running numbers, which go on when it is emptied.

    Args:
        keep: events at most.
        keep_bytes: of all bodies that they came in.
    """

    def __init__(self, keep: int = KEEP, keep_bytes: int = KEEP_BYTES) -> None:
        self.last = 0
        # the number before the first since the last emptying
        self.base = 0
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._bytes = 0
        self._first = 1
        self._bundles: deque[_Bundle] = deque()

    def __len__(self) -> int:
        return self.last + 1 - self._first

    def put(self, facts: list[Facts], duplicates: list[bool], problems: list[str], envelope: Envelope) -> None:
        """Keep the events of one more request, and let go of the oldest ones when there are too many.

        Args:
            facts: of each event.
            duplicates: whether each came before.
            problems: of the request.
            envelope: the request.
        """
        if not facts:
            return
        self._bundles.append(_Bundle(self.last + 1, facts, duplicates, problems, envelope))
        self._bytes += len(envelope.raw)
        self.last += len(facts)
        self._first = max(self._first, self.last + 1 - self._keep)
        while self._bytes > self._keep_bytes:
            self._let_go()
        while self._bundles and self._end() <= self._first:
            self._let_go()

    def empty(self) -> None:
        """Let go of all."""
        self._bundles.clear()
        self._bytes = 0
        self.base = self.last
        self._first = self.last + 1

    def get(self, n: int) -> Kept | None:
        """The event of a number, if it is kept."""
        return next(self._since(n), None) if self._first <= n <= self.last else None

    def dropped(self, after: int) -> int:
        """Events with higher numbers that are no longer kept, those before the last emptying aside."""
        return max(0, self._first - 1 - max(after, self.base))

    def after(self, n: int) -> Iterator[Kept]:
        """Those with higher numbers, oldest first."""
        return self._since(max(n + 1, self._first))

    def newest_first(self, n: int = 0) -> Iterator[Kept]:
        """Those with higher numbers, newest first."""
        least = max(n + 1, self._first)
        for bundle in reversed(self._bundles):
            end = bundle.first + len(bundle.facts)
            yield from map(bundle.kept, range(end - 1, max(least, bundle.first) - 1, -1))
            if bundle.first <= least:
                return

    def _since(self, n: int) -> Iterator[Kept]:
        for bundle in self._bundles:
            end = bundle.first + len(bundle.facts)
            if end > n:
                yield from map(bundle.kept, range(max(n, bundle.first), end))

    def _end(self) -> int:
        return self._bundles[0].first + len(self._bundles[0].facts)

    def _let_go(self) -> None:
        self._first = max(self._first, self._end())
        self._bytes -= len(self._bundles.popleft().envelope.raw)


def _clamped(text: str | None) -> str | None:
    return None if text is None else clamped(text, _LONGEST_VALUE)


def _part(payload: dict[str, Any], visitor: int, snapshot: int) -> dict[str, Any]:
    whole = payload["visitors"][visitor]
    return {**whole, "snapshots": [whole["snapshots"][snapshot]]}
