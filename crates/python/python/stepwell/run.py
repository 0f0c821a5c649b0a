"""A run, for those who follow and steer it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from stepwell import _native
from stepwell._border import Border, of_running_loop
from stepwell.errors import RunFailedError, from_object
from stepwell.result import RunResult
from stepwell.statuses import TaskStatus


class Run:
    """A run of an agent. `Agent.start` and `Agent.find` return it; any number of them may be of one run."""

    def __init__(self, native: _native.Run, causes: dict[str, BaseException] | None = None) -> None:
        """Made by an agent."""
        self._native = native
        self._causes = {} if causes is None else causes

    @property
    def id(self) -> str:
        """The id of the run."""
        return self._native.id

    async def status(self) -> TaskStatus:
        """Return how it stands."""
        return TaskStatus(await self._border.request(self._native.status))

    async def wait(self, *, raise_on_error: bool = True) -> RunResult:
        """Wait for its end.

        Raises:
            RunFailed: It failed (`RunTimeout`: its time was over; `RunCancelled`: it was cancelled). `result` holds
                what came of it, `__cause__` the exception of the step if it was raised in this process.
        """
        told = await self._border.request(self._native.wait)
        result = RunResult._of(told)
        cause = self._causes.pop(self.id, None)
        if result.error is None or not raise_on_error:
            return result
        failed = from_object(told["error"], within=RunFailedError)
        failed.result = result
        raise failed from cause

    async def rest(self) -> TaskStatus:
        """Wait until it has ended, or only people can move it; return how it stands then."""
        return TaskStatus(await self._border.request(self._native.rest))

    async def pause(self) -> None:
        """Let no step begin until it is resumed; steps under way end."""
        await self._border.request(self._native.pause)

    async def resume(self) -> None:
        """Let it go on."""
        await self._border.request(self._native.resume)

    async def cancel(self) -> None:
        """End it: what runs is cancelled, what waits is withdrawn."""
        await self._border.request(self._native.cancel)

    async def cancel_state(self, name: str) -> int:
        """Cancel what runs of one step; return how many executions that were."""
        return int(await self._border.request(lambda border, n: self._native.cancel_state(border, n, name)))

    async def retry(self) -> None:
        """Let a failed run go on: what completed stays."""
        await self._border.request(self._native.retry)

    async def signal(self, name: str, value: Any = None) -> None:
        """Give a signal to it, which it takes now or when it waits for one of that name."""
        await self._border.request(lambda border, n: self._native.signal(border, n, name, value))

    async def questions(self) -> list[dict[str, Any]]:
        """Return the open questions, oldest first."""
        return list(await self._border.request(self._native.questions))

    async def answer(self, wait_id: str, value: Any) -> None:
        """Answer a question."""
        await self._border.request(lambda border, n: self._native.answer(border, n, wait_id, value))

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Return what failed for good, oldest first."""
        return list(await self._border.request(self._native.dead_letters))

    async def events(self, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of its journal that are there, from after that one: `seq`, `at`, `event`."""
        for event in await self._border.request(lambda border, n: self._native.events(border, n, after)):
            yield event

    @property
    def _border(self) -> Border:
        return of_running_loop()

    def __repr__(self) -> str:
        """Show which run it is."""
        return f"Run({self.id!r})"
