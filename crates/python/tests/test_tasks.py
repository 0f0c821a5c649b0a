"""Tasks of pipelines: what flujo.md promises of `TaskClient`, on every store."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Backend
from task_support import Counts, failing, paused, review

from stepwell import (
    Client,
    Engine,
    Flujo,
    InMemoryBackend,
    InvalidFilterError,
    NotResumableError,
    Pipeline,
    PipelineUnavailableError,
    RunExistsError,
    RunFailedError,
    SQLiteBackend,
    Step,
    StepwellError,
    TaskClient,
    TaskNotFoundError,
    TaskStatus,
    step,
)
from stepwell.compat.flujo import client as flujo_client


async def test_f1_an_empty_store_has_nothing(client: TaskClient) -> None:
    assert await client.list_tasks(status="paused", limit=50) == []
    assert await client.get_system_state("nightly_sync_timestamp") is None


async def test_f2_a_paused_task_tells_what_it_asks_and_what_was_done(client: TaskClient) -> None:
    await paused(client, review(), "run_1", metadata={"title": "Wells"})
    task = await client.get_task("run_1")
    assert (task.status, task.pause_reason, task.last_prompt) == (TaskStatus.PAUSED, "input", "Send it?")
    assert task.context_snapshot.get("draft") == "On wells"
    assert task.context_snapshot["step_outputs"] == {"draft": "On wells"}
    assert len(task.step_history) == task.current_step_index == 1
    assert task.step_history[0].output == "On wells"
    assert task.created_at.utcoffset() == timedelta(0)
    assert task.created_at <= task.updated_at
    assert (task.input, task.output, task.metadata) == ("wells", None, {"title": "Wells"})
    assert [wait.prompt for wait in task.open_waits] == ["Send it?"]
    assert task.open_waits[0].opened_at >= task.created_at
    assert task.to_dict()["step_history"][0]["name"] == "draft"
    assert (await client.list_tasks())[0].to_dict()["run_id"] == "run_1"


@pytest.mark.parametrize("form", range(6))
async def test_f3_each_form_of_the_call_finishes_the_run(backend: Backend, form: int) -> None:
    counts = Counts()
    pipeline = failing(counts) if form == 5 else review(counts)
    async with TaskClient(backend, raise_on_failure=False) as client:
        await client.start_task(pipeline, "wells", run_id="r")
        assert (await client.wait_task("r")).status == ("failed" if form == 5 else "paused")
        calls = [
            lambda: client.resume_task("r", pipeline, "yes"),
            lambda: client.resume_task("r", "yes", pipeline=pipeline),
            lambda: client.resume_task("r", "yes", registry={"review": pipeline}),
            lambda: client.resume_task("r", "yes"),
            lambda: client.resume_task(run_id="r", pipeline=pipeline, input_data="yes"),
            lambda: client.resume_task("r", pipeline),
        ]
        result = await calls[form]()
        assert result.status == "completed"
        assert result.success
        assert result.output == ("wells" if form == 5 else {"sent": "yes"})


async def test_f3_two_pipelines_or_two_inputs_are_a_type_error(client: TaskClient) -> None:
    pipeline = review()
    await paused(client, pipeline, "r")
    with pytest.raises(TypeError, match="two pipelines"):
        await client.resume_task("r", pipeline, "yes", pipeline=pipeline)
    with pytest.raises(TypeError, match="two inputs"):
        await client.resume_task("r", "yes", "no")
    with pytest.raises(TypeError, match="pipeline as input"):
        await client.resume_task("r", "yes", pipeline)
    with pytest.raises(TypeError, match="must be a pipeline"):
        await client.resume_task("r", "yes", pipeline="review")
    assert (await client.get_task("r")).status == "paused"


async def test_f3_without_anybody_who_can_carry_it_out_nothing_is_taken(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "runs.db")
    async with TaskClient(backend) as client:
        await paused(client, review(), "r")
    await backend.close()
    # As a process that never had the pipeline.
    async with TaskClient(SQLiteBackend(tmp_path / "runs.db")) as stranger:
        with pytest.raises(PipelineUnavailableError) as refused:
            await stranger.resume_task("r", "yes")
        assert refused.value.http_status == 503
        assert refused.value.data["steps"] == ["ask", "draft", "send"]
        assert (await stranger.get_task("r")).status == "paused"
        result = await stranger.resume_task("r", "yes", registry={"review": review()})
        assert result.status == "completed"
    await backend.close()


async def test_who_waits_for_a_run_whose_program_is_gone_lets_it_go_on(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "runs.db")
    async with TaskClient(backend) as client:
        await paused(client, review(), "r")
    await backend.close()
    # Somebody answers who has none of its steps, as the command line does.
    async with Engine(f"sqlite://{tmp_path}/runs.db", work=False) as looks:
        run = await Client(looks).get("r")
        [question] = await run.questions()
        await run.answer(question["wait_id"], "yes")
    backend = SQLiteBackend(tmp_path / "runs.db")
    async with TaskClient(backend, registry={"review": review()}) as next_one:
        with pytest.raises(NotResumableError, match="is running"):
            await next_one.resume_task("r")
        assert (await next_one.wait_task("r", timeout=60)).status == "completed"
    await backend.close()


async def test_f6_pages_have_no_gap_and_no_repeat(client: TaskClient) -> None:
    async def nothing(data: Any) -> Any:
        return data

    pipeline = Pipeline([Step("nothing", nothing)], name="many")
    ids = [f"run_{n:03}" for n in range(1_000)]
    await asyncio.gather(
        *(
            client.start_task(pipeline, n, run_id=run_id, metadata={"odd": n % 2 == 1})
            for n, run_id in enumerate(ids)
        )
    )
    for run_id in ids:
        await client.wait_task(run_id)
    found: dict[str, Any] = {"status": "completed", "metadata_filter": {"odd": True}}
    whole = await client.list_tasks(**found)
    assert sorted(task.run_id for task in whole) == ids[1::2]
    order = [(task.created_at, task.run_id) for task in whole]
    assert order == sorted(order, reverse=True)
    pages = [
        task
        for offset in range(0, 600, 60)
        for task in await client.list_tasks(**found, limit=60, offset=offset)
    ]
    assert pages == whole
    assert await client.list_tasks(**found, offset=497) == whole[497:]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"status": "waiting"}, "pending, running, paused, completed, failed, cancelled"),
        ({"status": 3}, "status must be one of"),
        ({"status": ["paused", None]}, "status must be one of"),
        ({"limit": -1}, "limit must be"),
        ({"limit": True}, "limit must be"),
        ({"offset": -1}, "offset must be"),
        ({"offset": 1.5}, "offset must be"),
        ({"metadata_filter": [1]}, "metadata_filter must be an object"),
        ({"metadata_filter": {"a": float("nan")}}, "NaN"),
    ],
)
async def test_f7_a_filter_that_cannot_be_used_is_refused(arguments: dict[str, Any], told: str) -> None:
    async with TaskClient(InMemoryBackend()) as client:
        with pytest.raises(InvalidFilterError, match=told) as refused:
            await client.list_tasks(**arguments)
    assert refused.value.http_status == 400


async def test_f7_statuses_are_words_in_any_case_and_no_limit_but_nothing_is_zero(client: TaskClient) -> None:
    await paused(client, review(), "r")
    for status in ("PAUSED", "paused", TaskStatus.PAUSED, ["failed", "Paused"], []):
        assert [task.run_id for task in await client.list_tasks(status=status)] == ["r"]
    assert await client.list_tasks(status="failed") == []
    assert await client.list_tasks(limit=0) == []
    assert await client.list_tasks(pipeline_name="review", metadata_filter={}) != []
    assert await client.list_tasks(pipeline_name="another") == []


async def test_f8_an_unknown_run_is_a_typed_error(client: TaskClient) -> None:
    for call in (
        client.get_task,
        client.resume_task,
        client.cancel_task,
        client.wait_task,
        client.retry_task,
    ):
        with pytest.raises(TaskNotFoundError) as refused:
            await call("run_unknown")
        assert refused.value.http_status == 404
        assert isinstance(refused.value, flujo_client.TaskClientError)
    assert flujo_client.TaskNotFoundError is TaskNotFoundError


async def test_f9_a_failed_run_goes_on_where_it_failed(client: TaskClient) -> None:
    counts = Counts()
    pipeline = failing(counts)
    await client.start_task(pipeline, {"rows": 7}, run_id="r")
    with pytest.raises(RunFailedError):
        await client.wait_task("r")
    result = await client.resume_task("r", pipeline, {"rows": 9})
    assert (result.status, result.output) == ("completed", {"rows": 7}), "no input of a later step"
    assert counts.of == {"load": 1, "save": 2}
    assert [(entry.name, entry.attempts) for entry in result.step_history] == [("load", 1), ("save", 2)]
    assert (await client.get_task("r")).input == {"rows": 9}


async def test_f9_a_new_input_reaches_a_first_step_that_failed(client: TaskClient) -> None:
    @step
    async def parse(text: str) -> int:
        return int(text)

    await client.start_task(parse, "seven", run_id="r")
    with pytest.raises(RunFailedError) as failed:
        await client.wait_task("r")
    assert failed.value.message.startswith(
        "step 'parse' failed after 2 attempts: ValueError: invalid literal"
    )
    assert (await client.retry_task("r", "7")).output == 7
    with pytest.raises(NotResumableError):
        await client.retry_task("r", "8")


async def test_f10_what_is_over_cannot_be_resumed(client: TaskClient) -> None:
    counts = Counts()
    pipeline = review(counts)
    for run_id in ("done", "gone"):
        await paused(client, pipeline, run_id)
    await client.resume_task("done", pipeline, "yes")
    assert (await client.cancel_task("gone", reason="no need")).status == "cancelled"
    assert (await client.cancel_task("gone")).status == "cancelled"
    before = dict(counts.of)
    for run_id, status in (("done", "completed"), ("gone", "cancelled")):
        with pytest.raises(NotResumableError, match=status) as refused:
            await client.resume_task(run_id, pipeline, "yes")
        assert (refused.value.status, refused.value.run_id) == (status, run_id)
        assert refused.value.http_status == 409
    with pytest.raises(NotResumableError):
        await client.cancel_task("done")
    assert counts.of == before


async def test_f11_a_failure_tells_step_type_and_text(backend: Backend) -> None:
    async with TaskClient(backend) as client:
        await client.start_task(failing(Counts(), times=9), {}, run_id="r")
        with pytest.raises(RunFailedError) as failed:
            await client.wait_task("r")
        told = "step 'save' failed: ValueError: bad row 7"
        assert failed.value.message == told
        assert failed.value.result.error_message == told
        assert (await client.get_task("r")).error_message == told
    async with TaskClient(backend, raise_on_failure=False) as client:
        result = await client.wait_task("r")
        assert (result.status, result.success, result.error_message) == ("failed", False, told)


async def test_f19_the_same_start_is_the_same_run(client: TaskClient) -> None:
    counts = Counts()
    pipeline = review(counts)
    await paused(client, pipeline, "r")
    again = await client.start_task(pipeline, "wells", run_id="r")
    assert (again.run_id, again.status) == ("r", "paused")
    with pytest.raises(RunExistsError):
        await client.start_task(pipeline, "ropes", run_id="r")
    with pytest.raises(InvalidFilterError):
        await client.start_task(pipeline, "wells", run_id="..")
    assert counts.of == {"draft": 1}


async def test_f25_nobody_waits_beside_a_long_step(client: TaskClient) -> None:
    release = asyncio.Event()

    async def slow(data: Any) -> Any:
        await release.wait()
        return data

    ask = Step.human_in_the_loop("ask", message_for_user="Go?")
    pipeline = Pipeline([ask, Step("slow", slow)], name="slow")
    await paused(client, pipeline, "r")
    began = time.monotonic()
    result = await client.resume_task("r", pipeline, "go", wait=False)
    assert (result.status, result.run_id) == ("running", "r")
    started = await client.start_task(Pipeline([Step("slow", slow)], name="other"), 1, run_id="s")
    assert started.status in ("pending", "running")
    assert (await client.cancel_task("s")).status == "cancelled"
    assert time.monotonic() - began < 60, "the steps would go on until they are released"
    with pytest.raises(TimeoutError, match="it goes on"):
        await client.wait_task("r", timeout=0.01)
    with pytest.raises(NotResumableError, match="running"):
        await client.resume_task("r", pipeline, "again")
    assert (await client.get_task("r")).status == "running"
    release.set()
    assert (await client.wait_task("r", timeout=30)).output == "go"
    assert (await client.get_task("r")).output == "go"


async def test_a_closed_client_says_so() -> None:
    client = TaskClient(InMemoryBackend())
    await client.close()
    with pytest.raises(StepwellError, match="closed"):
        await client.list_tasks()


async def test_the_runner_and_the_client_see_the_same_runs(backend: Backend) -> None:
    """F4 and Recipe 2: the runner starts, the client resumes."""
    pipeline = review()
    runner = Flujo(pipeline, state_backend=backend)
    result = await runner.run_async("wells", run_id="c")
    assert (result.status, result.final_pipeline_context.pause_message) == ("paused", "Send it?")
    async with TaskClient(backend) as client:
        done = await client.resume_task("c", pipeline, "yes")
        assert (done.status, done.output) == ("completed", {"sent": "yes"})
        assert (await client.get_task("c")).status == "completed"
    await runner.aclose()
