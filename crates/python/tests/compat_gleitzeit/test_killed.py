"""G36 and G37: `kill -9` of a program that uses the client. What was told is not lost, what is done is done."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stepwell import Client, Engine
from stepwell.compat.gleitzeit import GleitzeitClient

from .words import journal, script

STARTS = """
import asyncio, json, sys
from stepwell.compat.gleitzeit import GleitzeitClient

async def main():
    async with GleitzeitClient(db_path="runs.db") as client:
        run = "none"
        if len(sys.argv) > 1:
            run = (await client.run_workflow_async(json.loads(sys.argv[1]))).id
        print(run, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""

WAITS = """
import pathlib, time
open("attempts", "a").write("x")
while not pathlib.Path("go").exists():
    time.sleep(0.005)
result = ${first.result} + 1
"""


def program(*definition: dict[str, Any]) -> tuple[subprocess.Popen[str], str]:
    """Start a program that opens the client, begins a run if it is given one, and goes on; return it and the run."""
    command = [sys.executable, "-c", STARTS, *map(json.dumps, definition)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)


def three(**second: Any) -> dict[str, Any]:
    tasks = [
        script("first", "open('first', 'a').write('x'); result = 1"),
        script("second", WAITS, ("first",), timeout=60, **second),
        script("third", "result = ${second.result} + 1", ("second",)),
    ]
    return {"name": "three", "tasks": tasks}


def killed_in_the_second_step(project: Path, definition: dict[str, Any]) -> str:
    process, run = program(definition)
    patience = time.monotonic() + 30
    attempts = project / "attempts"
    while not attempts.exists() or not attempts.read_text():
        assert time.monotonic() < patience
        time.sleep(0.005)
    kill(process)
    return run


async def test_g36_the_next_client_goes_on_with_the_step_that_was_under_way(project: Path) -> None:
    run = killed_in_the_second_step(project, three())
    (project / "go").touch()
    async with GleitzeitClient(db_path="runs.db") as client:
        report = await (await client._client.get(run)).report(at_end=True)
        assert {name: view["result"] for name, view in report.results.items()} == {
            "first": 1,
            "second": 2,
            "third": 3,
        }
        assert ((project / "first").read_text(), (project / "attempts").read_text()) == ("x", "xx")
        events = [recorded["event"] for recorded in await journal(client, run)]
        attempts = [(one["step"], one["attempt"]) for one in events if one["type"] == "AttemptStarted"]
        assert attempts == [("first", 1), ("second", 1), ("second", 2), ("third", 1)]
        assert [one["step"] for one in events if one["type"] == "AttemptLost"] == ["second"]


async def test_g36_a_step_that_may_run_once_asks_what_became_of_it(project: Path) -> None:
    run = killed_in_the_second_step(project, three(effect="at_most_once"))
    async with GleitzeitClient(db_path="runs.db") as client:
        found = await client._client.get(run)
        assert await found.rest() == "paused"
        [question] = await found.questions()
        await found.answer(question["wait_id"], {"verb": "complete", "value": 2})
        assert (await found.report(at_end=True)).results["third"]["result"] == 3
    assert (project / "attempts").read_text() == "x"


async def test_g36_a_closed_client_leaves_its_runs_to_the_next(project: Path) -> None:
    async with GleitzeitClient(db_path="runs.db") as client:
        run = (await client.run_workflow_async(three())).id
        while not (project / "attempts").exists():
            status = await client.get_workflow_status(run)
            assert status is not None
            assert status.status == "running"
    (project / "go").touch()
    async with GleitzeitClient(db_path="runs.db") as client:
        assert (await (await client._client.get(run)).report(at_end=True)).output == 3


async def test_g37_kills_at_any_moment_lose_and_double_nothing(project: Path) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    moments = random.Random(seed)  # noqa: S311
    tasks = []
    for n in range(30):
        needs = tuple(f"s{before}" for before in {(n - 1) // 2, n - 3} if 0 <= before < n)
        tasks.append(script(f"s{n}", f"import time; time.sleep(0.05); result = {n}", needs))
    process, run = program({"name": "thirty", "tasks": tasks})
    seen = 0
    # It carries nothing out: all that happens is the doing of those who are killed.
    async with Engine(f"sqlite://{project}/runs.db", work=False) as looks:
        watched = await Client(looks).get(run)
        # Not a hundred times: a step whose process dies five times has failed, as an unlucky one would, and each life
        # takes half a second to start its interpreters. The tests of the engine (crash.rs) kill at every write.
        for _ in range(6):
            # Each process gets somewhere.
            while (completed := (await watched.report()).completed) <= seen:
                assert (await watched.status()) == "running", f"seed {seed}"
            time.sleep(moments.uniform(0, 0.12))
            kill(process)
            # What was seen is there for ever.
            seen = (await watched.report()).completed
            assert seen >= completed, f"seed {seed}"
            if seen == len(tasks):
                break
            process, _ = program()
    async with GleitzeitClient(db_path="runs.db") as client:
        report = await (await client._client.get(run)).report(at_end=True)
        assert [view["result"] for view in report.results.values()] == list(range(30)), f"seed {seed}"
        recorded = await journal(client, run)
    kill(process)
    assert seen > 0, f"seed {seed}"
    assert [one["seq"] for one in recorded] == list(range(1, len(recorded) + 1)), f"seed {seed}"
    done = [one["event"]["step"] for one in recorded if one["event"]["type"] == "StepCompleted"]
    assert sorted(done) == sorted(f"s{n}" for n in range(30)), f"seed {seed}"
