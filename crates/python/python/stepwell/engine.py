"""An engine that a program opens and closes: the worker of a store, in this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

from stepwell import _checks, _engines, _native
from stepwell._border import Border, Start, of_running_loop
from stepwell.errors import StepwellError


class Engine:
    """Carries out the runs of a store, in this process, as long as it is open.

    The steps of workflow files are carried out by the providers that the command line has: `python`, `process`, `http`,
    `human`, `signal`, `timer` and `workflow`, with the settings of the project's `stepwell.toml`. Runs that earlier
    processes left unfinished go on.

    >>> async def main():
    ...     async with Engine("memory:") as engine:
    ...         client = Client(engine)
    ...         report = await client.run_workflow({"steps": [{"name": "Nap", "method": "timer/sleep",
    ...                                                        "params": {"seconds": 0}}]})
    ...     return report.status
    >>> from stepwell import Client
    >>> asyncio.run(main())
    <TaskStatus.COMPLETED: 'completed'>
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        slots: int | None = None,
        roots: Iterable[str | os.PathLike[str]] = (),
        work: bool = True,
    ) -> None:
        """Describe an engine; nothing is opened yet.

        Args:
            store: URL of the store: `sqlite://PATH`, or `memory:`, which is one for each engine. Without it the store
                of the project.
            slots: So many attempts at once; without it four for each core.
            roots: Directories that files named in steps may lie in, beside the working directory and those of the
                workflow files that are run.
            work: False: it carries nothing out, and only starts, steers and shows runs that others carry.
        """
        self._store = store
        self._options: dict[str, Any] = {
            "slots": slots,
            "roots": [os.fspath(root) for root in roots],
            "works": work,
        }
        self._native: _native.Engine | None = None
        self._is_closed = False
        self._opening: asyncio.Lock | None = None

    @property
    def roots(self) -> list[str]:
        """The directories that were given as roots."""
        return list(self._options["roots"])

    async def open(self) -> Engine:
        """Open the store and begin to work. What is open stays open.

        Raises:
            BackendUnavailableError: The store cannot be opened. No other one is in its place.
            StepwellError: SYSTEM_NOT_INITIALIZED; it was closed.
        """
        await self._opened()
        return self

    async def close(self, grace: float = 0.0) -> None:
        """Stop working and close the store; runs that have not ended stay in it, and go on when it is opened again.

        Args:
            grace: Attempts that run may end for so many seconds. Then they are cut short, and made again when their run
                goes on.
        """
        grace = _checks.seconds("grace", grace, zero=True)
        self._is_closed = True
        if self._opening is not None:
            # Who opens it now sees that it is closed, and closes it.
            async with self._opening:
                pass
        native, self._native = self._native, None
        if native is None:
            return
        closing = asyncio.ensure_future(of_running_loop().request(native.shutdown))
        try:
            if grace <= 0 or not (await asyncio.wait([closing], timeout=grace))[0]:
                native.cut_short()
            await asyncio.shield(closing)
        finally:
            _engines.lent.discard(native)

    async def _request(self, start: Any) -> Any:
        """Ask the engine something: `start` is given it, a border and a number."""
        native = await self._opened()

        def begin(border: _native.Border, number: int) -> object:
            return start(native, border, number)

        return await self._border.request(begin)

    async def _opened(self) -> _native.Engine:
        if self._native is not None:
            return self._native
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            self._check_open()
            if self._native is None:
                options = {"store": self._store or _native.default_store(), **self._options}
                begin: Start = lambda border, number: _native.Engine.open(border, number, options)  # noqa: E731
                native: _native.Engine = await self._border.request(begin)
                try:
                    self._check_open()
                except StepwellError:
                    await self._border.request(native.shutdown)
                    raise
                self._native = native
                _engines.lend(self, native)
        return self._native

    def _check_open(self) -> None:
        if self._is_closed:
            hint = "open another one; what runs is made while it is open"
            raise StepwellError("the engine is closed", code="SYSTEM_NOT_INITIALIZED", hint=hint)

    @property
    def _border(self) -> Border:
        return of_running_loop()

    async def __aenter__(self) -> Engine:
        """Open it."""
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()
