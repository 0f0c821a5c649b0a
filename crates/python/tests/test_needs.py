"""When a step begins that needs others: every kind of need, and which completions count (A18 of spec/fluffy.md).

The tests of the core show the rules themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import (
    END,
    Agent,
    Context,
    DependencyConfig,
    DependencyLifecycle,
    DependencyType,
    RunFailed,
    RunResult,
)

#: What becomes of a step that needs another, by what becomes of the other: completed, failed, skipped.
BEGINS = {
    DependencyType.REQUIRED: (True, False, False),
    DependencyType.AND: (True, False, False),
    DependencyType.OPTIONAL: (True, True, True),
    DependencyType.PARALLEL: (True, True, True),
    DependencyType.SEQUENTIAL: (True, True, True),
    DependencyType.CONDITIONAL: (True, True, True),
    DependencyType.TIMEOUT: (True, True, True),
    DependencyType.OR: (True, False, False),
    DependencyType.XOR: (True, False, False),
}


def need(kind: DependencyType, **more: Any) -> DependencyConfig:
    """Return a need of a kind with what that kind asks for."""
    if kind is DependencyType.CONDITIONAL:
        more = {"condition": lambda _: True, **more}
    if kind is DependencyType.TIMEOUT:
        more = {"timeout": 3600, **more}
    return DependencyConfig(kind, **more)


async def nothing(_: Context) -> None:
    pass


async def breaks(_: Context) -> None:
    raise ValueError("broken")


def add_other(agent: Agent, name: str, end: str) -> None:
    """Add a step that ends so."""
    never = DependencyConfig(DependencyType.CONDITIONAL, condition=lambda _: False)
    agent.add_state(
        name,
        breaks if end == "failed" else nothing,
        next=[END],
        entry=end != "skipped",
        dependencies={"first": never} if end == "skipped" else None,
        on_failure="fail",
    )


async def begins_in(agent: Agent, name: str = "step") -> bool:
    """Run the agent; return whether a step of it was begun. The run goes on after a failure, and fails at its end."""
    result = await agent.run(raise_on_error=False)
    assert not result.failed_states - {"other", "a", "b"}
    return name in result.completed_states


@pytest.mark.parametrize("by", ["needs", "route"])
@pytest.mark.parametrize(
    ("kind", "end", "begins"),
    [
        (kind, end, begins)
        for kind, row in BEGINS.items()
        for end, begins in zip(("completed", "failed", "skipped"), row, strict=True)
    ],
)
async def test_a18_a_step_begins_or_is_skipped_by_what_becomes_of_the_other(
    store: str, kind: DependencyType, end: str, begins: bool, by: str
) -> None:
    agent = Agent("needs", store=store)
    agent.add_state("first", nothing, next=[END], entry=True)
    add_other(agent, "other", end)
    agent.add_state("step", nothing, next=[END], dependencies={"other": need(kind)})
    if by == "route":

        async def leads(_: Context) -> str:
            return "step"

        # It leads there when the other has settled.
        agent.add_state("leads", leads, next=["step"], dependencies={"other": DependencyType.SEQUENTIAL})
    assert await begins_in(agent) is begins


@pytest.mark.parametrize(
    ("kind", "ends", "begins"),
    [
        (DependencyType.OR, ("completed", "failed"), True),
        (DependencyType.OR, ("failed", "skipped"), False),
        (DependencyType.XOR, ("completed", "failed"), True),
        (DependencyType.XOR, ("completed", "skipped"), True),
        (DependencyType.XOR, ("completed", "completed"), False),
        (DependencyType.XOR, ("failed", "failed"), False),
    ],
)
async def test_a18_needs_of_one_kind_go_together(
    store: str, kind: DependencyType, ends: tuple[str, str], begins: bool
) -> None:
    agent = Agent("together", store=store)
    agent.add_state("first", nothing, next=[END], entry=True)
    for name, end in zip("ab", ends, strict=True):
        add_other(agent, name, end)
    agent.add_state("step", nothing, next=[END], dependencies={name: need(kind) for name in "ab"})
    assert await begins_in(agent) is begins


@pytest.mark.parametrize("kind", list(BEGINS))
async def test_a18_a_step_waits_for_another_that_is_under_way_or_does_not(
    store: str, kind: DependencyType
) -> None:
    does_not_wait = kind in (DependencyType.PARALLEL, DependencyType.TIMEOUT)
    step_ran = asyncio.Event()
    order = []

    async def other(_: Context) -> None:
        if does_not_wait:
            await step_ran.wait()
        order.append("other")

    async def step(_: Context) -> None:
        order.append("step")
        step_ran.set()

    agent = Agent("waits", store=store)
    agent.add_state("other", other, next=[END], entry=True)
    agent.add_state("first", nothing, next=[END], entry=True)
    more = {"timeout": 0.05} if kind is DependencyType.TIMEOUT else {}
    needs = {"first": DependencyType.REQUIRED, "other": need(kind, **more)}
    agent.add_state("step", step, next=[END], dependencies=needs)
    await agent.run()
    assert order == (["step", "other"] if does_not_wait else ["other", "step"])


async def test_a18_a_failure_under_continue_is_as_good_as_a_completion(store: str) -> None:
    agent = Agent("continues", store=store)
    agent.add_state("other", breaks, next=[END], on_failure="continue")
    agent.add_state("step", nothing, next=[END], dependencies=["other"])
    assert await begins_in(agent)


async def test_a18_of_several_the_first_that_completes_is_enough(store: str) -> None:
    step_ran = asyncio.Event()

    async def late(_: Context) -> None:
        await step_ran.wait()

    async def step(_: Context) -> None:
        step_ran.set()

    agent = Agent("first", store=store)
    agent.add_state("soon", nothing, next=[END], entry=True)
    agent.add_state("late", late, next=[END], entry=True)
    needs = {"soon": DependencyType.OR, "late": DependencyType.OR}
    agent.add_state("step", step, next=[END], dependencies=needs)
    assert await begins_in(agent)


async def test_a18_a_condition_is_asked_once_and_says_no(store: str) -> None:
    asked = []

    async def says_no(context: Context) -> bool:
        asked.append(context.get_state("n"))
        return False

    async def other(context: Context) -> None:
        context.set_state("n", 1)

    agent = Agent("asked", store=store)
    agent.add_state("other", other, next=[END])
    needs = {"other": DependencyConfig(DependencyType.CONDITIONAL, condition=says_no)}
    agent.add_state("step", nothing, next=[END], dependencies=needs)
    assert not await begins_in(agent)
    assert asked == [1]


async def test_a18_all_executions_of_what_is_needed_are_waited_for(store: str) -> None:
    done = []

    async def split(_: Context) -> list[tuple[str, int]]:
        return [("part", k) for k in range(5)]

    async def part(context: Context) -> None:
        await asyncio.sleep(0.005 * context.payload)
        done.append(context.payload)

    async def merge(_: Context) -> None:
        assert sorted(done) == [0, 1, 2, 3, 4]

    agent = Agent("all", store=store)
    agent.add_state("split", split, next=["part"])
    agent.add_state("part", part, next=[END])
    agent.add_state("merge", merge, next=[END], dependencies=["part"])
    assert await begins_in(agent, "merge")


async def in_rounds(store: str, lifecycle: DependencyLifecycle) -> dict[str, int]:
    """Lead twice to a step whose need completes again each time; return how often each ran."""
    ran = dict.fromkeys(("round", "fetch", "use"), 0)

    async def turn(_: Context) -> list[str]:
        ran["round"] += 1
        # What is needed is there by the second round only if it is led to again.
        return {1: ["fetch", "use"], 2: ["use"]}[ran["round"]]

    async def fetch(_: Context) -> str | None:
        ran["fetch"] += 1
        return None

    async def use(_: Context) -> str | None:
        ran["use"] += 1
        return "round" if ran["use"] == 1 else None

    agent = Agent(f"rounds {lifecycle}", store=store)
    agent.add_state("round", turn, next=["fetch", "use"], entry=True)
    agent.add_state("fetch", fetch, next=[END])
    needs = {"fetch": DependencyConfig(DependencyType.REQUIRED, lifecycle)}
    agent.add_state("use", use, next=["round", END], dependencies=needs)
    await agent.run()
    return ran


async def test_a18_once_counts_for_all_rounds_and_always_wants_it_anew(store: str) -> None:
    assert await in_rounds(store, DependencyLifecycle.ONCE) == {"round": 2, "fetch": 1, "use": 2}
    with pytest.raises(RunFailed, match="'use' waits for fetch") as stuck:
        await in_rounds(store, DependencyLifecycle.ALWAYS)
    assert stuck.value.name == "DEADLOCK"


async def held_up(
    store: str, name: str, how: dict[str, Any], meanwhile: Callable[[Agent, str], Any]
) -> RunResult:
    """Let a step complete, do something meanwhile, and lead to one that needs it."""
    under_way, goes_on = asyncio.Event(), asyncio.Event()

    async def holds(_: Context) -> str:
        under_way.set()
        await goes_on.wait()
        return "step"

    agent = Agent(name, store=store)
    agent.add_state("other", nothing, next=[END])
    agent.add_state("holds", holds, next=["step"], dependencies=["other"])
    needs = {"other": DependencyConfig(DependencyType.REQUIRED, **how)}
    agent.add_state("step", nothing, next=[END], dependencies=needs)
    run = await agent.start()
    await under_way.wait()
    await meanwhile(agent, run.id)
    goes_on.set()
    return await run.wait()


async def paused_and_resumed(agent: Agent, run_id: str) -> None:
    run = await agent.find(run_id)
    await run.pause()
    await run.resume()


async def left_alone(_agent: Agent, _run_id: str) -> None:
    pass


async def left_for_a_while(_agent: Agent, _run_id: str) -> None:
    await asyncio.sleep(0.1)


async def test_a18_a_session_begins_anew_when_a_run_is_resumed(store: str) -> None:
    of_session = {"lifecycle": DependencyLifecycle.SESSION}
    assert "step" in (await held_up(store, "one session", of_session, left_alone)).completed_states
    once = {"lifecycle": DependencyLifecycle.ONCE}
    assert "step" in (await held_up(store, "whatever session", once, paused_and_resumed)).completed_states
    with pytest.raises(RunFailed, match="'step' waits for other") as stuck:
        await held_up(store, "two sessions", of_session, paused_and_resumed)
    assert stuck.value.name == "DEADLOCK"


async def test_a18_what_is_too_old_does_not_count(store: str) -> None:
    young = {"lifecycle": DependencyLifecycle.TEMPORARY, "expiry": 3600}
    assert "step" in (await held_up(store, "young", young, left_for_a_while)).completed_states
    old = {"lifecycle": DependencyLifecycle.TEMPORARY, "expiry": 0.05}
    with pytest.raises(RunFailed, match="'step' waits for other") as stuck:
        await held_up(store, "old", old, left_for_a_while)
    assert stuck.value.name == "DEADLOCK"
