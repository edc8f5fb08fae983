"""The whole dispatcher against every kind of endpoint: each misbehaves for its first requests and is well afterwards.

All rows run side by side, in greenlets, before the first test looks at what became of its own.
"""

from __future__ import annotations

import json
import ssl
import traceback
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Iterable, Mapping, NamedTuple
from urllib.parse import unquote

import gevent
import pytest
from gevent.pool import Pool

from gevent_dispatcher import Delivery, GeventEventDispatcher, Stats
from tests.events import log_event, visitor
from tests.hostile import (
    BEHAVIOURS,
    DOORS,
    Certificate,
    HostileProcess,
    HostileServer,
    Received,
    http_date,
    make_certificates,
    refusing_port,
    silent_port,
)
from tests.links import Ticking
from tests.waiting import wait_until

# What the events of a row come to.
TAKEN = "taken at the first attempt"
RETRIED = "delivered when the endpoint is well"
REFUSED = "rejected, or delivered when the endpoint is well"
KEPT = "pending to the end"

EVENTS = 6
MISBEHAVING_REQUESTS = 3
AT_ONCE = 40
# Seconds. Both are generous: the rows of a loaded machine wait for each other.
ROW_TIMEOUT = 60.0
LONGEST_HOLD = 2.0

SETTINGS: dict[str, Any] = {
    "batch_size": 2,
    "flush_interval": 0.01,
    "pool_size": 3,
    "backoff_base": 0.01,
    "backoff_max": 0.05,
    "connect_timeout": 1.5,
    "read_timeout": 2.0,
    "request_timeout": 3.0,
    "proxy": "",
}


@dataclass
class Row:
    """What a dispatcher made of an endpoint."""

    expected: str
    settings: dict[str, Any] = field(default_factory=dict)
    stats: Stats = field(default_factory=Stats)
    looks: int = 0
    violations: list[Stats] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    error: str = ""

    def attempt(self, place: Place, certificates: Certificates) -> None:
        """Stand one place; what goes wrong is for the row's own test to say."""
        try:
            place(self, certificates)
        except Exception:
            self.error = traceback.format_exc()

    def run(self, url: str, meanwhile: Callable[[GeventEventDispatcher], None] = lambda _: None) -> None:
        """Dispatch the row's events and wait for what is to become of them."""
        settings = {**SETTINGS, **self.settings}
        with GeventEventDispatcher(on_delivery=self.deliveries.append, **settings) as dispatcher:
            looking = gevent.spawn(self._look, dispatcher)
            for number in range(EVENTS):
                dispatcher.dispatch_event(log_event(url, visitor(str(number))))
            meanwhile(dispatcher)
            if self.expected == KEPT:
                wait_until(lambda: dispatcher.stats().requests > 0, ROW_TIMEOUT)
            else:
                wait_until(lambda: dispatcher.stats().pending == 0, ROW_TIMEOUT)
            dispatcher.close(0)
            wait_until(lambda: sum(each.events for each in self.deliveries) == EVENTS)
            looking.kill()
            self.stats = dispatcher.stats()

    def _look(self, dispatcher: GeventEventDispatcher) -> None:
        while True:
            stats = dispatcher.stats()
            self.looks += 1
            if stats.dispatched != stats.delivered + stats.spooled + sum(stats.dropped.values()) + stats.pending:
                self.violations.append(stats)
            gevent.sleep(0.003)

    def arrived(self, well: bool) -> Counter[str]:
        """How often each event stood in a request that came whole.

        Args:
            well: only in requests that were answered with a 2xx.
        """
        bodies = [each.body for each in self.received if each.body and (not well or is_well(each.behaviour))]
        names: Counter[str] = Counter()
        for body in bodies:
            names.update(each["visitor_id"] for each in json.loads(body)["visitors"])
        return names


# -- what there is to stand ------------------------------------------------------------------------------------------

# Answered with a 2xx, and known to be: nothing is sent twice.
WELL = [
    *("status", "delay/0.05", "reset_within", "reset_after", "close_after", "stale", "stale_on_reuse", "half_head"),
    *("length_too_big", "length_too_small", "lengths/-5", "lengths/two", "lengths/2/7", "lengths/2/2", "lengths/2"),
    *("chunked", "chunked_broken", "chunked_cut", "endless_body", "endless_trailer", "endless_chunk_extension"),
    *("endless_chunks", "promised_body", "trickled_body", "trickled_trailer", "interim", "interim/100/103/100"),
    "/".join(("interim", *30 * ["102"])),
    *("broken_gzip", "gzip_bomb", "http10", "http10_kept", "lower_case", "bare_lf", "no_reason", "no_colon"),
    *("nul_header", "obs_fold", "many_headers", "huge_header/70000/204", "reset_head"),
]
# Not answered, or not in a way that could be understood, or with the wish to come again.
ILL = [
    *("blackhole", "delay/30", "reset_before", "close_before", "half_status", "garbage", "http09", "trickle/0.01"),
    *("trickled_interim/0.01", "endless_continue", "endless_interim", "endless_headers", "endless_header_line"),
    *("endless_status_line", "huge_header", "switching", "unread_body"),
    *("retry_after/0", "retry_after/1/429", "retry_after/-5", "retry_after/soon/429", "retry_after/0.5"),
    *("retry_after/Wed, 21 Oct 2015 07:28:00 GMT", f"retry_after/{http_date(1)}/429", "retry_after/ 1 "),
    *("answer_unread/503", "close_after/503", "reset_after/500", "chunked/502"),
]
REFUSING = [
    *("redirect/302/http://127.0.0.1:1/", "redirect/307/http://127.0.0.1:1/", "redirect/308/http://127.0.0.1:1/"),
    *("close_after/400", "chunked/400", "answer_unread/413", "gzip_bomb/403", "promised_body/404", "reset_after/422"),
]
PARKING = ["retry_after/99999999", "retry_after/99999999999999999999999999/429", f"retry_after/{http_date(9e6)}"]
STATUSES = range(200, 600)


def is_well(behaviour: str) -> bool:
    name, _, code = behaviour.partition("/")
    return behaviour in WELL or (name == "status" and 200 <= int(code or 204) < 300)


def expected_of_status(code: int) -> str:
    if code < 300:
        return TAKEN
    return RETRIED if code >= 500 or code in (408, 425, 429) else REFUSED


BY_PATH: dict[str, str] = {
    **dict.fromkeys(WELL, TAKEN),
    **dict.fromkeys(ILL, RETRIED),
    **dict.fromkeys(REFUSING, REFUSED),
    **dict.fromkeys(PARKING, KEPT),
    **{f"status/{code}": expected_of_status(code) for code in STATUSES},
}

Certificates = Mapping[str, Certificate]
Place = Callable[[Row, Certificates], None]


def misbehaving(behaviour: str, server: HostileProcess, row: Row, _: Certificates) -> None:
    row.run(server.url(f"first/{MISBEHAVING_REQUESTS}/{behaviour}"))


def served(row: Row, **options: Any) -> None:
    with HostileServer(**options) as server:
        row.run(server.url("v1/events"))
        row.received = list(server.received)


def at_a_door(door: str, row: Row, _: Certificates) -> None:
    served(row, doors=[door] * MISBEHAVING_REQUESTS)


def at_a_tls_door(door: str, row: Row, certificates: Certificates) -> None:
    served(row, doors=[door] * MISBEHAVING_REQUESTS, certificate=certificates["good"])


def behind_a_certificate(name: str, row: Row, certificates: Certificates) -> None:
    served(row, certificate=certificates[name])


def over_ipv6(row: Row, _: Certificates) -> None:
    served(row, host="::1")


def over_ipv6_and_tls(row: Row, certificates: Certificates) -> None:
    served(row, host="::1", certificate=certificates["good"])


def at_a_port_that_refuses_first(row: Row, _: Certificates) -> None:
    with ExitStack() as refusing, ExitStack() as serving:
        port = refusing.enter_context(refusing_port())

        def start(dispatcher: GeventEventDispatcher) -> None:
            wait_until(lambda: dispatcher.stats().requests >= MISBEHAVING_REQUESTS, ROW_TIMEOUT)
            refusing.close()
            row.received = serving.enter_context(HostileServer(port=port)).received

        row.run(f"http://127.0.0.1:{port}/v1/events", start)


def at_a_port_that_is_silent(row: Row, _: Certificates) -> None:
    with silent_port() as port:
        row.run(f"http://127.0.0.1:{port}/v1/events")


def at_a_name_without_an_address(row: Row, _: Certificates) -> None:
    row.run("http://no-such-host.invalid/v1/events")


ELSEWHERE: dict[str, tuple[str, Place]] = {
    **{f"door {door}": (RETRIED, partial(at_a_door, door)) for door in DOORS if door not in ("open_door", "plain")},
    "door plain": (REFUSED, partial(at_a_door, "plain")),
    **{f"tls door {door}": (RETRIED, partial(at_a_tls_door, door)) for door in DOORS if door != "open_door"},
    **{name: (KEPT, partial(behind_a_certificate, name)) for name in ("wrong_host", "expired", "self_signed")},
    "good": (TAKEN, partial(behind_a_certificate, "good")),
    "ipv6": (TAKEN, over_ipv6),
    "ipv6 and tls": (TAKEN, over_ipv6_and_tls),
    "refused first": (RETRIED, at_a_port_that_refuses_first),
    "silent port": (KEPT, at_a_port_that_is_silent),
    "no address": (KEPT, at_a_name_without_an_address),
}
NAMES = [*BY_PATH, *ELSEWHERE]


# -- the run ---------------------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """All rows, and how long the hub stood still at most."""

    rows: Mapping[str, Row]
    longest_hold: float


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    context = ssl.create_default_context(cafile=str(certificates["good"].trust))
    expected = {**BY_PATH, **{name: outcome for name, (outcome, _) in ELSEWHERE.items()}}
    rows = {name: Row(outcome, {"ssl_context": context}) for name, outcome in expected.items()}
    with HostileProcess(seconds=ROW_TIMEOUT) as server, Ticking() as ticking:
        pool = Pool(AT_ONCE)
        for name, row in rows.items():
            place = ELSEWHERE[name][1] if name in ELSEWHERE else partial(misbehaving, name, server)
            pool.spawn(row.attempt, place, certificates)
        pool.join()
        by_target = _by_target(server.received)
    for name in BY_PATH:
        rows[name].received = by_target[name]
    return Table(rows, ticking.longest)


def _by_target(received: Iterable[Received]) -> Mapping[str, list[Received]]:
    found: dict[str, list[Received]] = defaultdict(list)
    for each in received:
        found[unquote(each.target).split("/", 3)[3]].append(each)
    return found


# -- what is true of each --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_event_has_one_outcome_and_it_is_the_right_one(table: Table, name: str) -> None:
    row = table.rows[name]
    assert row.error == ""
    stats, arrived = row.stats, row.arrived(well=True)
    assert (stats.dispatched, stats.pending) == (EVENTS, 0)
    assert stats.delivered + sum(stats.dropped.values()) == EVENTS
    assert sum(each.events for each in row.deliveries) == EVENTS
    assert (len(arrived), sum(arrived.values())) == (stats.delivered, stats.delivered)
    if row.expected in (TAKEN, RETRIED):
        assert stats.delivered == EVENTS
    elif row.expected == KEPT:
        assert (stats.delivered, stats.dropped["closed"]) == (0, EVENTS)
    else:
        assert stats.dropped["rejected"] + stats.dropped["too_large"] == EVENTS - stats.delivered > 0


@pytest.mark.parametrize("name", [name for name in NAMES if name in BY_PATH and BY_PATH[name] == TAKEN])
def test_what_was_taken_is_not_sent_again(table: Table, name: str) -> None:
    arrived = table.rows[name].arrived(well=False)
    assert (len(arrived), sum(arrived.values())) == (EVENTS, EVENTS)
    assert table.rows[name].stats.retries == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_accounts_were_right_at_each_look(table: Table, name: str) -> None:
    assert table.rows[name].looks > 0
    assert not table.rows[name].violations


def test_the_hub_was_never_held(table: Table) -> None:
    assert table.longest_hold < LONGEST_HOLD


def test_the_table_has_every_behaviour_and_every_status() -> None:
    elsewhere = {"tunnel", "slow_read", "redirect"}
    assert {name.partition("/")[0] for name in BY_PATH} | elsewhere == set(BEHAVIOURS) | elsewhere
    assert {f"status/{code}" for code in range(200, 600)} <= set(BY_PATH)
