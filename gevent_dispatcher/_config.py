"""Settings: three frozen dataclasses, checked on construction.

`Config` holds what the dispatcher decides, `ConsumerConfig` what a consumer does, and `HttpConfig` what `HttpTransport`
needs to talk HTTP. Times are seconds, sizes are bytes, counts are events unless the name says otherwise.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Mapping

from gevent_dispatcher import _ranges
from gevent_dispatcher._off_switch import VARIABLE
from gevent_dispatcher._proxy import split_credentials

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    from gevent_dispatcher._stats import Delivery
    from gevent_dispatcher.queues import Queue

# RFC 9110, section 5.6.2: the characters that a header's name may have.
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
# RFC 9110, section 5.5: a value has no control characters but the tab; the wire carries Latin-1.
_HEADER_VALUE = re.compile("[\t\x20-\x7e\x80-\xff]*\\Z")


def _seconds(default: float, low: float, high: float) -> Any:
    return field(default=default, metadata={"kind": float, "low": low, "high": high, "unit": "seconds"})


def _count(default: int, low: int, high: int, unit: str) -> Any:
    return field(default=default, metadata={"kind": int, "low": low, "high": high, "unit": unit})


def _check_numbers(settings: Any) -> None:
    for each in dataclasses.fields(settings):
        if "kind" in each.metadata:
            _check_number(each.name, getattr(settings, each.name), **each.metadata)


def _check_number(name: str, value: object, kind: type, low: Any, high: Any, unit: str) -> None:
    if kind is int:
        _ranges.whole(name, value, low, high, unit)
    else:
        _ranges.seconds(name, value, low, high)


# Headers that say where a body ends: they belong to whoever puts it on the wire, as they do in requests.
FRAMING = frozenset(("content-length", "transfer-encoding"))


def header_problem(name: object, value: object) -> str | None:
    """What is wrong with a header, or None. The answer never contains the value: it may be a credential."""
    if not isinstance(name, str) or not _HEADER_NAME.match(name):
        return f"header name {name!r} is not a token"
    if not isinstance(value, str):
        return f"the value of header {name} is {type(value).__name__}, not str"
    if not _HEADER_VALUE.match(value):
        return f"the value of header {name} has a control character or is not Latin-1"
    return None


@dataclass(frozen=True)
class Config:
    """What the dispatcher decides: merging, bounds, retries, exit.

    Raises:
        ValueError: a setting is outside its accepted range; the message has name, value and range.
    """

    # Most visitors in one request. 100 amortise a request's cost almost wholly; 1 turns merging off.
    batch_size: int = _count(100, 1, 100_000, "visitors")
    # The longest that an event waits for company: a second is invisible in results that are read by the hour.
    flush_interval: float = _seconds(1.0, 0, 3600)
    # A request is cut before it grows past this. Far below the API's limit: a retry then repeats little.
    max_request_bytes: int = _count(1_000_000, 1_000, 3_500_000, "bytes")
    # Bounds on everything pending: waiting, in flight, in backoff, handed over by other threads.
    buffer_events: int = _count(10_000, 1, 100_000_000, "events")
    buffer_bytes: int = _count(32 * 1024 * 1024, 1_000, 1 << 40, "bytes")
    # Most greenlets sending at once, so most connections per host: 10 x 100 events carry 1 000 events/s at 1 s latency.
    pool_size: int = _count(10, 1, 10_000, "greenlets")
    # From dispatch to giving up. Ten minutes outlive a deployment or a failover of the endpoint.
    delivery_timeout: float = _seconds(600.0, 0.1, 7 * 86_400)
    # Exponential backoff with full jitter: the first wait is at most backoff_base, none exceeds backoff_max.
    backoff_base: float = _seconds(0.5, 0.001, 3600)
    backoff_max: float = _seconds(30.0, 0.001, 3600)
    # What the exit handlers may spend, well under gunicorn's graceful_timeout of 30 s, and default of flush and close.
    close_timeout: float = _seconds(3.0, 0, 3600)
    # Called by senders, with one Delivery for each request that was settled.
    on_delivery: Callable[[Delivery], None] | None = None
    # Where to put what cannot be delivered now, instead of dropping it: a path, or a queue.
    spool: Any = None
    # Whether anything is sent. None leaves that to the environment, so that staging needs no other code.
    enabled: bool | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_backoff(self.backoff_base, self.backoff_max)
        _check_hook(self.on_delivery)
        if self.enabled is not None and type(self.enabled) is not bool:
            raise ValueError(f"enabled={self.enabled!r}: must be True, False, or None for what {VARIABLE} says")
        is_path = isinstance(self.spool, (str, os.PathLike)) and bool(os.fspath(self.spool))
        if self.spool is not None and not is_path and not callable(getattr(self.spool, "open", None)):
            raise ValueError(f"spool={self.spool!r}: must be the path of a file, or a queue such as SqliteQueue(path)")


@dataclass(frozen=True)
class ConsumerConfig:
    """What a consumer of a queue decides.

    Raises:
        ValueError: a setting is outside its accepted range; the message has name, value and range.
    """

    # Most greenlets sending at once.
    pool_size: int = _count(10, 1, 10_000, "greenlets")
    # How long a message is ours; extended while it is held. What a killed consumer held comes back after this time.
    lease: float = _seconds(60.0, 1.0, 43_200)
    # The longest that a message is held before it is given back for others: far beyond a failover of the endpoint.
    hold_timeout: float = _seconds(600.0, 1.0, 43_200)
    # A message that was sent in vain, or held for too long, is received again after this time at the earliest.
    release_delay: float = _seconds(30.0, 0, 43_200)
    # Bounds on what is held: enough to keep all senders busy, and soon given back at a stop.
    max_held: int = _count(200, 1, 100_000, "messages")
    max_held_bytes: int = _count(32 * 1024 * 1024, 1_000, 1 << 40, "bytes")
    # How often an empty queue is asked.
    poll_interval: float = _seconds(1.0, 0.01, 3600)
    # As for a dispatcher.
    backoff_base: float = _seconds(0.5, 0.001, 3600)
    backoff_max: float = _seconds(30.0, 0.001, 3600)
    # What a stop may take. Well under the 30 s that most supervisors grant.
    close_timeout: float = _seconds(10.0, 0, 3600)
    # Called by senders, with one Delivery for each request that was settled.
    on_delivery: Callable[[Delivery], None] | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_backoff(self.backoff_base, self.backoff_max)
        _check_hook(self.on_delivery)


def _check_backoff(base: float, most: float) -> None:
    if most < base:
        raise ValueError(f"backoff_max={most!r}: must not be below backoff_base={base!r} (seconds)")


def _check_hook(hook: object) -> None:
    if hook is not None and not callable(hook):
        raise ValueError(f"on_delivery={hook!r}: must be a callable that takes one Delivery")


@dataclass(frozen=True)
class HttpConfig:
    """What `HttpTransport` needs to talk HTTP.

    Raises:
        ValueError: a setting is outside its accepted range; the message has name, value and range.
    """

    # To open a connection, TLS included. Three seconds survive one lost SYN.
    connect_timeout: float = _seconds(3.0, 0.001, 3600)
    # The longest silence while an answer is awaited.
    read_timeout: float = _seconds(10.0, 0.001, 3600)
    # One whole exchange, name look-up and trickling included.
    request_timeout: float = _seconds(15.0, 0.001, 3600)
    # Added to each request; a header of the event's own goes before one of the same name here.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    # One verified context per process is made by the first sender when this is None.
    ssl_context: Any | None = None
    # None reads the environment as requests does; "" means no proxy at all.
    proxy: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_numbers(self)
        object.__setattr__(self, "headers", MappingProxyType(_checked_headers(self.headers)))
        if self.ssl_context is not None and not hasattr(self.ssl_context, "wrap_socket"):
            raise ValueError(f"ssl_context={self.ssl_context!r}: must be an ssl.SSLContext or None")
        if self.proxy is not None:
            _check_proxy(self.proxy)


def _check_proxy(proxy: object) -> None:
    """Its text never shows: it may hold a password."""
    if not isinstance(proxy, str):
        raise ValueError(f"proxy={type(proxy).__name__}: must be a url, '' for none, or None for the environment's")
    if proxy:
        try:
            split_credentials(proxy)
        except ValueError as error:
            raise ValueError(f"proxy: {error}") from None


def _checked_headers(headers: object) -> dict[str, str]:
    """No value ever shows: it may be a credential."""
    if not isinstance(headers, Mapping):
        raise ValueError(f"headers={type(headers).__name__}: must be a mapping of header names to values")
    for name, value in headers.items():
        problem = header_problem(name, value)
        if problem:
            raise ValueError(f"headers: {problem}")
        if name.lower() in FRAMING:
            raise ValueError(f"headers: {name} is not a setting: it follows from the body of each request")
    return dict(headers)


CONFIG_NAMES = frozenset(each.name for each in dataclasses.fields(Config))
CONSUMER_NAMES = frozenset(each.name for each in dataclasses.fields(ConsumerConfig))
HTTP_NAMES = frozenset(each.name for each in dataclasses.fields(HttpConfig))


def sort_settings(
    settings: Mapping[str, Any], own_names: frozenset[str], has_transport: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell somebody's own settings from those of HTTP.

    Args:
        settings: as they were given.
        own_names: of those that are not HTTP's.
        has_transport: a transport was given too, beside which those of HTTP would be ignored.

    Raises:
        TypeError: there is no such setting.
        ValueError: a setting would be ignored.
    """
    for name in settings:
        if name not in own_names and name not in HTTP_NAMES:
            raise TypeError(f"there is no setting {name!r}{_suggestion(name, own_names)}")
    http = {name: value for name, value in settings.items() if name in HTTP_NAMES}
    if http and has_transport:
        given = ", ".join(sorted(http))
        raise ValueError(f"{given}: would be ignored beside transport=; give it to the transport: HttpTransport(...)")
    return {name: value for name, value in settings.items() if name in own_names}, http


def _suggestion(name: str, own_names: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, own_names | HTTP_NAMES, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


if TYPE_CHECKING:

    class HttpSettings(TypedDict, total=False):
        """The keywords of HttpTransport, for type checkers."""

        connect_timeout: float
        read_timeout: float
        request_timeout: float
        headers: Mapping[str, str]
        ssl_context: Any | None
        proxy: str | None

    class ConsumerSettings(HttpSettings, total=False):
        """The keywords of Consumer, for type checkers."""

        pool_size: int
        lease: float
        hold_timeout: float
        release_delay: float
        max_held: int
        max_held_bytes: int
        poll_interval: float
        backoff_base: float
        backoff_max: float
        close_timeout: float
        on_delivery: Callable[[Delivery], None] | None

    class Settings(HttpSettings, total=False):
        """The keywords of GeventEventDispatcher, for type checkers."""

        batch_size: int
        flush_interval: float
        max_request_bytes: int
        buffer_events: int
        buffer_bytes: int
        pool_size: int
        delivery_timeout: float
        backoff_base: float
        backoff_max: float
        close_timeout: float
        on_delivery: Callable[[Delivery], None] | None
        spool: str | os.PathLike[str] | Queue | None
        enabled: bool | None
