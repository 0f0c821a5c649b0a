"""What programs ask of a store: run workflows and batches, list runs, and steer them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from stepwell import _checks, _native, _progress
from stepwell.batch import BatchResult
from stepwell.engine import Engine
from stepwell.errors import ConfigurationError, RunFailedError, from_object
from stepwell.report import RunReport
from stepwell.run import Run
from stepwell.statuses import TaskStatus
from stepwell.summary import RunSummary
from stepwell.workflow import Workflow

#: What can be run: a workflow, what its file would hold, or the path of the file.
Runnable = Workflow | Mapping[str, Any] | str | os.PathLike[str]

#: So many runs are asked for at once.
_PAGE = 200


class Client:
    """Runs workflow files and batches over a store, lists runs and steers them.

    >>> async def main():
    ...     async with Client("memory:") as client:
    ...         report = await client.run_workflow(
    ...             {"steps": [{"name": "double", "method": "python/execute",
    ...                         "params": {"code": "result = 2 * args['n']", "args": {"n": "${input.n}"}}}]},
    ...             {"n": 21},
    ...         )
    ...         return report.results["double"]["result"]
    >>> import asyncio
    >>> asyncio.run(main())
    42
    """

    def __init__(self, store: str | Engine | None = None) -> None:
        """Describe a client; nothing is opened yet.

        Args:
            store: URL of the store, without it that of the project: the client opens an engine of its own over it, and
                closes it. Or an engine, which stays open when the client is closed.
        """
        self._owns_engine = not isinstance(store, Engine)
        self.engine = store if isinstance(store, Engine) else Engine(store)

    async def open(self) -> Client:
        """Open the engine of the client, as the first use does.

        Raises:
            BackendUnavailableError: The store cannot be opened.
        """
        await self.engine.open()
        return self

    async def close(self) -> None:
        """Close the engine if it is the client's own; runs that have not ended go on when the store is opened again."""
        if self._owns_engine:
            await self.engine.close()

    async def __aenter__(self) -> Client:
        """Open it."""
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def start(
        self,
        workflow: Runnable,
        inputs: Any = None,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin a run and wait for nothing but that it is durable.

        Args:
            workflow: What to run.
            inputs: What `${input}` is: any JSON; without it an empty object.
            run_id: Its id. One that exists with the same request is that run, and nothing is begun.
            metadata: Its tags.

        Raises:
            DefinitionError: Everything that is wrong with the workflow. Nothing was stored.
            RunExistsError: The id is that of another run.
        """
        read = Workflow.of(workflow, roots=self.engine.roots)
        options = {"run_id": run_id, "metadata": dict(metadata or {}), "base_dir": str(Path.cwd())}
        given = {} if inputs is None else inputs
        return Run(
            await self.engine._request(
                lambda engine, border, n: engine.start(border, n, read._native, given, options)
            ),
            keeps=self.engine,
        )

    async def run_workflow(
        self,
        workflow: Runnable,
        inputs: Any = None,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        raise_on_error: bool = True,
        progress: bool = False,
    ) -> RunReport:
        """Run a workflow and wait for the end. The arguments are those of `start`; `progress` is that of `Run.wait`.

        Who stops waiting stops nothing: the run goes on, and with a `run_id` it is found again.

        Raises:
            RunFailedError: It failed (`RunTimeoutError`: its time was over; `RunCancelledError`: it was cancelled).
                `result` holds the report. Only if `raise_on_error`.
        """
        run = await self.start(workflow, inputs, run_id=run_id, metadata=metadata)
        async with _progress.following(run, progress):
            report = await run.report(at_end=True)
        if report.error is None or not raise_on_error:
            return report
        failed = from_object(report.error.to_dict(), within=RunFailedError)
        failed.result = report
        raise failed

    async def start_batch(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        files: Iterable[str | os.PathLike[str]] | None = None,
        pattern: str = "*",
        max_concurrent: int = 5,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin to do one thing with many files, as one run with a step for each; return as soon as that is durable.

        Args:
            method: What is done with each file, such as `python/execute`.
            params: Its parameters beside the path of the file, which a script finds as `args["file_path"]`. Text in
                them is taken as it is: nothing in it is a reference.
            directory: The directory that the files lie in; or
            files: The files.
            pattern: Which files of the directory: `*`, `?`, `**`, `[…]`, `{a,b}`.
            max_concurrent: So many at once.
            metadata: Tags of the run.

        Raises:
            DefinitionError: The method or its parameters cannot be right. Nothing was stored.
            ConfigurationError: There is no such directory.
        """
        description = {
            "pattern": pattern,
            "max_concurrent": _checks.count("max_concurrent", max_concurrent),
            "method": method,
            "params": dict(params or {}),
        }
        if (directory is None) == (files is None):
            message = "a batch has a directory or files, and not both"
            raise ConfigurationError(message, code="INVALID_PARAMS", data={"parameter": "directory"})
        listed = [Path(file) for file in files or ()]
        native: _native.Workflow = await self.engine._request(
            lambda engine, border, n: engine.batch(border, n, directory, listed, description)
        )
        return await self.start(Workflow(native), metadata=metadata)

    async def batch(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        files: Iterable[str | os.PathLike[str]] | None = None,
        pattern: str = "*",
        max_concurrent: int = 5,
        metadata: Mapping[str, Any] | None = None,
        progress: bool = False,
    ) -> BatchResult:
        """Do one thing with many files and wait for the end. The arguments are those of `start_batch`.

        How far it is, is shown if `progress` says so, as `Run.wait` does.

        A file that cannot be processed is a failed entry of the result, and nothing is raised for it.
        """
        run = await self.start_batch(
            method,
            params,
            directory=directory,
            files=files,
            pattern=pattern,
            max_concurrent=max_concurrent,
            metadata=metadata,
        )
        async with _progress.following(run, progress):
            return await self.batch_result(run)

    async def batch_result(self, run: Run) -> BatchResult:
        """Wait for the end of a run of a batch, and return what came of it.

        Raises:
            ConfigurationError: It is no run of a batch.
        """
        await run.report(at_end=True)
        native = await run._border.request(run._native.batch)
        if native is None:
            raise ConfigurationError(f"run {run.id} is none of a batch", data={"run_id": run.id})
        return BatchResult(native)

    async def get(self, run_id: str) -> Run:
        """Return a run, whoever began it.

        Raises:
            TaskNotFoundError: There is no such run.
        """
        found = await self.engine._request(lambda engine, border, n: engine.find(border, n, run_id))
        return Run(found, keeps=self.engine)

    async def cancel(self, run_id: str) -> None:
        """Cancel a run: what runs is ended, what waits is withdrawn. A second time changes nothing.

        Raises:
            TaskNotFoundError: There is no such run.
            ResumeError: It has completed or failed.
        """
        await (await self.get(run_id)).cancel()

    async def list(
        self,
        *,
        status: TaskStatus | Iterable[TaskStatus] = (),
        workflow: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[RunSummary]:
        """Yield runs, newest first.

        Args:
            status: Only those that stand like this, or like one of these.
            workflow: Only those of the workflow with this id.
            metadata: Only those whose tags contain these.
            limit: At most so many.
        """
        wanted = [status] if isinstance(status, str) else list(status)
        listing: dict[str, Any] = {
            "status": [_checks.member("status", one, TaskStatus).value for one in wanted],
            "workflow": workflow,
            "metadata": dict(metadata or {}),
            "cursor": None,
        }
        left = None if limit is None else _checks.count("limit", limit)
        while left != 0:
            listing["limit"] = _PAGE if left is None else min(left, _PAGE)
            found, listing["cursor"] = await self.engine._request(
                lambda engine, border, n: engine.runs(border, n, listing)
            )
            for told in found:
                yield RunSummary._of(told)
            left = None if left is None else left - len(found)
            if listing["cursor"] is None:
                return
