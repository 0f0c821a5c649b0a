"""What becomes of functions that fail in unusual ways: each has a defined outcome, and nothing else suffers.

Those that take their process along are in `test_process.py` and `test_killed.py`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import Agent, Context, RetryPolicy, RunFailed, RunTimeout


class Speechless(Exception):  # noqa: N818
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError("no words")


class Odd(BaseException):
    """No exception that programs usually catch."""


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


RAISED = [
    (ValueError("plain"), "ValueError: plain", "ValueError"),
    (SystemExit(3), "SystemExit: 3", "SystemExit"),
    (Odd("odd"), "Odd: odd", "Odd"),
    (RecursionError("deep"), "RecursionError: deep", "RecursionError"),
    (MemoryError(), "MemoryError", "MemoryError"),
    (StopIteration("end"), "StopIteration", None),
    (GeneratorExit("end"), "GeneratorExit: end", "GeneratorExit"),
    (asyncio.CancelledError("own"), "CancelledError: own", "CancelledError"),
    (ValueError("lone \ud800 surrogate"), "ValueError, which cannot be shown", "ValueError"),
    (Speechless(), "Speechless, which cannot be shown", "Speechless"),
]


@pytest.mark.parametrize("on_thread", [False, True], ids=["loop", "thread"])
@pytest.mark.parametrize(
    ("error", "message", "kind"), RAISED, ids=[type(raised[0]).__name__ for raised in RAISED]
)
async def test_whatever_a_function_raises_fails_its_step_alone(
    on_thread: bool, error: BaseException, message: str, kind: str | None
) -> None:
    def on_a_thread(_context: Context) -> None:
        raise error

    async def on_the_loop(_context: Context) -> None:
        raise error

    async def other(context: Context) -> None:
        context.set_state("other", True)

    agent = Agent("raises", store="memory:", on_failure="continue")
    agent.add_state("raise", on_a_thread if on_thread else on_the_loop, entry=True)
    agent.add_state("other", other, entry=True)
    result = await asyncio.wait_for(agent.run(), 30)
    assert result.context == {"other": True}
    assert result.failed_states == {"raise"}
    letters = await (await agent.find(result.run_id)).dead_letters()
    assert message in letters[0]["message"]
    if kind is not None:
        assert letters[0]["type"] == kind


@pytest.mark.parametrize(
    "value",
    [
        object(),
        threading.Lock(),
        ("next", {1}),
        [("next", float("nan"))],
        ("next", b"bytes"),
        ("next", "\ud800"),
        ("next", nested(5_000)),
        42,
        "nowhere",
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a27_what_is_no_route_fails_the_step_once_with_a_message(value: object, store: str) -> None:
    calls = 0

    async def first(_context: Context) -> Any:
        nonlocal calls
        calls += 1
        return value

    async def next_step(_context: Context) -> None:
        raise AssertionError("nothing leads here")

    agent = Agent("returns", store=store, retry_policy=RetryPolicy(initial_delay=0.0))
    agent.add_state("first", first, next=["next"])
    agent.add_state("next", next_step)
    with pytest.raises(RunFailed, match="first"):
        await asyncio.wait_for(agent.run(), 30)
    assert calls == 1


async def test_a25_a_step_that_hangs_is_told_in_time_and_tried_again(store: str) -> None:
    entered: list[float] = []
    told: list[float] = []

    async def hangs(context: Context) -> None:
        if context.attempt == 2:
            context.set_state("attempt", 2)
            return
        entered.append(time.monotonic())
        try:
            await asyncio.sleep(3600)
        finally:
            told.append(time.monotonic())

    agent = Agent("hangs", store=store)
    agent.add_state("hang", hangs, timeout=0.3, retry_policy=RetryPolicy(max_retries=1, initial_delay=0.0))
    started = time.monotonic()
    assert (await agent.run()).context == {"attempt": 2}
    # The limit counts from the start of the attempt, which is after that of the run and before the function is entered.
    assert told[0] - started >= 0.3
    # As late as a busy machine may make it; on a quiet one it is 100 ms after the limit.
    assert told[0] - entered[0] <= 1.3


@pytest.mark.parametrize("on_thread", [False, True], ids=["loop", "thread"])
async def test_a25_who_ignores_that_it_is_cancelled_is_abandoned_and_its_result_refused(
    on_thread: bool, store: str
) -> None:
    goes_on, ended = threading.Event(), threading.Event()

    async def on_the_loop(context: Context) -> str:
        while not goes_on.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return leave(context)

    def on_a_thread(context: Context) -> str:
        goes_on.wait(60)
        return leave(context)

    def leave(context: Context) -> str:
        assert context.cancelled
        ended.set()
        return "after"

    async def after(_context: Context) -> None:
        raise AssertionError("its route is refused")

    agent = Agent("ignores", store=store)
    agent.add_state("ignore", on_a_thread if on_thread else on_the_loop)
    agent.add_state("after", after)
    with pytest.raises(RunTimeout) as failed:
        await asyncio.wait_for(agent.run(timeout=0.3, cleanup_timeout=0.2), 30)
    assert not ended.is_set()
    goes_on.set()
    while not ended.is_set():
        await asyncio.sleep(0.01)
    run = await agent.find(str(failed.value.result and failed.value.result.run_id))
    assert await run.status() == "failed"
    assert not any("StepCompleted" in str(event["event"]) for event in [e async for e in run.events()])


@pytest.mark.parametrize("policy", ["fail_run", "continue", "route:h"])
async def test_a28_a_failing_branch_ends_as_its_policy_says(policy: str, store: str) -> None:
    alive: set[str] = set()
    begun = asyncio.Event()

    async def fork(_context: Context) -> list[str]:
        return ["bad", "good"]

    async def bad(_context: Context) -> None:
        await begun.wait()
        raise RuntimeError("bad")

    async def good(context: Context) -> None:
        alive.add("good")
        begun.set()
        try:
            await asyncio.sleep(0.2 if policy != "fail_run" else 3600)
            context.set_state("good", True)
        finally:
            alive.discard("good")

    async def handler(context: Context) -> None:
        failure = context.failure
        assert failure is not None
        context.set_state("handled", [failure["step"], failure["type"], failure["attempts"]])

    agent = Agent("branches", store=store, on_failure=policy)
    agent.add_state("fork", fork)
    agent.add_state("bad", bad)
    agent.add_state("good", good, on_failure="fail_run")
    if policy == "route:h":
        agent.add_state("h", handler, on_failure="fail_run")
    before = asyncio.all_tasks()
    if policy == "fail_run":
        with pytest.raises(RunFailed, match="bad"):
            await agent.run()
        assert alive == set()
        assert asyncio.all_tasks() == before
        return
    result = await agent.run()
    assert result.failed_states == {"bad"}
    handled = {"handled": ["bad", "RuntimeError", 1]} if policy == "route:h" else {}
    assert result.context == {"good": True, **handled}


async def test_a_wait_that_is_swallowed_is_an_error_that_says_so() -> None:
    async def swallows(context: Context) -> None:
        try:
            await context.ask_human("Go on?")
        except BaseException:
            context.set_state("went_on", True)

    agent = Agent("swallows", store="memory:")
    agent.add_state("swallow", swallows)
    with pytest.raises(RunFailed) as failed:
        await asyncio.wait_for(agent.run(), 30)
    assert failed.value.name == "REPLAY_MISMATCH"
    assert failed.value.data["reason"] == "suspended_swallowed"


def silent_thread(_context: Context) -> None:
    time.sleep(1.5)


async def silent_loop(_context: Context) -> None:
    time.sleep(1.5)


@pytest.mark.parametrize("function", [silent_thread, silent_loop])
async def test_a_step_without_a_sign_of_life_fails_and_names_it(function: Callable[..., Any]) -> None:
    agent = Agent("silent", store="memory:")
    agent.add_state("silent", function, heartbeat_timeout=0.3)
    with pytest.raises(RunFailed, match=r"step 'silent' gave no sign of life for 0\.3 s") as failed:
        await asyncio.wait_for(agent.run(), 30)
    assert (failed.value.code, failed.value.data["reason"]) == (-29003, "heartbeat")


async def test_a_loop_that_moves_and_a_thread_that_emits_are_alive() -> None:
    async def on_the_loop(_context: Context) -> None:
        await asyncio.sleep(1.0)

    def on_a_thread(context: Context) -> None:
        for done in range(20):
            time.sleep(0.05)
            context.emit("progress", done)

    agent = Agent("alive", store="memory:")
    agent.add_state("loop", on_the_loop, heartbeat_timeout=0.5, entry=True)
    agent.add_state("thread", on_a_thread, heartbeat_timeout=0.5, entry=True)
    assert (await agent.run()).completed_states == {"loop", "thread"}


def test_what_a_loop_that_has_ended_left_is_done_again_in_the_next(store: str) -> None:
    seen: list[str] = []
    entered = threading.Event()

    async def cut(context: Context) -> str:
        seen.append(f"cut {context.attempt}")
        entered.set()
        if context.attempt == 1:
            await asyncio.sleep(3600)
        return "after"

    async def after(context: Context) -> None:
        seen.append(f"after {context.attempt}")

    agent = Agent("loops", store=store)
    agent.add_state("cut", cut)
    agent.add_state("after", after)

    async def begins() -> None:
        await agent.start(run_id="loops 1")
        while not entered.is_set():
            await asyncio.sleep(0.01)

    asyncio.run(begins())

    async def goes_on() -> str:
        return (await asyncio.wait_for(agent.run(run_id="loops 1"), 30)).status

    assert asyncio.run(goes_on()) == "completed"
    assert seen == ["cut 1", "cut 2", "after 1"]
