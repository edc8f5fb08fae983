"""Programs that commands start: what they say, and that none is left behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import gevent
import pytest

from gevent_dispatcher._programs import Problem, Program, wait_until
from tests import waiting

SLEEPER = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended may be waited for by nobody."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_it_says_something_and_is_ended_with_its_block(tmp_path: Path) -> None:
    with Program("sleeper", ["-c", SLEEPER], tmp_path) as program:
        pid = int(program.says(r"pid (\d+)"))
        assert is_alive(pid)
    assert not is_alive(pid)


def test_its_descendants_are_ended_too(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"
    with Program("parent", ["-c", code], tmp_path) as program:
        pid = int(program.says(r"pid (\d+)"))
    waiting.wait_until(lambda: not is_alive(pid))


def test_it_is_ended_when_its_block_is_left_before_it_was_entered(tmp_path: Path) -> None:
    entered = []

    def enter() -> None:
        with Program("sleeper", ["-c", SLEEPER], tmp_path):
            entered.append(True)

    starting = gevent.spawn(enter)
    gevent.sleep(0)  # it has begun, and waits for the start of its process
    starting.kill()
    assert not entered
    output = (tmp_path / "sleeper.out").read_text()
    if output:  # it came as far as that
        assert not is_alive(int(output.split()[1]))


def test_its_end_and_its_words_are_told(tmp_path: Path) -> None:
    code = "import sys; print('one'); sys.exit('because of that')"
    with Program("failing", ["-c", code], tmp_path) as program:
        with pytest.raises(Problem, match=r"failing ended with exit code 1:\nbecause of that"):
            program.says("two")
        assert (program.wait(), program.output(), program.errors()) == (1, "one\n", "because of that\n")


def test_sigterm_ends_it(tmp_path: Path) -> None:
    with Program("sleeper", ["-c", SLEEPER], tmp_path) as program:
        program.says("pid")
        program.stop()
        assert program.wait() < 0


def test_waiting_has_an_end() -> None:
    with pytest.raises(Problem, match=r"waited 0.05 s for rain"):
        wait_until(lambda: False, "rain", 0.05)
