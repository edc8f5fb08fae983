"""The gate between work in threads and forks: neither waits for the other for ever."""

from __future__ import annotations

from typing import Iterator

import pytest
from gevent import monkey

from gevent_dispatcher import _threads

allocate_lock = monkey.get_original("_thread", "allocate_lock")
start_new_thread = monkey.get_original("_thread", "start_new_thread")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> _threads._Gate:
    """One for which nobody waits long."""
    monkeypatch.setattr(_threads, "_LONGEST_WAIT", 0.01)
    return _threads._Gate()


@pytest.fixture
def stuck(gate: _threads._Gate) -> Iterator[None]:
    """Work of another thread that does not end."""
    begun, may_end, ended = allocate_lock(), allocate_lock(), allocate_lock()
    for lock in (begun, may_end, ended):
        lock.acquire()

    def work() -> None:
        with gate:
            begun.release()
            may_end.acquire()
        ended.release()

    start_new_thread(work, ())
    assert begun.acquire(True, 10)
    yield
    may_end.release()
    assert ended.acquire(True, 10)


def is_free(gate: _threads._Gate) -> bool:
    gate.close()
    is_free = gate._is_closed
    gate.open()
    return is_free


def test_a_fork_within_the_work_itself_does_not_wait_and_leaves_it_its_gate(gate: _threads._Gate) -> None:
    with gate:
        gate.close()
        gate.open()
        assert not is_free(gate)
    assert is_free(gate)


def test_a_fork_does_not_wait_for_ever_for_work_that_hangs(gate: _threads._Gate, stuck: None) -> None:
    gate.close()
    gate.open()
    assert not is_free(gate)


def test_work_does_not_wait_for_ever_for_work_that_hangs(gate: _threads._Gate, stuck: None) -> None:
    with gate:
        assert not is_free(gate)
    assert not is_free(gate)


def test_a_forks_child_has_a_gate_of_its_own(gate: _threads._Gate, stuck: None) -> None:
    gate.renew()
    assert is_free(gate)
