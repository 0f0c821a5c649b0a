"""Answers to tasks: what may be one, which question it is for, and what is left paused; on every store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from task_support import Counts, paused, review

from stepwell import (
    AmbiguousWaitError,
    AnswerInvalidError,
    Pipeline,
    ResumeConflictError,
    ResumeError,
    Step,
    TaskClient,
)
from stepwell._border import of_running_loop

SCHEMA = {
    "type": "object",
    "properties": {"days": {"type": "integer", "minimum": 1}},
    "required": ["days"],
}


async def test_f16_a_bad_answer_names_its_field_and_the_run_stays_paused(client: TaskClient) -> None:
    ask = Step.human_in_the_loop("ask", message_for_user="How long?", input_schema=SCHEMA)
    pipeline = Pipeline([ask], name="leave")
    await paused(client, pipeline, "r")
    assert (await client.get_task("r")).pending_human_input_schema == SCHEMA
    with pytest.raises(AnswerInvalidError) as refused:
        await client.resume_task("r", pipeline, {"days": 0})
    assert refused.value.errors[0]["path"] == "/days"
    assert refused.value.http_status == 422
    with pytest.raises(AnswerInvalidError):
        await client.resume_task("r", pipeline)
    assert (await client.get_task("r")).status == "paused"
    assert (await client.resume_task("r", pipeline, {"days": 3})).output == {"days": 3}


@pytest.mark.parametrize(
    "value",
    ["", 0, False, None, [], {}, "x" * 2**20, "🦀", "nul \0 inside", 1.5, -(2**63), 2**64 - 1],
    ids=lambda value: repr(value)[:12],
)
async def test_f16_odd_values_come_back_as_they_were(client: TaskClient, value: Any) -> None:
    pipeline = Pipeline([Step.human_in_the_loop("ask", message_for_user="?")], name="odd")
    await paused(client, pipeline, "r")
    result = await client.resume_task("r", pipeline, value)
    assert result.output == value
    assert type(result.output) is type(value)


@pytest.mark.parametrize(
    "value", ["\ud800", float("nan"), float("inf"), 2**64, -(2**63) - 1, {1: 2}, {1}, object()], ids=repr
)
async def test_f16_what_is_no_json_is_refused_and_the_run_stays_usable(
    client: TaskClient, value: Any
) -> None:
    pipeline = Pipeline([Step.human_in_the_loop("ask", message_for_user="?")], name="odd")
    await paused(client, pipeline, "r")
    with pytest.raises(AnswerInvalidError):
        await client.resume_task("r", pipeline, value)
    assert (await client.resume_task("r", pipeline, "fine")).output == "fine"


async def test_f17_two_questions_in_sequence_have_ids_of_their_own(client: TaskClient) -> None:
    first = Step.human_in_the_loop("first", message_for_user="First?")
    second = Step.human_in_the_loop("second", message_for_user="Second?")
    pipeline = first >> second
    await paused(client, pipeline, "r")
    old = (await client.get_task("r")).open_waits[0].wait_id
    result = await client.resume_task("r", pipeline, 1, wait_id=old)
    assert (result.status, result.final_pipeline_context.pause_message) == ("paused", "Second?")
    assert result.wait_id != old
    with pytest.raises(ResumeConflictError):
        await client.resume_task("r", pipeline, 2, wait_id=old)
    assert (await client.resume_task("r", pipeline, 2, wait_id=result.wait_id, answered_by="ann")).output == 2
    answers = (await client.wait_task("r")).final_pipeline_context.hitl_history
    assert [(one["answer"], one["answered_by"]) for one in answers] == [(1, None), (2, "ann")]


async def test_f17_a_question_in_a_loop_is_asked_once_a_round(client: TaskClient) -> None:
    counts = Counts()

    async def work(data: Any) -> Any:
        counts.note("work")
        return data

    body = Step("work", work) >> Step.human_in_the_loop("enough", message_for_user="Enough?")
    pipeline = Pipeline(
        [Step.loop_until("loop", body, lambda output, context: output == "yes", max_loops=9)], name="rounds"
    )
    await paused(client, pipeline, "r")
    waits = set()
    for answer in ("no", "no", "yes"):
        task = await client.get_task("r")
        waits.add(task.open_waits[0].wait_id)
        result = await client.resume_task("r", pipeline, answer)
    assert (result.status, result.output) == ("completed", "yes")
    assert (counts.of, len(waits)) == ({"work": 3}, 3)


async def test_f17_questions_in_branches_are_told_apart(client: TaskClient) -> None:
    counts = Counts()

    async def sibling(data: Any) -> str:
        counts.note("sibling")
        return "done"

    branches = {
        "a": Step.human_in_the_loop("ask", message_for_user="A?"),
        "b": Step.human_in_the_loop("ask", message_for_user="B?"),
        "c": Step("sibling", sibling),
    }
    pipeline = Pipeline([Step.parallel("all", branches)], name="branches")
    await paused(client, pipeline, "r")
    asked = (await client.get_task("r")).open_waits
    assert sorted(wait.prompt for wait in asked) == ["A?", "B?"]
    with pytest.raises(AmbiguousWaitError) as refused:
        await client.resume_task("r", pipeline, 1)
    assert refused.value.wait_ids == [wait.wait_id for wait in asked]
    later = asked[1]
    result = await client.resume_task("r", pipeline, later.prompt, wait_id=later.wait_id)
    assert result.status == "paused"
    result = await client.resume_task("r", pipeline, asked[0].prompt)
    assert result.output == {"a": "A?", "b": "B?", "c": "done"}
    assert counts.of == {"sibling": 1}


async def test_a_run_that_an_operator_paused_goes_on_with_or_without_an_answer(client: TaskClient) -> None:
    pipeline = review()
    await paused(client, pipeline, "r")
    run = await client._ask("find", "r")
    await of_running_loop().request(run.pause)
    assert (await client.get_task("r")).pause_reason == "operator"
    assert (await client.resume_task("r", pipeline)).status == "paused"
    assert (await client.get_task("r")).pause_reason == "input"
    await of_running_loop().request(run.pause)
    assert (await client.resume_task("r", pipeline, "yes")).status == "completed"


async def test_nothing_is_answered_where_nothing_is_asked(client: TaskClient) -> None:
    release = asyncio.Event()

    async def slow(data: Any) -> Any:
        await release.wait()
        return data

    pipeline = Pipeline([Step("slow", slow), Step("again", slow)], name="slow")
    await client.start_task(pipeline, 1, run_id="r")
    run = await client._ask("find", "r")
    await of_running_loop().request(run.pause)
    with pytest.raises(ResumeError, match="asks nothing") as refused:
        await client.resume_task("r", pipeline, "yes")
    assert refused.value.data["reason"] == "no_open_wait"
    assert (await client.get_task("r")).pause_reason == "operator"
    release.set()
    assert (await client.resume_task("r", pipeline)).output == 1
