"""The application of the web benchmark: each request dispatches one event. Loaded by a gunicorn worker."""

from __future__ import annotations

import json
import os

from flask import Flask

from tests.benchmarks.child import hide_orjson
from tests.benchmarks.contestants import ENTRIES, Endpoint
from tests.benchmarks.payloads import Events

_task = json.loads(os.environ["BENCHMARKS_TASK"])
hide_orjson(_task["contestant"])
_contestant = ENTRIES[_task["contestant"]].make(Endpoint(_task["url"]))
_events = Events(_task["params"], _task["url"])

app = Flask(__name__)


@app.route("/")
def index() -> str:
    """An answer, and an event on its way."""
    _contestant.dispatch(_contestant.prepare(_events.one()))
    return "done"
