"""Pipelines of Python functions, part by part: what flujo.md promises of them, on every store (F24)."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from stepwell import (
    BranchFailureStrategy,
    Flujo,
    MergeStrategy,
    Pipeline,
    PipelineResult,
    RefinementCheck,
    RunFailedError,
    Step,
    StepConfig,
    StepContext,
    StepResult,
    step,
)
from stepwell.backends import Backend


def shown(history: list[StepResult]) -> str:
    """Show what steps came to: `name=output`, `name!` for a failure, and their bodies in brackets."""
    one = [
        f"{item.name}{f'={item.output}' if item.success else '!'}"
        + (f"[{shown(item.step_history)}]" if item.step_history else "")
        for item in history
    ]
    return " ".join(one)


def add(name: str, n: int) -> Step:
    return Step(name, lambda value: value + n)


async def run(
    pipeline: Pipeline | Step, backend: Backend, input: Any = None, **options: Any
) -> PipelineResult:
    async with Flujo(pipeline, state_backend=backend) as runner:
        return await runner.run_async(input, **options)


async def fails(pipeline: Pipeline | Step, backend: Backend, input: Any = None) -> RunFailedError:
    with pytest.raises(RunFailedError) as failed:
        await run(pipeline, backend, input)
    return failed.value


async def test_f24_each_step_is_given_what_the_one_before_returned(backend: Backend) -> None:
    @dataclass
    class Draft:
        title: str
        words: int

    @step
    async def trim(text: str) -> str:
        return text.strip()

    @step
    def draft(text: str) -> Draft:
        return Draft(text, len(text))

    @step(name="title")
    def title_of(draft: dict[str, Any]) -> str:
        return f"{draft['title']} ({draft['words']})"

    result = await run(trim >> draft >> title_of, backend, " wells ")
    assert (result.status, result.success, result.output) == ("completed", True, "wells (5)")
    assert shown(result.step_history) == "trim=wells draft={'title': 'wells', 'words': 5} title=wells (5)"
    assert [each.attempts for each in result.step_history] == [1, 1, 1]
    assert all(0 < each.latency_s < 60 for each in result.step_history)


async def test_f24_functions_of_every_shape_are_called(backend: Backend) -> None:
    class Object:
        async def __call__(self, data: Any, *, context: StepContext) -> Any:
            return [*data, context.get("given")]

    async def with_all(data: Any, *, context: StepContext, resources: Any) -> Any:
        context.set("loop", threading.current_thread() is threading.main_thread())
        return [*data, resources["n"], context.input, context.metadata["tag"], context.attempt]

    def on_thread(data: Any, context: StepContext) -> Any:
        context.set("thread", threading.current_thread() is not threading.main_thread())
        return [*data, context.once("n", lambda: 3), context.run_id]

    pipeline = Step("a", Object()) >> Step("b", with_all) >> Step("c", on_thread)
    runner = Flujo(
        pipeline,
        state_backend=backend,
        resources={"n": 2},
        initial_context_data={"given": 1},
        context_model=None,
    )
    async with runner:
        result = await runner.run_async([0], run_id="r", metadata={"tag": "t"})
    assert result.output == [0, 1, 2, [0], "t", 1, 3, "r"]
    context = result.final_pipeline_context
    assert (context.loop, context.thread, context.step_outputs["a"]) == (True, True, [0, 1])
    assert context.a == [0, 1]


async def test_f24_outputs_go_into_the_context(backend: Backend) -> None:
    pipeline = (
        Step("report", lambda _: {"rows": [1], "title": "t"}, updates_context=True)
        >> Step("sum", lambda report: sum(report["rows"]), sink_to="numbers.sum")
        >> Step("read", lambda n, *, context: [n, context.get("title"), context.get("numbers")])
    )
    assert (await run(pipeline, backend)).output == [1, "t", {"sum": 1}]
    failed = await fails(Step("no_dict", lambda _: 1, updates_context=True), backend)
    assert "it updates the context, but returned no object" in str(failed)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_f24_a_loop_ends_when_its_condition_holds(backend: Backend, asynchronous: bool) -> None:
    calls: list[Any] = []

    def enough(n: int, context: StepContext) -> bool:
        calls.append((n, context.get("rounds")))
        return n >= 20

    async def enough_async(n: int, context: StepContext) -> bool:
        await asyncio.sleep(0)
        return enough(n, context)

    def body(n: int, *, context: StepContext) -> int:
        context.set("rounds", context.get("rounds", 0) + 1)
        return n * 2

    loop = Step.loop_until(
        "grow",
        Step("double", body),
        enough_async if asynchronous else enough,
        initial_input_to_loop_body_mapper=lambda n, context: n + 1,
        iteration_input_mapper=lambda n, context, rounds: n + rounds,
        loop_output_mapper=lambda n, context: {"n": n},
    )
    result = await run(loop, backend, 1)
    # 2 -> 4, 5 -> 10, 12 -> 24
    assert calls == [(4, 1), (10, 2), (24, 3)]
    assert result.output == {"n": 24}
    assert shown(result.step_history) == "grow={'n': 24}[double=4 double=10 double=24]"


async def test_f24_a_loop_has_a_limit(backend: Backend) -> None:
    calls: list[int] = []

    def body_of(n: int) -> int:
        calls.append(n)
        return n

    body = Step("body", body_of)
    failed = await fails(Step.loop_until("loop", body, lambda n, context: False, max_loops=3), backend, 7)
    assert failed.name == "LOOP_LIMIT"
    assert calls == [7, 7, 7]
    assert failed.result.step_history[0].success is False


async def test_f24_a_branch_goes_one_way(backend: Backend) -> None:
    class Size(Enum):
        BIG = "big"
        SMALL = "small"

    def size(n: int, context: StepContext) -> Any:
        return Size.BIG if n > 10 else n > 5

    branch = Step.branch_on(
        "size",
        size,
        {Size.BIG: add("a", 1) >> add("b", 1), True: add("middle", 10)},
        default_branch_pipeline=add("other", 100),
        branch_input_mapper=lambda n, context: n + 1,
        branch_output_mapper=lambda n, context, key: [n, key],
    )
    pipeline = branch >> Step("after", lambda found: found)
    assert (await run(pipeline, backend, 20)).output == [23, "big"]
    assert (await run(pipeline, backend, 7)).output == [18, "true"]
    result = await run(pipeline, backend, 1)
    assert result.output == [102, "false"]
    assert shown(result.step_history) == "size=[102, 'false'][other=102] after=[102, 'false']"


async def test_f24_a_key_without_a_branch_fails(backend: Backend) -> None:
    branch = Step.branch_on("way", lambda n, context: "maybe", {"yes": add("a", 1), "no": add("b", 1)})
    failed = await fails(branch, backend, 1)
    assert failed.name == "NO_BRANCH"
    assert "there is no branch for 'maybe', only for 'yes', 'no'" in str(failed)


async def writes(data: Any, *, context: StepContext) -> Any:
    """Write to the context after a while: what is given, to the same key as others and to one of its own."""
    name, after = data
    context.set("key", name)
    context.set(name, context.get("before"))
    await asyncio.sleep(after)
    return name


def two(first: float, second: float, **options: Any) -> Pipeline:
    """Return two branches that take so long, and write to one key."""
    branches = {
        "x": Step("x", lambda _: ("x", first)) >> Step("w", writes),
        "y": Step("y", lambda _: ("y", second)) >> Step("w", writes),
    }
    return Step.parallel("both", branches, **options) >> Step(
        "read", lambda _, *, context: {key: context.get(key) for key in ("key", "x", "y")}
    )


@pytest.mark.parametrize("times", [(0.0, 0.05), (0.05, 0.0)])
@pytest.mark.parametrize(
    ("strategy", "left"),
    [
        (MergeStrategy.CONTEXT_UPDATE, {"key": "y", "x": 1, "y": 1}),
        (MergeStrategy.OVERWRITE, {"key": "y", "x": 1, "y": 1}),
        (MergeStrategy.KEEP_FIRST, {"key": "x", "x": 1, "y": 1}),
        (MergeStrategy.NO_MERGE, {"key": None, "x": None, "y": None}),
        ("error_on_conflict", None),
    ],
)
async def test_f24_branches_are_merged_in_the_order_of_their_declaration(
    backend: Backend, strategy: MergeStrategy, left: dict[str, Any] | None, times: tuple[float, float]
) -> None:
    runner = Flujo(
        two(*times, merge_strategy=strategy),
        state_backend=backend,
        initial_context_data={"before": 1},
        raise_on_failure=False,
    )
    async with runner:
        events = [event async for event in runner.stream()]
    result = events[-1]
    assert isinstance(result, PipelineResult)
    if left is None:
        assert result.error_message is not None
        assert "branches 'x', 'y' wrote different values to context key 'key'" in result.error_message
        return
    assert result.output == left
    assert result.step_history[0].output == {"x": "x", "y": "y"}
    conflicts = [
        e for e in events[:-1] if not isinstance(e, PipelineResult) and e.data.get("kind") == "conflict"
    ]
    assert len(conflicts) == (strategy is MergeStrategy.CONTEXT_UPDATE)


async def test_f24_a_branch_sees_only_the_keys_that_are_included(backend: Backend) -> None:
    look = Step("look", lambda _, *, context: [context.get("a"), context.get("b")])
    parallel = Step.parallel(
        "both", {"x": look}, context_include_keys=["b"], reduce=lambda outputs: outputs["x"]
    )
    runner = Flujo(parallel, state_backend=backend, initial_context_data={"a": 1, "b": 2})
    async with runner:
        assert (await runner.run_async()).output == [None, 2]


async def test_f24_the_failure_of_a_branch_ends_the_others_or_none(backend: Backend) -> None:
    def bad(_: Any) -> None:
        raise ValueError("bad row 7")

    branches = {"good": add("a", 1), "bad": Step("b", bad, max_retries=0)}
    failed = await fails(Step.parallel("both", branches), backend, 1)
    assert failed.result.error_message == "step 'both/bad/b' failed: ValueError: bad row 7"
    ignoring = Step.parallel("both", branches, on_branch_failure=BranchFailureStrategy.IGNORE)
    result = await run(ignoring, backend, 1)
    assert result.output == {"good": 2, "bad": None}
    [both] = result.step_history
    assert {each.name: each.success for each in both.step_history} == {"a": True, "b": False}
    assert next(each.feedback for each in both.step_history if each.name == "b") is not None


async def test_f24_a_parallel_in_a_loop_really_overlaps(backend: Backend) -> None:
    here = 0
    moved = asyncio.Condition()

    async def meets(n: int) -> int:
        """End when both of a round are here; one that came alone would wait for ever."""
        nonlocal here
        async with moved:
            here += 1
            both = here + here % 2
            moved.notify_all()
            await asyncio.wait_for(moved.wait_for(lambda: here >= both), 30)
        return n

    both = Step.parallel(
        "both", {"x": Step("m", meets), "y": Step("m", meets)}, reduce=lambda outputs: sum(outputs.values())
    )
    result = await run(Step.loop_until("loop", both, lambda n, context: n >= 8), backend, 1)
    assert result.output == 8
    assert here == 6


async def test_f24_a_map_keeps_the_order_of_its_items(backend: Backend) -> None:
    async def late(n: int) -> int:
        await asyncio.sleep((3 - n) * 0.02)
        return n * n

    square = Step("square", late)
    assert (await run(Step.map_over("rows", square), backend, [0, 1, 2])).output == [0, 1, 4]
    assert (await run(Step.map_over("rows", square, max_concurrent=2), backend, [0, 1, 2])).output == [
        0,
        1,
        4,
    ]
    assert (await run(Step.map_over("rows", square), backend, [])).output == []
    failed = await fails(Step.map_over("rows", square), backend, {"no": "list"})
    assert "what came in must be a list, and is an object" in str(failed)
    of_context = Step("load", lambda _: {"rows": [1, 2]}, sink_to="report") >> Step.map_over(
        "each", square, iterable_input="report.rows"
    )
    result = await run(of_context, backend)
    assert result.output == [1, 4]
    assert sorted(each.metadata_["item"] for each in result.step_history[1].step_history) == [0, 1]


async def test_f24_a_map_over_a_thousand_items(backend: Backend) -> None:
    result = await run(Step.map_over("rows", add("row", 1), max_concurrent=50), backend, list(range(1_000)))
    assert result.output == list(range(1, 1_001))


async def test_f24_a_map_whose_body_forks(backend: Backend) -> None:
    both = Step.parallel("both", {"x": add("a", 1), "y": add("b", 2)})
    result = await run(Step.map_over("rows", both), backend, [1, 2])
    assert result.output == [{"x": 2, "y": 3}, {"x": 3, "y": 4}]
    [rows] = result.step_history
    assert all(item.step_history[0].name == "both" for item in rows.step_history)


async def test_f24_a_draft_is_refined_until_the_critic_is_content(backend: Backend) -> None:
    generator = Step("write", lambda text: f"{text}.")
    critic = Step("judge", lambda draft: RefinementCheck(len(draft) > 8, feedback="more"))

    def feedback(text: str, check: RefinementCheck) -> str:
        return f"{text} {check.feedback}"

    refine = Step.refine_until("essay", generator, critic, feedback_mapper=feedback)
    result = await run(refine, backend, "wells")
    assert result.output == "wells more."
    assert [each.name for each in result.step_history[0].step_history] == ["write", "judge", "write", "judge"]
    never = Step("judge", lambda draft: RefinementCheck(False))
    failed = await fails(Step.refine_until("essay", generator, never, max_refinements=2), backend, "wells")
    assert failed.name == "LOOP_LIMIT"


async def test_f24_a_cached_step_is_not_called_for_an_input_that_it_knows(backend: Backend) -> None:
    calls: list[Any] = []

    def dear(n: int) -> int:
        calls.append(n)
        return n + 1

    cached = Step.cached(Step("dear", dear))
    async with Flujo(cached, state_backend=backend) as runner:
        first = await runner.run_async(1)
        second = await runner.run_async(1)
        other = await runner.run_async(2)
    assert (first.output, second.output, other.output) == (2, 2, 3)
    assert calls == [1, 2]
    assert [result.step_history[0].attempts for result in (first, second, other)] == [1, 0, 1]


async def test_f24_a_step_is_tried_again_and_no_value_that_is_no_json_is(backend: Backend) -> None:
    calls: dict[str, int] = {"flaky": 0, "misfit": 0}

    def flaky(n: int, *, context: StepContext) -> int:
        calls["flaky"] += 1
        if context.attempt == 1:
            raise ValueError("not yet")
        return n

    def misfit(_: Any) -> object:
        calls["misfit"] += 1
        return {1, 2}

    result = await run(Step("flaky", flaky, config=StepConfig(max_retries=1)), backend, 1)
    assert (result.output, calls["flaky"], result.step_history[0].attempts) == (1, 2, 2)
    failed = await fails(Step("misfit", misfit, max_retries=3), backend)
    assert calls["misfit"] == 1
    assert "what it returned cannot be kept as JSON: set is not str" in str(failed)


async def test_f24_an_attempt_has_a_time_limit(backend: Backend) -> None:
    ended = asyncio.Event()

    async def slow(_: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    failed = await fails(Step("slow", slow, max_retries=0, timeout_s=0.05), backend)
    assert failed.name == "TASK_TIMEOUT"
    await asyncio.wait_for(ended.wait(), 10)


async def test_f24_a_fallback_stands_in_after_the_last_attempt(backend: Backend) -> None:
    calls: list[str] = []

    def bad(text: str) -> str:
        calls.append("bad")
        raise ValueError("no")

    def instead(text: str) -> str:
        calls.append("instead")
        return text.upper()

    main = Step("main", bad, max_retries=0, fallback_step=Step("instead", instead))
    result = await run(main >> Step("after", lambda text: text + "!"), backend, "well")
    assert (result.output, calls) == ("WELL!", ["bad", "instead"])
    assert shown(result.step_history) == "main=WELL[main! fallback=WELL] after=WELL!"
