"""What becomes of runs of pipelines when their process is killed (F13): finished steps stay, the next one goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys, time
from stepwell import Flujo, Pipeline, SQLiteBackend, Step

how, store, log = sys.argv[1:]


def note(text):
    with open(log, "a") as file:
        print(text, file=file, flush=True)


def first(data, *, context):
    note(f"first {context.idempotency_key}")
    return data + 1


async def second(data, *, context):
    note(f"second {context.idempotency_key}")
    if how == "is killed":
        print("under way", flush=True)
        await asyncio.sleep(3600)
    return data * 10


def on_thread(data, *, context):
    note(f"second {context.idempotency_key}")
    if how == "is killed":
        print("under way", flush=True)
        time.sleep(3600)
    return data * 10


def third(data, *, context):
    note(f"third {context.idempotency_key}")
    return data


which = os.environ["WHICH"]
body = Pipeline([Step("first", first), Step("second", on_thread if which == "thread" else second)])
parts = {
    "chain": [body],
    "thread": [body],
    "loop": [Step.loop_until("loop", body, lambda n, context: True)],
    "branch": [Step.parallel("both", {"x": body}, reduce=lambda outs: outs["x"])],
    "map": [Step("list", lambda n: [n]), Step.map_over("rows", body), Step("only", lambda rows: rows[0])],
}
pipeline = Pipeline([*parts[which], Step("third", third)], name="lives")


async def main():
    recovers = how != "leaves it"
    async with Flujo(pipeline, state_backend=SQLiteBackend(store), recover=recovers) as runner:
        if how == "leaves it":
            await runner.run_async(2, run_id="other")
            print(str(await (await runner._found("r")).status()), flush=True)
            return
        if how == "only opens":
            # Nobody begins it or asks for it: the runner that is open takes it over.
            run = await runner._found("r")
            result = await run.wait()
        else:
            result = await runner.run_async(1, run_id="r")
        print(result.status, result.output, flush=True)


asyncio.run(main())
"""


def lives(tmp_path: Path, which: str, how: str) -> subprocess.Popen[str]:
    program = tmp_path / "lives.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(program), how, str(tmp_path / "runs.db"), str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"WHICH": which},
    )


@pytest.mark.parametrize("how", ["goes on", "only opens"])
@pytest.mark.parametrize("which", ["chain", "thread", "loop", "branch", "map"])
def test_f13_a_killed_process_loses_nothing(tmp_path: Path, which: str, how: str) -> None:
    process = lives(tmp_path, which, "is killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    process.kill()
    process.communicate(timeout=60)
    out, err = lives(tmp_path, which, how).communicate(timeout=60)
    assert out == "completed 20\n", err
    noted = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [name for name, _ in noted] == ["first", "second", "second", "third"]
    # Of the step that was cut short there are two attempts, with one key.
    assert noted[1] == noted[2]


def test_a_runner_that_does_not_recover_leaves_what_another_left(tmp_path: Path) -> None:
    process = lives(tmp_path, "chain", "is killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    process.kill()
    process.communicate(timeout=60)
    out, err = lives(tmp_path, "chain", "leaves it").communicate(timeout=60)
    assert out == "running\n", err
    out, err = lives(tmp_path, "chain", "goes on").communicate(timeout=60)
    assert out == "completed 20\n", err
