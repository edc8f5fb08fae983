"""What proves a lease: which message, and a token that is drawn anew for each. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_TEXT = re.compile(r"(\d{1,19})-(\d{1,19})\Z", re.ASCII)

# Tokens are positive numbers of SQLite: 8 bytes with a sign.
TOKEN_BITS = 63
LARGEST = (1 << TOKEN_BITS) - 1


class Receipt(NamedTuple):
    """A lease of one message."""

    id: int
    token: int

    def __str__(self) -> str:
        return f"{self.id}-{self.token}"


def parse(text: object) -> Receipt | None:
    """Read a receipt; None when it is none of ours, and therefore stale."""
    match = _TEXT.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    receipt = Receipt(int(match.group(1)), int(match.group(2)))
    return receipt if max(receipt) <= LARGEST else None
