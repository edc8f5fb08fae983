"""Who is measured: what a user would have instead, ours, and the limit. All run in processes that are patched."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

from tests.benchmarks import encoders, payloads

# Most requests under way for those that send one request for each event, ours included: more than ours has by default.
MANY = 100
# Bounds that no benchmark of speed reaches, where a contestant has one that can be set.
PLENTY = 200_000


@dataclass(frozen=True)
class Endpoint:
    """Where events go, and how a contestant is set up for it.

    Args:
        url: http or https.
        authority: file of the certificate authority, for https.
        settings: of ours, beside the contestant's own.
    """

    url: str
    authority: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Contestant:
    """One way to deliver events.

    Args:
        dispatch: takes one prepared event.
        finish: sends what is held back and waits for it, for at most so many seconds.
        prepare: makes of an event what `dispatch` takes; not measured.
    """

    def __init__(
        self,
        dispatch: Callable[[Any], object],
        finish: Callable[[float], object] = lambda timeout: None,
        prepare: Callable[[payloads.LogEvent], Any] = lambda event: event,
    ) -> None:
        self.dispatch = dispatch
        self.finish = finish
        self.prepare = prepare


@dataclass(frozen=True)
class Entry:
    """A contestant by name.

    Args:
        label: in tables.
        make: sets it up in the measured process.
        needs: modules that must be installed.
        encoder: "json" or "orjson"; orjson cannot be imported by those of "json".
        most: events that it can be given at once, or that it can send within a run.
        is_limit: it bounds what is possible, and nobody would use it.
    """

    label: str
    make: Callable[[Endpoint], Contestant]
    needs: tuple[str, ...] = ()
    encoder: str = "json"
    most: int = 100_000
    is_limit: bool = False

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        absent = [name for name in self.needs if not _is_installed(name)]
        return f"not installed: {', '.join(absent)}" if absent else ""


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # it was blocked
        return False


# -- peers -------------------------------------------------------------------------------------------------------------


def _noop(endpoint: Endpoint) -> Contestant:
    return Contestant(lambda event: None)


def _sdk_builtin(endpoint: Endpoint) -> Contestant:
    from optimizely.event_dispatcher import EventDispatcher

    return Contestant(EventDispatcher.dispatch_event)


def _sdk_processor(batch_size: int) -> Callable[[Endpoint], Contestant]:
    """As `Optimizely(...)` sets it up when it is given no processor, or another batch_size."""

    def make(endpoint: Endpoint) -> Contestant:
        from optimizely.event.event_factory import EventFactory
        from optimizely.event.event_processor import BatchEventProcessor
        from optimizely.event_dispatcher import EventDispatcher

        for region in EventFactory.EVENT_ENDPOINTS:
            EventFactory.EVENT_ENDPOINTS[region] = endpoint.url
        options = {"start_on_init": True, "batch_size": batch_size, "flush_interval": 30, "timeout_interval": 60}
        processor = BatchEventProcessor(EventDispatcher(), **options)
        user_events = payloads.UserEvents()
        return Contestant(
            processor.process,
            lambda timeout: processor.flush(),
            lambda event: user_events.one(event.params["visitors"][0]["visitor_id"]),
        )

    return make


def _post(session: Any, event: Any) -> None:
    with contextlib.suppress(OSError):
        session.post(event.url, data=json.dumps(event.params), headers=event.headers, timeout=10)


def _thread_per_event(endpoint: Endpoint) -> Contestant:
    import threading

    import requests

    def dispatch(event: Any) -> None:
        threading.Thread(target=_post, args=(requests, event), daemon=True).start()

    return Contestant(dispatch)


def _requests_pool(endpoint: Endpoint) -> Contestant:
    import requests
    from gevent.pool import Pool
    from requests.adapters import HTTPAdapter

    pool, session = Pool(MANY), requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=MANY))
    session.mount("https://", HTTPAdapter(pool_maxsize=MANY))
    return Contestant(lambda event: pool.spawn(_post, session, event), pool.join)


def _urlopen_pool(endpoint: Endpoint) -> Contestant:
    import urllib3
    from gevent.pool import Pool

    pool, manager = Pool(MANY), urllib3.PoolManager(maxsize=MANY, ca_certs=endpoint.authority)

    def post(event: Any) -> None:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            manager.urlopen("POST", event.url, body=json.dumps(event.params).encode(), headers=event.headers)

    return Contestant(lambda event: pool.spawn(post, event), pool.join)


def _launchdarkly(endpoint: Endpoint) -> Contestant:
    from ldclient import Context
    from ldclient.config import Config, HTTPConfig
    from ldclient.impl.events.event_processor import DefaultEventProcessor
    from ldclient.impl.events.types import EventInputCustom

    logging.getLogger("ldclient").setLevel(logging.CRITICAL)
    config = Config(
        "sdk-key",
        events_uri=endpoint.url,
        events_max_pending=PLENTY,
        # As ours by default; its own 5 s would outlast the benchmarks at a steady rate.
        flush_interval=1,
        diagnostic_opt_out=True,
        http=HTTPConfig(ca_certs=endpoint.authority),
    )
    processor = DefaultEventProcessor(config)

    def prepare(event: payloads.LogEvent) -> Any:
        visitor = event.params["visitors"][0]
        return EventInputCustom(1_700_000_000_000, Context.create(visitor["visitor_id"]), "purchase", visitor)

    return Contestant(processor.send_event, lambda timeout: processor.flush(), prepare)


def _sentry(endpoint: Endpoint) -> Contestant:
    import sentry_sdk
    from sentry_sdk.envelope import Envelope

    client = sentry_sdk.Client(
        endpoint.url.replace("://", "://key@").replace("/v1/events", "/1"),
        default_integrations=False,
        transport_queue_size=PLENTY,
        ca_certs=endpoint.authority,
        # Plain bodies, so that the endpoint can count what is in them; it is the cheaper way, too.
        _experiments={"transport_compression_level": 0},
    )
    logging.getLogger("sentry_sdk.errors").setLevel(logging.CRITICAL)
    transport = client.transport

    def dispatch(event: Any) -> None:
        envelope = Envelope()
        envelope.add_event(event.params["visitors"][0])
        transport.capture_envelope(envelope)

    return Contestant(dispatch, lambda timeout: transport.flush(timeout))


# -- ours --------------------------------------------------------------------------------------------------------------


def _ours(**settings: Any) -> Callable[[Endpoint], Contestant]:
    def make(endpoint: Endpoint) -> Contestant:
        from gevent_dispatcher import GeventEventDispatcher

        dispatcher = GeventEventDispatcher(**{**settings, **endpoint.settings})
        # Looked up anew for each event, as the SDK does.
        return Contestant(lambda event: dispatcher.dispatch_event(event), dispatcher.flush)

    return make


# -- the limit ---------------------------------------------------------------------------------------------------------


def _raw_merged(encoder: str, linger: float | None) -> Callable[[Endpoint], Contestant]:
    def make(endpoint: Endpoint) -> Contestant:
        from tests.benchmarks import raw

        connections = raw.Connections(endpoint.url, endpoint.authority)
        merged = raw.Merged(connections, encoders.named(encoder), batch_size=100, senders=10, linger=linger)
        return Contestant(merged.dispatch, merged.finish)

    return make


def _raw_unmerged(endpoint: Endpoint) -> Contestant:
    from tests.benchmarks import raw

    connections = raw.Connections(endpoint.url, endpoint.authority)
    unmerged = raw.Unmerged(connections, encoders.stdlib(), MANY)
    return Contestant(unmerged.dispatch, unmerged.finish)


_SDK = ("optimizely",)

ENTRIES: dict[str, Entry] = {
    "noop": Entry("no-op", _noop),
    "sdk_builtin": Entry("SDK, built-in dispatcher", _sdk_builtin, _SDK, most=500),
    "sdk_default": Entry("SDK, default processor", _sdk_processor(1), _SDK, most=900),
    "sdk_batch10": Entry("SDK, processor with batches of 10", _sdk_processor(10), _SDK, most=900),
    "thread_per_event": Entry("a thread per event", _thread_per_event, ("requests",), most=1_000),
    "requests_pool": Entry("requests in a gevent Pool", _requests_pool, ("requests",), most=2_000),
    "urlopen_pool": Entry("PoolManager.urlopen in a gevent Pool", _urlopen_pool, most=4_000),
    "launchdarkly": Entry("LaunchDarkly's event processor", _launchdarkly, ("ldclient",)),
    "sentry": Entry("Sentry's transport", _sentry, ("sentry_sdk",), most=2_000),
    "ours": Entry("**gevent_dispatcher**", _ours()),
    "ours_orjson": Entry("**gevent_dispatcher**, orjson", _ours(), ("orjson",), "orjson"),
    "ours_batch1": Entry("**gevent_dispatcher**, batch_size=1", _ours(batch_size=1, pool_size=MANY), most=4_000),
    "ours_pool50": Entry("**gevent_dispatcher**, pool_size=50", _ours(pool_size=50)),
    "raw_merged": Entry("limit: raw sockets, merged", _raw_merged("json", None), is_limit=True),
    "raw_merged_orjson": Entry(
        "limit: raw sockets, merged, orjson", _raw_merged("orjson", None), ("orjson",), "orjson", is_limit=True
    ),
    "raw_linger": Entry("limit: raw sockets, merged, linger 1 s", _raw_merged("json", 1.0), is_limit=True),
    "raw_linger_orjson": Entry(
        "limit: raw sockets, merged, linger 1 s, orjson",
        _raw_merged("orjson", 1.0),
        ("orjson",),
        "orjson",
        is_limit=True,
    ),
    "raw_unmerged": Entry("limit: raw sockets, one request per event", _raw_unmerged, most=4_000, is_limit=True),
}
