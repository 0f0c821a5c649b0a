"""A run, for those who follow and steer it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from stepwell import _checks, _native, _progress
from stepwell._border import Border, of_running_loop
from stepwell.checkpoint import Checkpoint
from stepwell.errors import RunFailedError, StepwellError, from_object
from stepwell.report import RunReport
from stepwell.result import RunResult, Telling
from stepwell.statuses import TaskStatus


class _Agent(Protocol):
    """The agent that a run is of."""

    def _telling(self, run: _native.Run) -> Telling:
        """Return what tells more about a run."""

    def _ended(self, run_id: str) -> BaseException | None:
        """Take note that a run has ended; return the exception of a step of it, if one was raised here."""


class Run:
    """A run. `Agent.start`, `Client.start` and others return it; any number of them may be of one run."""

    def __init__(self, native: _native.Run, of: _Agent | None = None, *, keeps: object = None) -> None:
        """Made by an agent or a client, whose engine it `keeps` open."""
        self._native = native
        self._agent = of
        self._keeps = keeps

    @property
    def id(self) -> str:
        """The id of the run."""
        return self._native.id

    async def status(self) -> TaskStatus:
        """Return how it stands."""
        return TaskStatus(await self._border.request(self._native.status))

    async def wait(self, *, raise_on_error: bool = True, progress: bool = False) -> RunResult:
        """Wait for its end.

        If its functions are here and no living process carried a step of it before, this takes it up, as `carry` does.

        Args:
            raise_on_error: Whether a run that does not complete raises.
            progress: Show how far it is on the standard error, if that is a terminal or of a notebook, once it takes
                longer than a second. Elsewhere nothing is written.

        Raises:
            RunFailed: It failed (`RunTimeout`: its time was over; `RunCancelled`: it was cancelled). `result` holds
                what came of it, `__cause__` the exception of the step if it was raised in this process.
        """
        async with _progress.following(self, progress):
            told = await self._border.request(self._native.wait)
        result = RunResult._of(told, None if self._agent is None else self._agent._telling(self._native))
        cause = None if self._agent is None else self._agent._ended(self.id)
        if result.error is None or not raise_on_error:
            return result
        failed = from_object(told["error"], within=RunFailedError)
        failed.result = result
        raise failed from cause

    async def report(self, *, at_end: bool = False) -> RunReport:
        """Return how it stands and what its steps came to: now, or `at_end`, when it has ended, however it did."""
        return RunReport._of(
            await self._border.request(lambda border, n: self._native.report(border, n, at_end))
        )

    async def rest(self) -> TaskStatus:
        """Wait until it has ended, or only people can move it; return how it stands then.

        What others left is taken up, as by `wait`.
        """
        return TaskStatus(await self._border.request(self._native.rest))

    async def pause(self) -> Checkpoint:
        """Let no step begin until it is resumed; steps under way end. Return how it stands with that."""
        return Checkpoint._read(await self._border.request(self._native.pause))

    async def checkpoint(self) -> Checkpoint:
        """Return how it stands, as plain data."""
        return Checkpoint._read(await self._border.request(self._native.checkpoint))

    async def carry(self) -> None:
        """Take it up in this process, whoever began it, with its child runs.

        `Agent.run` with its id, `resume` and `retry` do that too, and `wait` and `rest` if nobody alive carries it;
        `Agent.find` alone does not.
        """
        await self._border.request(self._native.carry)

    async def resume(self) -> None:
        """Let it go on."""
        await self._border.request(self._native.resume)

    async def limit_time(self, seconds: float) -> None:
        """Give it so many seconds from now on, in place of the time limit that it has; a pause does not move it.

        Once it is tried again, it has that of its agent or workflow again.

        Raises:
            ResumeError: It has ended.
        """
        limit = _checks.seconds("seconds", seconds)
        await self._border.request(lambda border, n: self._native.limit_time(border, n, limit))

    async def cancel(self) -> int:
        """End it: what runs is cancelled, what waits is withdrawn. Return how many executions that ended."""
        return int(await self._border.request(self._native.cancel))

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

    async def _next_events(self, after: int) -> list[dict[str, Any]]:
        """Return the next events of its journal, when there are some; none when it has ended."""
        return list(await self._border.request(lambda border, n: self._native.next_events(border, n, after)))

    @property
    def _border(self) -> Border:
        return of_running_loop()

    def __repr__(self) -> str:
        """Show which run it is."""
        return f"Run({self.id!r})"

    def _repr_html_(self) -> str | None:
        """Show in a notebook how it stands now: a table of its steps. The store is read for it."""
        from stepwell import _html

        try:
            return _html.of_run(self)
        except StepwellError:  # Its store is closed, say. What `repr` tells is true all the same.
            return None
