"""The house keeps its layers: read from the syntax tree, so that an import inside a function counts too."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import gevent_dispatcher

PACKAGE = Path(gevent_dispatcher.__file__).parent
NAME = "gevent_dispatcher"
# An application of its own, that the demonstration runs.
SHOP = PACKAGE / "demo" / "shop"

# A module imports only from layers below its own.
LAYERS = {
    "": 0,  # the package itself: a version and lazily resolved names
    "_config": 0,
    "_ranges": 0,
    "_url": 0,
    "_proxy": 0,
    "_json": 0,
    "_event": 0,
    "_body": 0,
    "_stats": 0,
    "_notices": 0,
    "_log": 0,
    "_off_switch": 0,
    "_pid": 0,
    "_health": 0,
    "_retry": 1,
    "_breaker": 1,
    "_lane": 1,
    "_lanes": 1,
    "_pending": 1,
    "_buffer": 1,
    "_refusals": 1,
    "_policy": 1,
    "_home": 2,
    "_threads": 2,
    "_inbox": 2,
    "_resolver": 2,
    "_tls": 2,
    "_http_wire": 1,
    "_http_response": 2,
    "_http_connection": 2,
    "_http_client": 2,
    "_transport": 2,
    "_flushes": 2,
    "queues": 2,
    "_voice": 3,
    "_watch": 3,
    "_process": 3,
    "_senders": 3,
    "_spool": 3,
    "_held": 3,
    "_receivers": 3,
    "_settlement": 3,
    "_inside": 2,
    "_consumer": 3,
    "_engine": 3,
    "_disabled": 3,
    "_dispatcher": 3,
    "sdk": 4,
    "gunicorn": 4,
    "uwsgi": 4,
    "_programs": 4,
    "_table": 4,
    "bench": 4,
    "demo": 4,
    "doctor": 2,  # it imports nothing of the package but the off switch, and the engine says its few own findings
    "aws_lambda": 4,
    "prometheus": 4,
    "collector": 4,
    "testing": 4,
    "commands": 4,
    "__main__": 4,
}
# Third-party names, and the modules that may know them. L0 and L1 know none.
KNOWN_TO = {
    "gevent": {
        *(
            "_home",
            "_threads",
            "_resolver",
            "_transport",
            "_flushes",
            "_voice",
            "_watch",
            "_senders",
            "_engine",
            "_consumer",
            "_receivers",
            "_settlement",
            "_spool",
        ),
        *("_tls", "_http_response", "_http_connection", "_http_client"),
        *("queues", "aws_lambda", "bench", "collector", "commands", "demo", "prometheus", "testing"),
        *("_programs", "__main__"),
        "sdk",  # a fork doubles the greenlets that stand for the SDK's threads, and only gevent can end them
    },
    "urllib3": {"_http_client", "_http_connection"},
    "certifi": {"_tls"},
    "botocore": {"queues"},
    "orjson": {"_json"},
    "optimizely": {"sdk", "bench"},
    "gunicorn": {"doctor"},
    "pytest": {"testing"},
    "tqdm": {"commands"},
    "prometheus_client": {"prometheus"},
    # For type checkers only.
    "typing_extensions": {"_config", "_transport", "_dispatcher", "_consumer", "sdk", "testing"},
}
CLOCKS = {"time", "datetime", "random", "threading", "socket", "asyncio"}
STDLIB = getattr(sys, "stdlib_module_names", None)


def modules() -> dict[Path, str]:
    files = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != SHOP)
    return {path: path.relative_to(PACKAGE).parts[0].replace(".py", "").replace("__init__", "") for path in files}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, by its full name, TYPE_CHECKING ones aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_checkers = {id(node) for block in ast.walk(tree) if is_for_checkers(block) for node in ast.walk(block)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_checkers:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def internal(names: set[str]) -> set[str]:
    """Our own modules among them, by their names within the package."""
    within = {name[len(NAME) + 1 :].split(".")[0] for name in names if name.split(".")[0] == NAME}
    return {name if name in LAYERS else "" for name in within}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_never_run_up(path: Path) -> None:
    module = modules()[path]
    for imported in internal(imports(path)) - {module}:
        assert LAYERS[imported] <= LAYERS[module], f"{module} imports {imported} from above"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_third_party_names_stay_in_their_rooms(path: Path) -> None:
    module = modules()[path]
    for name in {full.split(".")[0] for full in imports(path)} - {NAME}:
        if name in KNOWN_TO:
            assert module in KNOWN_TO[name], f"{module} must not know {name}"
        elif STDLIB is not None:
            assert name in STDLIB, f"{module} imports {name}, which no room is allowed to know"


@pytest.mark.parametrize("module", [name for name, layer in LAYERS.items() if layer <= 1 and name])
def test_the_pure_layers_know_no_clock_and_no_input_or_output(module: str) -> None:
    roots = {full.split(".")[0] for full in imports(PACKAGE / f"{module}.py")}
    allowed = {"socket"} if module == "_proxy" else set()  # for inet_aton, which reads an address
    assert not roots & (CLOCKS - allowed)


# Within the room of the queues: the pure parts, and the ones that the thread imports with SQLite.
PURE_IN_QUEUES = ["_protocol", "_record", "_message", "_receipt", "_limits", "_legacy"]
PURE_IN_SQS = ["_batch", "_faults", "_leases", "_settings"]
SQLITE_IN_QUEUES = {"_disk", "_file", "_store", "_tasks"}


@pytest.mark.parametrize("module", [*PURE_IN_QUEUES, *(f"sqs/{name}" for name in PURE_IN_SQS)])
def test_the_pure_parts_of_the_queues_know_no_clock_and_no_input_or_output(module: str) -> None:
    roots = {full.split(".")[0] for full in imports(PACKAGE / "queues" / f"{module}.py")}
    assert not roots & {*CLOCKS, "gevent", "sqlite3"}


def test_only_the_thread_of_a_queue_imports_sqlite() -> None:
    knowing = {path.stem for path in modules() if any(name.split(".")[0] == "sqlite3" for name in imports(path))}
    assert knowing == SQLITE_IN_QUEUES
    for path in (PACKAGE / "queues").glob("*.py"):
        if path.stem not in SQLITE_IN_QUEUES:
            assert not {name.rpartition(".")[2] for name in imports(path)} & SQLITE_IN_QUEUES


def test_only_the_client_of_sqs_names_botocore() -> None:
    """It is imported by name, when it is needed, and so shows in no syntax tree."""
    naming = {
        path for path in modules() if re.search(r"\bbotocore\.(session|config|exceptions)\b", path.read_text("utf-8"))
    }
    assert naming == {PACKAGE / "queues" / "sqs" / "_client.py"}
    assert not any(name.split(".")[0] in ("botocore", "boto3") for path in modules() for name in imports(path))


# Within the room of the collector: what knows neither a server nor a clock.
PURE_IN_COLLECTOR = [
    *("_answers", "_api", "_book", "_facts", "_faults", "_guard", "_kept", "_ledger", "_pace", "_reading", "_recent"),
    *("_schema", "_sentences", "_tallies"),
]


@pytest.mark.parametrize("module", PURE_IN_COLLECTOR)
def test_the_pure_parts_of_the_collector_know_no_clock_and_no_input_or_output(module: str) -> None:
    roots = {full.split(".")[0] for full in imports(PACKAGE / "collector" / f"{module}.py")}
    assert not roots & {*CLOCKS, "gevent"} - {"random"}  # which decides what fails is handed in


def test_the_list_of_rooms_names_every_room_on_its_floor() -> None:
    document = Path(__file__).parent.parent / "CONTRIBUTING.md"
    rooms = document.read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    found: dict[str, int] = {}
    layer = 0
    for number, names in re.findall(r"^(?:L(\d))? +((?:[\w/]+(?:\.py|/) )+) *\w", rooms, re.M):
        layer = int(number or layer)
        found.update({name.rstrip("/").replace(".py", "").replace("__init__", ""): layer for name in names.split()})
    assert found.pop("queues/sqs") == LAYERS["queues"]
    assert found == LAYERS


def test_there_is_no_cycle() -> None:
    arrows: dict[str, set[str]] = {module: set() for module in LAYERS}
    for path, module in modules().items():
        arrows[module] |= internal(imports(path)) - {module, ""}
    while arrows:
        leaves = {module for module, targets in arrows.items() if not targets & set(arrows)}
        assert leaves, f"a cycle among {sorted(arrows)}"
        arrows = {module: targets for module, targets in arrows.items() if module not in leaves}
