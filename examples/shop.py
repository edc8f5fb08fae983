"""Flask, with an application factory that gunicorn may call before it forks.

    pip install 'gevent-dispatcher[examples]'
    cd examples
    gunicorn -c gunicorn.conf.py --preload 'shop:create_app()'
    curl 'http://127.0.0.1:8000/checkout?user=alice'

With `--preload` the client is made once, in the master, and every worker has it from there: nothing of it is lost in
the fork. Without, each worker makes its own. Nothing else differs, and nothing has to be closed: the end of a worker
sends what it still has.

With `--preload` gevent warns, and a line of the log says `urllib3-before-patch` and the cure: events do not need it, an
application that makes HTTPS requests of its own does.

To try it without Optimizely, run `gevent-dispatcher collector --port 8080` beside it, and gunicorn with
EVENTS_URL=http://127.0.0.1:8080/v1/events in its environment.
"""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, Response, abort, jsonify, request
from local_endpoint import send_events_to

from gevent_dispatcher.sdk import create_client

# With `create_client(sdk_key=...)` instead, each process polls for the datafile itself.
DATAFILE = Path(__file__).with_name("datafile.json").read_text(encoding="utf-8")


def create_app() -> Flask:
    """Make the application, with a client of its own."""
    if "EVENTS_URL" in os.environ:
        send_events_to(os.environ["EVENTS_URL"])
    app = Flask(__name__)
    client = create_client(DATAFILE)

    @app.route("/checkout")
    def checkout() -> Response:
        user = client.create_user_context(request.args.get("user") or abort(400))
        decision = user.decide("checkout_flow")  # sends an impression
        user.track_event("purchase", {"revenue": 4200})  # sends a conversion
        return jsonify(variation=decision.variation_key)

    return app
