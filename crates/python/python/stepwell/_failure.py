"""How the exception of a function crosses the border."""

from __future__ import annotations

import traceback
from typing import Any

from stepwell.errors import StepwellError


def described(
    error: BaseException, *, never_again: tuple[type[BaseException] | str, ...] = ()
) -> dict[str, Any]:
    """Return an exception as an error of the engine, with its type and traceback.

    `never_again` are the types, or their names, that no further attempt is made after.
    """
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    data: dict[str, Any] = {"exception_type": type(error).__qualname__, "traceback": shown}
    if isinstance(error, StepwellError):
        retryable = error.retryable and not _is_among(error, never_again)
        return {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "data": {**error.data, **data},
            "retryable": retryable,
        }
    message = str(error) or type(error).__qualname__
    return {
        "code": StepwellError("", code="TASK_EXECUTION_FAILED").code,
        "message": f"{type(error).__qualname__}: {message}" if str(error) else message,
        "data": data,
        "retryable": not _is_among(error, never_again),
    }


def barely_described(error: BaseException) -> dict[str, Any]:
    """Return an exception that cannot be described as an error of the engine: no more than its type."""
    kind = ascii(type(error).__qualname__)[1:-1]
    return {
        "code": StepwellError("", code="TASK_EXECUTION_FAILED").code,
        "message": f"{kind}, which cannot be shown",
        "data": {"exception_type": kind},
        "retryable": True,
    }


def _is_among(error: BaseException, types: tuple[type[BaseException] | str, ...]) -> bool:
    names = {base.__name__ for base in type(error).__mro__} | {
        base.__qualname__ for base in type(error).__mro__
    }
    return any(kind in names if isinstance(kind, str) else isinstance(error, kind) for kind in types)
