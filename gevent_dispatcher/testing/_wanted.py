"""What a test asks for, which events match, and what is said when they do not. No input or output here."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from gevent_dispatcher.testing._events import CONVERSION, DECISION, RecordedEvent


class _Anything:
    def __repr__(self) -> str:
        return "ANY"


# Stands for a field of which nothing is asked.
ANY: Any = _Anything()

# Fields of which at least the given items must be there.
_AT_LEAST = ("tags", "attributes")

# A message is read by a person: events that it shows, and characters of one value.
_MOST_SHOWN = 6
_LONGEST_VALUE = 80

# What is shown of an event, where there is something.
_SHOWN = {
    DECISION: ("flag", "variation", "experiment", "visitor", "enabled", "attributes"),
    CONVERSION: ("key", "visitor", "revenue", "value", "tags", "attributes"),
}


class Wanted(NamedTuple):
    """A question.

    Attributes:
        kind: of event; "" for any.
        fields: what each is to be; compared with ==, and of tags and attributes only what is given.
    """

    kind: str
    fields: Mapping[str, Any]

    def matching(self, events: Iterable[RecordedEvent]) -> list[RecordedEvent]:
        """The events that are as asked."""
        return [event for event in events if not self.differences(event)]

    def differences(self, event: RecordedEvent) -> list[str]:
        """What of an event is not as asked, in words; nothing when it matches."""
        if self.kind not in ("", event.kind):
            return [f"it is a {event.kind}"]
        found: list[str] = []
        for name, wanted in self.fields.items():
            found += _differences(name, wanted, getattr(event, name))
        return found

    def __str__(self) -> str:
        asked = ", ".join(f"{name}={_short(value)}" for name, value in self.fields.items())
        return f"{self.kind or 'event'} with {asked}" if asked else self.kind or "event"


def wanted(kind: str, **fields: Any) -> Wanted:
    """A question, without the fields of which nothing is asked."""
    return Wanted(kind, {name: value for name, value in fields.items() if value is not ANY})


def _differences(name: str, wanted: Any, found: Any) -> list[str]:
    if name in _AT_LEAST and isinstance(wanted, Mapping):
        return [
            f"{name}[{key!r}] is {_short(found[key])}, not {_short(value)}" if key in found else f"no {name}[{key!r}]"
            for key, value in wanted.items()
            if key not in found or value != found[key]
        ]
    return [] if wanted == found else [f"{name} is {_short(found)}, not {_short(wanted)}"]


class Seen(NamedTuple):
    """What came.

    Attributes:
        events: those that were recorded.
        refused: in words, those that were not.
    """

    events: Sequence[RecordedEvent]
    refused: Sequence[str]


def complaint(asked: Wanted, times: int | None, seen: Seen) -> str:
    """What to say when an assertion does not hold.

    Args:
        asked: what was asked for.
        times: how often it should have come; None for at least once.
        seen: what came.
    """
    count = len(asked.matching(seen.events))
    expected = "at least one" if times is None else str(times)
    return "\n".join([f"{count} came, {expected} expected: {asked}", *_came(asked, seen)])


def _came(asked: Wanted, seen: Seen) -> list[str]:
    if not seen.events and not seen.refused:
        return [
            "Nothing came at all. The SDK's own batch processor hands events over later, from a thread: give timeout=,",
            "or make the client with gevent_dispatcher.sdk.create_client, which hands them over in the call.",
        ]
    lines = ["What came, the nearest first:"] if seen.events else []
    nearest = sorted(seen.events, key=lambda event: _distance(asked, event))
    for event in nearest[:_MOST_SHOWN]:
        lines += _lines(asked, event)
    if len(nearest) > _MOST_SHOWN:
        lines.append(f"  and {len(nearest) - _MOST_SHOWN} more")
    return lines + [f"Refused, and so not recorded: {each}" for each in seen.refused[:_MOST_SHOWN]]


def _distance(asked: Wanted, event: RecordedEvent) -> tuple[bool, bool, int]:
    """The right kind goes first, then what it is about, then what has the fewest differences."""
    main = next(iter(asked.fields), None)
    is_about = main is not None and asked.fields[main] == getattr(event, main)
    return asked.kind not in ("", event.kind), not is_about, len(asked.differences(event))


def _lines(asked: Wanted, event: RecordedEvent) -> list[str]:
    differences = asked.differences(event)
    verdict = f"      but {'; '.join(differences)}" if differences else "      which matches"
    return [f"  - {describe(event)}", verdict]


def describe(event: RecordedEvent) -> str:
    """An event in one line."""
    names = _SHOWN.get(event.kind, ("url",))
    given = ((name, _worth_showing(getattr(event, name))) for name in names)
    return " ".join([event.kind, *(f"{name}={_short(value)}" for name, value in given if value not in (None, "", {}))])


def _worth_showing(value: Any) -> Any:
    """The SDK adds attributes of its own, which no test is about."""
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if not str(name).startswith("$opt_")}
    return value


def _short(value: Any) -> str:
    text = repr(dict(value) if isinstance(value, Mapping) else value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
