"""Hooks for gunicorn.conf.py, for those who want the last events sent before the exit handlers run.

None is needed: the end of a worker sends what it still has. These send it earlier, while requests still run
(`worker_int`), or before other exit handlers spend time (`worker_exit`). In gunicorn.conf.py:

    from gevent_dispatcher.gunicorn import worker_exit, worker_int

or, beside hooks of your own:

    import gevent_dispatcher.gunicorn

    def worker_exit(server, worker):
        gevent_dispatcher.gunicorn.worker_exit(server, worker)
        ...

All of them and the exit handler share one `close_timeout`: what they spend together. Importing this module imports
nothing else: gunicorn reads its configuration in the master, before anything is patched.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["worker_exit", "worker_int"]


def worker_int(worker: Any) -> None:
    """On SIGINT and SIGQUIT: send what is pending. Requests still run, and events are still accepted.

    Args:
        worker: gunicorn's; not used.
    """
    _drain()


def worker_exit(server: Any, worker: Any) -> None:
    """When a worker has done its last request: send what is pending. The exit handler sends what comes later.

    Args:
        server: gunicorn's arbiter; not used.
        worker: gunicorn's; not used.
    """
    _drain()


def _drain() -> None:
    # A process that has dispatched nothing has not imported this, and has nothing to send.
    process = sys.modules.get("gevent_dispatcher._process")
    if process is not None:
        process.drain_all(end=False)
