"""Runs of agents whose program is gone, as a `TaskClient` answers and retries them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell import NotResumableError, ResumeConflictError, TaskClient

STEPWELL = [sys.executable, "-m", "stepwell"]

PROGRAM = """
import asyncio, sys
from stepwell import Agent

async def ask(context):
    context.set_state("name", await context.human_in_the_loop("Who?"))

async def fail(context):
    raise ValueError("no")

asks, fails = Agent("asks", store=sys.argv[1]), Agent("fails", store=sys.argv[1])
asks.add_state("ask", ask)
fails.add_state("fail", fail)

async def begin():
    await (await asks.start(run_id="r")).rest()
    await fails.run(run_id="f", raise_on_error=False)

async def go_on():
    print((await asks.run(run_id="r")).get_state("name"))

asyncio.run(begin() if sys.argv[2] == "begin" else go_on())
"""


def program(store: str, what: str) -> str:
    """Let the program that has the functions do something, and end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, store, what], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def left(tmp_path: Path) -> str:
    """Return a store with a run of an agent that asks, and one that failed, whose process has ended."""
    store = f"sqlite://{tmp_path / 'runs.db'}"
    program(store, "begin")
    return store


async def test_an_answer_is_kept_and_the_run_goes_on_when_its_program_comes(left: str) -> None:
    async with TaskClient(left) as client:
        asked = (await client.get_task("r")).open_waits[0]
        result = await client.resume_task("r", "Alice", wait_id=asked.wait_id, answered_by="anna")
        assert (result.status, result.success, result.run_id) == ("running", False, "r")
        assert (await client.get_task("r")).status == "running"
        with pytest.raises((ResumeConflictError, NotResumableError)):
            await client.resume_task("r", "Bob", wait_id=asked.wait_id)
        with pytest.raises(TimeoutError, match="it goes on"):
            await client.wait_task("r", timeout=0.1)
    assert await asyncio.to_thread(program, left, "go on") == "Alice"
    async with TaskClient(left) as client:
        assert (await client.wait_task("r")).status == "completed"


async def test_a_pause_is_lifted_and_the_question_stays_open(left: str) -> None:
    paused = subprocess.run([*STEPWELL, "pause", "r", "--store", left], timeout=60, check=False)
    assert paused.returncode == 0
    async with TaskClient(left) as client:
        assert (await client.resume_task("r")).status == "paused"
        assert len((await client.get_task("r")).open_waits) == 1
        assert (await client.resume_task("r", "Alice")).status == "running"


async def test_what_failed_is_tried_again_when_its_program_comes(left: str) -> None:
    async with TaskClient(left) as client:
        assert (await client.retry_task("f")).status == "running"
        assert (await client.get_task("f")).status == "running"
