"""Numbers within their ranges. What is not there is said with name, value, unit and range."""

from __future__ import annotations


def whole(name: str, value: object, low: int, high: int, unit: str) -> int:
    """A whole number within its range, both ends included.

    Raises:
        ValueError: it is none, or outside.
    """
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise ValueError(f"{name}={value!r}: must be a whole number of {unit} from {low} to {high}")


def seconds(name: str, value: object, low: float, high: float) -> float:
    """A number of seconds within its range, both ends included.

    Raises:
        ValueError: it is none, or outside.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise ValueError(f"{name}={value!r}: must be a number of seconds from {low} to {high}")
