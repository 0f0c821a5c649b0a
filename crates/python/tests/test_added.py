"""Steps that are added while a run goes on, and child agents that begin elsewhere (A10 to A12, fluffy.md §2.2)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Agent, Context


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/runs.db"
    return str(request.param)


@pytest.mark.parametrize("blocking", [False, True])
async def test_a11_steps_added_by_a_step_start_by_route_and_are_journaled(store: str, blocking: bool) -> None:
    def add_chunks() -> list[str]:
        for i in range(20):

            async def process_chunk(context: Context, chunk_id: int = i) -> str:
                context.set_state(f"result_{chunk_id}", chunk_id)
                return "merge"

            agent.add_state(f"chunk_{i}", process_chunk)
        return [f"chunk_{i}" for i in range(20)]

    async def split(context: Context) -> Any:
        return add_chunks()

    def split_directly(context: Context) -> Any:
        return add_chunks()

    merges = 0

    async def merge(context: Context) -> None:
        nonlocal merges
        merges += 1
        context.set_state("sum", sum(context.get_state(f"result_{i}") for i in range(20)))

    agent = Agent("chunks", store=store)
    agent.add_state("split", split_directly if blocking else split, next=["chunk_*"], entry=True)
    agent.add_state("merge", merge)
    result = await agent.run()
    assert result.get_state("sum") == sum(range(20))
    assert merges == 1
    run = await agent.find(result.run_id)
    events = [event["event"] async for event in run.events()]
    assert sum(event["type"] == "StepsDefined" for event in events) == 20
    # The next run has them from the start, and what it adds are the same.
    assert (await agent.run()).get_state("sum") == sum(range(20))


async def test_a_step_added_from_outside_starts_at_once_or_by_its_needs(store: str) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def waits(context: Context) -> None:
        begun.set()
        await go.wait()

    def note(name: str) -> Any:
        async def run(context: Context) -> None:
            context.set_state(name, True)
            if name == "at_once":
                go.set()

        return run

    agent = Agent("growing", store=store)
    agent.add_state("waits", waits)
    running = asyncio.create_task(agent.run())
    await begun.wait()
    agent.add_state("by_needs", note("by_needs"), dependencies=["waits"])
    agent.add_state("never", note("never"), next=[])
    with pytest.raises(stepwell.DefinitionError, match="missing"):
        agent.add_state("wrong", note("wrong"), dependencies=["missing"])
    agent.add_state("at_once", note("at_once"), entry=True)
    result = await running
    assert result.context == {"by_needs": True, "at_once": True}
    assert result.not_reached == {"never"}
    with pytest.raises(ValueError, match="has a step 'waits' already"):
        agent.add_state("waits", waits)
    agent.add_state("wrong", note("wrong"), next=[])


async def test_a_step_that_runs_again_adds_the_same_steps_again(store: str) -> None:
    calls = 0

    async def adds(context: Context) -> str:
        nonlocal calls
        calls += 1
        call = calls

        async def late(context: Context) -> None:
            context.set_state("late", call)

        agent.add_state("late", late)
        await context.sleep(0)
        if calls < 3:
            raise KeyError("no bread")
        return "late"

    async def other(context: Context) -> None:
        with pytest.raises(ValueError, match="has a step 'late' already"):
            agent.add_state("late", other)

    agent = Agent("again", store=store, retry_policy=stepwell.RetryPolicy(initial_delay=0.0))
    agent.add_state("adds", adds, next=["late*"], entry=True)
    result = await agent.run()
    assert result.get_state("late") == calls == 3
    agent.add_state("other", other, entry=True)
    await agent.run()


PROGRAM = """
import asyncio, os, sys
from stepwell import Agent

async def late(context):
    if sys.argv[2] == "dies":
        os._exit(7)
    context.set_state("late", True)

async def first(context):
    agent.add_state("late", late)
    return "late"

agent = Agent("lives", store=sys.argv[1])
agent.add_state("first", first, next=["late*"], entry=True)
if sys.argv[2] == "lives":
    agent.add_state("late", late)

async def main():
    if sys.argv[2] == "dies":
        await agent.run(run_id="r")
    await agent.resume(run_id="r")
    print((await (await agent.find("r")).wait()).context)

asyncio.run(main())
"""


def test_a_step_that_was_added_is_there_after_its_process_died(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), f"sqlite://{tmp_path}/runs.db"]
    assert subprocess.run([*command, "dies"], timeout=60).returncode == 7
    done = subprocess.run([*command, "lives"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "{'late': True}\n", done.stderr


async def test_a12_a_child_agent_begins_where_it_is_told(store: str) -> None:
    async def first(context: Context) -> str:
        raise AssertionError("it never begins")

    async def second(context: Context) -> None:
        context.set_state("n", context.get_state("n") + 1)

    child = Agent("child", store=store)
    child.add_state("first", first, next=["second"])
    child.add_state("second", second)

    async def calls(context: Context) -> None:
        result = await context.run_agent(child, {"n": 1}, entry="second")
        assert result.metrics["attempts"] == 1
        context.set_state("n", result.get_state("n"))

    async def misspells(context: Context) -> None:
        await context.run_agent(child, entry="secnd")

    parent = Agent("parent", store=store)
    parent.add_state("calls", calls)
    assert (await parent.run()).context == {"n": 2}
    wrong = Agent("wrong", store=store, retry_policy=stepwell.RetryPolicy(initial_delay=0.0))
    wrong.add_state("misspells", misspells)
    with pytest.raises(stepwell.RunFailed, match="'secnd'") as failed:
        await wrong.run()
    assert failed.value.name == "UNKNOWN_STEP"
