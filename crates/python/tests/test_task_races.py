"""Tasks that are resumed by many at once, and whose process dies: acceptance F12, F14 and F15."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from task_support import Counts, failing

from stepwell import NotResumableError, Pipeline, ResumeError, RunFailedError, SQLiteBackend, Step, TaskClient

PROGRAM = """
import asyncio, json, sys
from stepwell import NotResumableError, Pipeline, ResumeError, RunFailedError, Step, TaskClient

how, store, log = sys.argv[1:]


def note(text):
    with open(log, "a") as file:
        print(text, file=file)


async def draft(topic):
    note("draft")
    return f"On {topic}"


async def send(verdict):
    note(f"send {verdict}")
    if how == "answers and hangs":
        print("under way", flush=True)
        await asyncio.sleep(3600)
    return verdict


pipeline = Pipeline(
    [Step("draft", draft), Step.human_in_the_loop("ask", message_for_user="Send it?"), Step("send", send)],
    name="mail",
)


async def main():
    async with TaskClient(store) as client:
        if how == "asks":
            await client.start_task(pipeline, "wells", run_id="r")
            await client.wait_task("r")
            wait = (await client.get_task("r")).open_waits[0]
            print(json.dumps([wait.wait_id, wait.prompt]), flush=True)
            await asyncio.sleep(3600)
        elif how == "answers and hangs":
            await client.resume_task("r", pipeline, "yes", wait=False)
            print("acknowledged", flush=True)
            await asyncio.sleep(3600)
        elif how == "races":
            await client.get_task("r")
            print("ready", flush=True)
            sys.stdin.readline()
            try:
                result = await client.resume_task("r", pipeline, "yes")
                print("won", result.output, flush=True)
            except ResumeError as error:
                print("lost", type(error).__name__, flush=True)
        elif how == "goes on":
            await client.start_task(pipeline, "wells", run_id="r")  # the same run
            result = await client.wait_task("r", timeout=60)
            asked = len(result.final_pipeline_context.hitl_history)
            print(json.dumps([result.status, result.output, asked]), flush=True)


asyncio.run(main())
"""


class World:
    """Processes on one store, and what their steps noted."""

    def __init__(self, path: Path) -> None:
        """Begin with an empty store."""
        self.store = f"sqlite://{path}/runs.db"
        self.log = path / "log"
        self._program = path / "program.py"
        self._program.write_text(PROGRAM)

    def start(self, how: str) -> subprocess.Popen[str]:
        """Begin a process that does that."""
        return subprocess.Popen(
            [sys.executable, str(self._program), how, self.store, str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def asks(self) -> tuple[str, str]:
        """Let a process come to its question and kill it; return the id and the prompt."""
        process = self.start("asks")
        wait_id, prompt = json.loads(line_of(process))
        process.kill()
        process.communicate(timeout=60)
        return wait_id, prompt

    def noted(self) -> list[str]:
        """Return what steps noted."""
        return self.log.read_text().splitlines()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate(timeout=60)[1]
    return line.strip()


async def test_f15_a_process_killed_while_it_is_paused_leaves_the_same_question(world: World) -> None:
    wait_id, prompt = world.asks()
    async with TaskClient(world.store) as client:
        task = await client.get_task("r")
    assert (task.status, task.last_prompt) == ("paused", prompt)
    assert [wait.wait_id for wait in task.open_waits] == [wait_id]
    process = world.start("races")
    out, err = process.communicate("go\n", timeout=60)
    assert out == "ready\nwon yes\n", err
    assert world.noted() == ["draft", "send yes"]


async def test_f14_an_acknowledged_answer_is_neither_lost_nor_asked_again(world: World) -> None:
    world.asks()
    process = world.start("answers and hangs")
    while line_of(process) != "acknowledged":
        pass
    process.kill()
    process.communicate(timeout=60)
    async with TaskClient(world.store) as client:
        task = await client.get_task("r")
        assert (task.status, task.open_waits) == ("running", [])
    out, err = world.start("goes on").communicate(timeout=60)
    assert json.loads(out or "null") == ["completed", "yes", 1], err
    assert world.noted()[0] == "draft"
    assert set(world.noted()[1:]) == {"send yes"}
    assert len(world.noted()) <= 3


async def test_f12_of_twenty_processes_one_wins(world: World) -> None:
    world.asks()
    processes = [world.start("races") for _ in range(20)]
    for process in processes:
        assert line_of(process) == "ready"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outs = [process.communicate(timeout=60)[0] for process in processes]
    assert sum(out == "won yes\n" for out in outs) == 1, outs
    assert sum(out.startswith("lost ") for out in outs) == 19, outs
    assert world.noted() == ["draft", "send yes"]


@pytest.mark.parametrize("with_pipeline", [True, False])
def test_f12_of_twenty_threads_one_wins(tmp_path: Path, with_pipeline: bool) -> None:
    sent: list[Any] = []

    async def send(verdict: Any) -> Any:
        sent.append(verdict)
        return verdict

    def mail() -> Pipeline:
        ask = Step.human_in_the_loop("ask", message_for_user="Send it?")
        return Pipeline([ask, Step("send", send)], name="mail")

    backend = SQLiteBackend(tmp_path / "runs.db")
    outcomes: list[str] = []
    all_there = threading.Barrier(20)

    async def resume(n: int) -> None:
        async with TaskClient(backend) as client:
            all_there.wait(60)
            try:
                given: dict[str, Any] = {"pipeline": mail()} if with_pipeline else {}
                result = await client.resume_task("r", n, **given)
                outcomes.append(f"won {result.status}")
            except ResumeError as error:
                outcomes.append(type(error).__name__)

    async def main() -> None:
        async with TaskClient(backend) as client:
            await client.start_task(mail(), None, run_id="r")
            await client.wait_task("r")
            threads = [threading.Thread(target=lambda n=n: asyncio.run(resume(n))) for n in range(20)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0.01)
        await backend.close()

    asyncio.run(main())
    assert len(outcomes) == 20
    assert outcomes.count("won completed") == 1, outcomes
    assert len(sent) == 1


async def test_f12_of_many_who_try_a_failed_run_again_one_does(client: TaskClient) -> None:
    counts = Counts()
    pipeline = failing(counts)
    await client.start_task(pipeline, 1, run_id="r")
    with pytest.raises(RunFailedError):
        await client.wait_task("r")
    tried = await asyncio.gather(
        *(client.resume_task("r", pipeline) for _ in range(20)), return_exceptions=True
    )
    assert [one.status for one in tried if not isinstance(one, BaseException)] == ["completed"]
    assert sum(isinstance(one, NotResumableError) for one in tried) == 19
    assert counts.of == {"load": 1, "save": 2}
