"""The mark that an engine's own state is being changed."""

from __future__ import annotations


class Inside:
    """Entered while state is being changed, so that what cuts in (a signal handler, a destructor) takes another way."""

    __slots__ = ("entered",)

    def __init__(self) -> None:
        self.entered = 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_: object) -> None:
        self.entered -= 1
