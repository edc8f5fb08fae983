"""Patched late: our HTTP and HTTPS work, and we are never the reason that the application's own HTTPS breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

from gevent_dispatcher.collector import Collector
from tests.hostile import make_certificates

ROOT = Path(__file__).resolve().parent.parent

# What happens before the patch, then the patch in this process or in a fork's child, then what the process says.
SCRIPT = """
import json, os, sys, warnings
from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event
url, before, where = sys.argv[1:]
dispatcher = GeventEventDispatcher()
if before == "dispatches":
    dispatcher.dispatch_event(log_event(url))
    assert dispatcher.flush(10)
elif before == "imports requests":
    import requests
if where == "in a child" and os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) if hasattr(os, "waitstatus_to_exitcode") else os.wait()[1])
warnings.simplefilter("ignore")
from gevent import monkey
monkey.patch_all()
import gevent
turns = []
gevent.spawn(lambda: [turns.append(gevent.sleep(0.001)) for _ in range(10_000)])
dispatcher.dispatch_event(log_event(url))
flushed = dispatcher.flush(10)
said = {"flushed": flushed, "delivered": dispatcher.stats().delivered, "cooperative": len(turns) > 20}
try:
    import requests
    said["application"] = requests.get(url.replace("/v1/events", "/counts"), timeout=10).status_code
except RecursionError:
    said["application"] = "RecursionError"
print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module", params=["http", "https"])
def collector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    directory = tmp_path_factory.mktemp("certificates")
    good = make_certificates(directory)["good"]
    tls = {"keyfile": str(good.chain), "certfile": str(good.chain)} if request.param == "https" else {}
    os.environ["REQUESTS_CA_BUNDLE"] = str(good.trust)
    with Collector(latency=0.1, **tls) as running:
        yield running
    del os.environ["REQUESTS_CA_BUNDLE"]


def run(collector: Collector, before: str, where: str) -> dict[str, Any]:
    command = [sys.executable, "-c", SCRIPT, collector.url, before, where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("where", ["in this process", "in a child"])
@pytest.mark.parametrize("before", ["does nothing", "dispatches"])
def test_everything_works_after_a_late_patch(collector: Collector, before: str, where: str) -> None:
    collector.reset()
    said = run(collector, before, where)
    assert said["flushed"]
    assert said["cooperative"]
    assert said["application"] == 200
    assert collector.counts()["unique"] == (2 if before == "dispatches" else 1)
    assert collector.counts()["duplicated"] == 0


def test_our_https_works_even_where_the_application_broke_its_own(collector: Collector) -> None:
    said = run(collector, "imports requests", "in this process")
    assert said["flushed"]
    assert said["delivered"] == 1
    # The application imported requests before the patch: that it breaks is known, and not ours to change.
    assert said["application"] == ("RecursionError" if collector.url.startswith("https") else 200)


PATCHED_TWICE = """
import sys
from gevent_dispatcher import GeventEventDispatcher
from tests.events import log_event

def dispatch():
    dispatcher.dispatch_event(log_event(sys.argv[1]))
    assert dispatcher.flush(10)

dispatcher = GeventEventDispatcher()
dispatch()
import warnings
warnings.simplefilter("ignore")
from gevent import monkey
monkey.patch_all()
dispatch()
import urllib3.util
monkey.patch_ssl()
assert sys.modules["urllib3"] is urllib3
assert sys.modules["urllib3.util"] is urllib3.util
dispatch()
assert dispatcher.stats().delivered == 3, dispatcher.stats()
"""


def test_what_the_application_imported_after_the_patch_stays_when_ssl_is_patched_again(collector: Collector) -> None:
    command = [sys.executable, "-c", PATCHED_TWICE, collector.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
