"""Tasks, their definitions and who carries them out; and what is read of them by models."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pydantic
import pytest
from conftest import Backend
from task_support import Counts, paused, review

from stepwell import (
    BackendUnavailableError,
    ConfigurationError,
    Flujo,
    InMemoryBackend,
    Pipeline,
    PipelineMismatchError,
    PipelineUnavailableError,
    PostgresBackend,
    SQLiteBackend,
    Step,
    StepwellError,
    Task,
    TaskClient,
    TaskStatus,
    step,
)


async def test_f18_another_pipeline_is_refused_and_the_run_is_untouched(client: TaskClient) -> None:
    counts = Counts()
    pipeline = review(counts)
    await paused(client, pipeline, "r")
    before = await client.get_task("r")
    steps = pipeline.steps
    others = [
        review(name="another"),
        Pipeline([*steps, Step("extra", str)], name="review"),
        Pipeline([steps[0], steps[1], Step("send_it", str)], name="review"),
        Pipeline([steps[1], steps[0], steps[2]], name="review"),
    ]
    told = [
        "of workflow 'review', not of 'another'",
        "'extra' is new",
        "'send' is missing",
        "in another order",
    ]
    for other, changed in zip(others, told, strict=True):
        with pytest.raises(PipelineMismatchError, match=changed) as refused:
            await client.resume_task("r", other, "yes")
        assert (refused.value.stored, refused.value.given) == (pipeline.version, other.version)
        assert refused.value.http_status == 409
        assert await client.get_task("r") == before
    # Another body is the same definition.
    result = await client.resume_task("r", review(counts), "yes")
    assert result.output == {"sent": "yes"}
    assert counts.of == {"draft": 1, "send": 1}


async def test_a_repaired_body_carries_a_failed_run_on(client: TaskClient) -> None:
    def parser(parse: Any) -> Pipeline:
        return Pipeline([Step("parse", parse, max_retries=0)], name="parser")

    await client.start_task(parser(int), "7 wells", run_id="r")
    async with TaskClient(client._backend, raise_on_failure=False) as quiet:
        failed = await quiet.wait_task("r")
    assert failed.error_message is not None
    assert failed.error_message.startswith("step 'parse' failed: ValueError")
    repaired = parser(lambda text: int(text.split()[0]))
    assert (await client.resume_task("r", repaired)).output == 7


@dataclasses.dataclass
class Draft:
    """What is read of a context."""

    draft: str
    title: str = "untitled"


class DraftModel(pydantic.BaseModel):
    """The same, checked."""

    draft: str
    title: str = "untitled"


@pytest.mark.parametrize("model", [Draft, DraftModel])
async def test_a_context_is_read_by_a_model(client: TaskClient, model: Any) -> None:
    pipeline = review()
    await paused(client, pipeline, "r", initial_context_data={"title": "Wells"})
    task = await client.get_task("r", context_model=model)
    assert task.context_snapshot == {"draft": "On wells", "title": "Wells"}
    result = await client.resume_task("r", pipeline, "yes", context_model=model)
    assert result.final_pipeline_context == model(draft="On wells", title="Wells")


async def test_a_task_brings_its_tags_and_its_pipeline_has_some(client: TaskClient) -> None:
    tagged = Pipeline([Step("same", lambda text: text)], name="tagged", metadata={"a": 1, "b": 1, "c": 1})
    task = Task(prompt="wells", metadata={"b": 2, "c": 2})
    started = await client.start_task(tagged, task, metadata={"c": 3})
    assert started.metadata == {"a": 1, "b": 2, "c": 3}
    assert (await client.wait_task(started.run_id)).output == "wells"


async def test_who_resumes_leaves_the_resources_that_the_runner_gave() -> None:
    async def use(data: Any, *, context: Any, resources: Any) -> str:
        return f"{resources['db']}: {data}"

    ask = Step.human_in_the_loop("ask", message_for_user="?")
    pipeline = Pipeline([ask, Step("use", use)], name="resources")
    backend = InMemoryBackend()
    runner = Flujo(pipeline, state_backend=backend, resources={"db": "orders"})
    await runner.run_async(None, run_id="r")
    async with TaskClient(backend) as client:
        assert (await client.resume_task("r", pipeline, "yes")).output == "orders: yes"
    await runner.aclose()
    await backend.close()


async def test_limits_of_costs_are_refused_and_not_ignored(client: TaskClient) -> None:
    with pytest.raises(ConfigurationError, match="usage_limits"):
        await client.start_task(review(), "wells", usage_limits={"total_cost_usd_limit": 1.0})
    assert await client.list_tasks() == []


FILE = """
name: Holiday
steps:
  - {name: Ask, method: human/ask, params: {prompt: "Go on?", options: ["yes", "no"]}}
  - {name: Nap, method: timer/sleep, params: {seconds: 0}, needs: [Ask]}
"""


async def test_a_run_of_a_workflow_file_is_carried_by_who_resumes_it(tmp_path: Path) -> None:
    """Its steps are those that every Stepwell has, so no pipeline is needed."""
    store, file = f"sqlite://{tmp_path}/runs.db", tmp_path / "holiday.yaml"
    file.write_text(FILE)
    command = [sys.executable, "-m", "stepwell", "--store", store, "run", str(file), "--run-id", "r"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stderr is not None
    assert any("nothing else can move it" in line for line in process.stderr)
    process.kill()
    process.communicate(timeout=60)
    async with TaskClient(store) as client:
        task = await client.get_task("r")
        assert (task.status, task.last_prompt, task.pipeline_name) == ("paused", "Go on?", "Holiday")
        assert task.open_waits[0].options
        result = await client.resume_task("r", "yes", timeout=30)
        assert result.status == "completed"


def test_a_client_is_used_from_loops_of_several_threads(tmp_path: Path) -> None:
    backend = InMemoryBackend()
    listed: list[list[str]] = []

    async def look() -> None:
        async with TaskClient(backend) as client:
            await client.set_system_state("k", {"n": 1})
            listed.append([task.status for task in await client.list_tasks(status=TaskStatus.PAUSED)])

    async def main() -> None:
        async with TaskClient(backend) as client:
            await paused(client, review(), "r")
            threads = [threading.Thread(target=lambda: asyncio.run(look())) for _ in range(8)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0.01)
            state = await client.get_system_state("k")
            assert state is not None
            assert state.version == 8

    asyncio.run(main())
    assert listed == [["paused"]] * 8


async def test_f3_a_pipeline_that_the_registry_does_not_have_is_not_made_up(backend: Backend) -> None:
    @step
    async def first(data: Any) -> Any:
        return data

    pipeline = first >> Step.human_in_the_loop("ask", message_for_user="?")
    async with TaskClient(backend) as client:
        await paused(client, pipeline, "r")
    await backend.close()
    if isinstance(backend, InMemoryBackend):
        return  # The store is gone with it.
    async with TaskClient(backend, registry={"another": review()}) as stranger:
        with pytest.raises(PipelineUnavailableError):
            await stranger.resume_task("r", "yes")


async def test_a_store_that_cannot_be_used_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are notes.\n" * 100)
    async with TaskClient(SQLiteBackend(file)) as client:
        with pytest.raises(StepwellError, match=r"notes\.txt"):
            await client.list_tasks()
    assert file.read_text() == "These are notes.\n" * 100
    async with TaskClient(PostgresBackend("postgresql://localhost/none")) as client:
        with pytest.raises(BackendUnavailableError):
            await client.list_tasks()


async def test_a_client_goes_on_after_its_backend_was_closed(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "runs.db")
    async with TaskClient(backend) as client:
        await paused(client, review(), "r")
        await backend.close()
        assert (await client.get_task("r")).status == "paused"
        assert (await client.resume_task("r", review(), "yes")).status == "completed"
