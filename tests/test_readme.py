"""The documents are true: snippets run, command lines are read, links lead somewhere, tables name all there is."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator

import pytest

from gevent_dispatcher import Consumer, GeventEventDispatcher, HttpTransport, _stats, default_dispatcher
from gevent_dispatcher._config import CONFIG_NAMES, HTTP_NAMES, Config, ConsumerConfig, HttpConfig
from gevent_dispatcher.collector import Collector
from gevent_dispatcher.commands._main import _COMMANDS, _parser
from gevent_dispatcher.doctor import _findings
from tests import documents
from tests.documents import Block
from tests.events import log_event
from tests.links import clear_environment
from tests.waiting import wait_until

pytest.importorskip("optimizely")

from gevent_dispatcher.testing import events_sent_to

EXAMPLES = documents.ROOT / "examples"
DATAFILE = (EXAMPLES / "datafile.json").read_text(encoding="utf-8")
# What the snippets that speak of SQS say; a server that is here takes its place.
SQS = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"
SNIPPETS = [block for block in documents.blocks("python") if not block.file]
FILES = [block for block in documents.blocks("python") if block.file]


# -- snippets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqs_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A queue of a server that speaks SQS."""
    pytest.importorskip("botocore")
    server = request.getfixturevalue("moto")
    request.getfixturevalue("aws_credentials")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    return str(server.queue())


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A local Event API, to which the SDK sends its events meanwhile."""
    clear_environment(monkeypatch)
    with Collector() as collector, events_sent_to(collector.url):
        yield collector


def run_my_application(events_url: str) -> None:
    """What a snippet's reader has."""
    from gevent_dispatcher.sdk import create_client

    with events_sent_to(events_url):
        client = create_client(DATAFILE)
        client.create_user_context("visitor-1").track_event("purchase")
        client.close()


def needed(block: Block) -> set[str]:
    """What a snippet imports and is not installed."""
    names = re.findall(r"^(?:from|import) (\w+)", block.text, re.M)
    return {name for name in names if find_spec(name) is None}


def run_snippet(block: Block, url: str) -> dict[str, Any]:
    """The names that it leaves behind."""
    # Each snippet stands for itself: what the ones before it in a document import is here, too.
    names: dict[str, Any] = {
        "__name__": "snippet",
        "datafile": DATAFILE,
        "run_my_application": run_my_application,
        "GeventEventDispatcher": GeventEventDispatcher,
    }
    text = block.text.replace(SQS, url)
    exec(compile("\n" * block.line + text, block.document, "exec", dont_inherit=True), names)
    return names


@pytest.mark.filterwarnings("ignore:Patching more than once")  # what importing grequests does
@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: block.name)
def test_a_snippet_does_what_its_reader_hopes_for(
    block: Block,
    collector: Collector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if needed(block):
        pytest.skip(f"not installed: {', '.join(sorted(needed(block)))}")
    monkeypatch.chdir(tmp_path)
    url = request.getfixturevalue("sqs_url") if SQS in block.text else ""
    names = run_snippet(block, url)
    if "client" in names:
        check_client(names, collector, url)
    elif "dispatcher" in names:
        check_dispatcher(names["dispatcher"], collector)
        if "instrument" in names:
            check_metrics()
    elif "consumer" in names:
        check_consumer(names["consumer"])
    else:
        assert "Collector() as collector" in block.text, "nobody looks at what this snippet does"


def check_client(names: dict[str, Any], collector: Collector, queue: str) -> None:
    """What is tracked through it arrives, once."""
    client = names["client"]
    client.create_user_context("reader").track_event("purchase")
    client.close()
    assert default_dispatcher().flush(10)
    if queue:
        assert client.event_processor.event_dispatcher.stats().delivered == 1
    else:
        wait_until(lambda: collector.visitors().get("reader") == {"purchase": 1})


def check_dispatcher(dispatcher: Any, collector: Collector) -> None:
    """It delivers an event, to wherever it delivers."""
    dispatcher.dispatch_event(log_event(collector.url))
    assert dispatcher.close(10)
    assert dispatcher.stats().delivered == 1


def check_metrics() -> None:
    """The event that was dispatched is exported."""
    from prometheus_client import REGISTRY

    labels = {"dispatcher": "default", "outcome": "delivered", "reason": ""}
    assert (REGISTRY.get_sample_value("gevent_dispatcher_events_total", labels) or 0) >= 1


def check_consumer(consumer: Any) -> None:
    """It can use its queue."""
    consumer.run(until_empty=True)
    assert consumer.stats().held == 0


# -- files -------------------------------------------------------------------------------------------------------------


def run_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the reader of an example does, in an unpatched process."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *filter(None, map(str, sys.path))])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, env=environ, cwd=str(directory), capture_output=True, text=True, timeout=100, check=False
    )


def test_the_example_passes() -> None:
    pytest.importorskip("flask")
    done = run_pytest(EXAMPLES, "test_checkout.py")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_the_readmes_test_passes_and_its_failure_is_what_it_says(tmp_path: Path) -> None:
    pytest.importorskip("flask")
    for block in FILES:
        (tmp_path / block.file).write_text(block.text)
    good = (tmp_path / "test_checkout.py").read_text()
    (tmp_path / "test_wrong.py").write_text(good.replace(", revenue=4200, times=1", ", revenue=4100"))
    done = run_pytest(tmp_path)
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    (failure,) = [block for block in documents.blocks("text") if block.text.startswith("AssertionError")]
    said = [line[2:].strip() for line in done.stdout.splitlines() if line.startswith("E ")]
    assert said[:4] == [line.strip() for line in failure.text.splitlines()]


# -- command lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", documents.command_lines(), ids=" ".join)
def test_a_command_line_is_read(call: list[str]) -> None:
    parser, names = _parser()
    if len(call) == 1 or call[-1] == "--help":  # a command that is spoken of, not called
        assert call[0] in {*names, "--version", "--help"}
        return
    if call == ["--version"]:
        return
    options, rest = parser.parse_known_args(call)
    assert options.command == call[0]
    assert not rest or options.takes_rest


def test_the_readme_lists_every_command() -> None:
    _, names = _parser()
    assert documents.first_cells("README.md", "command") == set(names)
    assert len(names) == len(_COMMANDS)


@pytest.mark.parametrize("name", documents.NAMES)
def test_what_python_runs_is_there(name: str) -> None:
    for module, options in documents.programs(name):
        path = documents.ROOT / module.replace(".", "/")
        program = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        text = program.read_text("utf-8")
        assert [option for option in options if f'"{option}"' not in text] == [], module


# -- tables and links --------------------------------------------------------------------------------------------------


def test_the_readme_lists_every_setting() -> None:
    assert documents.first_cells("README.md", "setting") == {*CONFIG_NAMES, *HTTP_NAMES, "transport"}


def test_the_readme_knows_each_default() -> None:
    said: dict[str, str] = {}
    for row in documents.rows("README.md", "setting"):
        names = re.findall(r"`(\w+)`", row[0])
        values = re.split(", ", row[1]) if len(names) > 1 else [row[1]]
        assert len(names) == len(values), row
        said.update(zip(names, values))
    defaults = {**vars(Config()), **vars(HttpConfig())}
    numbers = {name: value for name, value in defaults.items() if isinstance(value, (int, float))}
    assert {name: amount(said[name]) for name in numbers} == numbers


@pytest.mark.parametrize(
    ("described", "config"),
    [(GeventEventDispatcher, Config), (HttpTransport, HttpConfig), (Consumer, ConsumerConfig)],
    ids=lambda each: each.__name__,
)
def test_a_docstring_knows_each_default(described: type, config: type) -> None:
    numbers = {name: value for name, value in vars(config()).items() if isinstance(value, (int, float))}
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", inspect.getdoc(described) or "", re.M)
    default = re.compile(r"[Dd]efault (\d+(?: \d{3})*(?:\.\d+)?(?: MiB)?)")
    said = {name: amount(default.findall(text)[0]) for name, text in entries if name in numbers}
    assert said == {name: value for name, value in numbers.items() if name in said}
    assert set(numbers) - set(said) <= {"backoff_base", "backoff_max"}  # "as for a dispatcher"


def amount(text: str) -> float:
    """A number as a document has it: `10 000`, `0.5 s`, `32 MiB`."""
    found = re.fullmatch(r"([\d ]+(?:\.\d+)?)( s| MiB)?", text)
    assert found is not None, text
    return float(found[1].replace(" ", "")) * (1024 * 1024 if found[2] == " MiB" else 1)


def test_the_readme_lists_every_reason() -> None:
    assert documents.first_cells("README.md", "reason") == set(_stats.REASONS)


def test_the_readme_lists_every_extra() -> None:
    setup = documents.read("setup.py").split("extras_require={")[1].split("},")[0]
    known = set(re.findall(r'^        "(\w+)":', setup, re.M))
    assert documents.first_cells("README.md", "extra, as in `gevent-dispatcher[sdk]`") == known
    for name in documents.NAMES:
        assert set(re.findall(r"gevent-dispatcher\[(\w+)\]", documents.read(name))) <= known


def test_the_findings_that_documents_name_are_the_doctors() -> None:
    rows = documents.rows("README.md", "symptom")
    named = {each for row in rows for each in re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", row[1])}
    source = Path(_findings.__file__).read_text("utf-8")
    assert "event-thread-dead" in named
    # Those of threads are put together there, of the thread and of what became of it.
    assert [each for each in named if f'"{each.replace("-thread-dead", "-thread")}"' not in source] == []


def test_the_readme_shows_what_the_demonstration_prints() -> None:
    pytest.importorskip("flask")
    from gevent_dispatcher.demo import _contest, _report

    header = "| | requests answered |"
    table = documents.read("README.md").split(f"\n{header}", 1)[1].split("\n\n")[0]
    columns, _, *rows = f"{header}{table}".splitlines()
    assert [cell.strip() for cell in columns.strip("|").split("|")] == list(_report._COLUMNS)
    source = Path(_contest.__file__).read_text("utf-8")
    assert [row for row in rows if f'"{row.split(" | ")[0].strip("| ")}"' not in source] == []


def test_the_examples_are_all_listed() -> None:
    there = {path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*") if path.is_file()}
    files = {str(path) for path in there if not re.search(r"(^|/)[._]", str(path))}
    assert files - {"README.md"} == {target for target in documents.links("examples/README.md") if "#" not in target}


@pytest.mark.parametrize("name", documents.NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in documents.links(name):
        path, _, anchor = target.partition("#")
        found = (documents.ROOT / name).parent / path if path else documents.ROOT / name
        assert found.exists(), target
        if anchor:
            assert anchor in documents.anchors(os.path.relpath(found, documents.ROOT)), target
