"""huey tasks that track events, in a consumer on gevent.

    pip install huey 'gevent-dispatcher[sdk]'
    cd examples
    huey_consumer huey_app.huey --worker-type greenlet --workers 20
    python -c 'import huey_app; huey_app.buy("alice")'

Tasks go through a file here, QUEUE_FILE, so that nothing else has to run; in production, use the storage of yours.
"""

# ruff: noqa: E402  # huey leaves patching to the application, and asks for it before everything else
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os
import tempfile
from pathlib import Path

from huey import SqliteHuey
from local_endpoint import send_events_to

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.sdk import create_client

DATAFILE = Path(__file__).with_name("datafile.json").read_text(encoding="utf-8")

if "EVENTS_URL" in os.environ:
    send_events_to(os.environ["EVENTS_URL"])

huey = SqliteHuey(
    filename=os.environ.get("QUEUE_FILE") or str(Path(tempfile.gettempdir(), "gevent-dispatcher-huey.db"))
)
# Nobody looks at these events in the next seconds: let them wait longer for company. What waits at the end is sent.
dispatcher = GeventEventDispatcher(flush_interval=10.0)
client = create_client(DATAFILE, event_dispatcher=dispatcher)


@huey.task()
def buy(name: str) -> str:
    """Decide and track, as a request would."""
    user = client.create_user_context(name)
    decision = user.decide("checkout_flow")
    user.track_event("purchase", {"revenue": 4200})
    return str(decision.variation_key)


@huey.on_shutdown()
def send_what_is_left() -> None:
    """Flush, at the end of each worker: a restart by SIGHUP replaces the process without running exit handlers."""
    dispatcher.flush()
