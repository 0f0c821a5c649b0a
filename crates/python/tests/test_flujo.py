"""The runner of pipelines: what flujo.md promises of it, on every store; tests bear the number of what they prove."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from stepwell import (
    BackendUnavailableError,
    ConfigurationError,
    Flujo,
    InMemoryBackend,
    InvalidFilterError,
    Pipeline,
    PipelineContext,
    PipelineMismatchError,
    PipelineResult,
    PostgresBackend,
    RunCancelledError,
    RunEvent,
    RunExistsError,
    RunFailedError,
    SQLiteBackend,
    Step,
    StepContext,
    StepwellError,
    Task,
)
from stepwell.backends import Backend


class Counter:
    """Counts the calls of steps."""

    def __init__(self) -> None:
        """Begin with none."""
        self.calls: dict[str, int] = {}

    def step(self, name: str, *, fails: bool = False, **options: Any) -> Step:
        """Return a step that is counted; it may fail the first time."""

        def count(data: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            if fails and self.calls[name] == 1:
                raise ValueError("bad row 7")
            return data

        return Step(name, count, max_retries=0, **options)


async def test_f2_a_run_that_waits_shows_what_was_done_and_what_is_asked(backend: Backend) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    pipeline = (
        Step("email_draft", lambda topic: f"On {topic}")
        >> Step.human_in_the_loop("ask", "Send this?")
        >> Step("send", lambda answer: answer)
    )
    async with Flujo(pipeline, state_backend=backend) as runner:
        result = await runner.run_async("wells")
        assert (result.status, result.success, result.output) == ("paused", False, None)
        assert (len(result.step_history), result.step_history[0].output) == (1, "On wells")
        assert result.final_pipeline_context.get("email_draft") == "On wells"
        assert result.final_pipeline_context.pause_message == "Send this?"
        assert result.wait_id is not None
        run = await runner._found(result.run_id)
        await run.answer(result.wait_id, "yes")
        done = await run.wait()
        assert done.output == "yes"
        [answered] = (
            await runner.run_async("wells", run_id=result.run_id)
        ).final_pipeline_context.hitl_history
    assert (answered["answer"], answered["step"]) == ("yes", "ask")
    assert before < answered["answered_at"] <= datetime.now(timezone.utc)


async def test_f4_a_run_that_never_pauses_is_completed(backend: Backend) -> None:
    async with Flujo(Step("echo", lambda text: text), state_backend=backend) as runner:
        result = await runner.run_async("hello", run_id="chat-1")
        assert (result.status, result.success, result.output) == ("completed", True, "hello")
        assert await (await runner._found("chat-1")).status() == "completed"
    assert result.to_dict()["step_history"][0]["output"] == "hello"
    assert result.to_dict()["final_pipeline_context"]["initial_prompt"] == "hello"


async def test_a_completed_run_is_deleted_if_the_runner_is_to(backend: Backend) -> None:
    counter = Counter()
    pipeline = counter.step("load") >> counter.step("save", fails=True)
    keeps = Flujo(pipeline, state_backend=backend)
    async with keeps, Flujo(pipeline, state_backend=backend, delete_on_completion=True) as runner:
        with pytest.raises(RunFailedError):
            await runner.run_async(7, run_id="r")
        failed = await runner._found("r")
        await failed.retry()
        # Whoever waits for it is told how it ended, all of them.
        results = await asyncio.gather(*(runner.run_async(7, run_id="r") for _ in range(5)))
        assert [(result.status, result.output) for result in results] == [("completed", 7)] * 5
        with pytest.raises(StepwellError, match="r is not in the store"):
            await failed.status()
        *_, last = [told async for told in runner.stream(8, run_id="r")]
        assert isinstance(last, PipelineResult)
        assert (last.output, counter.calls) == (8, {"load": 2, "save": 3})
        await keeps.run_async(9, run_id="kept")
        assert await (await keeps._found("kept")).status() == "completed"


async def test_a_run_that_waits_is_not_deleted(backend: Backend) -> None:
    async with Flujo(
        Step.human_in_the_loop("ask", "Send?"), state_backend=backend, delete_on_completion=True
    ) as runner:
        paused = await runner.run_async(run_id="r")
        run = await runner._found("r")
        assert await run.status() == "paused"
        assert paused.wait_id is not None
        await run.answer(paused.wait_id, "yes")
        # Here it is nobody's who would delete it.
        assert (await run.wait()).output == "yes"
        assert (await runner.run_async(run_id="r")).output == "yes"
        with pytest.raises(StepwellError, match="r is not in the store"):
            await run.status()


async def test_f5_tags_are_kept_and_the_right_one_wins_per_key(backend: Backend) -> None:
    pipeline = Pipeline(
        [Step("read", lambda data, *, context: [data, context.metadata])],
        metadata={"a": "pipeline", "b": "pipeline", "c": "pipeline"},
    )
    async with Flujo(pipeline, state_backend=backend) as runner:
        task = Task("prompt", {"b": "task", "c": "task"})
        result = await runner.run_async(task, metadata={"c": "call"})
        assert result.output == ["prompt", {"a": "pipeline", "b": "task", "c": "call"}]
        assert result.final_pipeline_context.metadata == result.output[1]
        with pytest.raises(StepwellError, match="metadata"):
            await runner.run_async("x", metadata={"a": "x" * 20_000})


async def test_f5_the_first_step_is_given_the_task_if_it_asks_for_one(backend: Backend) -> None:
    def first(task: Task) -> list[Any]:
        return [task.prompt, task.metadata]

    async with Flujo(Step("first", first), state_backend=backend) as runner:
        assert (await runner.run_async(Task("prompt", {"n": 1}))).output == ["prompt", {"n": 1}]


async def test_f9_a_failed_run_goes_on_where_it_failed(backend: Backend) -> None:
    counter = Counter()
    pipeline = counter.step("load") >> counter.step("save", fails=True) >> counter.step("tell")
    async with Flujo(pipeline, state_backend=backend, raise_on_failure=False) as runner:
        failed = await runner.run_async(7, run_id="r")
        assert (failed.status, failed.success, counter.calls) == ("failed", False, {"load": 1, "save": 1})
        assert [each.success for each in failed.step_history] == [True, False]
        run = await runner._found("r")
        await run.retry()
        await run.wait()
        done = await runner.run_async(7, run_id="r")
    assert (done.status, done.output, counter.calls) == ("completed", 7, {"load": 1, "save": 2, "tell": 1})
    assert [(each.name, each.attempts) for each in done.step_history] == [
        ("load", 1),
        ("save", 2),
        ("tell", 1),
    ]


async def test_f11_a_failed_run_tells_step_exception_and_text(backend: Backend) -> None:
    def load(_: Any) -> None:
        raise ValueError("bad row 7")

    async with Flujo(Step("load", load, max_retries=0), state_backend=backend) as runner:
        with pytest.raises(RunFailedError) as raised:
            await runner.run_async()
    failed = raised.value
    assert failed.message == "step 'load' failed: ValueError: bad row 7"
    assert isinstance(failed.__cause__, ValueError)
    assert (failed.data["task_id"], failed.data["exception_type"]) == ("load", "ValueError")
    assert isinstance(failed.result, PipelineResult)
    assert (failed.result.error_message, failed.result.output) == (failed.message, None)
    assert failed.result.step_history[0].feedback == "step 'load': ValueError: bad row 7"
    twice = Step("load", load, max_retries=1)
    async with Flujo(twice, state_backend=backend, raise_on_failure=False) as runner:
        result = await runner.run_async()
    assert result.error_message == "step 'load' failed after 2 attempts: ValueError: bad row 7"


async def test_f11_a_cancelled_run_raises_too(backend: Backend) -> None:
    pipeline = Step.human_in_the_loop("ask", "Sure?")
    async with Flujo(pipeline, state_backend=backend) as runner:
        paused = await runner.run_async(run_id="r")
        await (await runner._found(paused.run_id)).cancel()
        with pytest.raises(RunCancelledError) as cancelled:
            await runner.run_async(run_id="r")
    assert cancelled.value.result.status == "cancelled"


async def test_f18_the_version_is_that_of_what_is_declared(backend: Backend) -> None:
    def pipeline(*names: str, text: str = "", retries: int = 0) -> Pipeline:
        steps = [Step(name, lambda _, name=name: name + text, max_retries=retries) for name in names]
        return Pipeline(steps, name="p")

    version = pipeline("a", "b").version
    assert pipeline("a", "b", text="another body").version == version
    others = [pipeline("a", "b", "c"), pipeline("a", "c"), pipeline("b", "a"), pipeline("a", "b", retries=1)]
    assert len({version, *(other.version for other in others)}) == 5
    with pytest.raises(PipelineMismatchError) as mismatch:
        Flujo(pipeline("a", "b"), pipeline_version=others[0].version)
    assert (mismatch.value.given, mismatch.value.stored) == (others[0].version, version)
    # A repaired body carries on what another one began, another pipeline does not.
    question = Step.human_in_the_loop("ask", "?")
    begun = Pipeline([question, *pipeline("a").steps], name="p")
    async with Flujo(begun, state_backend=backend) as runner:
        for run_id in ("repaired", "changed"):
            await runner.run_async(run_id=run_id)
    repaired = Pipeline([question, *pipeline("a", text="!").steps], name="p")
    async with Flujo(repaired, state_backend=backend) as runner:
        result = await runner.run_async(run_id="repaired")
        assert result.wait_id is not None
        run = await runner._found("repaired")
        await run.answer(result.wait_id, 1)
        assert (await run.wait()).output == "a!"
    changed = Pipeline([question, *pipeline("a", "b").steps], name="p")
    async with Flujo(changed, state_backend=backend) as runner:
        with pytest.raises(RunExistsError, match="another definition"):
            await runner.run_async(run_id="changed")
        assert await (await runner._found("changed")).status() == "paused"


async def test_f18_a_run_of_another_version_waits_for_its_own(backend: Backend) -> None:
    question, calls = Step.human_in_the_loop("ask", "?"), Counter()
    begun = Pipeline([question, calls.step("a")], name="p")
    changed = Pipeline([question, calls.step("a"), calls.step("b")], name="p")
    async with Flujo(begun, state_backend=backend) as runner:
        paused = await runner.run_async(run_id="r")
    assert paused.wait_id is not None
    if isinstance(backend, InMemoryBackend):  # Who began it is still here; both go on side by side.
        async with Flujo(changed, state_backend=backend) as runner:
            other = await runner.run_async(run_id="other")
            assert other.wait_id is not None
            for wait_id, run_id in ((paused.wait_id, "r"), (other.wait_id, "other")):
                run = await runner._found(run_id)
                await run.answer(wait_id, 1)
                await run.wait()
        assert calls.calls == {"a": 2, "b": 1}
        return
    async with Flujo(changed, state_backend=backend) as runner:
        run = await runner._found("r")
        await run.answer(paused.wait_id, 1)
        # Another run is carried out meanwhile, this one is not touched.
        await runner.run_async(run_id="other")
        assert (await run.status(), calls.calls) == ("running", {})
    async with Flujo(begun, state_backend=backend) as runner:
        assert (await runner.run_async(run_id="r")).output == 1
    assert calls.calls == {"a": 1}


async def test_two_pipelines_of_one_name_do_not_get_into_each_others_way(backend: Backend) -> None:
    """They are declared alike, too: who begins a run has his own functions called."""
    one, two = (
        Flujo(Step("a", lambda _: 1), state_backend=backend),
        Flujo(Step("a", lambda _: 2), state_backend=backend),
    )
    async with one, two:
        assert [(await runner.run_async()).output for runner in (one, two, one, two)] == [1, 2, 1, 2]


async def test_f19_the_same_id_is_the_same_run(backend: Backend) -> None:
    counter = Counter()
    pipeline = Pipeline([counter.step("a"), Step.human_in_the_loop("ask", "Sure?")], name="p")
    async with Flujo(pipeline, state_backend=backend, initial_context_data={"k": 1}) as runner:
        first = await runner.run_async("x", run_id="r", metadata={"m": 1})
        again = await runner.run_async("x", run_id="r", metadata={"m": 1})
        assert (first.run_id, again.run_id, again.wait_id, counter.calls) == (
            "r",
            "r",
            first.wait_id,
            {"a": 1},
        )
        changes: tuple[dict[str, Any], ...] = (
            {"input": "y", "metadata": {"m": 1}},
            {"input": "x", "metadata": {"m": 2}},
            {"input": "x", "metadata": {"m": 1}, "initial_context_data": {"k": 2}},
        )
        for different in changes:
            with pytest.raises(RunExistsError):
                await runner.run_async(run_id="r", **different)
        for bad in ("", " r", "r\n", ".", "..", "x" * 201):
            with pytest.raises(InvalidFilterError):
                await runner.run_async("x", run_id=bad)
    assert counter.calls == {"a": 1}


async def test_f19_a_run_that_is_under_way_is_joined_and_a_failed_one_returned(backend: Backend) -> None:
    counter, go_on = Counter(), asyncio.Event()

    async def waits(data: Any) -> Any:
        counter.calls["waits"] = counter.calls.get("waits", 0) + 1
        await go_on.wait()
        return data

    async with Flujo(Step("waits", waits), state_backend=backend) as runner:
        first = asyncio.create_task(runner.run_async(1, run_id="r"))
        second = asyncio.create_task(runner.run_async(1, run_id="r"))
        with pytest.raises(TimeoutError, match=r"run 'r' does not rest after 0\.2 seconds; it goes on"):
            await runner.run_async(1, run_id="r", timeout=0.2)
        go_on.set()
        assert (await first).to_dict() == (await second).to_dict()
    failing = Pipeline([counter.step("fails", fails=True)], name="failing")
    async with Flujo(failing, state_backend=backend, raise_on_failure=False) as runner:
        assert (await runner.run_async(1, run_id="f")).status == "failed"
        assert (await runner.run_async(1, run_id="f")).status == "failed"
    assert counter.calls == {"waits": 1, "fails": 1}


async def test_what_happens_is_streamed_and_told_to_hooks(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[RunEvent] = []

    def breaks(event: RunEvent) -> None:
        raise KeyError(event.seq)

    pipeline = Step("a", lambda n: n + 1) >> Step.human_in_the_loop("ask", "Sure?")
    runner = Flujo(pipeline, state_backend=backend, hooks=[breaks, seen.append])
    async with runner:
        streamed = [event async for event in runner.stream_async(1)]
        result = streamed.pop()
        assert isinstance(result, PipelineResult)
        assert result.status == "paused"
        assert streamed == seen
        await runner.run_async(1)
    assert [event.seq for event in seen[: len(streamed)]] == list(range(1, len(streamed) + 1))
    assert len(seen) == 2 * len(streamed)
    completed = next(event for event in seen if event.type == "StepCompleted")
    assert (completed.step, completed.execution, completed.attempt) == ("a", 1, 1)
    assert completed.data["output"] == {"result": 2}
    assert completed.at.tzinfo is timezone.utc
    assert "a hook of pipeline 'pipeline-a' failed on event 1" in caplog.text


async def test_a_stream_ends_with_the_failure(backend: Backend) -> None:
    counter = Counter()
    async with Flujo(counter.step("a", fails=True), state_backend=backend) as runner:
        kinds = []
        with pytest.raises(RunFailedError, match="bad row 7"):
            async for event in runner.stream():
                assert isinstance(event, RunEvent)
                kinds.append(event.type)
    assert kinds[-1] == "RunFailed"


async def test_the_context_comes_back_as_a_model(backend: Backend) -> None:
    @dataclass
    class Model:
        topic: str
        rounds: int = 0
        run_id: str = ""

    class Pydantic:
        """What pydantic models have of what is used here."""

        model_fields = ("topic",)

        def __init__(self, topic: str) -> None:
            self.topic = topic

        @classmethod
        def model_validate(cls, values: dict[str, Any]) -> Pydantic:
            return cls(**values)

    def count(data: Any, *, context: StepContext) -> Any:
        context.set("rounds", context.get("rounds") + 1)
        return data

    runner = Flujo(
        Step("a", count), state_backend=backend, context_model=Model, initial_context_data={"topic": "wells"}
    )
    async with runner:
        result = await runner.run_async(run_id="r")
        assert result.final_pipeline_context == Model("wells", 1, "r")
    runner = Flujo(
        Step("b", lambda _: 1), state_backend=backend, context_model=Pydantic, initial_context_data=None
    )
    async with runner:
        given = await runner.run_async(initial_context_data={"topic": "deep"})
    assert isinstance(given.final_pipeline_context, Pydantic)
    assert given.final_pipeline_context.topic == "deep"


def test_the_context_of_a_result_is_a_mapping_with_attributes() -> None:
    context = PipelineContext({"a": 1})
    assert (context.a, context["a"], dict(context), len(context)) == (1, 1, {"a": 1}, 1)
    with pytest.raises(AttributeError, match="the context of this run has no 'b'"):
        _ = context.b


def test_a_script_runs_a_pipeline_without_an_event_loop(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "runs.db")
    runner = Flujo(Step("double", lambda n: n * 2), state_backend=backend)
    assert [runner.run(n).output for n in (1, 2)] == [2, 4]

    async def inside() -> None:
        with pytest.raises(RuntimeError, match=r"await runner.run_async\(…\)"):
            runner.run(1)

    asyncio.run(inside())


async def test_stores_are_those_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline([Step("a", lambda _: 1)], name="p")

    async def has(backend: Backend) -> bool:
        async with Flujo(pipeline, state_backend=backend) as runner:
            try:
                await runner._found("r")
            except StepwellError as error:
                assert error.name == "WORKFLOW_NOT_FOUND"
                return False
            return True

    memory, other = InMemoryBackend(), InMemoryBackend()
    async with Flujo(pipeline, state_backend=memory) as runner:
        await runner.run_async(run_id="r")
    assert (await has(memory), await has(other)) == (True, False)
    await memory.close()
    assert not await has(memory)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPWELL_STORE", f"sqlite://{tmp_path}/default.db")
    async with Flujo(pipeline) as runner:
        await runner.run_async(run_id="r")
    assert SQLiteBackend("default.db").url == f"sqlite://{tmp_path}/default.db"
    assert await has(SQLiteBackend("default.db"))
    assert await has(f"sqlite://{tmp_path}/default.db")
    async with Flujo(pipeline, persist_state=False) as runner:
        assert (await runner.run_async(run_id="r")).output == 1
    with pytest.raises(ConfigurationError, match="either state_backend or persist_state=False"):
        Flujo(pipeline, state_backend=memory, persist_state=False)
    for postgres in (PostgresBackend("postgresql://u:secret@host/db"), "postgres://host/db"):
        with pytest.raises(BackendUnavailableError, match="no store for Postgres") as refused:
            await Flujo(pipeline, state_backend=postgres).run_async()
        assert refused.value.name == "PERSISTENCE_CONNECTION_FAILED"
        assert "secret" not in repr(postgres)
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"SQLite format 3\x00" + os.urandom(4_000))
    content = foreign.read_bytes()
    with pytest.raises(StepwellError):
        await Flujo(pipeline, state_backend=SQLiteBackend(foreign)).run_async()
    assert foreign.read_bytes() == content


async def test_a_registry_names_what_is_run(backend: Backend) -> None:
    registry: dict[str, Pipeline | Step] = {
        "one": Step("a", lambda _: 1),
        "two": Pipeline([Step("a", lambda _: 2)], name="two"),
    }
    async with Flujo(registry=registry, pipeline_name="two", state_backend=backend) as runner:
        assert (await runner.run_async()).output == 2
        assert runner.pipeline.name == "two"


async def test_closing_lets_the_step_in_hand_end(tmp_path: Path) -> None:
    under_way, noted = asyncio.Event(), []

    async def slow(data: Any) -> Any:
        under_way.set()
        await asyncio.sleep(0.1)
        noted.append(data)
        return data

    backend = SQLiteBackend(tmp_path / "runs.db")
    pipeline = Step("slow", slow) >> Step("after", lambda data: data + 1)
    runner = Flujo(pipeline, state_backend=backend)
    running = asyncio.create_task(runner.run_async(1, run_id="r"))
    await under_way.wait()
    await runner.aclose()
    with pytest.raises(StepwellError, match="shut down"):
        await running
    assert noted == [1]
    # What is left is done by whoever opens the store.
    async with Flujo(pipeline, state_backend=backend) as runner:
        assert (await runner.run_async(1, run_id="r")).output == 2
    assert noted == [1]


async def test_a_store_that_was_closed_is_opened_again(backend: Backend) -> None:
    pipeline = Step("double", lambda n: n * 2)
    one, two = Flujo(pipeline, state_backend=backend), Flujo(pipeline, state_backend=backend)
    assert (await one.run_async(1)).output == 2
    assert not isinstance(backend, str)
    assert backend is not None
    await backend.close()
    assert (await two.run_async(2)).output == 4
    # It does not hold what it opened any more, and closes nothing of the other.
    await one.aclose()
    assert (await two.run_async(3)).output == 6
    assert (await one.run_async(4)).output == 8
    await two.aclose()
    assert (await one.run_async(5)).output == 10
    await one.aclose()


def test_a_forked_process_opens_what_it_uses_anew(tmp_path: Path) -> None:
    program = """
import asyncio, os, sys
from stepwell import Flujo, SQLiteBackend, Step

runner = Flujo(Step("double", lambda n: n * 2), state_backend=SQLiteBackend(sys.argv[1]))

async def run():
    return (await runner.run_async(1)).output

assert asyncio.run(run()) == 2
child = os.fork()
if child == 0:
    assert asyncio.run(run()) == 2
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert asyncio.run(run()) == 2
"""
    # Since Python 3.12 a fork beside threads is warned of, whatever the child does.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", program]
    done = subprocess.run([*command, str(tmp_path / "runs.db")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
