"""Who carries which runs: `Agent.run` its own, `Agent.serve` and `stepwell worker my_module:agent` all."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepwell import Agent, Context

STEPWELL = [sys.executable, "-m", "stepwell"]

SHOP = """
import os
from stepwell import Agent

async def pick(context):
    if not os.path.exists("open"):
        print("closed", flush=True)
        os._exit(0)
    context.set_state("picked", True)
    return "pack"

def pack(context):
    context.set_state("packed", context.run_id)

agent = Agent("shop")
agent.add_state("pick", pick)
agent.add_state("pack", pack)
number = 5
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def begins(project: Path, run_id: str) -> None:
    """Begin a run in a process that ends in its first step."""
    program = f"import shop; shop.agent.run_sync(run_id={run_id!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"closed\n"), done.stderr


def stepwell(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*STEPWELL, *words], cwd=project, capture_output=True, text=True, timeout=60)


@contextmanager
def worker(project: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker and wait until it works."""
    process = subprocess.Popen([*STEPWELL, "worker", *words], cwd=project, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert "is waiting for work" in told, told + process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def end_of(project: Path, run_id: str) -> dict[str, object]:
    """Follow a run to its end, without taking part in it."""
    followed = stepwell(project, "events", run_id, "--follow", "--json")
    assert followed.returncode == 0, followed.stderr
    shown: dict[str, object] = json.loads(stepwell(project, "show", run_id, "--json").stdout)
    return shown


def test_a_worker_of_a_module_goes_on_with_what_another_process_began(project: Path) -> None:
    begins(project, "left")
    (project / "open").touch()
    why = stepwell(project, "show", "left").stdout
    assert "'pick' was running, but its worker is gone: the program of 'shop'" in why
    with worker(project, "shop:agent") as process:
        assert end_of(project, "left")["status"] == "completed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_run_whose_functions_nobody_has_waits_with_a_reason(project: Path) -> None:
    begins(project, "waits")
    (project / "open").touch()
    # It gives back what its dead process held, and cannot carry it out.
    with worker(project) as process:
        reason = (
            "step 'pick' is ready and waits for a process that has its function: the program of 'shop', "
            "or `stepwell worker MODULE:AGENT` if that is Python, goes on with it"
        )
        patience = time.monotonic() + 60
        while reason not in (told := stepwell(project, "show", "waits").stdout):
            assert "status    running" in told
            assert time.monotonic() < patience
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    with worker(project, "shop:agent"):
        assert end_of(project, "waits")["status"] == "completed"


def test_a_run_is_followed_where_a_worker_of_its_module_carries_it_and_refused_elsewhere(
    project: Path,
) -> None:
    begins(project, "left")
    (project / "open").touch()
    refused = stepwell(project, "resume", "left", "--json")
    assert refused.returncode == 1
    error = json.loads(refused.stderr.splitlines()[-1])["error"]
    assert (error["name"], error["data"]["steps"]) == ("HANDLER_UNAVAILABLE", ["pick"])
    assert "`stepwell worker MODULE:AGENT`" in error["hint"]
    # So that it does not end before it is followed.
    assert stepwell(project, "pause", "left").returncode == 0
    with worker(project, "shop:agent"):
        followed = stepwell(project, "resume", "left")
        assert followed.returncode == 0, followed.stderr
        assert "run left is completed" in followed.stderr


def test_a_worker_of_a_module_carries_workflow_files_too(project: Path) -> None:
    (project / "file.yaml").write_text(
        "id: file\nsteps: [{name: add, method: python/execute, params: {code: 'result = 1 + 1'}}]"
    )
    assert stepwell(project, "run", "file.yaml", "--detach", "--run-id", "f").returncode == 0
    with worker(project, "shop:agent"):
        assert end_of(project, "f")["status"] == "completed"


@pytest.mark.parametrize(
    ("named", "code", "told"),
    [
        ("nowhere:agent", 4, "there is no module 'nowhere'"),
        ("nowhere.deeper:agent", 4, "there is no module 'nowhere'"),
        ("shop:nobody", 4, "module 'shop' has no 'nobody'\nhint: its agents are agent"),
        ("shop:number", 3, "shop:number is of type int, not an agent"),
        ("broken:agent", 3, "cannot be imported: ValueError: boom"),
        ("leaves:agent", 3, "cannot be imported: SystemExit: 0"),
        ("lacks:agent", 3, "cannot be imported: ModuleNotFoundError: No module named 'absent'"),
        ("shop", 2, "an agent is named as MODULE:NAME"),
    ],
)
def test_what_cannot_be_served_is_told_with_an_exit_code(
    project: Path, named: str, code: int, told: str
) -> None:
    (project / "broken.py").write_text("raise ValueError('boom')")
    (project / "leaves.py").write_text("raise SystemExit(0)")
    (project / "lacks.py").write_text("import absent")
    refused = stepwell(project, "worker", named)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert told in refused.stderr
    if named == "broken:agent":
        assert f'File "{project}/broken.py", line 1' in refused.stderr
        as_json = json.loads(stepwell(project, "worker", named, "--json").stderr)["error"]
        assert as_json["data"]["exception_type"] == "ValueError"


def test_what_an_earlier_process_left_is_not_taken_up_unless_it_is_asked_for(project: Path) -> None:
    begins(project, "left")
    (project / "open").touch()
    program = """
import asyncio, shop

async def main():
    assert (await shop.agent.run(run_id="own")).context["packed"] == "own"
    left = await shop.agent.find("left")
    # Its lease was lost, and what is lost is noticed by whoever is there; nothing else happens to it.
    while not any("AttemptLost" in str(event) for event in [e async for e in left.events()]):
        await asyncio.sleep(0.01)
    assert (await shop.agent.run(run_id="own 2")).context["packed"] == "own 2"
    starts = [e for e in [e async for e in left.events()] if "AttemptStarted" in str(e["event"])]
    assert len(starts) == 1, starts
    await left.carry()
    assert (await left.wait()).context["packed"] == "left"

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_who_serves_carries_what_is_begun_elsewhere_until_it_is_cancelled(tmp_path: Path) -> None:
    async def step(context: Context) -> None:
        context.set_state("served", True)

    agent = Agent("shop", store=f"sqlite://{tmp_path}/runs.db")
    agent.add_state("pick", step)
    serving = asyncio.create_task(agent.serve())
    program = f"""
import asyncio, os
from stepwell import Agent

async def step(context):
    os._exit(0)

agent = Agent("shop", store="sqlite://{tmp_path}/runs.db")
agent.add_state("pick", step)
agent.run_sync(run_id="r")
"""
    begun = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await asyncio.wait_for(begun.wait(), 60)
    run = await agent.find("r")
    assert (await asyncio.wait_for(run.wait(), 60)).context == {"served": True}
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


def test_who_waits_for_a_run_whose_program_is_gone_takes_it_up(project: Path) -> None:
    program = """
import asyncio, os, sys
from stepwell import Agent, Context

async def ask(context: Context) -> None:
    context.set_state("sure", await context.human_in_the_loop("Shall we?"))

agent = Agent("asks", store="sqlite://asks.db")
agent.add_state("ask", ask, next=[])

async def begin():
    run = await agent.start(run_id="r")
    assert await run.rest() == "paused"
    os._exit(0)

async def go_on():
    run = await agent.find("r")
    [question] = await run.questions()
    await run.answer(question["wait_id"], "yes")
    assert (await run.wait()).context["sure"] == "yes"

asyncio.run(begin() if sys.argv[1] == "begin" else go_on())
"""
    for part in ("begin", "go on"):
        done = subprocess.run(
            [sys.executable, "-c", program, part], cwd=project, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
