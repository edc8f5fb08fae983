"""The shop of flask_app.py with metrics for Prometheus: one scrape sees what all workers have counted.

    mkdir -p /tmp/shop-metrics
    PROMETHEUS_MULTIPROC_DIR=/tmp/shop-metrics gunicorn -c examples/gunicorn.conf.py metrics:app
    curl 'http://127.0.0.1:8000/checkout?user=alice' http://127.0.0.1:8000/metrics

The hooks in gunicorn.conf.py empty the directory at the start and see to workers that have ended. Dashboards and alerts
that read these metrics: grafana.json and alerts.yml. In production, let only Prometheus reach /metrics.
"""

from __future__ import annotations

from flask import Response
from flask_app import DATAFILE, create_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.prometheus import instrument
from gevent_dispatcher.sdk import create_client

dispatcher = instrument(GeventEventDispatcher())
app = create_app(create_client(DATAFILE, event_dispatcher=dispatcher))


@app.route("/metrics")
def metrics() -> Response:
    """Everything in the directory, of this worker and of all others, added up."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
