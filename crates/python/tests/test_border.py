"""One task of a loop carries out call after call: none of them feels what was done to the one before it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from stepwell import Agent, Context, RetryPolicy, _border, _native
from stepwell._border import Border, Function
from stepwell._threads import Threads


async def test_a6_a_function_that_tells_its_own_task_to_end_does_not_end_the_next(store: str) -> None:
    seen: list[str] = []

    async def told(_context: Context) -> str:
        cast("asyncio.Task[None]", asyncio.current_task()).cancel()
        return "heard"

    async def heard(_context: Context) -> str:
        await asyncio.sleep(0)
        cast("asyncio.Task[None]", asyncio.current_task()).cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("heard")
        return "fails"

    async def fails(_context: Context) -> None:
        awaited = asyncio.ensure_future(asyncio.sleep(3600))
        awaited.cancel()
        await awaited

    agent = Agent("told", store=store, on_failure="continue")
    for function in (told, heard, fails):
        agent.add_state(function.__name__, function)
    result = await asyncio.wait_for(agent.run(), 30)
    assert seen == ["heard"]
    assert result.completed_states == {"told", "heard"}
    assert result.failed_states == {"fails"}


class Native:
    """Stands for the border of the engine: the first call is followed by a second one, which is told to end."""

    def __init__(self) -> None:
        """Begin with nothing brought."""
        self.finished: list[int] = []
        self.failed: dict[int, str] = {}

    def finish(self, number: int, _returned: object, _here: bool) -> list[Any] | None:
        """Take what a call came to, and return what follows."""
        self.finished.append(number)
        if number == 1:
            return [("call", 2, 0, None, []), ("cancel", 2, None, None, None)]
        return None

    def fail(self, number: int, error: dict[str, Any]) -> None:
        """Take what a call failed with."""
        self.failed[number] = error["data"]["exception_type"]


def border_of(native: Native, entered: list[int]) -> Border:
    """Return a border with a function that notes that it is entered."""

    async def function(_context: object) -> None:
        entered.append(len(entered))

    border = Border.apart()
    border.native = cast("_native.Border", native)
    border._is_watched = True
    border.register(Function(function, is_async=True, context=lambda _native, _border: None))
    return border


async def test_f9_a_call_that_is_told_to_end_before_a_task_goes_on_with_it_never_begins() -> None:
    entered: list[int] = []
    native = Native()
    border = border_of(native, entered)
    border._take([("call", 1, 0, None, [])])
    while not native.failed:
        await asyncio.sleep(0)
    assert (len(entered), native.finished, native.failed) == (1, [1], {2: "CancelledError"})
    assert not border._tasks


async def test_others_of_the_loop_have_their_turn_while_a_thousand_calls_begin() -> None:
    entered: list[int] = []
    native = Native()
    border = border_of(native, entered)
    border._take([("call", number, 0, None, []) for number in range(10, 1010)])
    border._take([("cancel", 1000, None, None, None)])
    in_a_turn = []
    while len(entered) < 999:
        before = len(entered)
        await asyncio.sleep(0)
        in_a_turn.append(len(entered) - before)
    assert max(in_a_turn) <= 2 * _border._AT_ONCE
    assert native.finished == [number for number in range(10, 1010) if number != 1000]
    assert native.failed == {1000: "CancelledError"}
    assert not border._waiting


async def test_a_step_that_gets_no_thread_fails_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [2]
    start = threading.Thread.start

    def begin(thread: threading.Thread) -> None:
        if thread.name == "stepwell-step" and refused[0] > 0:
            refused[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", begin)
    monkeypatch.setattr(_border, "threads", Threads())

    def works(context: Context) -> None:
        context.set_state("attempt", context.attempt)

    agent = Agent("threads", store="memory:")
    agent.add_state("works", works, retry_policy=RetryPolicy(max_retries=2, initial_delay=0.0))
    result = await asyncio.wait_for(agent.run(), 30)
    assert result.get_state("attempt") == 3
