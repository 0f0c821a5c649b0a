"""Questions of pipelines and of their functions, on every store (F17, F24)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from stepwell import Flujo, Pipeline, RunFailedError, Step, StepContext
from stepwell.backends import Backend


async def test_f24_a_question_and_its_answer(backend: Backend) -> None:
    @dataclass
    class Verdict:
        approved: bool
        reason: str = ""

    ask = Step.human_in_the_loop("ask", input_schema=Verdict, assignee="legal", sink_to="verdict")
    pipeline = (
        Step("draft", lambda topic: f"On {topic}") >> ask >> Step("end", lambda verdict: verdict["approved"])
    )
    async with Flujo(pipeline, state_backend=backend) as runner:
        result = await runner.run_async("wells", run_id="r")
        assert (result.status, result.success, result.output) == ("paused", False, None)
        assert [(each.name, each.output) for each in result.step_history] == [("draft", "On wells")]
        context = result.final_pipeline_context
        assert (context.pause_message, context.draft, context.initial_prompt) == (
            "On wells",
            "On wells",
            "wells",
        )
        assert result.wait_id is not None
        native = await runner._found("r")
        [asked] = await native.questions()
        assert asked["wait_id"] == result.wait_id
        assert (asked["assignee"], asked["schema"]["required"]) == ("legal", ["approved"])
        await native.answer(result.wait_id, {"approved": True})
        done = await runner.run_async("wells", run_id="r")
    assert (done.status, done.output) == ("completed", True)
    [answered] = done.final_pipeline_context.hitl_history
    assert (answered["prompt"], answered["answer"]) == ("On wells", {"approved": True})
    assert done.final_pipeline_context.verdict == {"approved": True}


async def test_f24_a_question_may_refer_to_what_was_done(backend: Backend) -> None:
    pipeline = Pipeline(
        [
            Step("draft", lambda data: {"title": f"On {data['topic']}"}),
            Step.parallel("facts", {"x": Step("n", lambda _: 1)}),
            Step.human_in_the_loop("ask", "${draft.result.title}, ${facts} for ${input.to}, $${x}?"),
        ]
    )
    async with Flujo(pipeline, state_backend=backend) as runner:
        result = await runner.run_async({"topic": "wells", "to": "Ada"})
    assert result.final_pipeline_context.pause_message == 'On wells, {"x":1} for Ada, ${x}?'
    async with Flujo(Step.human_in_the_loop("ask", "${input.nothing}"), state_backend=backend) as runner:
        with pytest.raises(RunFailedError) as failed:
            await runner.run_async({"topic": 1})
    assert failed.value.name == "TASK_PARAMETER_ERROR"
    assert failed.value.data["available_keys"] == ["topic"]


@pytest.mark.parametrize("on_thread", [False, True])
async def test_f17_a_function_asks_in_every_round_of_a_loop(backend: Backend, on_thread: bool) -> None:
    calls: list[str] = []

    async def asks(n: int, *, context: StepContext) -> int:
        await context.once("first", calls.append, "first")
        await context.sleep(0)
        context.emit("progress", {"n": n})
        return n + int(await context.ask_human(f"How much to {n}?", {"type": "integer"}))

    def asks_directly(n: int, *, context: Any) -> int:
        context.once("first", calls.append, "first")
        context.sleep(0)
        return n + int(context.ask_human(f"How much to {n}?", {"type": "integer"}))

    body = Step("ask", asks_directly if on_thread else asks)
    loop = Step.loop_until("loop", body, lambda n, context: n > 10)
    async with Flujo(loop, state_backend=backend) as runner:
        prompts, waits = [], set()
        result = await runner.run_async(1, run_id="r")
        while result.status == "paused":
            assert result.wait_id is not None
            prompts.append(result.final_pipeline_context.pause_message)
            waits.add(result.wait_id)
            await (await runner._found("r")).answer(result.wait_id, 5)
            result = await runner.run_async(1, run_id="r")
    assert (result.output, prompts, len(waits)) == (11, ["How much to 1?", "How much to 6?"], 2)
    assert calls == ["first", "first"]


async def test_f24_a_question_has_a_deadline_and_a_default(backend: Backend) -> None:
    ask = Step.human_in_the_loop("ask", "Sure?", options=["yes", "no"], default="no", deadline=0.01)
    async with Flujo(ask, state_backend=backend) as runner:
        begun = await runner.run_async()
        assert (await (await runner._found(begun.run_id)).wait()).output == "no"
    moment = datetime.now(timezone.utc) + timedelta(milliseconds=10)
    late = Step.human_in_the_loop("ask", "Sure?", deadline=moment)
    async with Flujo(late, state_backend=backend, raise_on_failure=False) as runner:
        begun = await runner.run_async()
        with pytest.raises(RunFailedError) as failed:
            await (await runner._found(begun.run_id)).wait()
    assert failed.value.name == "HUMAN_TIMEOUT"
