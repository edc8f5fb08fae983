"""Floats for properties."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# The wheels of gevent 21.12 were compiled so that importing them makes the processor take the smallest floats for zero,
# in the whole process.
_ARE_SMALLEST_THERE = sys.float_info.min / 2 > 0


def floats(*bounds: float, **options: Any) -> SearchStrategy[float]:
    """Hypothesis's floats, without those that this process cannot tell from zero.

    Args:
        *bounds: as Hypothesis takes them.
        **options: as Hypothesis takes them.
    """
    return st.floats(*bounds, **options, **({} if _ARE_SMALLEST_THERE else {"allow_subnormal": False}))
