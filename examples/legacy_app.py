"""A Flask application of the old kind: it patches at its top, and gives the SDK a class, as the vendor's sample does.

    pip install 'gevent-dispatcher[examples]'
    cd examples
    python legacy_app.py
    curl 'http://127.0.0.1:8000/checkout?user=alice'

or under gunicorn: `gunicorn -k gevent --bind 127.0.0.1:8000 legacy_app:app`. One line differs from what it was before:
the import of `event_dispatcher`.
"""

# ruff: noqa: E402  # the patch comes before everything else
from gevent import monkey

monkey.patch_all()

import os
import signal
from pathlib import Path

import gevent
from flask import Flask, abort, jsonify, request
from gevent.pywsgi import WSGIServer
from local_endpoint import send_events_to
from optimizely import optimizely

# Before: from optimizely.event_dispatcher import EventDispatcher as event_dispatcher
from gevent_dispatcher import GeventEventDispatcher as event_dispatcher

DATAFILE = Path(__file__).with_name("datafile.json").read_text(encoding="utf-8")

if "EVENTS_URL" in os.environ:
    send_events_to(os.environ["EVENTS_URL"])

app = Flask(__name__)
client = optimizely.Optimizely(DATAFILE, event_dispatcher=event_dispatcher)


@app.route("/checkout")
def checkout():
    """Decide and track, by the calls of old."""
    user = request.args.get("user") or abort(400)
    variation = client.activate("checkout_one_page", user)
    client.track("purchase", user, event_tags={"revenue": 4200})
    return jsonify(variation=variation)


if __name__ == "__main__":
    server = WSGIServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), app)
    # Without a handler SIGTERM ends a program at once, with every event that it holds. gunicorn has one.
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port} (pid: {os.getpid()})", flush=True)
    server.serve_forever()
