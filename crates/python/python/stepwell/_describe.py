"""What is given to an agent, checked and as the engine reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell import _checks
from stepwell._routes import routes_of
from stepwell.needs import DependencyConfig, DependencyLifecycle, DependencyType
from stepwell.resources import Priority, ResourceRequirements
from stepwell.retry import RetryPolicy

Need = DependencyType | tuple[Any, ...] | DependencyConfig
_EFFECTS = ("at_least_once", "at_most_once")
_JOINS = ("all", "each", "any")


@dataclass(frozen=True)
class State:
    """A step, as it was added."""

    name: str
    func: Callable[..., Any]
    described: dict[str, Any]
    needs: dict[str, DependencyConfig]
    never_again: tuple[type[BaseException] | str, ...]

    def does_the_same(self, other: State) -> bool:
        """Return whether it calls the same function, or another of the same code that holds nothing of its own."""
        mine, its = (getattr(func, "__code__", None) for func in (self.func, other.func))
        holds = getattr(self.func, "__closure__", None) or getattr(self.func, "__defaults__", None)
        return self.func is other.func or (mine is not None and mine is its and not holds)

    def is_again(self, known: State) -> bool:
        """Return whether it is what was added before, as by a function that runs again and adds the same steps."""
        code = getattr(self.func, "__code__", None)
        same = (self.described, self.needs) == (known.described, known.needs)
        return same and code is not None and code is getattr(known.func, "__code__", None)


def state(
    name: str,
    func: Callable[..., Any],
    *,
    resources: ResourceRequirements | None,
    retry_policy: RetryPolicy | None,
    priority: Priority | None,
    timeout: float | None,
    heartbeat_timeout: float | None,
    next: Iterable[str] | None,
    join: str,
    on_failure: str | None,
    compensation: str | None,
    limits: Mapping[str, int] | None,
    effect: str,
    entry: bool,
) -> dict[str, Any]:
    """Return a step, but for its function and what it needs."""
    check_callable(name, func)
    if effect not in _EFFECTS:
        raise ValueError(f"effect must be one of {', '.join(_EFFECTS)}, not {_checks.shown(effect)}")
    if join not in _JOINS:
        raise ValueError(f"join must be one of {', '.join(_JOINS)}, not {_checks.shown(join)}")
    booked, of_resources = resources_of(resources)
    if resources is not None:
        first = None if resources.priority is Priority.NORMAL else resources.priority
        priority = one("priority", priority, "resources.priority", first)
        timeout = one("timeout", timeout, "resources.timeout", of_resources)
    read = None if next is not None else routes_of(func)
    return {
        "name": name,
        "next": list(next) if next is not None else (None if read is None else sorted(read)),
        "is_inferred": next is None,
        "join": join,
        "resources": booked,
        "priority": _checks.member(
            "priority", Priority.NORMAL if priority is None else priority, Priority
        ).name.lower(),
        "retry": retry(retry_policy),
        "timeout": optional_seconds("timeout", timeout),
        "heartbeat_timeout": optional_seconds("heartbeat_timeout", heartbeat_timeout),
        "is_async": is_async(func),
        "on_failure": None if on_failure is None else failure_policy(on_failure),
        "compensation": compensation,
        "limits": units("limits", limits),
        "effect": effect,
        "entry": entry,
    }


def is_async(func: Callable[..., Any]) -> bool:
    """Return whether a function is to be awaited."""
    call = getattr(type(func), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(call)


def check_callable(name: str, func: object) -> None:
    """Refuse what cannot be called with a context alone."""
    if not callable(func):
        raise TypeError(
            f"step {name!r}: func must be a function that takes the context, not {_checks.shown(func)}"
        )
    try:
        inspect.signature(func).bind(None)
    except TypeError as error:
        raise TypeError(
            f"step {name!r}: func is called with the context alone, and {error}; further parameters need defaults"
        ) from None
    except ValueError:
        pass  # A builtin that does not tell what it takes.


def needs(given: Mapping[str, Need] | Iterable[str] | None) -> dict[str, DependencyConfig]:
    """Return what must be settled before, by step."""
    if given is None:
        return {}
    if isinstance(given, str):
        raise TypeError(
            f"dependencies must be a dict or a list of names, not {_checks.shown(given)}: write [{given!r}]"
        )
    if not isinstance(given, Mapping):
        given = [_checks.instance("a name in dependencies", name, str) for name in given]
        return {name: DependencyConfig(DependencyType.REQUIRED) for name in given}
    return {name: _need(name, need) for name, need in given.items()}


def _need(name: str, given: Need) -> DependencyConfig:
    if isinstance(given, DependencyConfig):
        return given
    if isinstance(given, tuple):
        if not 1 <= len(given) <= 3:
            raise TypeError(
                f"dependencies[{name!r}] must be (type, lifecycle, condition), not {_checks.shown(given)}"
            )
        kind, lifecycle, condition = [*given, None, None][:3]
        return DependencyConfig(kind, lifecycle or DependencyLifecycle.ONCE, condition)
    return DependencyConfig(given)


def optional_seconds(name: str, value: float | None) -> float | None:
    """Return a time in seconds, if one is given."""
    return None if value is None else _checks.seconds(name, value)


def units(name: str, given: Mapping[str, int] | None) -> dict[str, int]:
    """Return units of limits by name."""
    return {
        limit: _checks.count(f"{name}[{limit!r}]", units)
        for limit, units in _checks.mapping(name, given).items()
    }


def policy(max_retries: int | None) -> RetryPolicy | None:
    """Return the policy of so many further attempts."""
    return None if max_retries is None else RetryPolicy(max_retries=max_retries)


def retry(policy: RetryPolicy | None) -> dict[str, Any] | None:
    """Return a policy as the engine reads it."""
    if policy is None:
        return None
    _checks.instance("retry_policy", policy, RetryPolicy)
    names = ("max_retries", "initial_delay", "exponential_base", "jitter", "max_delay")
    return {name: getattr(policy, name) for name in names}


def resources_of(given: ResourceRequirements | None) -> tuple[dict[str, float], float | None]:
    """Return what is booked, and the time limit."""
    if given is None:
        return {}, None
    _checks.instance("resources", given, ResourceRequirements)
    names = ("cpu_units", "memory_mb", "io_weight", "network_weight", "gpu_units")
    booked = {name: getattr(given, name) for name in names} | dict(given.custom)
    return {name: amount for name, amount in booked.items() if amount > 0}, given.timeout


def one(name: str, value: Any, other: str, other_value: Any) -> Any:
    """Return what was given once, or twice alike."""
    if value is not None and other_value is not None and value != other_value:
        raise ValueError(
            f"{name} is {_checks.shown(value)} and {other} is {_checks.shown(other_value)}: give one of them"
        )
    return other_value if value is None else value


def failure_policy(given: str) -> Any:
    """Return a failure policy as the engine reads it."""
    words = {"fail_run": "stop", "continue": "continue", "fail": "fail"}
    _checks.instance("on_failure", given, str)
    if given.startswith("route:") and len(given) > len("route:"):
        return {"route": given.removeprefix("route:")}
    if given in words:
        return words[given]
    raise ValueError(
        f"on_failure must be fail_run, continue, fail or route:<step>, not {_checks.shown(given)}"
    )
