"""What fluffy.md §12 promises of flows, limits, failures and secrets, seen from Python.

The tests of the core show the rules themselves.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Agent, Context, Priority, ResourcePool, ResourceRequirements, RetryPolicy, RunFailed


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/runs.db"
    return str(request.param)


class Notes:
    """Steps that note their names, and lead where they are told."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def add(self, agent: Agent, name: str, *to: str, **options: Any) -> None:
        async def step(context: Context) -> list[str]:
            self.ran.append(name)
            return list(to)

        agent.add_state(name, step, next=to, **options)


async def test_a5_a_sequence_runs_in_order_and_what_nothing_leads_to_is_not_reached(store: str) -> None:
    notes, agent = Notes(), Agent("sequence", store=store)
    notes.add(agent, "a", "b")
    notes.add(agent, "b", "c")
    notes.add(agent, "c")
    notes.add(agent, "x", "y")
    notes.add(agent, "y", "x")
    result = await agent.run()
    assert notes.ran == ["a", "b", "c"]
    assert result.not_reached == {"x", "y"}
    assert {"x", "y"} <= {finding["step"] for finding in agent.lint() if finding["code"] == "unreachable"}


@pytest.mark.parametrize("long_first", [False, True])
async def test_a7_uneven_branches_meet_once(store: str, long_first: bool) -> None:
    notes, agent = Notes(), Agent("uneven", store=store)
    notes.add(agent, "s", *(["b", "a"] if long_first else ["a", "b"]))
    notes.add(agent, "a", "m")
    notes.add(agent, "b", "b2")
    notes.add(agent, "b2", "m")
    notes.add(agent, "m")
    await agent.run()
    assert notes.ran.count("m") == 1
    assert notes.ran[-1] == "m"


async def test_a8_a_branch_that_ends_holds_nothing_up_and_nested_forks_join_from_the_inside(
    store: str,
) -> None:
    notes, agent = Notes(), Agent("nested", store=store)
    notes.add(agent, "s", "x", "y", "z")
    notes.add(agent, "x", "x1", "x2")
    notes.add(agent, "x1", "n")
    notes.add(agent, "x2", "n")
    notes.add(agent, "n", "m")
    notes.add(agent, "y", "m")
    notes.add(agent, "m")
    notes.add(agent, "z")
    await agent.run()
    assert sorted(notes.ran) == ["m", "n", "s", "x", "x1", "x2", "y", "z"]
    assert notes.ran.index("n") > max(notes.ran.index("x1"), notes.ran.index("x2"))
    assert notes.ran.index("m") > max(notes.ran.index("n"), notes.ran.index("y"))


async def test_a10_loops_run_as_often_as_they_say_and_an_endless_one_fails(store: str) -> None:
    async def a(context: Context) -> str | None:
        context.set_state("a", context.get_state("a", 0) + 1)
        return "b" if context.get_state("a") <= 5 else None

    async def b(context: Context) -> str:
        context.set_state("b", context.get_state("b", 0) + 1)
        return "a"

    async def itself(context: Context) -> str:
        return "itself"

    agent = Agent("rounds", store=store)
    agent.add_state("a", a)
    agent.add_state("b", b)
    assert (await agent.run()).context == {"a": 6, "b": 5}
    agent = Agent("endless", store=store, max_steps=20)
    agent.add_state("itself", itself)
    with pytest.raises(RunFailed) as failed:
        await agent.run()
    assert failed.value.name == "MAX_STEPS"


@pytest.mark.parametrize("fails", [False, True])
async def test_a12_a_route_to_another_agent_is_a_child_run(store: str, fails: bool) -> None:
    seen = []

    async def invoice(context: Context) -> None:
        seen.append(context.get_state("order"))
        if fails:
            raise KeyError("no paper")

    billing = Agent("billing", store=store)
    billing.add_state("first", invoice, next=["invoice"])
    billing.add_state("invoice", invoice)

    async def ship(context: Context) -> Any:
        return [(billing, context.get_state("to"))]

    order = Agent("order", store=store)
    order.add_state("ship", ship)
    result = await order.run({"order": 7, "to": "invoice"}, raise_on_error=False)
    assert seen == [7]
    if fails:
        assert result.error is not None
        assert result.error.name == "CHILD_FAILED"
        assert isinstance(result.error, stepwell.ChildFailed)
    else:
        assert result.status == "completed"
    wrong = await order.run({"order": 7, "to": "invoce"}, raise_on_error=False)
    assert wrong.error is not None
    assert wrong.error.name == "UNKNOWN_STEP"
    assert seen == [7]


@pytest.mark.parametrize(
    ("reducer", "first", "second", "united", "conflicts"),
    [
        ("sum", 1, 2, 3, 0),
        ("max", 1, 2, 2, 0),
        ("extend", ["a"], ["b"], ["a", "b"], 0),
        ("merge", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}, 0),
        (None, 1, 1, 1, 1),
    ],
)
async def test_a13_writes_of_two_branches_are_united_or_told(
    store: str, reducer: str | None, first: Any, second: Any, united: Any, conflicts: int
) -> None:
    begun = []

    def writes(value: Any) -> Any:
        async def write(context: Context) -> None:
            begun.append(value)
            while len(begun) < 2:
                await asyncio.sleep(0)
            context.set_state("it", value)

        return write

    agent = Agent("writes", store=store, reducers={} if reducer is None else {"it": reducer})
    agent.add_state("first", writes(first), entry=True)
    agent.add_state("second", writes(second), entry=True)
    result = await agent.run()
    left = result.get_state("it")
    assert (sorted(left) if isinstance(left, list) else left) == united
    assert result.metrics["conflicts"] == conflicts


async def test_a16_a_limit_holds_over_all_runs(store: str) -> None:
    now = most = 0

    async def works(context: Context) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    agent = Agent("limited", store=store, limits={"one": 1})
    agent.add_state("a", works, entry=True, limits={"one": 1})
    agent.add_state("b", works, entry=True, limits={"one": 1})
    runs = [await agent.start(), await agent.start()]
    for run in runs:
        await run.wait()
    assert most == 1


async def test_a14_a_pool_is_never_overbooked(store: str) -> None:
    now = most = 0

    async def works(context: Context) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1

    agent = Agent("pool", store=store, resource_pool=ResourcePool(cpu_units=4))
    for i in range(6):
        agent.add_state(f"work_{i}", works, entry=True, resources=ResourceRequirements(cpu_units=2))
    await agent.run()
    assert most == 2
    assert agent.metrics()["bookings"]["cpu_units"] == [0, 4]


async def test_a15_more_than_there_is_in_all_is_refused(store: str) -> None:
    notes = Notes()
    agent = Agent("greedy", store=store, resource_pool=ResourcePool(cpu_units=1))
    notes.add(agent, "eats", resources=ResourceRequirements(cpu_units=2))
    with pytest.raises(stepwell.ResourceError, match="cpu_units"):
        await agent.run()
    assert notes.ran == []


async def test_a16_so_many_at_once_and_by_priority() -> None:
    notes = Notes()
    agent = Agent("ordered", store="memory:", max_concurrent=1)
    for name in ("low", "normal", "critical", "high", "normal_2"):
        priority = Priority[name.split("_", maxsplit=1)[0].upper()]
        notes.add(agent, name, entry=True, priority=priority)
    result = await agent.run()
    assert notes.ran == ["critical", "high", "normal", "normal_2", "low"]
    assert result.metrics["max_running"] == 1


async def test_a19_needs_of_needs_are_kept(store: str) -> None:
    notes, agent = Notes(), Agent("diamond", store=store)
    notes.add(agent, "a")
    notes.add(agent, "b", dependencies=["a"])
    notes.add(agent, "m", dependencies=["a", "b"])
    await agent.run()
    assert notes.ran == ["a", "b", "m"]


async def test_a24_what_a_failed_attempt_wrote_is_gone(store: str) -> None:
    seen = []

    async def writes(context: Context) -> None:
        seen.append(context.get_state("n"))
        context.set_state("n", context.attempt)
        if context.attempt == 1:
            raise KeyError("no bread")

    agent = Agent("writes", store=store, retry_policy=RetryPolicy(initial_delay=0.0))
    agent.add_state("writes", writes)
    assert (await agent.run()).context == {"n": 2}
    assert seen == [None, None]


async def test_a25_time_limits_of_steps_and_runs_and_a_function_that_does_not_hear(store: str) -> None:
    async def slow(context: Context) -> None:
        await asyncio.sleep(3600)

    goes_on = threading.Event()

    def deaf(context: Context) -> None:
        goes_on.wait(60)

    agent = Agent("slow", store=store)
    agent.add_state("slow", slow, timeout=0.05, retry_policy=RetryPolicy(max_retries=1, initial_delay=0.0))
    result = await agent.run(raise_on_error=False)
    assert agent.state_metadata["slow"].status == "timeout"
    [letter] = agent.dead_letters()
    assert (letter["attempts"], letter["timed_out"]) == (2, True)
    assert result.failed_states == {"slow"}
    agent = Agent("hurried", store=store)
    agent.add_state("slow", slow)
    with pytest.raises(stepwell.RunTimeout):
        await agent.run(timeout=0.05)
    agent = Agent("deaf", store=store)
    agent.add_state("deaf", deaf)
    # Nobody waits for it: it ends only after this.
    try:
        with pytest.raises(stepwell.RunTimeout):
            await asyncio.wait_for(agent.run(timeout=0.01, cleanup_timeout=0.01), 30)
    finally:
        goes_on.set()


@pytest.mark.parametrize(
    ("policy", "status", "ran"),
    [("fail_run", "failed", []), ("continue", "completed", ["m"]), ("route:h", "completed", ["h", "m"])],
)
async def test_a28_a_failing_branch_by_policy(store: str, policy: str, status: str, ran: list[str]) -> None:
    notes = Notes()
    undone = []

    async def fails(context: Context) -> str:
        raise KeyError("no bread")

    async def fails_compensation(context: Context) -> None:
        assert context.failure is not None
        undone.append(context.failure["type"])

    agent = Agent("policies", store=store)
    notes.add(agent, "s", "fails", "other", entry=True)
    agent.add_state("fails", fails, next=["m"], on_failure=policy)
    agent.add_state("fails_compensation", fails_compensation)
    notes.add(agent, "other", "m")
    notes.add(agent, "h", "m")
    notes.add(agent, "m")
    result = await agent.run(raise_on_error=False)
    assert result.status == status
    assert [name for name in notes.ran if name in ("h", "m")] == ran
    assert undone == ["KeyError"]
    assert result.failed_states == {"fails"}


async def test_a28_no_task_is_alive_after_a_failed_run(store: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def fails(context: Context) -> None:
        await begun.wait()
        raise KeyError("no bread")

    async def sibling(context: Context) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)  # It cleans up, and is waited for.
            ended.set()

    agent = Agent("siblings", store=store)
    agent.add_state("fails", fails, entry=True)
    agent.add_state("sibling", sibling, entry=True)
    before = asyncio.all_tasks()
    with pytest.raises(RunFailed):
        await agent.run()
    assert ended.is_set()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert agent.state_metadata["sibling"].status == "cancelled"


async def test_a34_the_text_of_a_secret_is_nowhere(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "sesame-open-7291"
    monkeypatch.setenv("DOOR", text)

    async def opens(context: Context) -> None:
        secret = context.secret("DOOR")
        assert (str(secret), repr(secret)) == ("***", "***")
        with pytest.raises(TypeError):
            context.set_state("door", secret)
        revealed = secret.reveal()
        assert revealed == text
        context.emit("log", f"opening with {revealed}")
        raise KeyError(f"the door does not open with {revealed}")

    agent = Agent("doors", store=store)
    agent.add_state("opens", opens)
    result = await agent.run(raise_on_error=False)
    run = await agent.find(result.run_id)
    shown = [
        json.dumps(agent.create_checkpoint().to_dict()),
        json.dumps([event async for event in run.events()]),
        json.dumps(agent.dead_letters()),
        str(result.error),
    ]
    assert all(text not in one for one in shown)
    assert "***" in shown[1]
    assert all(text.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


PROGRAM = """
import asyncio, os, sys
from stepwell import Agent

store, how, log = sys.argv[1:]

def note(text):
    with open(log, "a") as file:
        print(text, file=file)

async def charge(context):
    await context.once("charge", note, "charge")
    if how == "dies":
        os._exit(7)
    return [f"part_{i}" for i in range(10)]

def part(i):
    async def run(context):
        note(f"part_{i}")
        await asyncio.sleep(0.01)
        context.set_state(f"part_{i}", i)
        return "merge"
    return run

async def merge(context):
    note("merge")
    context.set_state("sum", sum(context.get_state(f"part_{i}") for i in range(10)))

agent = Agent("shared", store=store, max_concurrent=3)
agent.add_state("charge", charge, entry=True, next=["part_*"])
for i in range(10):
    agent.add_state(f"part_{i}", part(i), next=["merge"])
agent.add_state("merge", merge)
print(asyncio.run(agent.run(run_id="r")).get_state("sum"))
"""


def test_a36_a37_two_processes_resume_one_run_and_nothing_doubles(tmp_path: Path) -> None:
    program, log = tmp_path / "program.py", tmp_path / "log"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), f"sqlite://{tmp_path}/runs.db"]
    assert subprocess.run([*command, "dies", str(log)], timeout=60).returncode == 7
    both = [
        subprocess.Popen(
            [*command, "lives", str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60) for process in both]
    assert [out for out, _ in told] == ["45\n", "45\n"], told
    assert sorted(log.read_text().split()) == sorted(["charge", "merge", *(f"part_{i}" for i in range(10))])
