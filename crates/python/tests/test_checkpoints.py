"""Pause, resume, retry and checkpoints of agents (A22, A29 to A33)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Agent, AgentStatus, Checkpoint, Context, RunFailed


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/runs.db"
    return str(request.param)


class Chain:
    """Five steps in a row that note their calls; the third waits until it may go on."""

    def __init__(self, name: str, store: str, *, last: int = 5, add: bool = True) -> None:
        self.calls: list[int] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.agent = Agent(name, store=store)
        self.last = last
        if add:
            self.add()

    def add(self) -> None:
        for i in range(1, self.last + 1):
            next_steps = [f"s{i + 1}"] if i < self.last else []
            self.agent.add_state(f"s{i}", self.step(i), next=next_steps, entry=i == 1)

    def step(self, i: int) -> Callable[[Context], Any]:
        async def run(context: Context) -> str | None:
            self.calls.append(i)
            if i == 3:
                self.begun.set()
                await self.go.wait()
            context.set_state(f"s{i}", i)
            return f"s{i + 1}" if i < self.last else None

        return run


RESULT = {f"s{i}": i for i in range(1, 6)}


async def test_a29_nothing_begins_while_paused(store: str) -> None:
    chain = Chain("pausing", store)
    agent = chain.agent
    running = asyncio.create_task(agent.run())
    await chain.begun.wait()
    checkpoint = await agent.pause()
    assert checkpoint.agent_status is AgentStatus.PAUSED
    assert checkpoint.pause_reason == "operator"
    assert (checkpoint.completed_states, checkpoint.running_states) == (["s1", "s2"], ["s3"])
    chain.go.set()
    while "s3" not in agent.completed_states:
        await asyncio.sleep(0)
    assert (agent.status, agent.pause_reason) == ("paused", "operator")
    assert [queued["step"] for queued in agent.priority_queue] == ["s4"]
    assert chain.calls == [1, 2, 3]
    assert not running.done()
    assert await agent.resume() is True
    assert (await running).context == RESULT
    assert chain.calls == [1, 2, 3, 4, 5]
    assert agent.status == "completed"


async def test_a29_what_is_not_paused_is_not_resumed(store: str) -> None:
    chain = Chain("pausing", store)
    assert await chain.agent.resume() is False
    idle = await chain.agent.pause()
    assert (idle.agent_status, idle.run_id) == (AgentStatus.IDLE, "")
    with pytest.raises(stepwell.CheckpointError):
        await chain.agent.restore_from_checkpoint(idle)
    running = asyncio.create_task(chain.agent.run())
    await chain.begun.wait()
    assert await chain.agent.resume() is False
    chain.go.set()
    result = await running
    # As the seed has it: after the end it changes nothing.
    assert (await chain.agent.pause()).agent_status is AgentStatus.COMPLETED
    with pytest.raises(stepwell.ResumeError):
        await chain.agent.resume()
    assert chain.agent.run_id == result.run_id


@pytest.mark.parametrize("paused", [True, False])
async def test_resume_sets_another_time_limit(store: str, paused: bool) -> None:
    chain = Chain("limited", store)
    running = asyncio.create_task(chain.agent.run(timeout=3_600))
    await chain.begun.wait()
    if paused:
        await chain.agent.pause()
    assert await chain.agent.resume(timeout=0.05) is paused
    with pytest.raises(stepwell.RunTimeout, match="within the 50 ms that it was given anew"):
        await running
    with pytest.raises(stepwell.ResumeError, match="cannot be given another time limit"):
        await chain.agent.resume(timeout=1)


async def test_a_restored_run_goes_on_with_the_time_that_resume_gives_it(store: str) -> None:
    chain = Chain("limited", store)
    running = asyncio.create_task(chain.agent.run())
    await chain.begun.wait()
    checkpoint = await chain.agent.pause()
    await chain.agent.cancel_all()
    with pytest.raises(stepwell.RunCancelled):
        await running
    run_id = await chain.agent.restore_from_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="timeout must be a number of seconds, more than 0"):
        await chain.agent.resume(timeout=0)
    assert await chain.agent.resume(timeout=0.05)
    with pytest.raises(stepwell.RunTimeout):
        await (await chain.agent.find(run_id)).wait()


PROGRAM = """
import asyncio, os, sys
from stepwell import Agent

async def first(context):
    if context.get_state("waits"):
        await context.wait_for_signal("go")
    if sys.argv[2] == "dies":
        begun.set()
        await go.wait()
    print("first", flush=True)
    return "second"

async def second(context):
    print("second", flush=True)

agent = Agent("lives", store=sys.argv[1])
agent.add_state("first", first)
agent.add_state("second", second)

async def dies():
    global begun, go
    begun, go = asyncio.Event(), asyncio.Event()
    await agent.start(run_id="r")
    await begun.wait()
    await agent.pause()
    go.set()
    while agent._running_states:
        await asyncio.sleep(0.001)
    os._exit(7)

async def lives():
    await agent.resume(run_id="r")
    print((await agent.run(run_id="r")).status)

async def paused_by_command():
    run = await agent.start({"waits": True}, run_id="r")
    command = [sys.executable, "-m", "stepwell", "--store", sys.argv[1], "pause", "r"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    await run.signal("go")
    print(agent.pause_reason, flush=True)
    assert await agent.resume()
    print((await run.wait()).status)

asyncio.run(globals()[sys.argv[2]]())
"""


def test_a29_a_paused_run_is_resumed_by_another_process(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    store = f"sqlite://{tmp_path}/runs.db"
    outputs = []
    for how in ("dies", "lives"):
        command = [sys.executable, str(program), store, how]
        outputs.append(subprocess.run(command, capture_output=True, text=True, timeout=60).stdout)
    steps = "".join(outputs).split()
    assert steps == ["first", "second", "completed"]


def test_a29_a_run_that_the_command_line_paused_is_resumed_from_python(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), f"sqlite://{tmp_path}/runs.db", "paused_by_command"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["operator", "first", "second", "completed"], done.stderr


@pytest.mark.parametrize("added", ["before", "after"])
async def test_a31_a_checkpoint_goes_on_as_another_agent(store: str, tmp_path: Path, added: str) -> None:
    chain = Chain("first", store)
    running = asyncio.create_task(chain.agent.run())
    await chain.begun.wait()
    path = tmp_path / "state.json"
    with path.open("w") as file:
        json.dump(chain.agent.create_checkpoint().to_dict(), file)
    chain.go.set()
    undisturbed = await running

    checkpoint = Checkpoint.from_dict(json.loads(path.read_text()))
    assert checkpoint.shared_state == {"s1": 1, "s2": 2}
    restored = Chain("restored_workflow", store, add=added == "before")
    restored.go.set()
    run_id = await restored.agent.restore_from_checkpoint(checkpoint)
    assert restored.agent.run_id == run_id != checkpoint.run_id
    assert restored.agent.status == "paused"
    if added == "after":
        restored.add()
    result = await restored.agent.run()
    assert result.run_id == run_id
    assert result.context == undisturbed.context == RESULT
    assert restored.calls == [3, 4, 5]
    again = await restored.agent.find(run_id)
    assert (await again.checkpoint()).metadata["restored_from"] == checkpoint.run_id


async def test_a31_a_restored_run_can_be_resumed_and_a_completed_one_has_its_result(store: str) -> None:
    chain = Chain("first", store)
    chain.go.set()
    result = await chain.agent.run()
    kept = chain.agent.create_checkpoint()
    other = Chain("second", store)
    await other.agent.restore_from_checkpoint(kept)
    assert other.agent.status == "completed"
    assert (await other.agent.run()).context == result.context
    assert other.calls == []

    chain = Chain("third", store)
    running = asyncio.create_task(chain.agent.run())
    await chain.begun.wait()
    checkpoint = await chain.agent.pause()
    await chain.agent.cancel_all()
    with pytest.raises(stepwell.RunCancelled):
        await running
    await chain.agent.restore_from_checkpoint(checkpoint)
    chain.go.set()
    assert await chain.agent.resume() is True
    assert chain.agent.run_id is not None
    run = await chain.agent.find(chain.agent.run_id)
    assert (await run.wait()).context == RESULT
    assert chain.calls == [1, 2, 3, 3, 4, 5]


async def test_a32_another_definition_is_refused_unless_changes_are_allowed(store: str) -> None:
    chain = Chain("first", store)
    running = asyncio.create_task(chain.agent.run())
    await chain.begun.wait()
    checkpoint = chain.agent.create_checkpoint()
    chain.go.set()
    await running

    missing = Agent("missing", store=store)
    missing.add_state("s1", chain.step(1))
    await missing.restore_from_checkpoint(checkpoint)
    with pytest.raises(stepwell.PipelineMismatchError, match="s3"):
        await missing.run()

    longer = Chain("longer", store, last=6)
    await longer.agent.restore_from_checkpoint(checkpoint)
    with pytest.raises(stepwell.PipelineMismatchError):
        await longer.agent.resume()
    longer.go.set()
    assert await longer.agent.resume(allow_changes=True) is True
    assert longer.agent.run_id is not None
    result = await (await longer.agent.find(longer.agent.run_id)).wait()
    assert result.context == {**RESULT, "s6": 6}


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({}, "schema_version"),
        ([], "object"),
        ({"a": {1}}, "no JSON"),
        ({"a": float("nan")}, "no JSON"),
        (lambda told: told | {"schema_version": 99}, "version"),
        (lambda told: told | {"executions": 7}, "executions"),
        (lambda told: {key: told[key] for key in told if key != "tokens"}, "tokens"),
    ],
)
async def test_a32_what_is_no_checkpoint_is_told_with_its_place(wrong: Any, place: str) -> None:
    chain = Chain("first", "memory:")
    chain.go.set()
    await chain.agent.run()
    if callable(wrong):
        wrong = wrong(chain.agent.create_checkpoint().to_dict())
    with pytest.raises(stepwell.CheckpointError, match=place):
        Checkpoint.from_dict(wrong)


async def test_a32_a_damaged_file_is_told_and_a_name_is_no_path(store: str, tmp_path: Path) -> None:
    chain = Chain("../../x", store)
    chain.go.set()
    before = {*tmp_path.parent.iterdir()}
    await chain.agent.run()
    checkpoint = chain.agent.create_checkpoint()
    assert {*tmp_path.parent.iterdir()} == before
    path = tmp_path / "kept" / "state.json"
    with pytest.raises(stepwell.ConfigurationError):
        checkpoint.save(path)
    path.parent.mkdir()
    checkpoint.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Checkpoint.load(path) == checkpoint
    for text in (path.read_text()[:200], "", "no json"):
        path.write_text(text)
        with pytest.raises(stepwell.CheckpointError, match=r"state\.json"):
            Checkpoint.load(path)


async def test_a33_checkpoints_are_taken_by_themselves(store: str) -> None:
    async def sleeps(context: Context) -> None:
        await context.sleep(0.05)

    agent = Agent("periodic", store=store, checkpoint_interval=0.01)
    agent.add_state("sleeps", sleeps)
    assert agent.latest_checkpoint() is None
    result = await agent.run()
    taken = agent.latest_checkpoint()
    assert taken is not None
    assert taken.agent_status is AgentStatus.COMPLETED
    assert agent.latest_checkpoint(result.run_id) == taken
    run = await agent.find(result.run_id)
    events = [json.dumps(event["event"]) async for event in run.events()]
    assert any("checkpoint" in event.lower() for event in events)


async def test_a22_what_completed_does_not_run_again_in_a_retry(store: str) -> None:
    calls = []

    async def first(context: Context) -> str:
        calls.append("first")
        return "second"

    async def second(context: Context) -> None:
        calls.append("second")
        if len(calls) < 4:
            raise KeyError("no bread")

    agent = Agent("retrying", store=store)
    agent.add_state("first", first)
    agent.add_state("second", second)
    with pytest.raises(stepwell.ResumeError, match="has no run"):
        await agent.retry()
    with pytest.raises(RunFailed):
        await agent.run()
    with pytest.raises(RunFailed) as failed:
        await agent.retry()
    assert isinstance(failed.value.__cause__, KeyError)
    assert [(letter["step"], letter["agent"]) for letter in agent.dead_letters()] == [
        ("second", "retrying")
    ] * 2
    result = await agent.retry(agent.run_id)
    assert result.status == "completed"
    assert calls == ["first", "second", "second", "second"]
    with pytest.raises(stepwell.ResumeError):
        await agent.retry()


async def test_a30_one_state_is_cancelled_and_the_others_go_on(store: str) -> None:
    chain = Chain("cancelling", store)

    async def beside(context: Context) -> None:
        context.set_state("beside", True)

    chain.agent.add_state("beside", beside, entry=True)
    assert await chain.agent.cancel_state("s3") is False
    running = asyncio.create_task(chain.agent.run())
    await chain.begun.wait()
    assert await chain.agent.cancel_state("s3") is True
    result = await running
    assert result.context == {"s1": 1, "s2": 2, "beside": True}
    assert chain.agent.state_metadata["s3"].status == "cancelled"
    with pytest.raises(stepwell.ResumeError):
        await chain.agent.cancel_state("s3")
