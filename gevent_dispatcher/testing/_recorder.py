"""A dispatcher that keeps what it is given, for tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple

from gevent_dispatcher._config import CONFIG_NAMES, Config, sort_settings
from gevent_dispatcher._event import Encoder, Given, Refused, Request, TooLarge, merge
from gevent_dispatcher._health import Health
from gevent_dispatcher._stats import CLOSED, DISABLED, INVALID, TOO_LARGE, Counters, Stats
from gevent_dispatcher._transport import Transport, transport_of
from gevent_dispatcher.testing._events import CONVERSION, DECISION, RecordedEvent, events_of
from gevent_dispatcher.testing._wanted import ANY, Seen, Wanted, complaint, wanted

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from gevent_dispatcher._config import Settings
    from gevent_dispatcher._watch import Observer

# How often it is looked whether what is waited for has come, in seconds.
_LOOK = 0.005


class Refusal(NamedTuple):
    """Why an event was not recorded: a reason of `stats().dropped`, and what is wrong in words."""

    reason: str
    why: str

    def __str__(self) -> str:
        return f"{self.reason}, {self.why}"


class _Taken:
    """An event that was recorded; it is read when somebody asks."""

    def __init__(self, request: Request) -> None:
        self._request: Request | None = request
        self._events: tuple[RecordedEvent, ...] = ()

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        request = self._request
        if request is not None:
            self._events = events_of(request)
            self._request = None
        return self._events


class RecordingDispatcher:
    """Takes a `GeventEventDispatcher`'s place in tests: same interface, same events refused, and nothing is sent.

    Works in any thread and any process, patched or not. Events are recorded as they are at that moment, and count as
    delivered. The environment's off switch does not concern it.

    Args:
        transport: checked as the dispatcher checks it, and never opened.
        **settings: the dispatcher's. They are checked as it checks them, and, but for `enabled`, without effect.

    Raises:
        ValueError: as the dispatcher raises it.
        TypeError: there is no such setting.
    """

    def __init__(self, *, transport: Transport | None = None, **settings: Unpack[Settings]) -> None:
        own, http = sort_settings(settings, CONFIG_NAMES, transport is not None)
        self._is_enabled = Config(**own).enabled is not False
        transport_of(transport, http)
        self._encoder = Encoder()
        self._entries: list[_Taken | Refusal] = []  # one for each event; appending to a list cannot be torn apart
        self._closed = False

    def __repr__(self) -> str:
        return f"<RecordingDispatcher of {len(self._entries)} events>"

    # -- as the dispatcher has it --------------------------------------------------------------------------------------

    def dispatch_event(self, event: Any) -> None:
        """Record an event, or count why not; never raises.

        Args:
            event: the SDK's Event or LogEvent, or anything with `url`, `params`, `http_verb` and `headers`.
        """
        self._entries.append(self._entry(event))

    def dispatchEvent(self, http_verb: Any, url: Any, params: Any) -> None:
        """Record an event in the form that the SDK's documentation describes.

        Args:
            http_verb: "POST" or "GET".
            url: where it would go.
            params: the payload.
        """
        self.dispatch_event(Given(http_verb, url, params))

    def health(self) -> Health:
        """Nothing is ever pending."""
        return Health()

    def observe(self, observer: Observer) -> None:
        """Nothing is ever sent, and so an observer is told of nothing.

        Args:
            observer: see `Observer`.
        """

    def flush(self, timeout: float | None = None) -> bool:
        """There is nothing to wait for.

        Args:
            timeout: is not needed.

        Returns:
            True.
        """
        return True

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new events; what was recorded stays.

        Args:
            timeout: is not needed.

        Returns:
            True.
        """
        self._closed = True
        return True

    def stats(self) -> Stats:
        """What has become of the events since it was made or last cleared."""
        counters, entries = Counters(), list(self._entries)
        counters.dispatched = len(entries)
        for entry in entries:
            if isinstance(entry, Refusal):
                counters.dropped[entry.reason] += 1
            else:
                counters.delivered += 1
        return counters.snapshot(0, 0)

    def __enter__(self) -> RecordingDispatcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _entry(self, event: Any) -> _Taken | Refusal:
        if self._closed:
            return Refusal(CLOSED, "the dispatcher is closed")
        if not self._is_enabled:
            return Refusal(DISABLED, "enabled=False")
        try:
            envelope, data, _, _ = self._encoder.encode(event)
        except Refused as refusal:
            return Refusal(TOO_LARGE if isinstance(refusal, TooLarge) else INVALID, str(refusal))
        return _Taken(merge(envelope, [data]))

    # -- what came -----------------------------------------------------------------------------------------------------

    @property
    def events(self) -> list[RecordedEvent]:
        """All that was recorded, in the order in which it was dispatched."""
        return [event for entry in list(self._entries) if isinstance(entry, _Taken) for event in entry.events]

    @property
    def refused(self) -> list[Refusal]:
        """The events that were not recorded, and why."""
        return [entry for entry in list(self._entries) if isinstance(entry, Refusal)]

    def decisions(
        self, flag: str = ANY, *, experiment: str = ANY, variation: str = ANY, visitor: str = ANY
    ) -> list[RecordedEvent]:
        """The decisions, or those that are as asked.

        Args:
            flag: the flag's key.
            experiment: the key of the experiment or rule.
            variation: the variation's key.
            visitor: the user id.
        """
        asked = wanted(DECISION, flag=flag, experiment=experiment, variation=variation, visitor=visitor)
        return asked.matching(self.events)

    def conversions(
        self, key: str = ANY, *, visitor: str = ANY, revenue: Any = ANY, value: Any = ANY
    ) -> list[RecordedEvent]:
        """The conversions, or those that are as asked.

        Args:
            key: the event's key.
            visitor: the user id.
            revenue: in cents; None for none.
            value: a number; None for none.
        """
        return wanted(CONVERSION, key=key, visitor=visitor, revenue=revenue, value=value).matching(self.events)

    def clear(self) -> None:
        """Forget all that came, in the stats too."""
        self._entries.clear()

    # -- what should have come -----------------------------------------------------------------------------------------

    def assert_tracked(
        self,
        key: str,
        *,
        visitor: str = ANY,
        revenue: Any = ANY,
        value: Any = ANY,
        tags: Mapping[str, Any] = ANY,
        attributes: Mapping[str, Any] = ANY,
        times: int | None = None,
        timeout: float = 0.0,
    ) -> list[RecordedEvent]:
        """Conversions came that are as asked. Each is compared with ==, so `pytest.approx` and the like can be given.

        Args:
            key: the event's key.
            visitor: the user id.
            revenue: in cents; None for none.
            value: a number; None for none.
            tags: at least these.
            attributes: of the user, at least these.
            times: exactly so often; None for at least once.
            timeout: seconds to wait for them, where the SDK's own batch processor stands in between.

        Returns:
            Those that are as asked.

        Raises:
            AssertionError: they did not come; it says what did.
        """
        __tracebackhide__ = True
        fields = {"visitor": visitor, "revenue": revenue, "value": value, "tags": tags, "attributes": attributes}
        return self._assert(wanted(CONVERSION, key=key, **fields), times, timeout)

    def assert_decided(
        self,
        flag: str,
        *,
        variation: str = ANY,
        experiment: str = ANY,
        visitor: str = ANY,
        enabled: bool = ANY,
        attributes: Mapping[str, Any] = ANY,
        times: int | None = None,
        timeout: float = 0.0,
    ) -> list[RecordedEvent]:
        """Decisions came that are as asked.

        Args:
            flag: the flag's key.
            variation: the variation's key.
            experiment: the key of the experiment or rule.
            visitor: the user id.
            enabled: whether the flag was on.
            attributes: of the user, at least these.
            times, timeout: see `assert_tracked`, which returns and raises the same.
        """
        __tracebackhide__ = True
        fields = {"variation": variation, "experiment": experiment, "visitor": visitor, "enabled": enabled}
        return self._assert(wanted(DECISION, flag=flag, **fields, attributes=attributes), times, timeout)

    def assert_not_tracked(
        self, key: str = ANY, *, visitor: str = ANY, revenue: Any = ANY, tags: Mapping[str, Any] = ANY
    ) -> None:
        """No conversion came, or none that is as asked. What may still come from a thread is not waited for.

        Raises:
            AssertionError: one came; it says which.
        """
        __tracebackhide__ = True
        self._assert(wanted(CONVERSION, key=key, visitor=visitor, revenue=revenue, tags=tags), 0, 0.0)

    def assert_not_decided(self, flag: str = ANY, *, variation: str = ANY, visitor: str = ANY) -> None:
        """No decision came, or none that is as asked. What may still come from a thread is not waited for.

        Raises:
            AssertionError: one came; it says which.
        """
        __tracebackhide__ = True
        self._assert(wanted(DECISION, flag=flag, variation=variation, visitor=visitor), 0, 0.0)

    def assert_nothing_tracked(self) -> None:
        """Nothing came at all: no conversion, no decision, and nothing that was refused.

        Raises:
            AssertionError: something came; it says what.
        """
        __tracebackhide__ = True
        asked, seen = wanted(""), self._seen()
        if seen.events or seen.refused:
            raise AssertionError(complaint(asked, 0, seen))

    def _assert(self, asked: Wanted, times: int | None, timeout: float) -> list[RecordedEvent]:
        __tracebackhide__ = True
        found = self._wait_for(asked, 1 if times is None else times, timeout)
        if len(found) != times and not (times is None and found):
            raise AssertionError(complaint(asked, times, self._seen()))
        return found

    def _wait_for(self, asked: Wanted, count: int, timeout: float) -> list[RecordedEvent]:
        deadline = time.monotonic() + timeout
        found = asked.matching(self.events)
        while len(found) < count and time.monotonic() < deadline:
            time.sleep(_LOOK)
            found = asked.matching(self.events)
        return found

    def _seen(self) -> Seen:
        return Seen(self.events, [str(each) for each in self.refused])
