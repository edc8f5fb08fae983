"""A small shop that runs an experiment on its checkout.

    EVENTS_URL=http://127.0.0.1:8080/v1/events gunicorn -c examples/gunicorn.conf.py flask_app:app
    curl 'http://127.0.0.1:8000/checkout?user=alice'

Environment:
    EVENTS_URL: where events go; Optimizely's own address when it is not set.
    EVENTS_CLIENT: how they get there: `ours` (the default), `sdk-forwarding` or `sdk-default`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from local_endpoint import send_events_to
from optimizely.event.event_processor import ForwardingEventProcessor
from optimizely.event_dispatcher import EventDispatcher
from optimizely.notification_center import NotificationCenter
from optimizely.optimizely import Optimizely

DATAFILE = Path(__file__).with_name("datafile.json").read_text(encoding="utf-8")


def ours() -> Any:
    """The SDK's client on gevent_dispatcher: a request hands its events over and goes on."""
    from gevent_dispatcher.sdk import create_client

    return create_client(DATAFILE)


def sdk_forwarding() -> Any:
    """The SDK's own dispatcher, called in the request: each event is a POST that the request waits for."""
    center = NotificationCenter()
    processor = ForwardingEventProcessor(EventDispatcher, notification_center=center)
    return Optimizely(DATAFILE, event_processor=processor, notification_center=center)


def sdk_default() -> Any:
    """The SDK as it comes: one thread collects events and posts one batch after the other."""
    return Optimizely(DATAFILE)


CLIENTS = {"ours": ours, "sdk-forwarding": sdk_forwarding, "sdk-default": sdk_default}


def create_app(client: Any = None) -> Flask:
    """Make the application.

    Args:
        client: an Optimizely client; the one that EVENTS_CLIENT names when None.
    """
    app = Flask(__name__)
    optimizely: Any = client or CLIENTS[os.environ.get("EVENTS_CLIENT", "ours")]()

    @app.route("/checkout")
    def checkout() -> Response:
        user = optimizely.create_user_context(_user_id(), {"plan": "pro", "country": "CH"})
        decision = user.decide("checkout_flow")  # sends an impression
        user.track_event("purchase", {"revenue": 4200, "value": 42.0})  # sends a conversion; revenue is in cents
        return jsonify(variation=decision.variation_key, button=decision.variables.get("button_text"))

    return app


def _user_id() -> str:
    return request.args.get("user") or abort(400, "say who is buying: /checkout?user=alice")


if "EVENTS_URL" in os.environ:
    send_events_to(os.environ["EVENTS_URL"])

app = create_app()
