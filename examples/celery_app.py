"""Celery tasks that track events, in a worker on gevent.

    pip install celery 'gevent-dispatcher[sdk]'
    cd examples
    celery --app celery_app worker --pool gevent --concurrency 50
    python celery_app.py alice bob

The second command puts a purchase into the queue for each name. Tasks go through files in BROKER_FOLDER here, so that
no broker has to run; in production, give Celery the url of yours.

`--pool gevent` patches before anything else is imported, and the end of the worker sends what it still has: there is
nothing to write for it. Celery's default pool forks, and its children end without exit handlers: they need the hook
below.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_shutdown
from local_endpoint import send_events_to

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.sdk import create_client

DATAFILE = Path(__file__).with_name("datafile.json").read_text(encoding="utf-8")
FOLDER = Path(os.environ.get("BROKER_FOLDER") or Path(tempfile.gettempdir(), "gevent-dispatcher-celery"))

if "EVENTS_URL" in os.environ:
    send_events_to(os.environ["EVENTS_URL"])

for name in ("queue", "control"):
    (FOLDER / name).mkdir(parents=True, exist_ok=True)

app = Celery("celery_app", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER / "queue"),
    "data_folder_out": str(FOLDER / "queue"),
    "control_folder": str(FOLDER / "control"),
    "polling_interval": 0.05,
}

# Nobody looks at these events in the next seconds: let them wait longer for company. What waits at the end is sent.
dispatcher = GeventEventDispatcher(flush_interval=10.0)
client = create_client(DATAFILE, event_dispatcher=dispatcher)


@app.task
def buy(name: str) -> str:
    """Decide and track, as a request would."""
    user = client.create_user_context(name)
    decision = user.decide("checkout_flow")
    user.track_event("purchase", {"revenue": 4200})
    return str(decision.variation_key)


@worker_process_shutdown.connect
def send_what_is_left(**_: object) -> None:
    """Flush, at the end of each child of the default pool."""
    dispatcher.flush()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        buy.delay(name)
