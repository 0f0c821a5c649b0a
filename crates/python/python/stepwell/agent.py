"""Agents: functions that name their next step."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from stepwell import _checks, _describe, _engines, _native, _terminal
from stepwell._border import Border, Function, of_running_loop
from stepwell._views import AgentViews, Restored
from stepwell.checkpoint import Checkpoint
from stepwell.context import BlockingContext, Context
from stepwell.errors import AlreadyRunning, CheckpointError, ConfigurationError, ResumeError, RunFailedError
from stepwell.resources import Priority, ResourcePool, ResourceRequirements
from stepwell.result import RunResult
from stepwell.retry import RetryPolicy
from stepwell.run import Run
from stepwell.statuses import AgentStatus, TaskStatus

_ENDED = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)
_REDUCERS = ("sum", "extend", "merge", "max", "min")


#: Agents by engine and name: whose functions the engine has.
_newest: weakref.WeakValueDictionary[tuple[_native.Engine, str], Agent] = weakref.WeakValueDictionary()


class Agent(AgentViews):
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
        self._states: dict[str, _describe.State] = {}
        self._pool = (
            None if resource_pool is None else _checks.instance("resource_pool", resource_pool, ResourcePool)
        )
        self._store = store
        for key, reducer in _checks.mapping("reducers", reducers).items():
            if reducer not in _REDUCERS:
                raise ValueError(
                    f"reducers[{key!r}] must be one of {', '.join(_REDUCERS)}, not {_checks.shown(reducer)}"
                )
        self._described = {
            "name": name,
            "max_concurrent": _checks.count("max_concurrent", max_concurrent),
            "max_steps": _checks.count("max_steps", max_steps),
            "checkpoint_interval": _describe.optional_seconds("checkpoint_interval", checkpoint_interval),
            "state_timeout": _describe.optional_seconds("state_timeout", state_timeout),
            "retry": _describe.retry(retry_policy),
            "on_failure": _describe.failure_policy(on_failure),
            "limits": _describe.units("limits", limits),
            "reducers": dict(reducers or {}),
        }
        self._never_again = () if retry_policy is None else retry_policy.non_retryable
        self._built: tuple[weakref.ref[Border], _native.Engine, _native.Agent] | None = None
        #: Steps were added since it was built.
        self._is_stale = False
        self._is_running = False
        self._latest: Run | None = None
        #: So many runs begin, and one of them calls functions already.
        self._beginning = 0
        self._seen: tuple[_native.Engine, str] | None = None
        self._restored: Restored | None = None
        #: Runs that began with its functions, or with those that it took the place of, and may be under way.
        self._started: set[str] = set()
        #: Runs that are under way here, as far as is known.
        self._live: set[str] = set()
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
        dependencies: Mapping[str, _describe.Need] | Iterable[str] | None = None,
        resources: ResourceRequirements | None = None,
        retry_policy: RetryPolicy | None = None,
        max_retries: int | None = None,
        priority: Priority | None = None,
        timeout: float | None = None,
        heartbeat_timeout: float | None = None,
        entry: bool = False,
        next: Iterable[str] | None = None,
        join: str = "all",
        on_failure: str | None = None,
        compensation: str | None = None,
        limits: Mapping[str, int] | None = None,
        effect: str = "at_least_once",
    ) -> None:
        """Add a step. Runs of this agent that are under way here have it too, durably, before this returns.

        A function that runs again may add the same steps again.

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
            heartbeat_timeout: Seconds that an attempt may give no sign of life before it fails. What it emits is
                one; of a coroutine function it is one that its event loop goes on.
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
        retry = _describe.one("max_retries", _describe.policy(max_retries), "retry_policy", retry_policy)
        described = _describe.state(
            name,
            func,
            resources=resources,
            retry_policy=retry,
            priority=priority,
            timeout=timeout,
            heartbeat_timeout=heartbeat_timeout,
            next=next,
            join=join,
            on_failure=on_failure,
            compensation=compensation,
            limits=limits,
            effect=effect,
            entry=entry,
        )
        never_again = self._never_again if retry is None else retry.non_retryable
        state = _describe.State(name, func, described, _describe.needs(dependencies), never_again)
        known = self._states.get(name)
        if known is not None and not (self._live and state.is_again(known)):
            raise ValueError(f"agent {self.name!r} has a step {name!r} already")
        self._add_to_live(state)
        self._states[name] = state
        self._is_stale = True

    async def run(
        self,
        input: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cleanup_timeout: float = 10.0,
        raise_on_error: bool = True,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        interactive: bool | None = None,
        progress: bool = False,
    ) -> RunResult:
        """Run the agent and wait for its end. After `restore_from_checkpoint` that run goes on.

        Args:
            input: Its keys are the first context.
            timeout: Seconds that the run may take, waits included.
            cleanup_timeout: Seconds that steps may take to end when the run has been cut short.
            raise_on_error: Whether a run that does not complete raises `RunFailed`.
            run_id: A run of that id goes on if there is one.
            metadata: Tags of the run.
            interactive: Questions are also asked on the terminal; without it, if the standard input is one.
            progress: Show how far it is, as `Run.wait` does.

        Raises:
            AlreadyRunning: A run of this agent is under way; `start` begins several.
            RunFailed: The run did not complete.
        """
        if self._is_running:
            message = f"agent {self.name!r} has a live run"
            raise AlreadyRunning(message, hint="`start` begins several runs of one agent")
        fd = _terminal.terminal(interactive)
        asked_at = datetime.now(timezone.utc)
        # From here on, since a step may begin before this hears that the run has.
        self._is_running = True
        try:
            if self._restored is not None and run_id in (None, self._restored.run_id):
                if input is not None or timeout is not None:
                    raise ValueError(
                        "the restored run has its input and its time limit; `run` can give it no others"
                    )
                run = await self._go_on(self._restored)
            else:
                run = await self.start(
                    input, timeout=timeout, cleanup_timeout=cleanup_timeout, run_id=run_id, metadata=metadata
                )
            return await _terminal.waited(run, fd, raise_on_error=raise_on_error, progress=progress)
        except RunFailedError as failed:
            ended = None if failed.result is None else failed.result.finished_at
            if ended is not None and ended < asked_at and failed.hint is None:
                failed.hint = (
                    f"run {failed.result.run_id!r} had ended so before, and nothing was done now; "
                    f"`agent.retry({failed.result.run_id!r})` tries again what failed"
                )
            raise
        finally:
            self._is_running = False

    def run_sync(
        self, input: Mapping[str, Any] | None = None, *, progress: bool = True, **options: Any
    ) -> RunResult:
        """Run the agent from a script, without an event loop; the options are those of `run`.

        How far it is, is shown unless `progress` is False.

        Raises:
            RuntimeError: An event loop is running here, as in a notebook.
        """
        _checks.no_running_loop("await agent.run(…)", "run_sync")
        return asyncio.run(self.run(input, progress=progress, **options))

    async def start(
        self,
        input: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cleanup_timeout: float = 10.0,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin a run; it goes on by itself. The arguments are those of `run`.

        Raises:
            ConfigurationError: Another agent of this name has runs under way in this process, with other functions.
        """
        border = of_running_loop()
        native = await self._at(border, run_id)
        options = {
            "timeout": _describe.optional_seconds("timeout", timeout),
            "cleanup_timeout": _checks.seconds("cleanup_timeout", cleanup_timeout, zero=True),
            "run_id": run_id,
            "metadata": dict(metadata or {}),
        }
        if input is not None and not isinstance(input, Mapping):
            raise TypeError(
                f"input must be a dict, whose keys steps find in their context, not {_checks.shown(input)}"
            )
        given = dict(input or {})
        self._beginning += 1
        try:
            return self._begun(await border.request(lambda b, n: native.start(b, n, given, options)))
        finally:
            self._beginning -= 1

    async def find(self, run_id: str) -> Run:
        """Return a run of this agent; `Run.carry` lets what it has to do go on here, with these functions."""
        border = of_running_loop()
        native = await self._at(border, run_id)
        return Run(await border.request(lambda b, n: native.find(b, n, run_id)), self)

    async def pause(self) -> Checkpoint:
        """Let no step of the latest run begin until `resume`; steps under way end. Return how it stands with that.

        Answers and times that pass meanwhile are kept for later. If there is no live run, nothing changes.
        """
        run = self._current()
        if self._restored is None and run is not None:
            try:
                return await run.pause()
            except ResumeError:
                pass  # It has ended.
        return self.create_checkpoint()

    async def resume(
        self, *, run_id: str | None = None, timeout: float | None = None, allow_changes: bool = False
    ) -> bool:
        """Let a run go on; return False if nothing was paused.

        Args:
            run_id: Which run, also one that another process began; without it, the latest, or that of
                `restore_from_checkpoint`.
            timeout: Seconds that it may take from now on, waits included, in place of the time limit that it has; also
                if it was not paused.
            allow_changes: A restored run goes on although the agent is another than that of the checkpoint.

        Raises:
            ResumeError: The run has ended.
            PipelineMismatchError: The agent is another than that of the checkpoint.
        """
        limit = _describe.optional_seconds("timeout", timeout)
        if self._restored is not None and run_id in (None, self._restored.run_id):
            self._restored.allow_changes |= allow_changes
            await self._go_on(self._restored, limit)
            return True
        if run_id is None and self._current() is None:
            return False
        run = await self._named(run_id)
        if limit is not None:
            await run.limit_time(limit)
        is_new = run.id not in self._live
        self._live.add(run.id)
        await run.carry()
        if self._look() == (AgentStatus.PAUSED, "operator") or await run.status() in _ENDED:
            await run.resume()
            return True
        return is_new

    async def retry(self, run_id: str | None = None, *, raise_on_error: bool = True) -> RunResult:
        """Try again what failed in a run, and wait for its end. What completed stays.

        Args:
            run_id: Which run; without it, the latest.
            raise_on_error: As of `run`.

        Raises:
            ResumeError: There is nothing to be tried again.
            RunFailed: It did not complete.
        """
        run = await self._named(run_id)
        await run.retry()
        self._live.add(run.id)
        return await run.wait(raise_on_error=raise_on_error)

    async def restore_from_checkpoint(self, checkpoint: Checkpoint, *, allow_changes: bool = False) -> str:
        """Let the next `run` or `resume` go on from a checkpoint, in a run of its own; return the id that it will have.

        The run is made then: steps can be added until it goes on. What was completed stays, what was under way is
        attempted again, what waits goes on waiting. A run that had failed or was cancelled goes on as after `retry`.

        Args:
            checkpoint: Of a run of an agent with these steps, whatever its name.
            allow_changes: Go on although the steps are others. Those where something is live must be there.

        Raises:
            CheckpointError: It is of no run.
        """
        if checkpoint.agent_status is AgentStatus.IDLE and not checkpoint.run_id:
            raise CheckpointError("this is no checkpoint that can be restored: there was no run")
        engine = await _engines.opened(self._store, self._pool, of_running_loop())
        self._restored = Restored(checkpoint, engine.new_run_id(), allow_changes)
        return self._restored.run_id

    async def serve(self) -> None:
        """Carry out every run of the store that this process has the functions of, until this is cancelled.

        `run` and `start` take up only the run that they begin or join, with its child runs. Whoever serves takes also
        what other processes began, or left when they ended: runs of this agent, and of every other that this process
        has used with the same store and pool. `stepwell worker my_module:agent` does this from the command line.

        >>> import asyncio
        >>> async def greet(context):
        ...     context.set_state("greeting", "hello")
        >>> agent = Agent("served", store="memory:")
        >>> agent.add_state("greet", greet)
        >>> async def main():
        ...     serving = asyncio.create_task(agent.serve())
        ...     result = await agent.run()
        ...     serving.cancel()
        ...     return result.get_state("greeting")
        >>> asyncio.run(main())
        'hello'
        """
        serving = (await self._engine()).serve()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            serving.stop()

    async def cancel_all(self) -> int:
        """Cancel all live runs of this agent; return how many executions that ended."""
        if not self._states:
            return 0
        border = of_running_loop()
        native = await self._for_people(border)
        return int(await border.request(native.cancel_all))

    async def cancel_state(self, name: str) -> bool:
        """Cancel what runs or waits of one step in the latest run; return whether anything did. Its branches end.

        Raises:
            ResumeError: There is no such step.
        """
        run = self._current()
        return self._restored is None and run is not None and await run.cancel_state(name) > 0

    async def inbox(self) -> list[dict[str, Any]]:
        """Return the open questions of its runs, oldest first.

        Each has `wait_id`, `run_id`, `step`, `prompt`, `schema`, `options`, `rejected`, `deadline` and more.
        """
        border = of_running_loop()
        native = await self._for_people(border)
        return list(await border.request(native.inbox))

    async def answer(self, wait_id: str, value: Any) -> None:
        """Answer a question.

        Raises:
            AnswerInvalidError: It does not fit; the question stays open.
            ResumeError: It was answered, or its time is over.
        """
        border = of_running_loop()
        native = await self._for_people(border)
        await border.request(lambda b, n: native.answer(b, n, wait_id, value))

    def _current(self) -> Run | None:
        if self._seen is not None:
            engine, run_id = self._seen
            # In this order: functions on threads look too.
            self._latest = Run(engine.find_now(self.name, run_id), self)
            self._seen = None
        return self._latest

    async def _named(self, run_id: str | None) -> Run:
        """Return a run of this agent, which is the latest from now on."""
        run = self._current()
        if run_id is not None and (run is None or run.id != run_id):
            run = self._latest = await self.find(run_id)
            self._restored = None
        if run is None or self._restored is not None:
            raise ResumeError(f"agent {self.name!r} has no run", hint="give the id of one")
        return run

    async def _go_on(self, restored: Restored, limit: float | None = None) -> Run:
        """Make the run of a checkpoint, and let it go on: so many seconds, if it gets another time limit."""
        border = of_running_loop()
        native = await self._at(border)
        text = restored.checkpoint._text()
        made = await border.request(
            lambda b, n: native.restore(b, n, text, restored.run_id, restored.allow_changes)
        )
        run = self._begun(made)
        if limit is not None:
            await run.limit_time(limit)
        if await run.status() == TaskStatus.PAUSED:
            await run.resume()
        return run

    def _begun(self, native: _native.Run) -> Run:
        self._live.add(native.id)
        self._started.add(native.id)
        self._seen, self._restored, self._latest = None, None, Run(native, self)
        return self._latest

    def _ended(self, run_id: str) -> BaseException | None:
        self._live.discard(run_id)
        self._started.discard(run_id)
        return self._causes.pop(run_id, None)

    def _add_to_live(self, state: _describe.State) -> None:
        if self._built is None:
            return
        at, engine, native = self._built
        border = at() or Border.gone()
        for run_id in sorted(self._live):
            run = engine.find_now(self.name, run_id)
            if TaskStatus(run.look()[0]) in _ENDED:
                self._live.discard(run_id)
            else:
                native.add_state(border.native, run, self._state(state, engine, border))

    def _native_lint(self) -> list[dict[str, Any]]:
        # Apart from the engine of its store, whose functions it would replace.
        engine, border = _engines.apart(self._pool), Border.apart()
        try:
            return self._build(engine, border).lint()
        finally:
            engine.abort()

    async def _at(self, border: Border, run_id: str | None = None) -> _native.Agent:
        """Return the agent as its own engine knows it, with its functions at that border; that run is given to them."""
        return self._in(await _engines.opened(self._store, self._pool, border), border, run_id)

    async def _for_people(self, border: Border) -> _native.Agent:
        """Return the agent as its own engine knows it, for what concerns runs of its name with whatever functions."""
        engine = await _engines.opened(self._store, self._pool, border)
        other = self._newest_other(engine)
        if other is not None and other._built is not None and other._uses_its_functions(engine, but=None):
            return other._built[2]
        return self._in(engine, border)

    async def _engine(self) -> _native.Engine:
        """Return its own engine, which has its functions."""
        border = of_running_loop()
        engine = await _engines.opened(self._store, self._pool, border)
        self._in(engine, border)
        return engine

    def _in(self, engine: _native.Engine, border: Border, run_id: str | None = None) -> _native.Agent:
        """Return the agent as an engine knows it: its own, or that of a run that it is to be part of.

        Raises:
            ConfigurationError: Runs of another agent of this name, but for that one, would go on with its functions.
        """
        is_newest = _newest.get((engine, self.name)) is self
        is_known = is_newest and self._built is not None and self._built[:2] == (weakref.ref(border), engine)
        if is_known and not self._is_stale and self._built is not None:
            return self._built[2]
        other = self._newest_other(engine)
        if other is not None:
            under_way = other._uses_its_functions(engine, but=run_id)
            if under_way and self._differs(other):
                raise ConfigurationError(
                    f"another agent called {self.name!r} is running in this process, "
                    f"with other functions: {under_way}",
                    hint="give each its own name, or put what differs into the input of runs of one agent; "
                    "`cancel_all` ends the runs of a name",
                )
            self._started |= other._started
        native = self._build(engine, border)
        self._built, self._is_stale = (weakref.ref(border), engine, native), False
        _newest[engine, self.name] = self
        return native

    def _newest_other(self, engine: _native.Engine) -> Agent | None:
        """Return another agent of this name whose functions the engine has."""
        newest = _newest.get((engine, self.name))
        return None if newest is self else newest

    def _uses_its_functions(self, engine: _native.Engine, *, but: str | None) -> str:
        """Return what of it is under way, in words, but for one run; nothing, if its loop has ended."""
        border = None if self._built is None else self._built[0]()
        if border is None or border.is_closed:
            return ""
        for run_id in list(self._started):
            if TaskStatus(engine.find_now(self.name, run_id).look()[0]) in _ENDED:
                self._started.discard(run_id)
        under_way = sorted(self._started - {but})
        if under_way:
            more = f" and {len(under_way) - 3} more" if len(under_way) > 3 else ""
            return f"run {', '.join(under_way[:3])}{more}"
        return "a run that begins" if self._is_running or self._beginning else ""

    def _differs(self, other: Agent) -> bool:
        """Return whether steps of one name do not do the same in both."""
        return any(
            name in other._states and not state.does_the_same(other._states[name])
            for name, state in self._states.items()
        )

    def _build(self, engine: _native.Engine, border: Border) -> _native.Agent:
        states = [self._state(state, engine, border) for state in self._states.values()]
        return _native.Agent.build(engine, border.native, {**self._described, "states": states})

    def _state(self, state: _describe.State, engine: _native.Engine, border: Border) -> dict[str, Any]:
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
        is_async = _describe.is_async(func)
        kind = Context if is_async else BlockingContext
        return Function(
            call=func,
            is_async=is_async,
            context=lambda native, border: self._context(kind, native, border, engine),
            returned=lambda value, border: _with_agents(value, engine, border),
            is_condition=is_condition,
            never_again=never_again,
            failed=self._note_cause,
        )

    def _context(
        self, kind: type[Context], native: _native.Context, border: Border, engine: _native.Engine
    ) -> Context:
        # It may begin before this hears that the run has, and may look at the run and add steps to it.
        if native.run_id not in self._live:
            self._live.add(native.run_id)
            self._seen = (engine, native.run_id) if self._beginning else None
        return kind(native, border, engine)

    def _note_cause(self, context: _native.Context, error: BaseException) -> None:
        self._causes[context.run_id] = error


def _with_agents(returned: Any, engine: _native.Engine, border: Border) -> Any:
    """Put what the engine knows of an agent in the place of each agent that a route names."""
    if isinstance(returned, list):
        return [_with_agents(part, engine, border) for part in returned]
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Agent):
        return (returned[0]._in(engine, border), returned[1])
    return returned
