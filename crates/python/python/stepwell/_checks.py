"""What arguments must be, and how it is said if they are not: the argument, what is wrong with it, what it may be."""

from __future__ import annotations

import math
from enum import Enum
from typing import TypeVar

_E = TypeVar("_E", bound=Enum)

#: Whoever waits longer means no limit, and a moment so far away cannot be kept.
_LONGEST = 100 * 365.25 * 24 * 3600


def number(name: str, value: object, *, least: float = 0.0) -> float:
    """Return a finite number that is not less than the least one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"{name} must be a finite number of at least {least:g}, not {value!r}")
    return float(value)


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a time in seconds, at most 100 years; 0 is one only if it says so."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not (0 <= value <= _LONGEST) or (value == 0 and not zero):
        least = "at least 0" if zero else "more than 0"
        raise ValueError(f"{name} must be a number of seconds, {least} and at most 100 years, not {value!r}")
    return float(value)


def count(name: str, value: object) -> int:
    """Return a whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} must be a whole number from 0 to {2**32 - 1}, not {value!r}")
    return value


def truth(name: str, value: object) -> bool:
    """Return True or False as they are."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def member(name: str, value: object, words: type[_E]) -> _E:
    """Return a member of an enumeration, which may be given by its value."""
    if isinstance(value, words):
        return value
    if not isinstance(value, bool):
        try:
            return words(value)
        except ValueError:
            pass
    known = ", ".join(str(word.value) for word in words)
    kind = ValueError if isinstance(value, str | int) else TypeError
    raise kind(f"{name} must be a {words.__name__} ({known}), not {value!r}")
