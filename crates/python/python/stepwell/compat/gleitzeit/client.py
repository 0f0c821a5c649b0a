"""The client of Gleitzeit's Python API: one object for workflows, batches and single tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepwell.batch import BatchResult
from stepwell.client import Client
from stepwell.compat.gleitzeit import workflow as workflows
from stepwell.compat.gleitzeit.core.errors import (
    ConfigurationError,
    InvalidParameterError,
    MethodNotSupportedError,
    PersistenceConnectionError,
    PersistenceError,
    of,
)
from stepwell.compat.gleitzeit.workflow import Workflow
from stepwell.errors import ContextTypeError, StepwellError, TaskNotFoundError
from stepwell.report import RunReport
from stepwell.run import Run
from stepwell.workflow import Workflow as Definition

_STORES = ("sqlite", "redis", "memory")
#: What a batch can do with a file by asking a model.
_BATCH_METHODS = ["llm/chat", "llm/complete", "llm/vision"]
#: Definitions that were created are kept in the system state under this.
_CREATED = "gleitzeit/workflows/"

_log = logging.getLogger("stepwell.gleitzeit")

_Source = str | Path | dict[str, Any] | Workflow


class GleitzeitClient:
    """Runs workflows, batches and single tasks over a store, in this process.

    >>> async def main():
    ...     async with GleitzeitClient(persistence="memory") as client:
    ...         root = await client.execute_python(code="import math; result = math.sqrt(16)", timeout=5)
    ...     return root["result"]
    >>> asyncio.run(main())
    4.0
    """

    def __init__(
        self,
        persistence: str = "sqlite",
        db_path: str | None = None,
        redis_url: str | None = None,
        ollama_url: str = "http://localhost:11434",
        debug: bool = False,
    ) -> None:
        """Describe a client; nothing is opened yet.

        Args:
            persistence: `sqlite`, one file, or `memory`, which ends with the client. `redis` is not there yet.
            db_path: The file of `sqlite`; without it that of the project.
            redis_url: Where Redis is.
            ollama_url: Where Ollama is; several URLs are separated by commas. Nothing asks it yet.
            debug: Tell on standard error what is done.

        Raises:
            ConfigurationError: Another `persistence`, or a place of another one.
        """
        if persistence not in _STORES:
            message = f"persistence must be one of {', '.join(_STORES)}, not {persistence!r}"
            raise ConfigurationError(message)
        for given, name, store in ((db_path, "db_path", "sqlite"), (redis_url, "redis_url", "redis")):
            if given is not None and persistence != store:
                raise ConfigurationError(
                    f"{name} is a place of persistence={store!r}, not of {persistence!r}"
                )
        if persistence == "redis":
            message = "there is no store on Redis yet"
            raise ConfigurationError(message, hint="persistence='sqlite' is durable on one machine")
        self.ollama_url = ollama_url
        file = None if db_path is None else f"sqlite://{db_path}"
        self._backend = persistence
        self._store = "memory:" if persistence == "memory" else file
        self._client = Client(self._store)
        self._tells = _tells_on_stderr() if debug else None

    async def initialize(self) -> None:
        """Open the store and begin to work, as `async with` does. Runs that were left unfinished go on.

        Raises:
            PersistenceConnectionError: The store cannot be opened. No other one is in its place.
        """
        with self._as_gleitzeit():
            await self._client.open()

    async def close(self) -> None:
        """Stop working and close the store. Runs that have not ended stay in it, and go on when it is opened again."""
        with self._as_gleitzeit():
            await self._client.close()
        if self._tells is not None:
            _log.removeHandler(self._tells)
            self._tells = None

    async def __aenter__(self) -> GleitzeitClient:
        """Open it."""
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    # Workflows.

    async def run_workflow(
        self, workflow: _Source, *, inputs: dict[str, Any] | None = None, raise_on_failure: bool = True
    ) -> dict[str, dict[str, Any]]:
        """Run a workflow and wait for its end. Who cancels the wait cancels the run.

        Args:
            workflow: The path of a file, what it would hold, or a `Workflow`.
            inputs: What `${input}` is.
            raise_on_failure: False: failures are told in the views alone.

        Returns:
            What others see of each task, by id, in the order of definition.

        Raises:
            WorkflowError: The definition cannot be run, and nothing was begun; or the run was cancelled or ran out
                of time.
            TaskError: A task failed; `data["task_id"]` says which, `results` has what came of all.
        """
        with self._as_gleitzeit():
            run, _ = await self._start(workflow, inputs)
            report = await self._end(run)
        if raise_on_failure:
            _raise_failure(report)
        return report.results

    async def run_workflow_async(
        self, workflow: _Source, *, inputs: dict[str, Any] | None = None
    ) -> Workflow:
        """Begin a run and return as soon as that is durable; `id` of what is returned is the run.

        Raises:
            WorkflowError: The definition cannot be run, and nothing was begun.
        """
        with self._as_gleitzeit():
            run, tasks = await self._start(workflow, inputs)
            return workflows.of_report(await run.report(), tasks)

    async def get_workflow_status(self, workflow_id: str) -> Workflow | None:
        """Return how a run stands, or the latest run of a definition; None if nothing is known by that id."""
        with self._as_gleitzeit():
            run = await self._find(workflow_id)
            if run is not None:
                return workflows.of_report(await run.report())
            key = _CREATED + workflow_id
            created = await self._client.engine._request(
                lambda engine, border, n: engine.state(border, n, key)
            )
            return None if created is None else _of_definition(Definition.from_dict(created), created)

    async def create_workflow(
        self, name: str, tasks: list[dict[str, Any]], description: str | None = None
    ) -> Workflow:
        """Check a definition and keep it; nothing is begun.

        Raises:
            WorkflowError: Everything that is wrong with it.
        """
        document: dict[str, Any] = {"name": name, "tasks": tasks}
        if description is not None:
            document["description"] = description
        with self._as_gleitzeit():
            read = Definition.from_dict(document)
            key = _CREATED + read.id
            await self._client.engine._request(
                lambda engine, border, n: engine.put_state(border, n, key, document)
            )
        return _of_definition(read, document)

    async def cancel_workflow(self, workflow_id: str) -> bool:
        """Cancel a run, or the latest one of a definition; return False if it had ended already.

        Raises:
            WorkflowError: There is no such run.
        """
        with self._as_gleitzeit():
            run = await self._find(workflow_id)
            if run is None:
                raise TaskNotFoundError(f"there is no run {workflow_id}")
            if (await run.status()) in ("completed", "failed", "cancelled"):
                return False
            try:
                await run.cancel()
            except StepwellError:
                if (await run.status()) in ("completed", "failed"):
                    return False
                raise
            return True

    # Single tasks.

    async def execute_python(
        self,
        code: str | None = None,
        file: str | None = None,
        args: dict[str, Any] | None = None,
        timeout: int = 30,
    ) -> dict[str, Any]:
        """Run Python code or a script; `["result"]` of what is returned is its variable `result`.

        Args:
            code: The code; or
            file: The path of the script.
            args: What it finds as `args`.
            timeout: So many seconds it may take.

        Raises:
            InvalidParameterError: Code and file, or neither.
            TaskError: It raised, took too long, or left a result that cannot be kept.
        """
        params: dict[str, Any] = {"timeout": timeout}
        if code is not None:
            params["code"] = _literal(code)
        if file is not None:
            params["file"] = _literal(os.fspath(file))
        if args is not None:
            # A value is never looked at for references. What is no object is refused as it is.
            given: Any = args
            params["args"] = "${input}" if isinstance(given, dict) else given
        return await self._execute("execute_python", "python/execute", params, args)

    async def chat(self, prompt: str, model: str = "llama3.2:latest", temperature: float = 0.7) -> str:
        """Return what a language model answers.

        Raises:
            ProtocolError: There is no provider of language models yet.
        """
        messages = [{"role": "user", "content": _literal(prompt)}]
        params = {"model": _literal(model), "messages": messages, "temperature": temperature}
        return str((await self._execute("chat", "llm/chat", params))["response"])

    async def vision(
        self, image_path: str, prompt: str = "Describe this image", model: str = "llava:latest"
    ) -> str:
        """Return what a language model says about an image.

        Raises:
            ProtocolError: There is no provider of language models yet.
        """
        named = {"image_path": os.fspath(image_path), "prompt": prompt, "model": model}
        params = {key: _literal(text) for key, text in named.items()}
        return str((await self._execute("vision", "llm/vision", params))["response"])

    # Batches.

    async def batch_process(
        self,
        directory: str | None = None,
        files: list[str] | None = None,
        pattern: str = "*",
        method: str = "llm/chat",
        prompt: str = "Analyze this file",
        model: str = "llama3.2:latest",
        max_concurrent: int = 5,
    ) -> BatchResult:
        """Ask a language model about each of many files.

        Raises:
            InvalidParameterError: A directory and files, or neither.
            ConfigurationError: There is no such directory.
            MethodNotSupportedError: Another method than `llm/chat`, `llm/complete` and `llm/vision`.
            ProtocolError: There is no provider of language models yet.
        """
        if method not in _BATCH_METHODS:
            message = f"a batch has no method {method!r}"
            data = {"method": method, "supported_methods": _BATCH_METHODS}
            raise MethodNotSupportedError(message, data=data)
        params = {"prompt": prompt, "model": model}
        return await self._batch(
            method, params, max_concurrent, directory=directory, files=files, pattern=pattern
        )

    async def batch_vision(
        self,
        directory: str,
        pattern: str = "*.{jpg,png,jpeg}",
        prompt: str = "Describe this image",
        model: str = "llava:latest",
    ) -> BatchResult:
        """Ask a language model about each image of a directory, as `batch_process` does."""
        return await self.batch_process(
            directory=directory, pattern=pattern, method="llm/vision", prompt=prompt, model=model
        )

    async def batch_python(self, script: str, data_files: list[str], max_concurrent: int = 5) -> BatchResult:
        """Run a Python script for each of many files; it finds the path as `args["file_path"]`.

        Raises:
            InvalidParameterError: There is no such script.
        """
        if not Path(script).is_file():
            data = {"parameter": "script", "reason": "not_found"}
            raise InvalidParameterError(f"there is no script {script} in {Path.cwd()}", data=data)
        return await self._batch(
            "python/execute", {"file": os.fspath(script)}, max_concurrent, files=data_files
        )

    async def _batch(
        self, method: str, params: dict[str, Any], max_concurrent: int, **where: Any
    ) -> BatchResult:
        """Carry out a batch; who stops waiting cancels it."""
        with self._as_gleitzeit():
            run = await self._client.start_batch(method, params, max_concurrent=max_concurrent, **where)
            await self._end(run)
            return await self._client.batch_result(run)

    async def _start(
        self, source: _Source, inputs: dict[str, Any] | None
    ) -> tuple[Run, list[dict[str, Any]] | None]:
        """Begin a run; return it with the tasks as they were given."""
        if isinstance(source, Workflow):
            source = source.to_definition()
        read = Definition.of(source, roots=self._client.engine.roots)
        document = read.document() or {}
        try:
            run = await self._client.start(read, inputs)
        except ContextTypeError as error:
            raise InvalidParameterError(
                error.message, data={"parameter": "inputs", "reason": "type"}
            ) from error
        _log.debug("run %s of workflow '%s' is started", run.id, read.id)
        return run, document.get("tasks", document.get("steps"))

    async def _end(self, run: Run) -> RunReport:
        """Wait for the end of a run; who stops waiting cancels it."""
        try:
            report = await run.report(at_end=True)
        except asyncio.CancelledError:
            await asyncio.shield(run.cancel())
            raise
        _log.debug("run %s is %s", run.id, report.status)
        return report

    @contextmanager
    def _as_gleitzeit(self) -> Iterator[None]:
        """Let errors of Stepwell be those of Gleitzeit."""
        try:
            yield
        except StepwellError as error:
            told = of(error)
            if isinstance(told, PersistenceError):
                told.data["backend"] = self._backend
            if isinstance(told, PersistenceConnectionError):
                told.data["connection_string"] = self._store
            raise told from None

    async def _find(self, workflow_id: str) -> Run | None:
        """Return the run of that id, else the latest one of the definition of that id."""
        try:
            return await self._client.get(workflow_id)
        except TaskNotFoundError:
            async for listed in self._client.list(workflow=workflow_id, limit=1):
                return await self._client.get(listed.run_id)
        return None

    async def _execute(
        self, step: str, method: str, params: dict[str, Any], inputs: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Carry out a single task; return its view."""
        document = {"id": step, "steps": [{"id": step, "method": method, "params": params}]}
        with self._as_gleitzeit():
            run, _ = await self._start(document, inputs)
            report = await self._end(run)
        _raise_failure(report)
        return report.results[step]


def _of_definition(read: Definition, document: dict[str, Any]) -> Workflow:
    return Workflow(
        id=read.id,
        name=read.name,
        description=read.description,
        tasks=document["tasks"],
        workflow_id=read.id,
        version=read.version,
        definition=document,
    )


def _raise_failure(report: RunReport) -> None:
    if report.error is None:
        return
    failed = of(report.error)
    failed.data.setdefault("task_id", None)
    failed.data["workflow_id"] = report.run_id
    failed.data.setdefault("failed_tasks", [])
    failed.results = report.results
    raise failed


def _literal(text: str) -> str:
    """Return a text as a parameter in which nothing is a reference.

    >>> _literal("costs ${price} or $$${price}, $5 {a}")
    'costs $${price} or $$$$$${price}, $5 {a}'
    """
    return re.sub(r"\$+(?=\{)", lambda dollars: dollars[0] * 2, text)


def _tells_on_stderr() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.DEBUG)
    return handler
