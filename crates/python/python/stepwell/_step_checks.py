"""What is given for a step, and how it is said if it cannot be used: all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from stepwell import _checks, _signatures
from stepwell.errors import ConfigurationError
from stepwell.step_config import StepConfig

if TYPE_CHECKING:
    from stepwell.pipeline import Pipeline


def branch_name(key: Any) -> str:
    """Return what a branch is called by a key: text as it is, all else as JSON has it.

    >>> [branch_name(key) for key in ("yes", True, 3, None)]
    ['yes', 'true', '3', 'null']
    """
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int | float):
        return repr(key)
    raise ConfigurationError(
        f"a branch is named by a text, a number, a truth or None, not by {_checks.shown(key)}"
    )


def no_budgets(what: str) -> str:
    """Return why a limit cannot be given."""
    return f"{what} cannot be given yet: the engine keeps no budgets, and would not heed it"


def name_of(fn: Any) -> str:
    """Return what a step is called by its function."""
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return str(name)


def checked(name: object) -> str:
    """Return a name that is a text."""
    if isinstance(name, str):
        return name
    raise ConfigurationError(f"the name of a step must be a text, not {_checks.shown(name)}")


def refuse(name: object, problems: list[str]) -> None:
    """Raise what is wrong with a step, all of it."""
    if problems:
        raise ConfigurationError(
            f"step {name!r} cannot be built: {'; '.join(problems)}",
            data={"step": name, "validation_errors": [{"message": problem} for problem in problems]},
        )


def unsupported(given: dict[str, Any], known: tuple[str, ...]) -> list[str]:
    """Return why keywords are refused that other engines know."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")
    return [f"{name} is not carried out by this engine" for name in given]


def place(name: str, value: object, problems: list[str]) -> None:
    """Find out whether a place in the context is one."""
    if value is not None and not (isinstance(value, str) and value):
        problems.append(
            f"{name} must be a place in the context such as 'report.rows', not {_checks.shown(value)}"
        )


def message(value: object, problems: list[str]) -> None:
    """Find out whether what is asked is a text."""
    if value is not None and not isinstance(value, str):
        problems.append(f"message_for_user must be a text, not {_checks.shown(value)}")


def tried(check: Callable[[], Any], problems: list[str]) -> Any:
    """Return what a check returns, or note why it refuses."""
    try:
        return check()
    except (TypeError, ValueError) as error:
        problems.append(str(error))


def count(name: str, value: object, problems: list[str]) -> int:
    """Return a whole number of at least 1."""
    number = tried(lambda: _checks.count(name, value), problems)
    if number == 0:
        problems.append(f"{name} must be at least 1")
    return number or 0


def member(name: str, value: object, words: type[Enum], problems: list[str]) -> Any:
    """Return a member of an enumeration."""
    return tried(lambda: _checks.member(name, value, words), problems)


def keys(given: object, problems: list[str]) -> list[str]:
    """Return keys of the context."""
    if isinstance(given, Sequence | set | frozenset) and not isinstance(given, str):
        return [str(key) for key in given]
    problems.append(f"context_include_keys must be a list of context keys, not {_checks.shown(given)}")
    return []


def config(
    given: object, max_retries: int | None, timeout_s: float | None, problems: list[str]
) -> tuple[int, float | None]:
    """Return the retries and the time limit of a step."""
    if given is not None and (max_retries is not None or timeout_s is not None):
        problems.append("give either config, or max_retries and timeout_s")
    wanted = StepConfig(1 if max_retries is None else max_retries, timeout_s)
    if isinstance(given, StepConfig):
        wanted = given
    elif given is not None:
        problems.append(f"config must be a StepConfig, not {_checks.shown(given)}")
    retries = tried(lambda: _checks.count("max_retries", wanted.max_retries), problems)
    timeout = None
    if wanted.timeout_s is not None:
        timeout = tried(lambda: _checks.seconds("timeout_s", wanted.timeout_s), problems)
    return retries, timeout


def shape(fn: object, what: str, problems: list[str]) -> _signatures.StepFunction:
    """Return the function of a step with what it wants."""
    try:
        return _signatures.step_function(fn)
    except TypeError as error:
        problems.append(f"{what} {error}")
        return _signatures.StepFunction(_nothing)


def _nothing(_data: Any) -> None:
    """Stand in for what is refused."""


def fallback(given: object, problems: list[str]) -> _signatures.StepFunction:
    """Return the function of a fallback."""
    from stepwell.steps import Step

    if isinstance(given, Step):
        if not given._is_function or not given._plain_config:
            problems.append(
                f"fallback_step {given.name!r} must be a step of a function; it runs once, and has no config"
            )
        return shape(getattr(given, "_function", _nothing), "fallback_step", problems)
    return shape(given, "fallback_step", problems)


def called(fn: object, what: str, count: int | tuple[int, ...], problems: list[str]) -> Any:
    """Return a function that decides or makes something; only a condition must be there."""
    if fn is None and not what.endswith(("_callable",)):
        return None
    counts = (count,) if isinstance(count, int) else count
    try:
        return _signatures.called(fn, counts)
    except TypeError as error:
        problems.append(f"{what} {error}")
        return None


def body(given: object, what: str, problems: list[str]) -> Pipeline:
    """Return what stands within a step."""
    from stepwell.pipeline import Pipeline

    try:
        return Pipeline.of(given)
    except ConfigurationError as error:
        problems.append(f"{what}: {error.message}")
        return Pipeline([])


def bodies(given: object, what: str, problems: list[str]) -> dict[str, Pipeline]:
    """Return what stands within a step, by name."""
    if not isinstance(given, Mapping):
        problems.append(f"{what} must be a dict of steps or pipelines, not {_checks.shown(given)}")
        return {}
    ways: dict[str, Pipeline] = {}
    for key, way in given.items():
        try:
            name = branch_name(key)
        except ConfigurationError as error:
            problems.append(error.message)
            continue
        if name in ways:
            problems.append(f"{what} has two that are called {name!r}")
        ways[name] = body(way, f"{what}[{key!r}]", problems)
    return ways
