"""Agents: functions that name their next step."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell import _checks, _engines, _native
from stepwell._border import Border, Function, of_running_loop
from stepwell._routes import routes_of
from stepwell.context import BlockingContext, Context
from stepwell.errors import AlreadyRunning
from stepwell.needs import DependencyConfig, DependencyLifecycle, DependencyType
from stepwell.resources import Priority, ResourcePool, ResourceRequirements
from stepwell.result import RunResult
from stepwell.retry import RetryPolicy
from stepwell.run import Run

_Need = DependencyType | tuple[Any, ...] | DependencyConfig
_EFFECTS = ("at_least_once", "at_most_once")
_JOINS = ("all", "each", "any")
_REDUCERS = ("sum", "extend", "merge", "max", "min")


@dataclass(frozen=True)
class _State:
    name: str
    func: Callable[..., Any]
    described: dict[str, Any]
    needs: dict[str, DependencyConfig]
    never_again: tuple[type[BaseException] | str, ...]


class Agent:
    """Functions that name their next step.

    >>> import asyncio
    >>> async def greet(context):
    ...     context.set_state("greeting", f"hello {context.get_state('name')}")
    >>> agent = Agent("greeter", store="memory:")
    >>> agent.add_state("greet", greet)
    >>> asyncio.run(agent.run({"name": "Alice"})).get_state("greeting")
    'hello Alice'
    """

    def __init__(
        self,
        name: str,
        *,
        max_concurrent: int = 10,
        checkpoint_interval: float | None = None,
        state_timeout: float | None = None,
        retry_policy: RetryPolicy | None = None,
        resource_pool: ResourcePool | None = None,
        limits: Mapping[str, int] | None = None,
        reducers: Mapping[str, str] | None = None,
        on_failure: str = "fail_run",
        max_steps: int = 10_000,
        store: str | None = None,
    ) -> None:
        """Make an agent without steps.

        Args:
            name: 1 to 200 printable characters.
            max_concurrent: So many steps of a run at once.
            checkpoint_interval: Seconds between checkpoints of a run.
            state_timeout: Seconds that an attempt of a step may take, unless the step says.
            retry_policy: Further attempts of steps that fail, unless the step says.
            resource_pool: What steps take their resources from.
            limits: Units of named limits that all runs share; a mutex has one.
            reducers: How writes of two steps to one key are united: `sum`, `extend`, `merge`, `max` or `min` by key.
            on_failure: What the failure of a step means: `fail_run`, `continue`, `route:<step>` or `fail`.
            max_steps: So many steps in a run that a route led to.
            store: URL of the store; without it that of the project. `memory:` for runs to throw away.
        """
        self._states: dict[str, _State] = {}
        self._pool = resource_pool
        self._store = store
        for key, reducer in (reducers or {}).items():
            if reducer not in _REDUCERS:
                raise ValueError(f"reducers[{key!r}] must be one of {', '.join(_REDUCERS)}, not {reducer!r}")
        self._described = {
            "name": name,
            "max_concurrent": _checks.count("max_concurrent", max_concurrent),
            "max_steps": _checks.count("max_steps", max_steps),
            "checkpoint_interval": _optional_seconds("checkpoint_interval", checkpoint_interval),
            "state_timeout": _optional_seconds("state_timeout", state_timeout),
            "retry": _retry(retry_policy),
            "on_failure": _on_failure(on_failure),
            "limits": _units("limits", limits),
            "reducers": dict(reducers or {}),
        }
        self._never_again = () if retry_policy is None else retry_policy.non_retryable
        self._built: tuple[Border, _native.Engine, _native.Agent] | None = None
        self._is_running = False
        self._causes: dict[str, BaseException] = {}

    @property
    def name(self) -> str:
        """The name."""
        return str(self._described["name"])

    def add_state(
        self,
        name: str,
        func: Callable[..., Any],
        *,
        dependencies: Mapping[str, _Need] | Iterable[str] | None = None,
        resources: ResourceRequirements | None = None,
        retry_policy: RetryPolicy | None = None,
        max_retries: int | None = None,
        priority: Priority | None = None,
        timeout: float | None = None,
        entry: bool = False,
        next: Iterable[str] | None = None,
        join: str = "all",
        on_failure: str | None = None,
        compensation: str | None = None,
        limits: Mapping[str, int] | None = None,
        effect: str = "at_least_once",
    ) -> None:
        """Add a step.

        Args:
            name: 1 to 200 printable characters, without `*` and not beginning with `$`.
            func: A coroutine function or a plain one, called with the context; it returns where it leads. A plain one
                runs on a thread of its own.
            dependencies: What must be settled before: kinds by step, or a list of steps that must have completed.
            resources: What an attempt takes of the pool.
            retry_policy: Further attempts if it fails.
            max_retries: So many further attempts.
            priority: Order among steps that are ready.
            timeout: Seconds that an attempt may take.
            entry: It begins with the run.
            next: What it can lead to; without it, as its source says.
            join: What arrives here is held for what can still come (`all`), begins by itself (`each`), or only
                the first does (`any`).
            on_failure: As of the agent, for this step.
            compensation: The step that undoes it when it has failed for good; without it `<name>_compensation`.
            limits: Units of named limits that an attempt takes.
            effect: `at_most_once`: after a crash a person is asked in place of a second attempt.

        Raises:
            TypeError: The function cannot be called with a context alone.
            ValueError: There is such a step, or what is given contradicts itself.
        """
        if name in self._states:
            raise ValueError(f"agent {self.name!r} has a step {name!r} already")
        _check_callable(name, func)
        if effect not in _EFFECTS:
            raise ValueError(f"effect must be one of {', '.join(_EFFECTS)}, not {effect!r}")
        if join not in _JOINS:
            raise ValueError(f"join must be one of {', '.join(_JOINS)}, not {join!r}")
        retry = _one("max_retries", _policy(max_retries), "retry_policy", retry_policy)
        booked, of_resources = _resources(resources)
        if resources is not None:
            first = None if resources.priority is Priority.NORMAL else resources.priority
            priority = _one("priority", priority, "resources.priority", first)
            timeout = _one("timeout", timeout, "resources.timeout", of_resources)
        read = None if next is not None else routes_of(func)
        described = {
            "name": name,
            "next": list(next) if next is not None else (None if read is None else sorted(read)),
            "is_inferred": next is None,
            "join": join,
            "resources": booked,
            "priority": _checks.member(
                "priority", Priority.NORMAL if priority is None else priority, Priority
            ).name.lower(),
            "retry": _retry(retry),
            "timeout": _optional_seconds("timeout", timeout),
            "on_failure": None if on_failure is None else _on_failure(on_failure),
            "compensation": compensation,
            "limits": _units("limits", limits),
            "effect": effect,
            "entry": entry,
        }
        never_again = self._never_again if retry is None else retry.non_retryable
        self._states[name] = _State(name, func, described, _needs(dependencies), never_again)
        self._built = None

    async def run(
        self,
        input: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cleanup_timeout: float = 10.0,
        raise_on_error: bool = True,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> RunResult:
        """Run the agent and wait for its end.

        Args:
            input: Its keys are the first context.
            timeout: Seconds that the run may take, waits included.
            cleanup_timeout: Seconds that steps may take to end when the run has been cut short.
            raise_on_error: Whether a run that does not complete raises `RunFailed`.
            run_id: A run of that id goes on if there is one.
            metadata: Tags of the run.

        Raises:
            AlreadyRunning: A run of this agent is under way; `start` begins several.
            RunFailed: The run did not complete.
        """
        if self._is_running:
            message = f"agent {self.name!r} has a live run"
            raise AlreadyRunning(message, hint="`start` begins several runs of one agent")
        # From here on, since a step may begin before this hears that the run has.
        self._is_running = True
        try:
            run = await self.start(
                input, timeout=timeout, cleanup_timeout=cleanup_timeout, run_id=run_id, metadata=metadata
            )
            return await run.wait(raise_on_error=raise_on_error)
        finally:
            self._is_running = False

    def run_sync(self, input: Mapping[str, Any] | None = None, **options: Any) -> RunResult:
        """Run the agent from a script, without an event loop; the options are those of `run`."""
        return asyncio.run(self.run(input, **options))

    async def start(
        self,
        input: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cleanup_timeout: float = 10.0,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin a run; it goes on by itself. The arguments are those of `run`."""
        border = of_running_loop()
        native = await self._at(border)
        options = {
            "timeout": _optional_seconds("timeout", timeout),
            "cleanup_timeout": _checks.seconds("cleanup_timeout", cleanup_timeout, zero=True),
            "run_id": run_id,
            "metadata": dict(metadata or {}),
        }
        given = dict(input or {})
        begun = await border.request(lambda b, n: native.start(b, n, given, options))
        return Run(begun, self._causes)

    async def find(self, run_id: str) -> Run:
        """Return a run of this agent."""
        border = of_running_loop()
        native = await self._at(border)
        return Run(await border.request(lambda b, n: native.find(b, n, run_id)), self._causes)

    async def cancel_all(self) -> int:
        """Cancel all live runs of this agent; return how many there were."""
        border = of_running_loop()
        native = await self._at(border)
        return int(await border.request(native.cancel_all))

    async def _at(self, border: Border) -> _native.Agent:
        """Return the agent as its own engine knows it, with its functions at that border."""
        return self._in(await _engines.opened(self._store, self._pool, border), border)

    def _in(self, engine: _native.Engine, border: Border) -> _native.Agent:
        """Return the agent as an engine knows it: its own, or that of a run that it is to be part of."""
        if self._built is not None and self._built[:2] == (border, engine):
            return self._built[2]
        states = [self._state(state, engine, border) for state in self._states.values()]
        native = _native.Agent.build(engine, border.native, {**self._described, "states": states})
        self._built = (border, engine, native)
        return native

    def _state(self, state: _State, engine: _native.Engine, border: Border) -> dict[str, Any]:
        needs = [
            {
                "step": step,
                "kind": need.type.value,
                "lifecycle": need.lifecycle.value,
                "expiry": need.expiry,
                "timeout": need.timeout,
                "condition": None
                if need.condition is None
                else border.register(self._function(need.condition, engine, is_condition=True)),
            }
            for step, need in state.needs.items()
        ]
        function = border.register(self._function(state.func, engine, never_again=state.never_again))
        return {**state.described, "function": function, "needs": needs}

    def _function(
        self,
        func: Callable[..., Any],
        engine: _native.Engine,
        *,
        is_condition: bool = False,
        never_again: tuple[type[BaseException] | str, ...] = (),
    ) -> Function:
        is_async = _is_async(func)
        kind = Context if is_async else BlockingContext
        return Function(
            call=func,
            is_async=is_async,
            context=lambda native, border: kind(native, border, engine),
            returned=lambda value, border: _with_agents(value, engine, border),
            is_condition=is_condition,
            never_again=never_again,
            failed=self._note_cause,
        )

    def _note_cause(self, context: _native.Context, error: BaseException) -> None:
        self._causes[context.run_id] = error


def _with_agents(returned: Any, engine: _native.Engine, border: Border) -> Any:
    """Put what the engine knows of an agent in the place of each agent that a route names."""
    if isinstance(returned, list):
        return [_with_agents(part, engine, border) for part in returned]
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Agent):
        return (returned[0]._in(engine, border), returned[1])
    return returned


def _is_async(func: Callable[..., Any]) -> bool:
    call = getattr(type(func), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(call)


def _check_callable(name: str, func: object) -> None:
    if not callable(func):
        raise TypeError(f"step {name!r}: func must be a function that takes the context, not {func!r}")
    try:
        inspect.signature(func).bind(None)
    except TypeError as error:
        raise TypeError(
            f"step {name!r}: func is called with the context alone, and {error}; further parameters need defaults"
        ) from None
    except ValueError:
        pass  # A builtin that does not tell what it takes.


def _needs(given: Mapping[str, _Need] | Iterable[str] | None) -> dict[str, DependencyConfig]:
    if given is None:
        return {}
    if isinstance(given, str):
        raise TypeError(f"dependencies must be a dict or a list of names, not {given!r}: write [{given!r}]")
    if not isinstance(given, Mapping):
        return {name: DependencyConfig(DependencyType.REQUIRED) for name in given}
    return {name: _need(name, need) for name, need in given.items()}


def _need(name: str, given: _Need) -> DependencyConfig:
    if isinstance(given, DependencyConfig):
        return given
    if isinstance(given, tuple):
        if not 1 <= len(given) <= 3:
            raise TypeError(f"dependencies[{name!r}] must be (type, lifecycle, condition), not {given!r}")
        kind, lifecycle, condition = [*given, None, None][:3]
        return DependencyConfig(kind, lifecycle or DependencyLifecycle.ONCE, condition)
    return DependencyConfig(given)


def _optional_seconds(name: str, value: float | None) -> float | None:
    return None if value is None else _checks.seconds(name, value)


def _units(name: str, given: Mapping[str, int] | None) -> dict[str, int]:
    return {limit: _checks.count(f"{name}[{limit!r}]", units) for limit, units in (given or {}).items()}


def _policy(max_retries: int | None) -> RetryPolicy | None:
    return None if max_retries is None else RetryPolicy(max_retries=max_retries)


def _retry(policy: RetryPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    names = ("max_retries", "initial_delay", "exponential_base", "jitter", "max_delay")
    return {name: getattr(policy, name) for name in names}


def _resources(given: ResourceRequirements | None) -> tuple[dict[str, float], float | None]:
    if given is None:
        return {}, None
    names = ("cpu_units", "memory_mb", "io_weight", "network_weight", "gpu_units")
    booked = {name: getattr(given, name) for name in names} | dict(given.custom)
    return {name: amount for name, amount in booked.items() if amount > 0}, given.timeout


def _one(name: str, value: Any, other: str, other_value: Any) -> Any:
    """Return what was given once, or twice alike."""
    if value is not None and other_value is not None and value != other_value:
        raise ValueError(f"{name} is {value!r} and {other} is {other_value!r}: give one of them")
    return other_value if value is None else value


def _on_failure(given: str) -> Any:
    words = {"fail_run": "stop", "continue": "continue", "fail": "fail"}
    if given.startswith("route:") and len(given) > len("route:"):
        return {"route": given.removeprefix("route:")}
    if given in words:
        return words[given]
    raise ValueError(f"on_failure must be fail_run, continue, fail or route:<step>, not {given!r}")
