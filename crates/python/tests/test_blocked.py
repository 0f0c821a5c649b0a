"""An event loop that a function blocks is noticed, and named where people look."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

BLOCKS = """
import asyncio, os, time
from stepwell import Agent

async def waits(context):
    await asyncio.sleep(3600)

async def blocks(context):
    while not os.path.exists("go"):
        time.sleep(0.01)
    print("free", flush=True)

agent = Agent("blocked")
agent.add_state("waits", waits, entry=True)
agent.add_state("blocks", blocks, entry=True)
agent.run_sync(run_id="r")
"""


def test_show_names_the_step_that_blocks_the_event_loop_as_long_as_it_does(tmp_path: Path) -> None:
    program = tmp_path / "blocks.py"
    program.write_text(BLOCKS)

    def show() -> str:
        words = [sys.executable, "-m", "stepwell", "show", "r"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout

    process = subprocess.Popen(
        [sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        why = "why: step 'waits' is running: attempt 1"
        blocked = f"its event loop is blocked, step 'blocks' of run r at {program}:"
        patience = time.monotonic() + 60
        while blocked not in (told := show()):
            assert process.poll() is None
            assert time.monotonic() < patience
        assert any(line.startswith(why) and blocked in line for line in told.splitlines()), told
        (tmp_path / "go").touch()
        assert process.stdout is not None
        assert process.stdout.readline() == "free\n"
        while blocked in (told := show()):
            assert process.poll() is None
            assert time.monotonic() < patience
        assert why in told
    finally:
        process.kill()
        process.communicate()
