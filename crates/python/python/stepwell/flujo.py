"""The runner of pipelines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from stepwell import _checks, _engines, _native, _progress, backends
from stepwell._border import Start, of_running_loop
from stepwell._plain import plain
from stepwell._signatures import is_async
from stepwell._step_checks import no_budgets
from stepwell.backends import Backend, InMemoryBackend
from stepwell.errors import ConfigurationError, PipelineMismatchError, RunFailedError, from_object
from stepwell.pipeline import Pipeline
from stepwell.pipeline_result import BUILT_IN, PipelineResult, error_message
from stepwell.run import Run
from stepwell.statuses import TaskStatus
from stepwell.steps import Step
from stepwell.task import Task

_log = logging.getLogger("stepwell")


@dataclass(frozen=True)
class RunEvent:
    """Something that happened in a run, as its journal has it."""

    seq: int
    """Its number in the journal, from 1."""
    at: datetime
    """When."""
    type: str
    """What, such as `StepCompleted`."""
    step: str | None
    """The step that it is about, if it is about one."""
    execution: int | None
    """Which activation of it."""
    attempt: int | None
    """Which attempt."""
    data: dict[str, Any]
    """All else."""

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> RunEvent:
        data = dict(told["event"])
        kind, step = data.pop("type"), data.pop("step", None)
        execution, attempt = data.pop("execution", None), data.pop("attempt", None)
        at = datetime.fromtimestamp(told["at"] / 1_000_000, timezone.utc)
        return cls(told["seq"], at, kind, step, execution, attempt, data)


class Flujo:
    """Runs a pipeline, so that no finished step of it is ever lost.

    From its first run on, and in `async with` from the start, it also takes over runs of its pipeline whose process
    has died, until it is closed with `aclose`.

    >>> from stepwell import Step
    >>> Flujo(Step("double", lambda n: n * 2), persist_state=False).run(21).output
    42
    """

    def __init__(
        self,
        pipeline: Pipeline | Step | None = None,
        *,
        registry: Mapping[str, Pipeline | Step] | None = None,
        pipeline_name: str | None = None,
        pipeline_version: str = "latest",
        context_model: Callable[..., Any] | None = None,
        initial_context_data: Mapping[str, Any] | None = None,
        resources: Any = None,
        usage_limits: Any = None,
        hooks: Iterable[Callable[[RunEvent], Any]] | None = None,
        state_backend: Backend = None,
        delete_on_completion: bool = False,
        persist_state: bool = True,
        raise_on_failure: bool = True,
        recover: bool = True,
    ) -> None:
        """Make a runner; nothing is opened before it is used.

        Args:
            pipeline: What it runs, or:
            registry: Pipelines by name, of which it runs the one that `pipeline_name` names.
            pipeline_name: The key in the registry.
            pipeline_version: The version that the pipeline must have; any is `latest`.
            context_model: What the context of a run is given back as: a pydantic model or a class with fields.
            initial_context_data: What each run finds in its context.
            resources: What steps get as `resources=`.
            usage_limits: Not carried out yet.
            hooks: Called with each `RunEvent` of a run; an exception in one is logged and changes nothing.
            state_backend: Where runs are kept; without it in the store of the project.
            delete_on_completion: A run that completes while `run_async`, `run` or `stream` waits for it is deleted
                with its child runs when they have its result; another of its id can be begun then. One that failed,
                was cancelled or is paused stays, and so does one that completes while nobody here waits for it.
            persist_state: False: in memory only.
            raise_on_failure: A run that fails or is cancelled raises `RunFailedError`; else its result says so.
            recover: Take over, while it is open, runs whose process died.

        Raises:
            ConfigurationError: Everything that is wrong with the pipeline or with what is given.
        """
        if usage_limits is not None:
            raise ConfigurationError(no_budgets("usage_limits"))
        if not persist_state and state_backend is not None:
            raise ConfigurationError(
                "give either state_backend or persist_state=False, which keeps runs in memory"
            )
        self._pipeline = _chosen(pipeline, registry, pipeline_name)
        version = self._pipeline.version
        if pipeline_version not in ("latest", version):
            raise PipelineMismatchError(
                f"pipeline {self._pipeline.name!r} has version {version}, not {pipeline_version}",
                data={"stored": version, "given": pipeline_version},
            )
        self._model = context_model
        self._context = dict(initial_context_data or {})
        if context_model is not None and initial_context_data is not None:
            model = plain(context_model(**initial_context_data))
            self._context = {key: value for key, value in model.items() if key not in BUILT_IN}
        self._resources = resources
        self._hooks = list(hooks or ())
        for hook in self._hooks:
            if not callable(hook):
                raise ConfigurationError(
                    f"a hook is called with each event, and {_checks.shown(hook)} cannot be"
                )
        if any(is_async(hook) for hook in self._hooks):
            raise ConfigurationError(
                "hooks are called directly and cannot be coroutine functions", hint="`stream` awaits"
            )
        self._backend: Backend = state_backend if persist_state else InMemoryBackend()
        self._owns_backend = not persist_state
        if self._owns_backend:
            # Nobody else can open this store: what it takes goes with the runner, also if that is never closed.
            weakref.finalize(self, _engines.abandoned, backends.key_of(self._backend)).atexit = False
        self._raises = raise_on_failure
        self._deletes = _checks.instance("delete_on_completion", delete_on_completion, bool)
        #: How many wait for a run here: the last one deletes it.
        self._waiting: Counter[str] = Counter()
        self._engine: _native.Engine | None = None
        self._recovers = recover
        self._serving: _native.Serving | None = None

    @property
    def pipeline(self) -> Pipeline:
        """What it runs."""
        return self._pipeline

    async def run_async(
        self,
        input: Any = None,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        initial_context_data: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> PipelineResult:
        """Run the pipeline until it rests: it has ended, or waits for people.

        Args:
            input: What the first step is given; a `Task` brings tags along.
            run_id: If there is a run of that id, begun with the same, it is that run, and nothing is done again.
            metadata: Tags of the run; they win over those of the task and of the pipeline.
            initial_context_data: What it finds in its context, besides what the runner gives.
            timeout: So many seconds it is waited for; the run itself goes on.
            progress: Show how far it is, as `Run.wait` does.

        Raises:
            RunFailedError: It failed or was cancelled; `result` holds what came of it, `__cause__` the exception of its
                step if it was raised in this process.
            RunExistsError: There is a run of that id that was begun with something else.
            TimeoutError: It does not rest yet.
        """
        waits = None if timeout is None else _checks.seconds("timeout", timeout)
        async with (
            self._waited_for(input, run_id, metadata, initial_context_data) as run,
            _progress.following(Run(run), progress),
        ):
            return await self._rested(run, waits)

    def run(self, input: Any = None, *, progress: bool = True, **options: Any) -> PipelineResult:
        """Run the pipeline from a script, without an event loop; the options are those of `run_async`.

        How far it is, is shown unless `progress` is False.

        Raises:
            RuntimeError: There is an event loop, which this would block.
        """
        _checks.no_running_loop("await runner.run_async(…)", "run")
        return asyncio.run(self._run_alone(input, progress=progress, **options))

    async def stream(
        self,
        input: Any = None,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        initial_context_data: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[RunEvent | PipelineResult]:
        """Run the pipeline and yield what happens, at last the `PipelineResult`.

        The arguments are those of `run_async`.

        Raises:
            RunFailedError: It failed or was cancelled, unless the runner gives that back as a result.
        """
        async with self._waited_for(input, run_id, metadata, initial_context_data) as run:
            async for event in self._events(run):
                self._tell(event)
                yield event
            result = await self._result(run)
        yield result

    stream_async = stream

    async def aclose(self) -> None:
        """Let steps in hand end, and give back what else is to be done; whoever opens the store goes on with it."""
        engine, self._engine = self._engine, None
        if self._serving is not None:
            self._serving.stop()
            self._serving = None
        if engine is not None and backends.is_open(self._backend, engine):
            await backends.released(self._backend)
        if self._owns_backend and isinstance(self._backend, InMemoryBackend):
            await self._backend.close()

    async def __aenter__(self) -> Flujo:
        """Open the store, and carry on what stands there."""
        await self._opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    async def _run_alone(self, input: Any, **options: Any) -> PipelineResult:
        try:
            return await self.run_async(input, **options)
        finally:
            await self.aclose()

    async def _opened(self) -> _native.Pipeline:
        """Return the pipeline as its engine carries it out."""
        border = of_running_loop()
        if self._engine is None or not backends.is_open(self._backend, self._engine):
            self._engine = await backends.held(self._backend, border)
            self._serving = self._engine.serve() if self._recovers else None
        return self._pipeline._in(self._engine, border, self._resources)

    async def _found(self, run_id: str) -> Run:
        """Return a run of the pipeline."""
        native = await self._opened()
        return Run(await of_running_loop().request(lambda b, n: native.find(b, n, run_id)))

    async def _start(
        self,
        input: Any,
        run_id: str | None,
        metadata: Mapping[str, Any] | None,
        initial_context_data: Mapping[str, Any] | None,
    ) -> _native.Run:
        native = await self._opened()
        tags = {**(input.metadata if isinstance(input, Task) else {}), **(metadata or {})}
        given = input.prompt if isinstance(input, Task) else plain(input)
        options = {
            "run_id": run_id,
            "metadata": plain(tags),
            "context": plain({**self._context, **(initial_context_data or {})}),
        }
        run: _native.Run = await of_running_loop().request(lambda b, n: native.start(b, n, given, options))
        return run

    @contextlib.asynccontextmanager
    async def _waited_for(
        self,
        input: Any,
        run_id: str | None,
        metadata: Mapping[str, Any] | None,
        initial_context_data: Mapping[str, Any] | None,
    ) -> AsyncIterator[_native.Run]:
        """Begin or join a run, and count who waits for it: from before that, or another would delete it meanwhile."""
        counted = run_id
        if counted is not None:
            self._waiting[counted] += 1
        try:
            run = await self._start(input, run_id, metadata, initial_context_data)
            if counted is None:
                counted = run.id
                self._waiting[counted] += 1
            yield run
        finally:
            if counted is not None:
                self._waiting[counted] -= 1
                if not self._waiting[counted]:
                    del self._waiting[counted]

    async def _rested(self, run: _native.Run, timeout: float | None) -> PipelineResult:
        try:
            await asyncio.wait_for(self._follow(run), timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(
                f"run {run.id!r} does not rest after {timeout:g} seconds; it goes on"
            ) from None
        return await self._result(run)

    async def _follow(self, run: _native.Run) -> None:
        """Wait until a run rests, and tell the hooks what happens."""
        if not self._hooks:
            await of_running_loop().request(run.rest)
            return
        async for event in self._events(run):
            self._tell(event)

    async def _events(self, run: _native.Run) -> AsyncIterator[RunEvent]:
        """Yield what happens in a run until it rests."""
        border, after, rests = of_running_loop(), 0, False
        while not rests:
            news = await border.request(_after(run, after))
            rests = news["rests"] is not None
            for told in news["events"]:
                after = told["seq"]
                yield RunEvent._of(told)

    def _tell(self, event: RunEvent) -> None:
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                _log.exception("a hook of pipeline %r failed on event %d", self._pipeline.name, event.seq)

    async def _result(self, run: _native.Run) -> PipelineResult:
        told = await of_running_loop().request(run.details)
        result = PipelineResult._of(told, self._model)
        cause = self._pipeline._causes.pop(result.run_id, None)
        if self._deletes and result.status == TaskStatus.COMPLETED and self._waiting[run.id] == 1:
            await of_running_loop().request(run.delete)
        if told["error"] is None or not self._raises:
            return result
        failed = from_object({**told["error"], "message": error_message(told)}, within=RunFailedError)
        failed.result = result
        raise failed from cause


def _after(run: _native.Run, after: int) -> Start:
    return lambda border, number: run.news(border, number, after)


def _chosen(pipeline: object, registry: Mapping[str, Pipeline | Step] | None, name: str | None) -> Pipeline:
    """Return what is to be run."""
    if pipeline is not None:
        chosen = Pipeline.of(pipeline)
        if name not in (None, chosen.name):
            raise ConfigurationError(
                f"the pipeline is called {chosen.name!r}, not {name!r}: give its name to `Pipeline`"
            )
        return chosen
    if registry is None or name is None:
        raise ConfigurationError(
            "a runner needs a pipeline, or a registry and the pipeline_name of one in it"
        )
    if name not in registry:
        known = ", ".join(repr(one) for one in registry) or "nothing"
        raise ConfigurationError(f"the registry has no pipeline {name!r}, but {known}")
    return Pipeline.of(registry[name])
