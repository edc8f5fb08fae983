"""A running system is migrated: its queue holds messages of all formats, and none has to be taken out first."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest

from gevent_dispatcher import Consumer
from gevent_dispatcher.queues import LegacyFormat
from gevent_dispatcher.queues.sqs import SqsQueue
from tests.events import params, visitor
from tests.lambda_events import message
from tests.picky import PickyServer
from tests.sqs import REGION, Moto

pytestmark = pytest.mark.usefixtures("aws_credentials")


def of_the_reference(made: dict[str, Any]) -> str:
    return json.dumps({made["visitor_id"]: (made["attributes"], made["snapshots"][0])})


def test_a_worker_delivers_what_the_reference_left_beside_what_is_new(moto: Moto) -> None:
    url, dead = moto.queue(), moto.queue()
    old = {name: visitor(name) for name in ("old-1", "old-2", "bare")}
    with PickyServer(lambda visitors: 204) as server:
        texts = [
            of_the_reference(old["old-1"]),
            message(server.url, "new-1", "new-2"),
            json.dumps(params(old["bare"])),
            "what nobody understands",
            of_the_reference(old["old-2"]),
        ]
        for text in texts:
            moto.client.send_message(QueueUrl=url, MessageBody=text)
        legacy = LegacyFormat("12001", "111001", url=server.url)
        queue = SqsQueue(url, dead_letter_url=dead, region=REGION, legacy=legacy)
        consumer = Consumer(queue, destinations=[server.url], proxy="", poll_interval=0.05)
        with gevent.Timeout(30):
            consumer.run(until_empty=True)
        assert dict(server.accepted) == dict.fromkeys([*old, "new-1", "new-2"], 1)
    assert moto.left(url) == 0
    (letter,) = moto.texts(dead)
    assert letter["Body"] == texts[3]
    reason = letter["MessageAttributes"]["Reason"]["StringValue"]
    assert reason == "it is neither a message of gevent_dispatcher's nor a JSON object"


def test_what_lacks_account_and_project_waits_among_the_dead_letters_until_they_are_known(moto: Moto) -> None:
    url, dead = moto.queue(), moto.queue()
    moto.client.send_message(QueueUrl=url, MessageBody=of_the_reference(visitor("old")))
    with PickyServer(lambda visitors: 204) as server:
        unaware = SqsQueue(url, dead_letter_url=dead, region=REGION)
        settings: Any = {"destinations": [server.url], "proxy": "", "poll_interval": 0.05}
        with gevent.Timeout(30):
            Consumer(unaware, **settings).run(until_empty=True)
        opened = unaware.open()
        (letter,) = opened.dead()
        assert letter.reason == "it is in an older format: configure account_id and project_id"
        assert opened.requeue() == 1
        opened.close()
        aware = SqsQueue(url, dead_letter_url=dead, region=REGION, legacy=LegacyFormat("1", "2", url=server.url))
        with gevent.Timeout(30):
            Consumer(aware, **settings).run(until_empty=True)
        assert dict(server.accepted) == {"old": 1}
