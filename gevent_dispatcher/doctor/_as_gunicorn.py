"""Load an application as gunicorn would and examine it in the worker. Run by `_command` in a process of its own.

It is gunicorn itself that reads the configuration, preloads, forks, calls the hooks, patches and imports; only the
worker's `run` is another. Nothing listens, and both processes end without their exit handlers, so that what the
application dispatched when it was imported is not flushed to where events go.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import IO, Any, NoReturn

from gevent_dispatcher.doctor import examine

try:
    from gunicorn.app.wsgiapp import WSGIApplication  # type: ignore[import-untyped]  # gunicorn has no types
    from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]  # nor here
except ImportError:
    sys.exit(
        "The doctor loads the application as gunicorn does, and gunicorn is not installed: pip install gunicorn."
        " Under another server call gevent_dispatcher.doctor.examine() in the application."
    )

# What gunicorn must not do here: write to the server's files, watch the code, listen.
_QUIET = {
    "accesslog": None,
    "errorlog": "-",
    "loglevel": "warning",
    "capture_output": False,
    "reload": False,
    "reuse_port": False,
}


class _Application(WSGIApplication):  # type: ignore[misc]  # so its class is Any
    """gunicorn's own, with the gevent worker unless the configuration names another."""

    def load_default_config(self) -> None:
        super().load_default_config()
        self.cfg.set("worker_class", "gevent")

    def load_config(self) -> None:
        super().load_config()
        for name, value in _QUIET.items():
            self.cfg.set(name, value)


def main(path: str, arguments: list[str]) -> NoReturn:
    """Write what is found to a file; it stays empty when the application cannot be loaded.

    Args:
        path: of the file.
        arguments: of gunicorn's command line.
    """
    sys.argv = ["gunicorn", *arguments]
    with open(path, "w", encoding="utf-8") as file:  # before the worker becomes another user
        arbiter = Arbiter(_Application())
        arbiter.pid = os.getpid()
        arbiter.worker_class = _examined(arbiter.worker_class, file)
        status = os.waitpid(arbiter.spawn_worker(), 0)[1]
    _end(1 if status else 0)


def _examined(worker_class: type, file: IO[str]) -> type:
    """A worker that, instead of serving, is examined."""

    def run(worker: Any) -> None:
        json.dump([asdict(finding) for finding in examine()], file)
        file.flush()
        _end(0)

    return type(worker_class.__name__, (worker_class,), {"run": run, "__module__": worker_class.__module__})


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":  # pragma: no branch  # a program, imported by nobody
    main(sys.argv[1], sys.argv[2:])
