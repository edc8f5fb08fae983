"""Which process this is, also without a system call for each event.

`os.getpid` costs an event a third of a microsecond. A page that the kernel wipes in a fork's child tells the same,
however the fork was made: by a library in C, too, which runs no hook of Python's.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

# Of <asm-generic/mman-common.h>; since Linux 4.14, see madvise(2). Python's mmap has no name for it.
_MADV_WIPEONFORK = 18
_NO_ADVICE = -1


class _Asked:
    """In place of the page: asks the kernel each time."""

    def __getitem__(self, index: int) -> int:
        return os.getpid()

    def __setitem__(self, index: int, pid: int) -> None:
        """There is nothing to remember."""


def _page() -> Any:
    """A word of a page that is wiped in a fork's child, or what asks, where there is no such page."""
    if sys.platform != "linux":
        return _Asked()
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_MADV_WIPEONFORK)
    except OSError:
        return _Asked()
    return _Asked() if _takes_any_advice(page) else memoryview(page).cast("Q")


def _takes_any_advice(page: mmap.mmap) -> bool:
    """Some emulators of Linux say that they follow every advice, and follow none: those say so of nonsense, too."""
    try:
        page.madvise(_NO_ADVICE)
    except OSError:
        return False
    return True


# PID[0] is this process's id as soon as it was `remembered` here, and 0 until then.
PID: Any = _page()


def remembered() -> int:
    """This process's id, which PID[0] has from now on."""
    pid = os.getpid()
    PID[0] = pid
    return pid


_process = os.getpid(), 0
# Which process is about to fork.
_parent = _process


def this_process() -> tuple[int, int]:
    """Which process this is: its id, and how many forks led here from the one that imported this.

    The id alone does not tell: it may be that of an ancestor that has ended, or even the parent's, where both are the
    first of their namespaces.
    """
    pid = os.getpid()
    return _process if pid == _process[0] else _count(pid)


def _count(pid: int) -> tuple[int, int]:
    global _process
    _process = pid, _process[1] + 1
    return _process


def _before_fork() -> None:
    global _parent
    _parent = this_process()


def _in_child() -> None:
    """Count this fork, unless somebody's hook was called before, and it was noticed by the id."""
    if _process == _parent:
        _count(os.getpid())


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
