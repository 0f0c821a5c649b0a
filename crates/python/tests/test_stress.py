"""Ten thousand steps at once that end in every way: nothing is lost, done twice, or stands still."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from stepwell import Agent, Context, RetryPolicy, Run

RUNS = 10
#: How many executions of each step a run has; a thousand together.
PLAN = {
    "completes": 250,
    "blocks": 200,
    "fails": 100,
    "fails_on_thread": 100,
    "fails_once": 100,
    "times_out": 50,
    "asks": 150,
    "is_cancelled": 50,
}


class Calls:
    """Counts calls and what ended them, from any thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, what: str) -> None:
        """Count one more."""
        with self._lock:
            self.counts[what] += 1


def agent_of(calls: Calls, store: str) -> Agent:
    async def fork(_context: Context) -> list[tuple[str, dict[str, int]]]:
        return [(step, {"n": n}) for step, count in PLAN.items() for n in range(count)]

    async def completes(_context: Context) -> None:
        calls.note("completes")
        await asyncio.sleep(0)

    def blocks(_context: Context) -> None:
        calls.note("blocks")
        time.sleep(0.001)

    async def fails(_context: Context) -> None:
        calls.note("fails")
        raise ValueError("fails")

    def fails_on_thread(_context: Context) -> None:
        calls.note("fails_on_thread")
        raise ValueError("fails on a thread")

    async def fails_once(context: Context) -> None:
        calls.note(f"fails_once {context.attempt}")
        if context.attempt == 1:
            raise ValueError("fails once")

    async def times_out(_context: Context) -> None:
        calls.note("times_out")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            calls.note("times_out heard")
            raise

    async def asks(context: Context) -> None:
        calls.note("asks")
        answer = await context.ask_human("Go on?", schema={"type": "integer"})
        calls.note("answered")
        assert answer == 7

    async def is_cancelled(_context: Context) -> None:
        calls.note("is_cancelled")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            calls.note("is_cancelled heard")
            raise

    agent = Agent("stress", store=store, max_concurrent=1000, on_failure="continue")
    agent.add_state("fork", fork)
    for function in (completes, blocks, fails, fails_on_thread, asks, is_cancelled):
        agent.add_state(function.__name__, function)
    agent.add_state("fails_once", fails_once, retry_policy=RetryPolicy(max_retries=1, initial_delay=0.0))
    agent.add_state("times_out", times_out, timeout=0.2)
    return agent


async def answers_all(run: Run) -> None:
    answered: set[str] = set()
    while len(answered) < PLAN["asks"]:
        questions = [asked for asked in await run.questions() if asked["wait_id"] not in answered]
        await asyncio.gather(*(run.answer(asked["wait_id"], 7) for asked in questions))
        answered |= {asked["wait_id"] for asked in questions}
        await asyncio.sleep(0.05)


async def cancels_what_hangs(run: Run) -> None:
    cancelled = 0
    while cancelled < PLAN["is_cancelled"]:
        cancelled += await run.cancel_state("is_cancelled")
        await asyncio.sleep(0.05)


def kinds(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(f"{event['event']['type']} {event['event'].get('step')}" for event in events)


def journaled() -> dict[str, int]:
    """Return what the journal of a run holds of its steps, to the last event."""
    told = Counter({f"StepActivated {step}": count for step, count in PLAN.items()})
    told += Counter(
        {f"AttemptStarted {step}": count for step, count in PLAN.items() if step != "is_cancelled"}
    )
    told += Counter({f"{kind} fork": 1 for kind in ("StepActivated", "AttemptStarted", "StepCompleted")})
    for step in ("completes", "blocks", "fails_once", "asks"):
        told[f"StepCompleted {step}"] = PLAN[step]
    for step in ("fails", "fails_on_thread", "times_out"):
        told[f"AttemptFailed {step}"] = told[f"StepFailed {step}"] = PLAN[step]
    for kind in ("AttemptFailed", "RetryDue", "AttemptStarted"):
        told[f"{kind} fails_once"] += PLAN["fails_once"]
    for kind in ("AttemptSuspended", "WaitOpened", "WaitResolved", "AttemptStarted"):
        told[f"{kind} asks"] += PLAN["asks"]
    told["StepCancelled is_cancelled"] = PLAN["is_cancelled"]
    return dict(told)


async def test_ten_thousand_steps_that_end_in_every_way_are_all_accounted_for(store: str) -> None:
    calls = Calls()
    agent = agent_of(calls, store)
    since = time.monotonic()
    runs = [await agent.start() for _ in range(RUNS)]
    steered = [steer(run) for run in runs for steer in (answers_all, cancels_what_hangs)]
    results = (await asyncio.gather(*(run.wait() for run in runs), *steered))[:RUNS]
    took = time.monotonic() - since
    failed = {"fails", "fails_on_thread", "times_out"}
    for result in results:
        assert result is not None
        assert result.status == "completed"
        assert result.failed_states == failed
    expected = {step: count * RUNS for step, count in PLAN.items()}
    # A function that is told to end before its first line is never entered; none that was entered is left alone.
    for step in ("times_out", "is_cancelled"):
        begun, entered = expected.pop(step), calls.counts.pop(step, 0)
        assert calls.counts.pop(f"{step} heard", 0) == entered <= begun
    assert calls.counts == {
        **{step: count for step, count in expected.items() if step not in ("asks", "fails_once")},
        "fails_once 1": expected["fails_once"],
        "fails_once 2": expected["fails_once"],
        "asks": 2 * expected["asks"],
        "answered": expected["asks"],
    }
    for run in runs:
        told = kinds([event async for event in run.events()])
        # How many of those that are cancelled had begun, and how often the run was paused, is a matter of time.
        assert told.pop("AttemptStarted is_cancelled", 0) <= PLAN["is_cancelled"]
        assert {kind: count for kind, count in told.items() if not kind.endswith("None")} == journaled()
    assert took < 300


EXITS = """
import asyncio, sys, threading, time
sys.path.insert(0, sys.argv[1])
from test_stress import Calls, agent_of

async def main():
    agent = agent_of(Calls(), sys.argv[2])
    if sys.argv[3] == "begins":
        for n in range(3):
            await agent.start(run_id=f"r{n}")
        await asyncio.sleep(float(sys.argv[4]))
        return
    from test_stress import answers_all, cancels_what_hangs
    runs = [await agent.start(run_id=f"r{n}") for n in range(3)]
    steered = [steer(run) for run in runs for steer in (answers_all, cancels_what_hangs)]
    results = await asyncio.gather(*(run.wait() for run in runs), *steered)
    print([result.status.value for result in results[:3]], flush=True)

asyncio.run(main())
"""


def test_an_interpreter_that_ends_in_the_middle_of_it_neither_hangs_nor_crashes_nor_loses_any(
    tmp_path: Path,
) -> None:
    def lives(*words: str) -> str:
        command = [sys.executable, "-X", "faulthandler", "-c", EXITS, str(Path(__file__).parent)]
        done = subprocess.run(
            [*command, f"sqlite://{tmp_path}/runs.db", *words],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    for seconds in ("0", "0.05", "0.3", "1"):
        lives("begins", seconds)
    assert lives("goes on") == "['completed', 'completed', 'completed']\n"
