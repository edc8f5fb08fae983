"""The measured process: patched, with one contestant, fresh for each run.

`python -m tests.benchmarks.child` reads its task as JSON from standard input and prints what it measured as JSON.
"""

# ruff: noqa: E402  # the patch comes first, as in the servers
from gevent import monkey

monkey.patch_all()

import json
import resource
import sys
from typing import Any


def main() -> None:
    """Do the task."""
    task = json.load(sys.stdin)
    hide_orjson(task["contestant"])
    allow_many_files()
    from tests.benchmarks import measures

    print(json.dumps(measures.MEASURES[task["measure"]](measures.Bench(task))), flush=True)
    end()


def hide_orjson(contestant: str) -> None:
    """As if it were not installed, for all but those that are measured with it."""
    from tests.benchmarks.contestants import ENTRIES

    if ENTRIES[contestant].encoder != "orjson":
        modules: dict[str, Any] = sys.modules
        modules["orjson"] = None


def allow_many_files() -> None:
    """A thread for each event needs a socket for each event."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def end() -> None:
    """At once: what is still pending belongs to no measurement, and exit handlers would wait for it."""
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
