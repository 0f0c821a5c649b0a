"""What an agent shows of its latest run, and of itself (fluffy.md §10 and §11)."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Agent, AgentStatus, Context, ResourcePool, ResourceRequirements, RetryPolicy, StateStatus


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/runs.db"
    return str(request.param)


def status_of(agent: Agent, step: str) -> StateStatus:
    return agent.state_metadata[step].status


async def test_a26_statuses_are_seen_while_the_run_goes_on(store: str) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(context: Context) -> str:
        begun.set()
        await go.wait()
        return "after"

    async def blocked(context: Context) -> None:
        """End."""

    agent = Agent("seen", store=store, max_concurrent=1)
    agent.add_state("slow", slow, entry=True, priority=stepwell.Priority.HIGH)
    agent.add_state("queued", blocked, entry=True, max_retries=2)
    agent.add_state("after", blocked, dependencies={"queued": stepwell.DependencyType.REQUIRED})
    assert (agent.status, agent.pause_reason, agent.run_id) == (AgentStatus.IDLE, None, None)
    assert status_of(agent, "slow") is StateStatus.PENDING
    assert agent.state_metadata["queued"].max_retries == 2
    assert (agent.completed_states, agent._running_states, agent.priority_queue) == (set(), set(), [])
    assert agent.metrics()["running"] == 0
    running = asyncio.create_task(agent.run())
    await begun.wait()
    assert agent.status == "running"
    assert status_of(agent, "slow") is StateStatus.RUNNING
    assert status_of(agent, "queued") is StateStatus.PENDING
    assert agent.state_metadata["after"].dependencies == ["queued"]
    assert agent._running_states == {"slow"}
    assert [queued["step"] for queued in agent.priority_queue] == ["queued"]
    # As the seed counts them.
    assert (len(agent.completed_states), len(agent._running_states), len(agent.priority_queue)) == (0, 1, 1)
    with pytest.raises(KeyError):
        agent.state_metadata["unknown"]
    go.set()
    result = await running
    assert agent.run_id == result.run_id
    assert agent.status is AgentStatus.COMPLETED
    assert agent.completed_states == {"slow", "queued", "after"}
    slow_metadata = agent.state_metadata["slow"]
    assert (slow_metadata.status, slow_metadata.detail, slow_metadata.attempts) == (
        StateStatus.COMPLETED,
        "completed",
        1,
    )
    assert slow_metadata.last_success is not None
    assert slow_metadata.last_execution is not None
    assert slow_metadata.last_execution <= slow_metadata.last_success


async def test_a14_metrics_count_and_bookings_are_given_back(store: str) -> None:
    calls, bookings = 0, []

    async def fails_once(context: Context) -> str:
        nonlocal calls
        calls += 1
        bookings.append(agent.metrics()["bookings"])
        if calls == 1:
            raise KeyError("no bread")
        return "last"

    async def last(context: Context) -> None:
        """End."""

    agent = Agent("counted", store=store, resource_pool=ResourcePool(cpu_units=4.0, custom={"seats": 2}))
    agent.add_state(
        "fails_once",
        fails_once,
        resources=ResourceRequirements(cpu_units=2.0, memory_mb=0, io_weight=0, network_weight=0),
        retry_policy=RetryPolicy(initial_delay=0.0),
    )
    agent.add_state("last", last)
    result = await agent.run()
    assert bookings == [{"cpu_units": [2.0, 4.0], "seats": [0.0, 2.0]}] * 2
    metrics = agent.metrics()
    assert metrics["bookings"] == {"cpu_units": [0.0, 4.0], "seats": [0.0, 2.0]}
    counted = {
        name: metrics[name] for name in ("completed", "executions", "attempts", "retries", "max_running")
    }
    assert counted == {"completed": 2, "executions": 2, "attempts": 3, "retries": 1, "max_running": 1}
    assert metrics["run_seconds"] > 0
    assert result.metrics == agent.metrics(result.run_id) == metrics
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - it was just made
    with pytest.raises(stepwell.TaskNotFoundError):
        agent.metrics("run_unknown")


async def test_a22_a_dead_letter_tells_what_failed(store: str) -> None:
    async def fails(context: Context) -> None:
        raise KeyError("no bread")

    agent = Agent("failing", store=store)
    agent.add_state("fails", fails)
    assert agent.dead_letters() == []
    result = await agent.run(raise_on_error=False)
    [letter] = agent.dead_letters()
    assert agent.dead_letters(result.run_id) == [letter]
    assert {
        key: letter[key] for key in ("run_id", "agent", "step", "ordinal", "type", "attempts", "timed_out")
    } == {
        "run_id": result.run_id,
        "agent": "failing",
        "step": "fails",
        "ordinal": 1,
        "type": "KeyError",
        "attempts": 1,
        "timed_out": False,
    }
    assert 'raise KeyError("no bread")' in letter["traceback"]
    # Another object of the agent reads it from the store.
    assert Agent("failing", store=store).dead_letters(result.run_id) == [letter]


async def test_the_inbox_of_an_agent_has_the_questions_of_all_its_runs(store: str) -> None:
    async def ask(context: Context) -> None:
        context.set_state("answer", await context.ask_human("Who?", {"type": "string"}))

    agent = Agent("asking", store=store)
    agent.add_state("ask", ask)
    runs = [await agent.start(), await agent.start()]
    for run in runs:
        await run.rest()
    assert (agent.status, agent.pause_reason) == ("paused", "input")
    questions = await agent.inbox()
    assert {question["run_id"] for question in questions} == {run.id for run in runs}
    with pytest.raises(stepwell.AnswerInvalidError):
        await agent.answer(questions[0]["wait_id"], 7)
    for question in questions:
        await agent.answer(question["wait_id"], "Ada")
    assert [(await run.wait()).context for run in runs] == [{"answer": "Ada"}] * 2
    assert await agent.inbox() == []
    with pytest.raises(stepwell.ResumeError):
        await agent.answer(questions[0]["wait_id"], "Bob")


@dataclass
class Known:
    n: int


async def send(what: str) -> None:
    """Do something."""


async def asks_after_work(context: Context) -> str:
    print("this is harmless")  # noqa: T201 - it is what is looked at
    names = []
    names.append("so is this")
    await send("letter")
    await context.human_in_the_loop("Sure?")
    return "next"


async def asks_before_work(context: Context) -> None:
    context.set_state("a", 1)
    await context.once("send", send, "letter")
    await context.human_in_the_loop("Sure?")
    await send("letter")


def keeps(cls: type) -> Callable[[Context], Any]:
    async def keep(context: Context) -> None:
        context.set_typed("it", cls(1))

    return keep


class Method:
    async def step(self, context: Context) -> None:
        await send("letter")
        await context.sleep(1)


def found(agent: Agent) -> set[tuple[str, str]]:
    return {(finding["code"], finding["step"]) for finding in agent.lint()}


def test_lint_finds_what_only_the_source_shows() -> None:
    @dataclass
    class Local:
        n: int

    agent = Agent("linted", store="memory:")
    agent.add_state("work", asks_after_work)
    agent.add_state("next", asks_before_work)
    agent.add_state("method", Method().step, entry=True)
    agent.add_state("known", keeps(Known), entry=True)
    agent.add_state("local", keeps(Local), entry=True)
    codes = {"effect_before_question", "local_type"}
    assert {one for one in found(agent) if one[0] in codes} == {
        ("effect_before_question", "work"),
        ("effect_before_question", "method"),
        ("local_type", "local"),
    }
    assert agent.status is AgentStatus.IDLE


async def test_a5_a15_lint_and_the_result_warn_of_what_is_not_there_and_not_counted() -> None:
    async def first(context: Context) -> str:
        return "missing" if context.has_state("wrong") else "part_1"

    async def part(context: Context) -> str | None:
        return f"part_{context.get_state('n', 1)}" if context.has_state("again") else None

    async def alone(context: Context) -> str:
        return "lone"

    async def lone(context: Context) -> str:
        return "alone"

    agent = Agent("odd", store="memory:", resource_pool=ResourcePool(cpu_units=1))
    agent.add_state("first", first, entry=True, resources=ResourceRequirements(gpu_units=1))
    agent.add_state("part_1", part)
    agent.add_state("alone", alone)
    agent.add_state("lone", lone)
    assert {("unknown_target", "first"), ("unreachable", "alone"), ("advisory_resource", "first")} <= found(
        agent
    )
    assert ("unknown_target", "part_1") not in found(agent)
    result = await agent.run()
    assert [(one["code"], one["step"]) for one in result.warnings] == [
        ("unknown_target", "first"),
        ("advisory_resource", "first"),
    ]
    assert result.not_reached == {"alone", "lone"}
    with pytest.raises(stepwell.RunFailed, match="'missing', which no step is named"):
        await agent.run({"wrong": True})


async def test_what_lint_builds_takes_nothing_from_a_run(store: str) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def first(context: Context) -> str:
        begun.set()
        await go.wait()
        return "second"

    async def second(context: Context) -> None:
        context.set_state("second", True)

    agent = Agent("linted", store=store)
    agent.add_state("first", first)
    agent.add_state("second", second)
    running = asyncio.create_task(agent.run())
    await begun.wait()
    assert agent.lint() == []
    go.set()
    assert (await running).context == {"second": True}
