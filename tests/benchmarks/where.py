"""Where the CPU of an event goes in a Flask worker: `python -m tests.benchmarks.where`.

One worker under gunicorn, flat out. The ways that an event may go take turns in it, so that a machine which is slower
for a while is so for all of them: nothing is done with it, it is encoded, recognised, put through a dispatcher whose
transport answers at once, sent; and the limit, requests written by hand. What one costs more than the one before it is
what its part of the way costs among everything else that a worker does, with caches as cold as they are there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Sequence
from urllib.request import ProxyHandler, build_opener

from tests.benchmarks import payloads
from tests.benchmarks.programs import PATIENCE, Tools
from tests.benchmarks.runner import temporary_directory
from tests.benchmarks.web import AT_ONCE, REQUEST, Server

_LABELS = {
    "nothing": "the request itself, no-op",
    "encode": "encoding the visitors",
    "recognise": "recognising the envelope",
    "instant": "bounds, accounts, batches, senders",
    "http": "HTTP by urllib3, one request for 100 events",
    "limit": "the limit: raw sockets, merged",
}

# The longest run of one encoder, in seconds.
_DEADLINE = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.where", description=__doc__)
    parser.add_argument("--turns", type=int, default=40, metavar="N", help="of each way (default: %(default)s)")
    parser.add_argument("--length", type=int, default=600, metavar="N", help="of a turn, in requests (%(default)s)")
    options = parser.parse_args(arguments)
    with temporary_directory() as directory:
        tools = Tools(Path(directory))
        for encoder in ("json", "orjson"):
            costs = _costs(tools, encoder, options.turns, options.length, Path(directory))
            print(_table(encoder, costs), flush=True)
    return 0


def _costs(tools: Tools, encoder: str, turns: int, length: int, directory: Path) -> dict[str, list[float]]:
    """CPU per request, in µs, of each turn of each way; the first turns warm up."""
    with tools.sink(0.005) as sink:
        task = {"encoder": encoder, "params": payloads.captured(), "url": sink.url, "turn": length}
        with Server(directory, task, "where_app") as server:
            tools.load(server.port, AT_ONCE, length * len(_LABELS) * (turns + 1), _DEADLINE, REQUEST)
            return {name: costs[1:] for name, costs in _ask(server.port).items()}


def _ask(port: int) -> dict[str, list[float]]:
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/costs", timeout=PATIENCE) as answer:
        costs: dict[str, list[float]] = json.load(answer)
    return costs


def _table(encoder: str, costs: dict[str, list[float]]) -> str:
    before = {name: list(_LABELS)[max(at - 1, 0)] for at, name in enumerate(_LABELS)}
    before["limit"] = "nothing"
    lines = [
        f"\n### {encoder}: CPU of a request with one event, µs (medians of {len(costs['nothing'])} turns)\n",
        "| | up to here | of this | requests/s beside no-op's |",
        "|---|---:|---:|---:|",
    ]
    for name, label in _LABELS.items():
        share = "" if name == "nothing" else f"{median(costs[name]) - median(costs[before[name]]):.1f}"
        rate = median(costs["nothing"]) / median(costs[name])
        lines.append(f"| {label} | {median(costs[name]):.0f} | {share} | {rate:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
