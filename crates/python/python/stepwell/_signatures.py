"""What functions take, found out when a step is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepFunction:
    """The function of a step, and what it wants besides its input."""

    call: Callable[..., Any]
    wants_context: bool = False
    wants_resources: bool = False
    wants_task: bool = False


@dataclass(frozen=True)
class Called:
    """A function that decides or makes something, and how many arguments it takes."""

    call: Callable[..., Any]
    count: int


def is_async(func: Callable[..., Any]) -> bool:
    """Return whether a function is a coroutine function, or an object that is called as one."""
    call = getattr(type(func), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(call)


def step_function(fn: object) -> StepFunction:
    """Return what the function of a step wants.

    Raises:
        TypeError: It cannot be one.
    """
    if not callable(fn):
        raise TypeError(f"must be a function, not {fn!r}")
    signature = _signature(fn)
    if signature is None:
        return StepFunction(fn)
    wants = {}
    parameters = signature.parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in ("context", "resources"):
        parameter = parameters.get(name)
        by_name = parameter is not None and parameter.kind in (
            parameter.KEYWORD_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        )
        is_first = parameter is not None and next(iter(parameters)) == name
        wants[name] = takes_any or (by_name and not is_first)
    given = {name: None for name, wanted in wants.items() if wanted}
    try:
        signature.bind(None, **given)
    except TypeError as error:
        raise TypeError(
            f"is called as (data), (data, *, context) or (data, *, context, resources), and {error}: "
            "further parameters need defaults"
        ) from None
    return StepFunction(fn, wants["context"], wants["resources"], _wants_task(fn, signature))


def called(fn: object, counts: tuple[int, ...]) -> Called:
    """Return a function with the most arguments of those counts that it takes.

    Raises:
        TypeError: It takes none of them.
    """
    if not callable(fn):
        raise TypeError(f"must be a function, not {fn!r}")
    signature = _signature(fn)
    if signature is None:
        return Called(fn, counts[-1])
    for count in sorted(counts, reverse=True):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return Called(fn, count)
    wanted = " or ".join(str(count) for count in counts)
    raise TypeError(f"is called with {wanted} arguments, and takes {signature}")


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except ValueError:  # A builtin that does not tell what it takes.
        return None


def _wants_task(fn: Callable[..., Any], signature: inspect.Signature) -> bool:
    """Return whether its input is to be a `Task`."""
    first = next(iter(signature.parameters.values()))
    told = first.annotation
    if isinstance(told, str):
        return told.rsplit(".", 1)[-1] == "Task"
    return (
        getattr(told, "__qualname__", None) == "Task" and getattr(told, "__module__", "") == "stepwell.task"
    )
