"""gunicorn's settings for the examples: gunicorn -c examples/gunicorn.conf.py flask_app:app"""

import os
from pathlib import Path

# Where flask_app.py is found, from whatever directory gunicorn is started.
chdir = os.path.dirname(os.path.abspath(__file__))

# Each worker serves many requests at once on gevent; a request that waits makes room for others. gunicorn patches the
# standard library in each worker before it loads the application, so the application need not.
worker_class = "gevent"

# Processes. One for each core is a good start.
workers = 2

bind = os.environ.get("BIND", "127.0.0.1:8000")

# How long an idle client may keep its connection, in seconds. Behind a load balancer, more than its own idle timeout.
keepalive = 10

# How long a worker that was asked to stop may take, in seconds; then it is killed, with every event that it holds. The
# requests that it is answering and the delivery of the last events (close_timeout, 3 s) must both fit.
graceful_timeout = 30

# gunicorn 25.1 and later open a control socket in the home directory; an example leaves nothing behind.
control_socket_disable = True


# Where the workers put their metrics (see metrics.py); None without metrics.
metrics_directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def on_starting(server):
    """Forget the metrics of the server before: its counts are not ours."""
    if metrics_directory is not None:
        for left in Path(metrics_directory).glob("*.db"):
            left.unlink()


def child_exit(server, worker):
    """Forget what a worker that has ended was holding; what it has counted stays."""
    if metrics_directory is not None:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)


def post_worker_init(worker):
    """Say that a worker serves requests from now on."""
    worker.log.info("Worker ready (pid: %s)", worker.pid)
