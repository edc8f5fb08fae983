"""gunicorn's settings that have no option on its command line."""

import os

if "LIFETIMES_PATCHED" in os.environ:
    from gevent import monkey

    monkey.patch_all()

from typing import Any

# gunicorn 25.1 and later open a control socket in the home directory.
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    """From now on the worker hears signals."""
    os.write(2, f"lifetimes: ready {worker.pid}\n".encode())


def worker_exit(server: Any, worker: Any) -> None:
    """Its requests are done; the exit handlers follow."""
    os.write(2, f"lifetimes: leaving {worker.pid}\n".encode())
