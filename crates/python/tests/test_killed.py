"""What a kill leaves: nothing finished is done again, and the next process goes on (fluffy.md §12, durability)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

STEPWELL = [sys.executable, "-m", "stepwell"]

HEAD = """
import asyncio, os, signal, sys
from stepwell import Agent


def note(text):
    with open("log", "a") as file:
        print(text, file=file)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def run(**options):
    result = agent.run_sync(run_id="r", **options)
    print(result.status, {key: result.context[key] for key in sorted(result.context)}, flush=True)

"""

CHAIN = (
    HEAD
    + """
def step(n):
    async def function(context):
        note(f"{n} {context.attempt}")
        if sys.argv[1] == str(n) and context.attempt == 1:
            die()
        await asyncio.sleep(float(sys.argv[2]))
        context.set_state("sum", context.get_state("sum", 0) + n)
        return str(n + 1) if n < 6 else None

    return function


agent = Agent("chain")
for n in range(1, 7):
    agent.add_state(str(n), step(n), next=[str(n + 1), "$end"] if n < 6 else [])
run()
"""
)

FAN_OUT = (
    HEAD
    + """
async def fork(context):
    return [("part", {"n": n}) for n in range(20)]


async def part(context):
    n = context.payload["n"]
    note(f"{n} {context.attempt}")
    if sys.argv[1] == "dies" and n >= 10:
        await asyncio.sleep(3600)
    context.set_state(f"part {n:02}", n)
    return "merge"


async def merge(context):
    context.set_state("sum", sum(context.get_state(f"part {n:02}") for n in range(20)))


async def dies():
    begun = await agent.start(run_id="r")
    while True:
        events = [str(event["event"]) async for event in begun.events()]
        if sum("StepCompleted" in event for event in events) == 11:
            die()
        await asyncio.sleep(0.01)


agent = Agent("fan", max_concurrent=20)
agent.add_state("fork", fork)
agent.add_state("part", part)
agent.add_state("merge", merge)
if sys.argv[1] == "dies":
    asyncio.run(dies())
run()
"""
)

BACKOFF = (
    HEAD
    + """
from stepwell import RetryPolicy


async def work(context):
    note(str(context.attempt))
    if context.attempt == 1:
        raise ConnectionError("not yet")


async def dies():
    begun = await agent.start(run_id="r")
    while not any([event["event"]["type"] == "AttemptFailed" async for event in begun.events()]):
        await asyncio.sleep(0.001)
    die()


agent = Agent("backoff")
agent.add_state("work", work, retry_policy=RetryPolicy(1, initial_delay=1.5, jitter=False))
if sys.argv[1] == "dies":
    asyncio.run(dies())
run()
"""
)

ONCE = (
    HEAD
    + """
def charge():
    note("charge")
    return 7


async def on_the_loop(context):
    context.set_state("paid", await context.once("charge", charge))
    if context.attempt == 1:
        die()


def on_a_thread(context):
    context.set_state("paid", context.once("charge", charge))
    if context.attempt == 1:
        die()


agent = Agent("once")
agent.add_state("pay", on_the_loop if sys.argv[1] == "loop" else on_a_thread)
run()
"""
)

ASKS = (
    HEAD
    + """
async def ask(context):
    note(f"ask {context.attempt}")
    context.set_state("answer", await context.ask_human("Go on?", options=["yes", "no"]))


async def beside(context):
    note("beside")
    context.set_state("beside", True)


agent = Agent("asks")
agent.add_state("ask", ask, entry=True)
agent.add_state("beside", beside, entry=True)


async def many(count):
    for n in range(0, count, 100):
        await asyncio.gather(*(agent.start(run_id=f"r{n + i}") for i in range(100)))
    runs = [await agent.find(f"r{n}") for n in range(count)]
    await asyncio.gather(*(run.rest() for run in runs))
    print("all wait", flush=True)
    await asyncio.sleep(3600)


if len(sys.argv) > 1:
    asyncio.run(many(int(sys.argv[1])))
run()
"""
)


def started(tmp_path: Path, program: str, *words: str) -> subprocess.Popen[str]:
    if not (tmp_path / "program.py").exists():
        (tmp_path / "program.py").write_text(program)
    command = [sys.executable, "program.py", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)


def lives(tmp_path: Path, program: str, *words: str) -> tuple[int, str]:
    """Let a process live to its end."""
    process = started(tmp_path, program, *words)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, -9), err
    return process.returncode, out


def noted(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def stepwell(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*STEPWELL, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for a minute at most."""
    patience = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < patience


def asked(tmp_path: Path) -> str:
    """Return the open questions."""
    words = [*STEPWELL, "inbox", "--json"]
    return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("killed", range(1, 7))
def test_a35_a_chain_that_is_killed_in_each_step_does_no_finished_step_again(
    tmp_path: Path, killed: int
) -> None:
    assert lives(tmp_path, CHAIN, str(killed), "0")[0] == -9
    assert lives(tmp_path, CHAIN, "0", "0") == (0, "completed {'sum': 21}\n")
    before = [f"{n} 1" for n in range(1, killed + 1)]
    assert noted(tmp_path) == [*before, f"{killed} 2", *(f"{n} 1" for n in range(killed + 1, 7))]


def test_a35_of_a_fan_out_that_is_killed_only_what_was_not_done_is_done_again(tmp_path: Path) -> None:
    assert lives(tmp_path, FAN_OUT, "dies")[0] == -9
    assert sorted(noted(tmp_path)) == sorted(f"{n} 1" for n in range(20))
    code, out = lives(tmp_path, FAN_OUT, "goes on")
    assert code == 0
    assert "'sum': 190}" in out
    assert sorted(noted(tmp_path)[20:]) == sorted(f"{n} 2" for n in range(10, 20))


def test_a23_a_kill_in_a_backoff_changes_neither_the_number_nor_the_time_of_the_next_attempt(
    tmp_path: Path,
) -> None:
    assert lives(tmp_path, BACKOFF, "dies")[0] == -9
    assert lives(tmp_path, BACKOFF, "lives") == (0, "completed {}\n")
    assert noted(tmp_path) == ["1", "2"]
    journal = [json.loads(line) for line in stepwell(tmp_path, "events", "r", "--json").stdout.splitlines()]
    [failed] = [one for one in journal if one["type"] == "AttemptFailed"]
    begun = [one for one in journal if one["type"] == "AttemptStarted"]
    assert [one["attempt"] for one in begun] == [1, 2]
    due = datetime.fromtimestamp(failed["data"]["retry_at"] / 1_000_000, timezone.utc)
    # As it was said before the kill, a second and a half after the failure.
    assert due - moment(failed) == timedelta(seconds=1.5)
    assert moment(begun[1]) >= due
    assert not any(one["type"] == "AttemptLost" for one in journal)


def moment(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"].replace("Z", "+00:00"))


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_a36_what_was_done_once_before_the_kill_is_not_done_again(tmp_path: Path, where: str) -> None:
    assert lives(tmp_path, ONCE, where)[0] == -9
    assert lives(tmp_path, ONCE, where) == (0, "completed {'paid': 7}\n")
    assert noted(tmp_path) == ["charge"]


def test_a37_two_processes_that_resume_one_run_end_with_its_result_and_double_no_step(tmp_path: Path) -> None:
    assert lives(tmp_path, CHAIN, "1", "0")[0] == -9
    both = [started(tmp_path, CHAIN, "0", "0.1") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "completed {'sum': 21}\n"), err
    assert noted(tmp_path) == ["1 1", "1 2", *(f"{n} 1" for n in range(2, 7))]


def test_a38_a_question_outlives_its_process_and_is_answered_by_the_command_line(tmp_path: Path) -> None:
    process = started(tmp_path, ASKS)
    try:
        # Another branch goes on meanwhile.
        until(lambda: '"prompt"' in asked(tmp_path) and "beside" in noted(tmp_path))
    finally:
        process.kill()
        process.communicate()
    wait = json.loads(stepwell(tmp_path, "inbox", "--json").stdout)["waits"][0]["wait_id"]
    refused = subprocess.run(
        [*STEPWELL, "answer", wait, "--text", "perhaps"], cwd=tmp_path, capture_output=True
    )
    assert refused.returncode == 2
    stepwell(tmp_path, "answer", wait, "--text", "yes")
    again = subprocess.run([*STEPWELL, "answer", wait, "--text", "no"], cwd=tmp_path, capture_output=True)
    assert again.returncode == 5
    assert lives(tmp_path, ASKS) == (0, "completed {'answer': 'yes', 'beside': True}\n")
    assert sorted(noted(tmp_path)) == ["ask 1", "ask 1", "beside"]


def test_a39_a_thousand_runs_that_wait_for_people_are_listed_after_a_restart(tmp_path: Path) -> None:
    process = started(tmp_path, ASKS, "1000")
    assert process.stdout is not None
    told = process.stdout.readline()
    process.kill()
    _, err = process.communicate()
    assert told == "all wait\n", err
    # How long that takes, the bench of agents measures (`waiting`).
    waits = json.loads(stepwell(tmp_path, "inbox", "--limit", "1000", "--json").stdout)["waits"]
    assert len({wait["run_id"] for wait in waits}) == 1000
