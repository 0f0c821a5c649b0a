"""What arguments must be, and how it is said if they are not: the argument, what is wrong with it, what it may be."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

_E = TypeVar("_E", bound=Enum)
_T = TypeVar("_T")

#: Whoever waits longer means no limit, and a moment so far away cannot be kept.
_LONGEST = 100 * 365.25 * 24 * 3600

#: So much of a value is shown in a message.
_SHOWN = 100


def shown(value: object) -> str:
    """Return a value as a message shows it: not at length, and whatever it is."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def instance(name: str, value: object, kind: type[_T]) -> _T:
    """Return an object of a type."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {shown(value)}")
    return value


def mapping(name: str, value: object) -> Mapping[str, Any]:
    """Return what has values by name; nothing has none."""
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, not {shown(value)}")
    return value or {}


def number(name: str, value: object, *, least: float = 0.0) -> float:
    """Return a finite number that is not less than the least one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    if not least <= value <= sys.float_info.max:
        raise ValueError(f"{name} must be a finite number of at least {least:g}, not {shown(value)}")
    return float(value)


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a time in seconds, at most 100 years; 0 is one only if it says so."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {shown(value)}")
    if not (0 <= value <= _LONGEST) or (value == 0 and not zero):
        least = "at least 0" if zero else "more than 0"
        raise ValueError(
            f"{name} must be a number of seconds, {least} and at most 100 years, not {shown(value)}"
        )
    return float(value)


def count(name: str, value: object) -> int:
    """Return a whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}")
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} must be a whole number from 0 to {2**32 - 1}, not {shown(value)}")
    return value


def truth(name: str, value: object) -> bool:
    """Return True or False as they are."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return value


def member(name: str, value: object, words: type[_E]) -> _E:
    """Return a member of an enumeration, which may be given by its value."""
    if isinstance(value, words):
        return value
    if not isinstance(value, bool):
        try:
            return words(value)
        except Exception:  # noqa: S110 - whatever comparing it raises, it is none
            pass
    known = ", ".join(str(word.value) for word in words)
    kind = ValueError if isinstance(value, str | int) else TypeError
    raise kind(f"{name} must be a {words.__name__} ({known}), not {shown(value)}")


def no_running_loop(use: str, in_place_of: str) -> None:
    """Refuse to block an event loop that runs on this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"an event loop is running here: use `{use}` in place of `{in_place_of}`")
