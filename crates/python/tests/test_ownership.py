"""What a program drops goes: functions that nobody can call, loops that nobody runs, engines that nobody closed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell import Agent, Context, Flujo, InMemoryBackend, Step
from stepwell._border import of_running_loop


async def settles(holds: Callable[[], bool]) -> None:
    """Wait until something holds, as it will once the loop and the engine have had their turns."""
    patience = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < patience
        gc.collect()
        await asyncio.sleep(0.001)


async def test_functions_of_agents_that_are_built_again_and_again_are_forgotten(store: str) -> None:
    functions = of_running_loop()._functions
    first: list[weakref.ref[Agent]] = []
    for n in range(20):
        agent = Agent("again", store=store)

        async def work(context: Context, n: int = n) -> None:
            context.set_state("n", n)

        agent.add_state("work", work)
        agent.add_state("after", lambda context: None, dependencies=["work"])
        assert (await agent.run()).get_state("n") == n
        first.append(weakref.ref(agent))
    await settles(lambda: len(functions) == 2)
    await settles(lambda: sum(known() is not None for known in first) == 1)


async def test_functions_of_pipelines_that_are_built_again_and_again_are_forgotten() -> None:
    functions = of_running_loop()._functions
    backend = InMemoryBackend()
    for n in range(20):
        pipeline = Step("a", lambda data, n=n: data + n) >> Step.loop_until(
            "b", Step("c", lambda data: data + 1), lambda data, _context: data > 9, max_loops=10
        )
        async with Flujo(pipeline, state_backend=backend) as runner:
            assert (await runner.run_async(n)).output == max(2 * n + 1, 10)
    await settles(lambda: len(functions) == 3)
    del pipeline, runner
    await backend.close()
    await settles(lambda: not functions)


def test_a_loop_that_is_dropped_and_not_closed_leaves_no_step_hanging(store: str) -> None:
    attempts: list[int] = []

    async def work(context: Context) -> None:
        attempts.append(context.attempt)
        if len(attempts) == 1:
            await asyncio.Event().wait()

    agent = Agent("dropped", store=store)
    agent.add_state("work", work)

    async def begin() -> None:
        await agent.start(run_id="of a dropped loop")
        await settles(lambda: len(attempts) == 1)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    dropped = weakref.ref(loop)
    # asyncio tells of its task, and of the loop.
    loop.set_exception_handler(lambda _loop, _context: None)
    del loop
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        gc.collect()
    assert dropped() is None

    async def goes_on() -> str:
        return (await asyncio.wait_for(agent.run(run_id="of a dropped loop"), 30)).status

    assert asyncio.run(goes_on()) == "completed"
    assert attempts == [1, 2]


UNCLOSED = """
import asyncio, gc, pathlib, sys, time
from stepwell import Client, Engine, Flujo, Step

async def runner():
    return (await Flujo(Step("a", lambda n: n + 1), persist_state=False).run_async(1)).output

async def engine():
    nap = {"steps": [{"name": "Nap", "method": "timer/sleep", "params": {"seconds": 0}}]}
    run = await Client(Engine("memory:")).start(nap)
    gc.collect()
    # Whoever has a run of it has the engine.
    return (await run.wait()).status.value

def threads():
    return [task for task in pathlib.Path("/proc/self/task").iterdir() if is_ours(task)]

def is_ours(task):
    try:
        return (task / "comm").read_text() == "stepwell\\n"
    except OSError:
        return False  # It has ended meanwhile.

print(asyncio.run({"runner": runner, "engine": engine}[sys.argv[1]]()), flush=True)
patience = time.monotonic() + 30
while threads() and time.monotonic() < patience:
    gc.collect()
    time.sleep(0.01)
print(len(threads()))
"""


@pytest.mark.parametrize(("what", "printed"), [("runner", "2\n0\n"), ("engine", "completed\n0\n")])
def test_what_nobody_closed_keeps_no_thread(what: str, printed: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", UNCLOSED, what]
    assert subprocess.check_output(command, cwd=tmp_path, text=True, timeout=60) == printed
