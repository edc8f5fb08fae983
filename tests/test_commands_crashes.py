"""Workers through kill -9, an outage and poison: nothing lost, nothing buried that is not guilty."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gevent_dispatcher import Request
from gevent_dispatcher._url import parse
from gevent_dispatcher.collector import Collector
from tests.command_crashes import crash
from tests.commands import QUICK, QueueFile, request, start
from tests.hostile import HostileServer
from tests.picky import PickyServer
from tests.waiting import wait_until


def test_nothing_is_lost_and_only_what_the_killed_held_comes_twice(tmp_path: Path) -> None:
    figures = crash(tmp_path, events=6_000, seed=6, limit=100)
    assert figures.committed >= 6_000
    assert min(figures.workers_killed, figures.producers_killed) >= 2, figures
    assert (figures.lost, figures.dead) == (0, 0)
    assert figures.duplicated <= figures.most_duplicates, figures


@pytest.mark.slow
def test_an_outage_of_ten_seconds_loses_nothing_and_buries_nothing(tmp_path: Path) -> None:
    with Collector() as collector, QueueFile(tmp_path / "queue.db") as queue:
        number = 0

        def put(messages: int) -> None:
            nonlocal number
            queue.put(collector.url, *(f"v{number + n}" for n in range(messages)))
            number += messages

        put(200)
        with start(tmp_path, "worker", queue.path, "--allow", collector.url, "--backoff-max", "2") as worker:
            worker.wait_for("deliveries", lambda: collector.counts()["unique"] >= 100)
            collector.stop()
            down_since = queue.status().oldest_age
            put(300)

            def is_over() -> bool:
                return queue.status().oldest_age >= down_since + 10

            worker.wait_for("ten seconds", is_over)
            assert queue.status().dead == 0
            collector.start()
            put(100)
            worker.wait_for("the queue to be empty", lambda: queue.left() == 0)
            worker.signal(signal.SIGTERM)
            assert worker.wait_for_end() == 0
            said = worker.output()
        counts = collector.counts()
        assert (counts["unique"], queue.status().dead) == (number, 0)
        # What was answered in the moment of the outage may not have been heard.
        assert counts["duplicated"] <= 10
        assert said.count("does not take events") == 1
        assert said.count("takes events again") == 1


def test_three_poison_requests_among_500(tmp_path: Path) -> None:
    def answer(visitors: list[str]) -> int:
        return 400 if "refused" in visitors else 204

    with PickyServer(answer) as server, HostileServer() as elsewhere, QueueFile(tmp_path / "queue.db") as queue:
        good = [request(server.url, f"v{n}") for n in range(497)]
        poison = [not_json(server.url), request(elsewhere.url("v1/events"), "foreign"), request(server.url, "refused")]
        queue.opened.put([*good[:100], poison[0], *good[100:200], poison[1], *good[200:300], poison[2], *good[300:]])
        with start(tmp_path, "worker", queue.path, "--allow", server.url, *QUICK) as worker:
            worker.wait_for("the queue to be empty", lambda: queue.left() == 0)
            wait_until(lambda: queue.status().dead == 3)
            worker.signal(signal.SIGTERM)
            assert worker.wait_for_end() == 0
        assert dict(server.accepted) == {f"v{n}": 1 for n in range(497)}
        assert elsewhere.received == []
        assert sorted(letter.reason.split(" http")[0] for letter in queue.opened.dead()) == [
            "not an allowed destination:",
            "rejected: status 400",
            "rejected: status 400",
        ]


def not_json(url: str) -> Request:
    address = parse(url)
    return Request("POST", address.origin, address.target, {}, b"this is not JSON", 1)
