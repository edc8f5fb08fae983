"""Running rows, several at once: most of a row is waiting."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Callable, Sequence

from tests.lifetimes import _scripts, _servers
from tests.lifetimes._endpoint import Endpoint, Endpoints
from tests.lifetimes._processes import Trouble, end_all, wait_for
from tests.lifetimes._result import Result, Tally, judge
from tests.lifetimes._rows import OURS, SCRIPT, Row

# Events that a master dispatches before it forks, in rows of `at_fork`.
AT_FORK = 20

# How long after the end of its process an event may still be read by the collector, in seconds.
_ARRIVAL = 1.0

_OUTPUT = 4_000  # characters of a failed row's output that are kept


def run_rows(rows: Sequence[Row], jobs: int, tell: Callable[[Result], object] = lambda _: None) -> list[Result]:
    """Run rows and return their results, in the same order.

    Args:
        rows: which ones.
        jobs: how many at once.
        tell: called with each result as it comes, from several threads.
    """

    def run(row: Row) -> Result:
        result = run_row(row, endpoints, Path(tempfile.mkdtemp(dir=directory)))
        if result.trouble and not result.duplicated:
            # The server could not be driven to the row's end: once in some hundred rows an answer does not come, and
            # it is killed with what it held. Such a row has shown nothing yet; a row that came to its end has.
            result = run_row(row, endpoints, Path(tempfile.mkdtemp(dir=directory)))
        tell(result)
        return result

    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="lifetimes-"))
        endpoints = stack.enter_context(Endpoints(Path(directory), {row.scheme for row in rows}, jobs))
        executor = stack.enter_context(ThreadPoolExecutor(jobs))
        stack.callback(end_all)  # so that the executor has nothing to wait for when this is cut short
        return list(executor.map(run, rows))


def run_row(row: Row, endpoints: Endpoints, directory: Path) -> Result:
    """Run one row and say what came of it.

    Args:
        row: which one.
        endpoints: where its events go.
        directory: for the files of this row alone.
    """
    start, tally, trouble = monotonic(), Tally(), ""
    with endpoints.lent(row.scheme) as endpoint:
        try:
            _run(row, endpoint, directory, tally)
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        tally.dispatched.update(_noted(directory))
        arrived = _arrived(endpoint, tally)
    return judge(row, tally, arrived, seconds=monotonic() - start, trouble=trouble, output=_output(directory))


def _run(row: Row, endpoint: Endpoint, directory: Path, tally: Tally) -> None:
    environ = _environ(row, endpoint, directory)
    if row.launcher == SCRIPT:
        _scripts.run(row, directory, environ)
    else:
        _servers.run(row, directory, environ, endpoint, tally)


def _environ(row: Row, endpoint: Endpoint, directory: Path) -> dict[str, str]:
    in_flight = row.at_fork == "in flight"
    environ = {
        "LIFETIMES_CONTESTANT": row.contestant,
        "LIFETIMES_URL": endpoint.url,
        "LIFETIMES_LEDGER": str(_ledger(directory)),
        "LIFETIMES_AT_IMPORT": str(AT_FORK if row.at_fork else 0),
        "LIFETIMES_SETTINGS": json.dumps({"flush_interval": 0} if in_flight else {}),
        # The SDK sends by requests, which looks at this one only.
        "SSL_CERT_FILE" if row.contestant == OURS else "REQUESTS_CA_BUNDLE": endpoint.authority,
    }
    return {**environ, "LIFETIMES_IN_FLIGHT": "1"} if in_flight else environ


def _ledger(directory: Path) -> Path:
    return directory / "ledger.txt"


def _noted(directory: Path) -> list[str]:
    ledger = _ledger(directory)
    return ledger.read_text().split() if ledger.exists() else []


def _output(directory: Path) -> str:
    output = directory / "output.txt"
    return output.read_text("utf-8", "replace")[-_OUTPUT:] if output.exists() else ""


def _arrived(endpoint: Endpoint, tally: Tally) -> dict[str, int]:
    """What arrived, the last of it perhaps a moment after its sender's end."""
    with suppress(Trouble):  # then something is lost
        wait_for("all to arrive", lambda: tally.dispatched <= set(endpoint.arrived()), _ARRIVAL)
    return endpoint.arrived()
