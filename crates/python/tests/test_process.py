"""What becomes of runs when their process ends, however it does: nothing is lost, and the next process goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, ctypes, os, sys, time
from stepwell import Agent

ON_A_THREAD = ("os_exit_on_a_thread", "crashes", "leaves_a_thread")
how, store, log = sys.argv[1:]


def note(text):
    with open(log, "a") as file:
        print(text, file=file)


async def first(context):
    note(f"first {context.attempt}")
    context.set_state("first", True)
    return "second"


async def second(context):
    note(f"second {context.attempt}")
    if how == "os_exit":
        os._exit(7)
    if how != "goes_on":
        print("under way", flush=True)
        await asyncio.sleep(3600)
    context.set_state("second", True)


def second_on_a_thread(context):
    note(f"second {context.attempt}")
    if how == "os_exit_on_a_thread":
        os._exit(7)
    if how == "crashes":
        ctypes.string_at(0)
    print("under way", flush=True)
    time.sleep(3600)


agent = Agent("lives", store=store)
agent.add_state("first", first)
agent.add_state("second", second_on_a_thread if how in ON_A_THREAD else second)


async def leave():
    run = await agent.start(run_id="r")
    async for event in events_until_second(run):
        pass


async def events_until_second(run):
    while True:
        events = [event async for event in run.events()]
        yield events
        if any("second" in str(event["event"]) for event in events):
            return
        await asyncio.sleep(0.01)


if how in ("leaves", "leaves_a_thread"):
    asyncio.run(leave())
    print("left", flush=True)
else:
    result = asyncio.run(agent.run(run_id="r"))
    print(result.status, sorted(result.context), flush=True)
"""


def lives(tmp_path: Path, how: str) -> subprocess.Popen[str]:
    program = tmp_path / "lives.py"
    program.write_text(PROGRAM)
    store, log = f"sqlite://{tmp_path}/runs.db", str(tmp_path / "log")
    return subprocess.Popen(
        [sys.executable, str(program), how, store, log],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def goes_on(tmp_path: Path) -> list[str]:
    """Let another process take the run up; return what its steps noted."""
    out, err = lives(tmp_path, "goes_on").communicate(timeout=60)
    assert out == "completed ['first', 'second']\n", err
    return (tmp_path / "log").read_text().splitlines()


@pytest.mark.parametrize(
    ("how", "code"), [("os_exit", 7), ("os_exit_on_a_thread", 7), ("crashes", -signal.SIGSEGV)]
)
def test_a35_a_step_that_ends_its_process_is_attempted_again_by_the_next(
    tmp_path: Path, how: str, code: int
) -> None:
    process = lives(tmp_path, how)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert goes_on(tmp_path) == ["first 1", "second 1", "second 2"]


def test_a35_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    process = lives(tmp_path, "waits")
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    process.kill()
    process.communicate(timeout=60)
    assert goes_on(tmp_path) == ["first 1", "second 1", "second 2"]


def test_an_interrupt_ends_the_process_and_loses_nothing(tmp_path: Path) -> None:
    process = lives(tmp_path, "waits")
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert process.returncode != 0
    assert goes_on(tmp_path)[-1].startswith("second")


@pytest.mark.parametrize("how", ["leaves", "leaves_a_thread"])
def test_an_interpreter_that_ends_with_a_run_alive_neither_hangs_nor_crashes(
    tmp_path: Path, how: str
) -> None:
    process = lives(tmp_path, how)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    # The thread of a step may write in the middle of that.
    assert "left" in out
    # What was under way was given back, and not begun again by a process that ends.
    words = [sys.executable, "-m", "stepwell", "--store", f"sqlite://{tmp_path}/runs.db", "show", "r"]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout
    assert "step 'second' is ready and waits for a process" in shown
    assert goes_on(tmp_path)[0] == "first 1"


def test_a_forked_process_opens_what_it_uses_anew() -> None:
    program = """
import asyncio, os
from stepwell import Agent

async def step(context):
    context.set_state("n", 1)

agent = Agent("forked", store="memory:")
agent.add_state("step", step)
assert agent.run_sync().context == {"n": 1}
child = os.fork()
if child == 0:
    assert agent.run_sync().context == {"n": 1}
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert agent.run_sync().context == {"n": 1}
"""
    # Since Python 3.12 a fork beside threads is warned of, whatever the child does.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
