"""Which process this is: known after a fork of any kind, and where the kernel does not help."""

from __future__ import annotations

import importlib.util
import mmap
import os
import subprocess
import sys
from types import ModuleType
from typing import Any, Callable

import pytest

from gevent_dispatcher import _pid

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def seen_by_a_child(module: ModuleType, fork: Callable[[], int] = os.fork) -> list[int]:
    """What a child sees at first, and after it has looked, and its own id."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        try:
            first = module.PID[0]
            os.write(writing, f"{first} {module.remembered()} {module.PID[0]}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(reading, 100)
    os.close(reading)
    os.close(writing)
    return [*map(int, answer.split()), child]


# As a library in C forks, so that no hook of Python's runs; from a process of one thread, as nothing else survives it.
NATIVE = """
import ctypes
from gevent_dispatcher import _pid
from tests.test_pid import seen_by_a_child
_pid.remembered()
print(*seen_by_a_child(_pid, ctypes.PyDLL(None).fork))
"""


def by_a_native_fork() -> list[int]:
    done = subprocess.run([sys.executable, "-c", NATIVE], stdout=subprocess.PIPE, timeout=30, check=True)
    return [*map(int, done.stdout.split())]


def by_a_fork_of_pythons() -> list[int]:
    assert _pid.remembered() == os.getpid() == _pid.PID[0]
    seen = seen_by_a_child(_pid)
    assert _pid.PID[0] == os.getpid()
    return seen


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="other kernels are asked each time")
@pytest.mark.parametrize("look", [by_a_fork_of_pythons, by_a_native_fork])
def test_a_fork_forgets_which_process_it_was(look: Callable[[], list[int]]) -> None:
    first, told, later, child = look()
    assert (first, told, later) == (0, child, child)


class NoSuchAdvice(mmap.mmap):
    """As Linux before 4.14 has it."""

    def madvise(self, *advice: int) -> None:
        raise OSError(22, "Invalid argument")


class AnyAdvice(mmap.mmap):
    """As an emulator that takes every advice and follows none."""

    def madvise(self, *advice: int) -> None:
        pass


def loaded_anew() -> Any:
    spec = importlib.util.find_spec("gevent_dispatcher._pid")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_fork
@pytest.mark.parametrize("kernel", [NoSuchAdvice, AnyAdvice, "other"])
def test_a_kernel_that_cannot_wipe_is_asked_each_time(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "other":
        monkeypatch.setattr(sys, "platform", "other")
    else:
        monkeypatch.setattr(mmap, "mmap", kernel)
    module = loaded_anew()
    assert module.PID[0] == os.getpid() == module.remembered()
    first, told, later, child = seen_by_a_child(module)
    assert (first, told, later) == (child, child, child)
