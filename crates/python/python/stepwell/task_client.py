"""Tasks: runs as people and services list, inspect, answer and steer them; and system state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from stepwell import _checks, _engines, _native, backends
from stepwell._border import of_running_loop
from stepwell._plain import plain
from stepwell.context import UNSET
from stepwell.errors import (
    AnswerInvalidError,
    ConfigurationError,
    ContextTypeError,
    InvalidFilterError,
    RunFailedError,
    StateValueError,
    StepwellError,
    TaskClientError,
    from_object,
)
from stepwell.pipeline import Pipeline
from stepwell.pipeline_result import PipelineResult
from stepwell.statuses import TaskStatus
from stepwell.steps import Step
from stepwell.task import Task
from stepwell.task_models import SystemState, TaskDetail, TaskSummary


class TaskClient:
    """Lists, inspects, answers and steers the runs of a store, and keeps system state in it.

    It can be used from any event loop, and from several at once. What it lets go on is carried out in this process,
    if this has the functions of the pipeline: by the argument `pipeline`, from a registry, or since it was used here
    before.

    >>> import asyncio
    >>> async def note() -> None:
    ...     async with TaskClient("memory:") as client:
    ...         await client.set_system_state("last_sync", {"items": 500})
    ...         print((await client.get_system_state("last_sync")).value)
    >>> asyncio.run(note())
    {'items': 500}
    """

    def __init__(
        self,
        backend: backends.Backend = None,
        *,
        registry: Mapping[str, Any] | None = None,
        raise_on_failure: bool = True,
    ) -> None:
        """Make a client; its store is opened when it is used first.

        Args:
            backend: A backend, or the URL of a store; without it that of the project.
            registry: Pipelines by name, for runs that are resumed without one.
            raise_on_failure: Whether a run that fails while it is waited for raises `RunFailedError`.
        """
        self._backend = backend
        self._registry = registry
        self._raises = raise_on_failure
        self._is_closed = False
        #: What it took hold of, at first use: by several tasks perhaps, and again after somebody closed the backend.
        self._held: list[_native.Engine] = []

    async def __aenter__(self) -> TaskClient:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the store, unless it was given as a backend or somebody else in this process uses it."""
        self._is_closed = True
        while self._held:
            if backends.is_open(self._backend, self._held.pop()):
                await backends.released(self._backend)

    async def list_tasks(
        self,
        *,
        status: str | TaskStatus | Iterable[str | TaskStatus] | None = None,
        pipeline_name: str | None = None,
        metadata_filter: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[TaskSummary]:
        """List runs that no other run began, newest first.

        Args:
            status: One of `pending`, `running`, `paused`, `completed`, `failed`, `cancelled`, or several.
            pipeline_name: Only those of that workflow.
            metadata_filter: Only those whose tags contain this: objects by containment, all else by equality.
            limit: So many; without it all.
            offset: After so many others.

        Raises:
            InvalidFilterError: An argument cannot be used.
        """
        listing = {
            "status": _statuses(status),
            "workflow": pipeline_name,
            "metadata": _object("metadata_filter", metadata_filter),
            "limit": None if limit is None else _count("limit", limit),
            "offset": _count("offset", offset),
        }
        with _refused_as(InvalidFilterError):
            told = await self._ask("list", listing)
        return [TaskSummary._of(one) for one in told]

    async def get_task(self, run_id: str, *, context_model: Any = None) -> TaskDetail:
        """Return a run in full.

        Args:
            run_id: Which run.
            context_model: A pydantic model or dataclass that the context is checked against and read by.

        Raises:
            TaskNotFoundError: There is no such run.
        """
        run = await self._ask("find", run_id)
        told = await of_running_loop().request(run.details)
        # Afterwards, so that what is listed is not older than what is told.
        listed, asked = await self._ask("summary", run_id), await self._ask("questions", run_id)
        return TaskDetail._told(listed, told, asked, context_model)

    async def start_task(
        self,
        pipeline: Pipeline | Step,
        input_data: Any = None,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        initial_context_data: Mapping[str, Any] | None = None,
        usage_limits: Any = None,
    ) -> TaskSummary:
        """Begin a run; return when that is durable. It goes on in the background, as long as the loop does.

        Args:
            pipeline: What to run.
            input_data: What its first step is given, or a `Task` with that and tags.
            run_id: Its id. If there is such a run already, begun in the same way, it is that one.
            metadata: Tags of the run, over those of the pipeline.
            initial_context_data: What its context begins with.
            usage_limits: Not supported yet.

        Raises:
            RunExistsError: A run of that id is another.
            InvalidFilterError: The id, the tags or the first context cannot be used.
        """
        _no_limits(usage_limits)
        whole = Pipeline.of(pipeline)
        tags = {
            **(input_data.metadata if isinstance(input_data, Task) else {}),
            **_object("metadata", metadata),
        }
        given = input_data.prompt if isinstance(input_data, Task) else plain(input_data)
        options = {
            "run_id": run_id,
            "metadata": tags,
            "context": _object("initial_context_data", initial_context_data),
        }
        border = of_running_loop()
        native = whole._in(await self._opened(), border)
        with _refused_as(InvalidFilterError):
            run = await border.request(lambda b, n: native.start(b, n, given, options))
        return TaskSummary._of(await self._ask("summary", run.id))

    async def resume_task(
        self,
        run_id: str,
        pipeline_or_input: Any = UNSET,
        input_data: Any = UNSET,
        *,
        pipeline: Any = None,
        registry: Mapping[str, Any] | None = None,
        context_model: Any = None,
        wait_id: str | None = None,
        answered_by: str | None = None,
        usage_limits: Any = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> PipelineResult:
        """Let a run go on that rests, and wait until it rests again.

        The run of an agent goes on where its functions are. If this process has them not, and none is alive that
        carried a step of it, what is given is kept durably, and the result says how the run stands, `running` mostly:
        it goes on when a worker comes that has them (`stepwell worker MODULE:AGENT`); `wait_task` waits for that.

        A run that is paused for input takes the input as the answer to its open question. One that an operator
        paused goes on, and takes an input as an answer as well. In one that failed what failed is tried again; an input
        replaces that of the run. The call goes on only after that is durable.

        Args:
            run_id: Which run.
            pipeline_or_input: The pipeline, if it is one; else the input.
            input_data: The input. None is one.
            pipeline: The pipeline of the run.
            registry: Pipelines by name, where none is given; before that of the client.
            context_model: What the result's context is made: a pydantic model or a class with these fields.
            wait_id: Which question is answered, where several are open.
            answered_by: Who answers.
            usage_limits: Not supported yet.
            wait: Whether to wait until it rests; else the result says `running`.
            timeout: So many seconds at most.

        Raises:
            TypeError: Two pipelines or two inputs were given.
            TaskNotFoundError: There is no such run.
            ResumeError: It cannot go on like this; its subclasses say why. Nothing has happened.
            AnswerInvalidError: The answer does not fit, or there is none. The run stays as it is.
            TimeoutError: It did not rest in time. It goes on.
            RunFailedError: It failed, or was cancelled.
        """
        _no_limits(usage_limits)
        pipeline, given = _sorted(pipeline_or_input, input_data, pipeline)
        return await self._go_on(
            run_id, pipeline, given, registry, wait_id, answered_by, False, wait, timeout, context_model
        )

    async def retry_task(
        self,
        run_id: str,
        input_data: Any = UNSET,
        *,
        pipeline: Any = None,
        registry: Mapping[str, Any] | None = None,
        usage_limits: Any = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> PipelineResult:
        """Try again what failed in a run that failed: what `resume_task` does with it. Others are refused.

        Of the run of an agent whose functions nobody has, the result says `running`, as there.

        Raises:
            NotResumableError: The run has not failed.
        """
        _no_limits(usage_limits)
        return await self._go_on(
            run_id, pipeline, input_data, registry, None, None, True, wait, timeout, None
        )

    async def cancel_task(self, run_id: str, *, reason: str | None = None) -> TaskSummary:
        """End a run; return how it stands. A second time changes nothing.

        Raises:
            TaskNotFoundError: There is no such run.
            NotResumableError: It has completed or failed.
        """
        await self._ask("cancel", run_id, reason)
        return TaskSummary._of(await self._ask("summary", run_id))

    async def wait_task(self, run_id: str, *, timeout: float | None = None) -> PipelineResult:
        """Wait until a run rests: it is paused, or over.

        One that no living process carries goes on here, if its pipeline is in the registry of this client.

        Raises:
            TaskNotFoundError: There is no such run.
            TimeoutError: It did not rest in time. It goes on.
            RunFailedError: It failed, or was cancelled.
        """
        run = await self._ask("find", run_id)
        causes: dict[str, BaseException] = {}
        if self._registry and (known := self._registry.get((await self._ask("summary", run_id))["workflow"])):
            whole, engine = Pipeline.of(known), await self._opened()
            if not _engines.is_carried_elsewhere(engine, whole.name, whole.version):
                whole._in(engine, of_running_loop())
            causes = whole._causes
        return await self._rested(run, timeout, None, causes)

    async def get_system_state(self, key: str) -> SystemState | None:
        """Return the value under a key; None if there is none.

        Raises:
            StateValueError: There is no such key: 1 to 512 characters, none of them a control character.
        """
        told = await self._ask("state", _key(key))
        return None if told is None else SystemState._of(told)

    async def set_system_state(
        self, key: str, value: Mapping[str, Any], *, expected_version: int | None = None
    ) -> SystemState:
        """Keep a value under a key.

        Args:
            key: 1 to 512 characters, none of them a control character.
            value: A JSON object of at most 1 MiB.
            expected_version: Only over that version; 0: only if there is none. Without it the last one wins.

        Raises:
            StateValueError: The key or the value cannot be kept.
            StateConflictError: It has another version.
        """
        written = {"key": _key(key), "value": value, "expected": _version(expected_version)}
        with _refused_as(StateValueError):
            return SystemState._of(await self._ask("put_state", written))

    async def delete_system_state(self, key: str, *, expected_version: int | None = None) -> bool:
        """Delete the value under a key; return whether there was one.

        Raises:
            StateConflictError: It has another version.
        """
        return bool(await self._ask("delete_state", _key(key), _version(expected_version)))

    async def _go_on(
        self,
        run_id: str,
        pipeline: Any,
        given: Any,
        registry: Mapping[str, Any] | None,
        wait_id: str | None,
        answered_by: str | None,
        only_failed: bool,
        wait: bool,
        timeout: float | None,
        model: Any,
    ) -> PipelineResult:
        known = registry if registry is not None else self._registry
        if pipeline is None and known:
            pipeline = known.get((await self._ask("summary", run_id))["workflow"])
        whole = None if pipeline is None else Pipeline.of(pipeline)
        version = None if whole is None else (whole.name, whole.version)
        how = {
            "input": [] if given is UNSET else [plain(given)],
            "wait_id": wait_id,
            "answered_by": answered_by,
            "only_failed": only_failed,
        }
        engine, border = await self._opened(), of_running_loop()
        # Of many who resume it one wins; the others must not be whom its steps are called by.
        takes_over = version is not None and _engines.is_carried_elsewhere(engine, *version)
        if whole is not None and not takes_over:
            whole._in(engine, border)
        with _refused_as(AnswerInvalidError):
            run = await self._ask("resume", run_id, how, None if whole is None else whole._check())
        if whole is not None and takes_over:
            whole._in(engine, border)
        if not wait:
            return PipelineResult(status="running", run_id=run.id)
        if whole is None and await self._ask("is_left", run_id):
            # Who waits now waits for a worker that may never come.
            return PipelineResult._of(await border.request(run.details), model)
        return await self._rested(run, timeout, model, {} if whole is None else whole._causes)

    async def _rested(
        self, run: _native.Run, timeout: float | None, model: Any, causes: dict[str, BaseException]
    ) -> PipelineResult:
        border = of_running_loop()
        if timeout is not None:
            timeout = _checks.seconds("timeout", timeout, zero=True)
        try:
            await asyncio.wait_for(border.request(run.rest), timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"run {run.id} did not rest within {timeout} s; it goes on") from None
        told = await border.request(run.details)
        result = PipelineResult._of(told, model)
        if told["error"] is None or not self._raises:
            return result
        failed = from_object({**told["error"], "message": result.error_message}, within=RunFailedError)
        failed.result = result
        raise failed from causes.pop(run.id, None)

    async def _ask(self, method: str, *given: Any) -> Any:
        """Ask the store, through the engine of this process."""
        client = _native.Client(await self._opened())
        return await of_running_loop().request(
            lambda border, number: getattr(client, method)(border, number, *given)
        )

    async def _opened(self) -> _native.Engine:
        """Return the engine of its store."""
        if self._is_closed:
            raise TaskClientError(
                "this TaskClient is closed", code="SYSTEM_NOT_INITIALIZED", hint="make another one"
            )
        if self._held and backends.is_open(self._backend, self._held[-1]):
            return self._held[-1]
        engine = await backends.held(self._backend, of_running_loop())
        self._held.append(engine)
        return engine


def _is_pipeline(given: object) -> bool:
    return isinstance(given, Pipeline | Step)


def _sorted(second: Any, third: Any, pipeline: Any) -> tuple[Any, Any]:
    """Return the pipeline and the input among what was given: None, and `UNSET`, stand for none."""
    if _is_pipeline(third):
        raise TypeError("resume_task was given a pipeline as input; the pipeline goes first, or by its name")
    if second is UNSET:
        given = third
    elif _is_pipeline(second):
        if pipeline is not None:
            raise TypeError("resume_task was given two pipelines")
        pipeline, given = second, third
    elif third is not UNSET:
        raise TypeError(
            f"resume_task was given two inputs: {second!r} is no pipeline, and there is input_data"
        )
    else:
        given = second
    if pipeline is not None and not _is_pipeline(pipeline):
        raise TypeError(f"pipeline must be a pipeline, not {pipeline!r}")
    return pipeline, given


def _statuses(given: Any) -> list[str]:
    if given is None:
        return []
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, Iterable):
        raise _no_status(given)
    read = []
    for word in words:
        if not isinstance(word, str):
            raise _no_status(word)
        try:
            read.append(TaskStatus(str(word).lower()).value)
        except ValueError:
            raise _no_status(word) from None
    return read


def _no_status(given: object) -> InvalidFilterError:
    known = ", ".join(TaskStatus)
    return InvalidFilterError(
        f"status must be one of {known}, not {_checks.shown(given)}", data={"parameter": "status"}
    )


def _object(name: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidFilterError(
            f"{name} must be an object, not {_checks.shown(given)}", data={"parameter": name}
        )
    return dict(given)


def _count(name: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**63:
        raise InvalidFilterError(
            f"{name} must be a whole number that is not negative, not {_checks.shown(given)}",
            data={"parameter": name},
        )
    return given


def _version(given: Any) -> int | None:
    return None if given is None else _count("expected_version", given)


def _key(given: Any) -> str:
    if not isinstance(given, str):
        raise StateValueError(f"a key of system state must be a str, not {_checks.shown(given)}")
    return given


def _no_limits(given: object) -> None:
    if given is not None:
        raise ConfigurationError(
            "usage_limits cannot be kept: this version of Stepwell counts no costs", hint="leave it out"
        )


@contextmanager
def _refused_as(kind: type[StepwellError]) -> Iterator[None]:
    """Let a value that JSON cannot hold be refused in the words of the caller."""
    try:
        yield
    except ContextTypeError as error:
        raise kind(error.message, hint=error.hint) from None
