"""The commands with a queue of SQS: worker, queue and send, in processes of their own."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from gevent.pywsgi import WSGIServer

from gevent_dispatcher.collector import Collector
from gevent_dispatcher.queues._message import encode
from tests.commands import QUICK, request, run, start
from tests.events import names
from tests.lifetimes._processes import ROOT, Program
from tests.picky import Gate, PickyServer
from tests.sqs import REGION, Moto
from tests.waiting import wait_until

# Messages that a worker of the crash holds at most, and for how long when it is killed, in seconds.
MAX_HELD, LEASE = 10, 3
# Of two calls at once, the server may give the same message to both: SQS may do so, too, but is not counted on here.
ONE_POLL = ("--polls", "1")
EVENTS_PER_MESSAGE = 5


pytestmark = pytest.mark.usefixtures("aws_region")


def accept(visitors: list[str]) -> int:
    return 204


def put(moto: Moto, queue: str, url: str, *visitors: str) -> None:
    """Put a message for each visitor."""
    for at in range(0, len(visitors), 10):
        entries = [
            {"Id": str(number), "MessageBody": encode(request(url, name))}
            for number, name in enumerate(visitors[at : at + 10])
        ]
        moto.client.send_message_batch(QueueUrl=queue, Entries=entries)


# -- worker ------------------------------------------------------------------------------------------------------------


def test_a_worker_delivers_and_ends_at_a_signal_while_idle_without_swallowing_what_comes(
    tmp_path: Path, moto: Moto
) -> None:
    queue = moto.queue()
    with PickyServer(accept) as server:
        put(moto, queue, server.url, *names(30))
        with start(tmp_path, "worker", queue, "--allow", server.url, "--close-timeout", 5, *ONE_POLL, *QUICK) as worker:
            worker.wait_for("the queue to be empty", lambda: moto.left(queue) == 0)
            worker.signal(signal.SIGTERM)
            begin = monotonic()
            worker.wait_for("it to say so", lambda: "stopping: 0 messages are held" in worker.output())
            put(moto, queue, server.url, "late")
            assert worker.wait_for_end() == 0
            assert monotonic() - begin < 5.5
        assert dict(server.accepted) == dict.fromkeys(names(30), 1)
        assert moto.counts(queue) == (1, 0), "it can be received at once"
        assert "30 events delivered" in worker.output()


def test_a_worker_that_is_stopped_while_busy_finishes_what_was_sent_and_gives_the_rest_back(
    tmp_path: Path, moto: Moto
) -> None:
    queue, gate = moto.queue(), Gate()
    with PickyServer(gate.answer) as server:
        put(moto, queue, server.url, *names(20))
        options = ["--allow", server.url, "--close-timeout", 20, *ONE_POLL, *QUICK]
        with start(tmp_path, "worker", queue, *options) as worker:
            worker.wait_for("half of the senders to be busy", lambda: gate.waiting == 5 and moto.counts(queue)[1] == 20)
            worker.signal(signal.SIGTERM)
            worker.wait_for("the rest to be given back", lambda: moto.counts(queue) == (15, 5))
            gate.opened.set()
            assert worker.wait_for_end() == 0
        assert moto.counts(queue) == (15, 0)
        assert len(server.accepted) == 5
        assert set(server.accepted.values()) == {1}


def test_a_second_signal_ends_a_worker_at_once(tmp_path: Path, moto: Moto) -> None:
    queue, gate = moto.queue(), Gate()
    with PickyServer(gate.answer) as server:
        put(moto, queue, server.url, *names(3))
        with start(tmp_path, "worker", queue, "--allow", server.url, "--close-timeout", 60, *QUICK) as worker:
            worker.wait_for("it to be busy", lambda: gate.waiting == 3)
            worker.signal(signal.SIGTERM)
            worker.wait_for("it to say so", lambda: "stopping: 3 messages are held" in worker.output())
            worker.signal(signal.SIGINT)
            begin = monotonic()
            assert worker.wait_for_end() == 130
            assert monotonic() - begin < 3
        assert moto.counts(queue) == (0, 3)
        gate.opened.set()


def test_poison_goes_to_the_dead_letters_and_operators_see_it_there(tmp_path: Path, moto: Moto) -> None:
    queue, dead = moto.queue(), moto.queue()
    options = [queue, "--dead-letter-url", dead]
    with PickyServer(lambda visitors: 400 if "bad" in visitors else 204) as server:
        put(moto, queue, server.url, "a", "bad", "b")
        moto.client.send_message(QueueUrl=queue, MessageBody="not JSON")
        allowed = ["--allow", server.url, *QUICK]
        done = run("worker", "--once", *options, *allowed)
        assert (done.returncode, dict(server.accepted)) == (1, {"a": 1, "b": 1})
        letters = json.loads(run("queue", "dead", "--json", *options).stdout)
        assert sorted((each["reason"], each["origin"]) for each in letters) == [
            ("it is neither a message of gevent_dispatcher's nor a JSON object", None),
            ("rejected: status 400", server.url.rpartition("/v1/")[0]),
        ]
        status = json.loads(run("queue", "status", "--json", *options).stdout)
        assert status == {
            **dict.fromkeys(("waiting", "delayed", "leased"), 0),
            **dict.fromkeys(("events", "bytes", "oldest_age")),
            "dead": 2,
        }
        (guilty,) = [each["id"] for each in letters if each["origin"]]
        assert run("queue", "requeue", *options, guilty).returncode == 0
        assert moto.counts(queue) == (1, 0)
        done = run("queue", "purge", "--dead", "--yes", *options)
        assert (done.returncode, done.stdout) == (0, "1 dead letters deleted.\n")
        assert run("queue", "purge", "--yes", *options).stdout == "1 messages deleted.\n"
        assert run("queue", "dead", *options).stdout == "There are no dead letters.\n"


def test_what_send_puts_a_worker_delivers_and_older_formats_too(tmp_path: Path, moto: Moto) -> None:
    queue = moto.queue()
    older = {"old-visitor": [[], {"decisions": [], "events": [{"uuid": "old", "timestamp": 1, "key": "k"}]}]}
    moto.client.send_message(QueueUrl=queue, MessageBody=json.dumps(older))
    with Collector() as collector:
        visitors = [{"visitor_id": name, "snapshots": [{"events": [{"uuid": name}]}]} for name in names(200)]
        lines = [json.dumps({"account_id": "1", "visitors": [each]}) for each in visitors]
        sent = run("send", "--url", collector.url, "--to", queue, "--json", input="\n".join(lines))
        assert (sent.returncode, json.loads(sent.stdout)["delivered"]) == (0, 200)
        assert moto.left(queue) <= 4
        legacy = ["--account-id", "12", "--project-id", "34", "--legacy-url", collector.url]
        done = run("worker", "--once", queue, "--allow", collector.url, *legacy, *QUICK)
        assert done.returncode == 0, done.stderr
        assert collector.uuids() == dict.fromkeys([*names(200), "old"], 1)


def test_a_queue_that_is_not_there_is_said(tmp_path: Path, moto: Moto) -> None:
    queue = moto.queue() + "-not"
    for command in (["queue", "status", queue], ["worker", "--once", queue]):
        done = run(*command)
        assert done.returncode == 3
        assert "there is no such queue" in done.stderr
        assert "Traceback" not in done.stderr
    with start(tmp_path, "worker", queue, *QUICK) as worker:
        worker.wait_for("it to say so", lambda: "there is no such queue" in worker.output())
        worker.signal(signal.SIGTERM)
        assert worker.wait_for_end() == 0
    done = run("queue", "purge", "--dead", "--yes", moto.queue())
    assert (done.returncode, "--dead-letter-url" in done.stderr) == (3, True)


def test_the_example_of_a_worker_delivers_and_ends(tmp_path: Path, moto: Moto) -> None:
    queue = moto.queue()
    with PickyServer(accept) as server:
        put(moto, queue, server.url, *names(5))
        environ = {"EVENTS_QUEUE_URL": queue, "EVENTS_DESTINATIONS": server.url, "NO_PROXY": "127.0.0.1"}
        with Program(["examples/sqs_worker.py"], tmp_path, {**environ, "PYTHONPATH": str(ROOT)}) as worker:
            worker.wait_for("deliveries", lambda: len(server.accepted) == 5 and moto.left(queue) == 0)
            worker.signal(signal.SIGTERM)
            put(moto, queue, server.url, "late")
            assert worker.wait_for_end() == 0
        assert "5 messages acknowledged, 0 dead" in worker.output()
        assert moto.counts(queue) == (1, 0)


# -- bad days ----------------------------------------------------------------------------------------------------------


def put_merged(moto: Moto, queue: str, url: str, first: int, messages: int) -> None:
    """Put messages of several events each."""
    entries: list[Any] = []
    for number in range(first, first + messages):
        text = encode(request(url, *(f"m{number}-{each}" for each in range(EVENTS_PER_MESSAGE))))
        entries.append({"Id": str(len(entries)), "MessageBody": text})
        if len(entries) == 10 or number == first + messages - 1:
            moto.client.send_message_batch(QueueUrl=queue, Entries=entries)
            entries = []


def test_workers_that_are_killed_at_any_moment_lose_nothing_and_bury_nothing(tmp_path: Path, moto: Moto) -> None:
    queue, dead, chance = moto.queue(), moto.queue(), random.Random(3)
    kills, workers, started = 0, [], 0
    with Collector(latency=0.05) as collector:

        def begin() -> Program:
            nonlocal started
            started += 1
            options = ["--allow", collector.url, "--lease", LEASE, "--max-held", MAX_HELD, "--dead-letter-url", dead]
            return start(tmp_path / f"worker{started}", "worker", queue, *options, *QUICK).__enter__()

        try:
            put_merged(moto, queue, collector.url, 0, 120)
            workers = [begin(), begin()]
            for aim in sorted(chance.sample(range(40, 500), 4)):
                wait_until(lambda aim=aim: collector.counts()["unique"] >= aim, 30)  # type: ignore[misc]
                workers.pop(0).__exit__(None, None, None)  # with SIGKILL
                kills += 1
                workers.append(begin())
            wait_until(lambda: collector.counts()["unique"] == 120 * EVENTS_PER_MESSAGE, 30)
            wait_until(lambda: moto.left(queue) == 0, 30)
        finally:
            for worker in workers:
                worker.__exit__(None, None, None)
        counts = collector.counts()
    assert counts["unique"] == 120 * EVENTS_PER_MESSAGE
    assert counts["duplicated"] <= kills * MAX_HELD * EVENTS_PER_MESSAGE
    assert moto.left(dead) == 0


@pytest.mark.parametrize("seconds", [3])
def test_neither_an_endpoint_nor_an_sqs_that_is_away_loses_or_buries_anything(
    tmp_path: Path, moto: Moto, seconds: float
) -> None:
    queue, dead = moto.queue(), moto.queue()
    options = ["--dead-letter-url", dead, "--backoff-max", "0.5", "--close-timeout", "4"]
    with Collector() as collector:
        put_merged(moto, queue, collector.url, 0, 60)
        with start(tmp_path, "worker", queue, "--allow", collector.url, *options) as worker:
            worker.wait_for("deliveries", lambda: collector.counts()["unique"] >= 50)
            collector.stop()
            begin = monotonic()
            worker.wait_for("the outage", lambda: monotonic() - begin > seconds and "does not take" in worker.output())
            collector.start()
            worker.wait_for("the queue to be empty", lambda: moto.left(queue) == 0)

            moto.process.send_signal(signal.SIGSTOP)
            try:
                begin = monotonic()
                worker.wait_for("the other outage", lambda: monotonic() - begin > seconds)
            finally:
                moto.process.send_signal(signal.SIGCONT)
            put_merged(moto, queue, collector.url, 60, 20)
            worker.wait_for("the queue to be empty again", lambda: moto.left(queue) == 0)
            worker.signal(signal.SIGTERM)
            assert worker.wait_for_end() == 0
        counts = collector.counts()
        assert counts["unique"] == 80 * EVENTS_PER_MESSAGE
        # What was answered in the moment of the outage may not have been heard.
        assert counts["duplicated"] <= 10 * EVENTS_PER_MESSAGE
        assert moto.left(dead) == 0
        assert worker.output().count("does not take events") == 1


class Forbidding:
    """Speaks as much of SQS as a worker needs: an empty queue that nobody may look at; a context manager."""

    def __enter__(self) -> Forbidding:
        self._server = WSGIServer(("127.0.0.1", 0), self._app, log=None)
        self._server.start()
        self.looks = 0
        self.url = f"http://127.0.0.1:{self._server.server_port}/123456789012/events"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        is_look = environ["HTTP_X_AMZ_TARGET"].endswith("GetQueueAttributes")
        self.looks += is_look
        start_response("403 Forbidden" if is_look else "200 OK", [("Content-Type", "application/x-amz-json-1.0")])
        return [json.dumps({"__type": "com.amazonaws.sqs#AccessDenied"} if is_look else {}).encode()]


def test_a_worker_that_may_not_look_at_the_queue_says_that_it_cannot_know_whether_it_is_empty() -> None:
    with Forbidding() as sqs:
        done = run("worker", sqs.url, "--region", REGION, "--once", *QUICK)
        assert done.returncode == 1
        assert "cannot be known without the right to sqs:GetQueueAttributes" in done.stderr
        assert sqs.looks >= 1
