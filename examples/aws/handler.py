"""A handler of your own: what the environment cannot say, such as a hook, for `Handler: handler.handler`.

It reads where events go from EVENTS_URL, the Event API by default, and says in one line of the log what each message
came to. Lambda calls it as it calls `gevent_dispatcher.aws_lambda.handler`, which needs no code at all.
"""

from __future__ import annotations

import logging
import os

from gevent_dispatcher import Delivery
from gevent_dispatcher.aws_lambda import make_handler
from gevent_dispatcher.queues import LegacyFormat

logger = logging.getLogger("events")
logger.setLevel(logging.INFO)

URL = os.environ.get("EVENTS_URL", "https://logx.optimizely.com/v1/events")


def report(delivery: Delivery) -> None:
    """Say what a request came to; its repr holds no payload."""
    logger.info("%s: %d events in %.2f s", delivery.outcome.name, delivery.events, delivery.seconds)


handler = make_handler(
    destinations=[URL],
    # While the queue still holds messages of the reference dispatcher of 2017, or bare params.
    legacy=LegacyFormat(os.environ["ACCOUNT_ID"], os.environ["PROJECT_ID"], url=URL),
    on_delivery=report,
)
