"""The command line as a whole: how it is called, what it teaches, how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from gevent_dispatcher import __version__
from gevent_dispatcher.collector import Collector
from gevent_dispatcher.commands._main import main
from tests.commands import PATIENCE, ROOT, QueueFile, Terminal, environ, run, start
from tests.waiting import wait_until

SCRIPT = Path(sys.executable).with_name("gevent-dispatcher")
MODULE = [sys.executable, "-m", "gevent_dispatcher"]
CALLED = {
    "module": MODULE,
    "script": pytest.param([str(SCRIPT)], marks=pytest.mark.skipif(not SCRIPT.exists(), reason="it is not installed")),
}


class Printed(NamedTuple):
    """What a call of the command line prints, and how it ends."""

    code: int
    output: str
    errors: str


def called(*arguments: str) -> Printed:
    """Call it in this process: for what only prints."""
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    return Printed(code, output.getvalue(), errors.getvalue())


COMMANDS = re.findall(r"^    ([a-z]+)  ", called("--help").output, re.M)


def empty_queue(directory: Path) -> None:
    """A queue in the file queue.db."""
    with QueueFile(directory / "queue.db") as queue:
        assert queue.left() == 0


# Has those imports noted that come before the patch.
WATCH = """
import runpy, sys

early = []


class Watch:
    def find_spec(self, name, path=None, target=None):
        monkey = sys.modules.get("gevent.monkey")
        if monkey is None or not getattr(monkey, "is_module_patched", str)("ssl"):
            early.append(name)


sys.meta_path.insert(0, Watch())
sys.argv[1:] = ["--version"]
try:
    {}
finally:
    print(*early)
"""
AS_MODULE = 'runpy.run_module("gevent_dispatcher", run_name="__main__")'
AS_SCRIPT = f'runpy.run_path("{SCRIPT}", run_name="__main__")'


@pytest.mark.parametrize(
    "way",
    [AS_MODULE, pytest.param(AS_SCRIPT, marks=pytest.mark.skipif(not SCRIPT.exists(), reason="it is not installed"))],
    ids=["module", "script"],
)
def test_it_patches_before_anything_else_is_imported(way: str) -> None:
    command = [sys.executable, "-W", "error", "-c", WATCH.format(way)]
    done = subprocess.run(command, env=environ(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    version, early = done.stdout.splitlines()
    assert version.startswith("gevent-dispatcher ")
    assert "gevent.monkey" in early.split()
    ours = {name for name in early.split() if name.startswith("gevent_dispatcher")}
    assert ours <= {"gevent_dispatcher", "gevent_dispatcher.__main__"}
    assert not {"urllib3", "requests", "optimizely"} & set(early.split())


@pytest.mark.parametrize("how", CALLED.values(), ids=CALLED)
def test_help_can_be_typed_as_it_stands(how: list[str]) -> None:
    shown = [
        subprocess.run([*how, *command, "--help"], env=environ(), capture_output=True, text=True, timeout=PATIENCE)
        for command in ([], ["worker"])
    ]
    program = "gevent-dispatcher" if len(how) == 1 else "python -m gevent_dispatcher"
    other = "python -m" if len(how) == 1 else "gevent-dispatcher"
    for each in shown:
        assert each.returncode == 0
        assert each.stdout.startswith(f"usage: {program} ")
        assert f"  {program} worker queue.db" in each.stdout
        assert other not in each.stdout


def test_it_tells_versions() -> None:
    done = called("--version")
    assert done.code == 0
    others = r"gevent \S+, urllib3 \S+, Python \S+"
    assert re.fullmatch(rf"gevent-dispatcher {re.escape(__version__)} \({others}\)\n", done.output)


def test_the_help_names_every_command_and_each_has_help_of_its_own() -> None:
    refused = called("nonsense").errors
    names = re.search(r"there are (.+)\n", refused)
    assert names is not None
    assert sorted(names.group(1).split(", ")) == sorted(COMMANDS)
    for command in COMMANDS:
        done = called(command, "--help")
        assert done.code == 0
        assert done.output.startswith(f"usage: python -m gevent_dispatcher {command} ")
        assert f"\n  python -m gevent_dispatcher {command}" in done.output


def test_without_a_command_it_teaches_and_did_nothing() -> None:
    assert called() == Printed(2, called("--help").output, "")


@pytest.mark.parametrize(("typed", "meant"), [("wroker", "worker"), ("Doctor", "doctor"), ("queues", "queue")])
def test_a_command_that_is_not_there_is_guessed(typed: str, meant: str) -> None:
    done = called(typed, "--once", "queue.db")
    assert (done.code, done.output) == (2, "")
    assert f"there is no command '{typed}'; did you mean {meant}?" in done.errors


def test_an_option_that_is_not_there_is_an_error() -> None:
    done = called("queue", "status", "--jsno", "queue.db")
    assert done.code == 2
    assert "unrecognized arguments: --jsno" in done.errors


# -- programs read, too ------------------------------------------------------------------------------------------------


def test_the_worker_tells_its_counts_to_a_program(tmp_path: Path) -> None:
    with QueueFile(tmp_path / "queue.db") as queue, Collector() as collector:
        queue.put(collector.url, "a", "b")
        done = run("worker", queue.path, "--once", "--allow", collector.url, "--json")
    assert done.returncode == 0
    counts = json.loads(done.stdout)
    assert (counts["received"], counts["acked"], counts["delivered_events"], counts["held"]) == (2, 2, 2, 0)


# -- what a terminal can show ------------------------------------------------------------------------------------------


def test_a_letter_that_the_terminal_has_not_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    with QueueFile(path) as queue:
        queue.put("http://127.0.0.1:9/", "a")
        queue.bury("rejected: é")
    for arguments, shown in ((("queue", "dead", path), r"rejected: \xe9"), (("bench", "--events", "100"), r"\xb5s")):
        environment = {**environ(), "PYTHONIOENCODING": "ascii"}
        command = [*MODULE, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert shown in done.stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    whole = {command: called(command, "--help").output for command in COMMANDS}
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMMANDS:
        lines = called(command, "--help").output.splitlines()
        prose = [line for line in lines if line[:1].strip() and not line.startswith("usage: ")]
        assert max(map(len, prose)) <= min(columns, 100), command
        examples = [line for line in whole[command].splitlines() if line.startswith("  python -m")]
        assert examples
        assert [line for line in lines if line.startswith("  python -m")] == examples


# -- who reads has seen enough -----------------------------------------------------------------------------------------


def pipe_that_nobody_reads() -> int:
    reading, writing = os.pipe()
    os.closerange(reading, reading + 1)  # gevent's os.close may put it off
    return writing


WRITERS = [("--help",), ("queue", "status", "queue.db"), ("send", "--json"), ("collector",)]


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_nobody_reads_is_no_traceback(tmp_path: Path, arguments: tuple[str, ...], unbuffered: str) -> None:
    empty_queue(tmp_path)
    writing = pipe_that_nobody_reads()
    done = subprocess.run(
        [*MODULE, *arguments],
        env={**environ(), "PYTHONUNBUFFERED": unbuffered},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    os.close(writing)
    # some versions of argparse hide it
    assert done.returncode in ((0, 1) if arguments == ("--help",) else (1,))
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_log_that_nobody_reads_ends_nothing(tmp_path: Path) -> None:
    empty_queue(tmp_path)
    writing = pipe_that_nobody_reads()
    done = subprocess.run([*MODULE, "worker", "--once", "queue.db"], env=environ(), cwd=tmp_path, stderr=writing)
    os.close(writing)
    assert done.returncode == 0


def test_a_standard_output_that_is_closed_is_no_traceback(tmp_path: Path) -> None:
    empty_queue(tmp_path)
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *MODULE, "worker", "--once", "queue.db"]
    done = subprocess.run(closed, env=environ(), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


# -- signals -----------------------------------------------------------------------------------------------------------


def hanging_application(directory: Path) -> list[str]:
    """A doctor that waits for an application to be loaded."""
    (directory / "hanging.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    return ["doctor", "--chdir", str(directory), "hanging:app"]


def waiting_collector(directory: Path) -> list[str]:
    return ["collector"]


def waiting_worker(directory: Path) -> list[str]:
    return ["worker", str(directory / "not-there.db")]


CASES = [(hanging_application, "loading", 130), (waiting_collector, "http://", 0), (waiting_worker, "delivering", 0)]


@pytest.mark.parametrize(("make", "said", "code"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_ctrl_c_ends_a_command_without_a_traceback(
    tmp_path: Path, make: Callable[[Path], list[str]], said: str, code: int
) -> None:
    with start(tmp_path, *make(tmp_path)) as program:
        program.wait_for("it to be at work", lambda: said in program.output())
        program.signal(signal.SIGINT)
        assert program.wait_for_end() == code
        assert "Traceback" not in program.output()


IMPATIENT = """
import os, signal, sys
import gevent
from gevent_dispatcher.commands._signals import interruptible

def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        gevent.sleep(30)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        gevent.sleep(0.05)
        print("cleaned up")

sys.exit(interruptible(work))
"""


def test_a_second_signal_does_not_interrupt_the_cleaning_up() -> None:
    command = [sys.executable, "-c", IMPATIENT]
    done = subprocess.run(command, env=environ(), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "cleaned up\n", "")


INTERRUPTED = """
import sys


class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt


sys.meta_path.insert(0, Interrupting())
from gevent_dispatcher.__main__ import run

sys.exit(run())
"""


@pytest.mark.parametrize("module", ["gevent", "gevent_dispatcher.commands._main"])
def test_ctrl_c_while_it_imports_is_no_traceback(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, module]
    done = subprocess.run(command, env=environ(), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_question_can_be_left_by_a_signal(tmp_path: Path, number: int) -> None:
    empty_queue(tmp_path)
    terminal = Terminal("-m", "gevent_dispatcher", "queue", "purge", str(tmp_path / "queue.db"))
    wait_until(lambda: "Type yes" in terminal.shown(), 30)
    terminal.process.send_signal(number)
    shown = terminal.read()
    assert terminal.process.returncode == 128 + number
    assert "Traceback" not in shown
    assert "deleted" not in shown
