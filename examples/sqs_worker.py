"""Deliver the events of an SQS queue in a program of your own, instead of `python -m gevent_dispatcher worker URL`.

    pip install 'gevent-dispatcher[sqs]'
    EVENTS_QUEUE_URL=https://sqs.eu-west-1.amazonaws.com/123456789012/events \\
    EVENTS_DEAD_LETTER_URL=https://sqs.eu-west-1.amazonaws.com/123456789012/events-dead \\
        python examples/sqs_worker.py

SIGTERM finishes what was sent and gives the rest back. Applications put events into the queue with
`GeventEventDispatcher(transport=QueueTransport(SqsQueue(url)))`.
"""

# ruff: noqa: E402  # patching comes before every other import
from gevent import monkey

monkey.patch_all()

import logging
import os
import signal
import sys

import gevent

from gevent_dispatcher import Consumer, SqsQueue
from gevent_dispatcher.queues import QueueUnusable


def main() -> int:
    """Run until a signal asks for the end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    queue = SqsQueue(os.environ["EVENTS_QUEUE_URL"], dead_letter_url=os.environ.get("EVENTS_DEAD_LETTER_URL"))
    # Requests go to the Event API and nowhere else, unless it is said so.
    elsewhere = os.environ.get("EVENTS_DESTINATIONS", "").split()
    consumer = Consumer(queue, close_timeout=25, **({"destinations": elsewhere} if elsewhere else {}))
    gevent.signal_handler(signal.SIGTERM, consumer.stop)
    gevent.signal_handler(signal.SIGINT, consumer.stop)
    try:
        consumer.run()
    except QueueUnusable as error:
        logging.error("%s", error)
        return 3
    stats = consumer.stats()
    logging.info("%d messages acknowledged, %d dead, %d given back", stats.acked, stats.dead, stats.released)
    return 0


if __name__ == "__main__":
    sys.exit(main())
