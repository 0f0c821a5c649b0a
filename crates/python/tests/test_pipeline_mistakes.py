"""What is no pipeline is refused when it is built, all at once (F24)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import ConfigurationError, Flujo, Pipeline, Step, StepConfig, step


def add(name: str, n: int) -> Step:
    return Step(name, lambda value: value + n)


def test_f24_everything_that_is_wrong_with_a_pipeline_is_told_at_once() -> None:
    wrong = Pipeline([add("a/b", 1), add("c", 1), add("c", 2), Step.map_over("rows", Pipeline([]))])
    with pytest.raises(ConfigurationError) as refused:
        Flujo(wrong)
    told = refused.value.message
    for problem in (
        "'a/b' is no name within a pipeline",
        "two parts are named 'c'",
        "'rows' does nothing with its items",
    ):
        assert problem in told


async def a_hook_that_waits(_: object) -> None:
    pass


#: What no type checker would let through.
ANY: Any = 7


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: Step("a", ANY), "fn must be a function, not 7"),
        (lambda: Step("a", lambda: 0), "fn is called as \\(data\\), \\(data, \\*, context\\)"),
        (lambda: Step("a", lambda a, b: 0), "missing a required argument"),
        (
            lambda: Step("a", lambda a: 0, max_retries=-1, timeout_s=0),
            "max_retries must be.*timeout_s must be",
        ),
        (lambda: Step("a", lambda a: 0, config=StepConfig(), max_retries=1), "give either config"),
        (lambda: Step("a", lambda a: 0, usage_limits=object()), "the engine keeps no budgets"),
        (lambda: Step("a", lambda a: 0, estimate_usd=1), "estimate_usd cannot be given yet"),
        (lambda: Step("a", lambda a: 0, plugins=[]), "plugins is not carried out"),
        (
            lambda: Step("a", lambda a: 0, processors=[], validators=[]),
            "processors is not.*validators is not",
        ),
        (lambda: Step("a", lambda a: 0, fallback_step=Step("b", lambda a: 0, max_retries=3)), "it runs once"),
        (
            lambda: Step.parallel("a", {"x": add("b", 1)}, field_mapping={}),
            "field_mapping is not carried out",
        ),
        (lambda: Step.parallel("a", {"x": ANY}), "7 is neither a pipeline nor a step"),
        (
            lambda: Step.parallel("a", {"x": add("b", 1)}, merge_strategy="best"),
            "merge_strategy must be a MergeStrategy",
        ),
        (lambda: Step.parallel("a", {1: add("b", 1), "1": add("b", 1)}), "two that are called '1'"),
        (lambda: Step.branch_on("a", lambda: 0, {"x": add("b", 1)}), "is called with 2 arguments"),
        (lambda: Step.loop_until("a", add("b", 1), ANY, max_loops=0), "must be a function.*at least 1"),
        (lambda: Step.dynamic_parallel_branch("a"), "there is no dynamic_parallel_branch"),
        (lambda: Step.cached(add("a", 1), cache_backend=object()), "a cache_backend cannot be given"),
        (lambda: Step.cached(Step.map_over("a", add("b", 1))), "must be a step of a function"),
        (lambda: Flujo(Step.human_in_the_loop("a", "about ${other}")), "the question of 'a': .*other"),
        (lambda: Flujo(Step.human_in_the_loop("a", "about ${input")), "the question of 'a': "),
        (lambda: Flujo(add("a", 1), hooks=[a_hook_that_waits]), "hooks are called directly"),
        (lambda: Step.human_in_the_loop("a", input_schema=7), "input_schema must be"),
        (lambda: Pipeline([ANY]), "7 is neither a pipeline nor a step"),
        (lambda: Pipeline(ANY), "a pipeline is made of a list of steps"),
        (lambda: Flujo(add("a", 1), usage_limits=object()), "usage_limits cannot be given yet"),
        (lambda: Flujo(), "a runner needs a pipeline"),
        (
            lambda: Flujo(registry={"a": add("a", 1)}, pipeline_name="b"),
            "the registry has no pipeline 'b', but 'a'",
        ),
    ],
)
def test_f24_what_cannot_be_built_is_a_configuration_error(build: Callable[[], object], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        build()


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'max_retry'"):
        Step("a", lambda a: 0, max_retry=1)
    with pytest.raises(TypeError, match="'max_retry'"):
        step(max_retry=1)(lambda a: 0)


def test_pipelines_are_put_together() -> None:
    a, b = Pipeline.from_step(add("a", 1), name="left", metadata={"x": 1, "y": 1}), add("b", 1)
    both = a >> b >> Pipeline([add("c", 1)], name="right", metadata={"y": 2})
    assert [each.name for each in both.steps] == ["a", "b", "c"]
    assert (both.name, both.metadata) == ("left", {"x": 1, "y": 2})
    assert (a.name, [each.name for each in a.steps]) == ("left", ["a"])
    assert (b >> a).name == "left"
    assert (b >> b).name == "pipeline-b"
    started = time.monotonic()
    chain = Pipeline([add(f"s{i}", 1) for i in range(1_000)])
    assert len(chain.version) > 10
    assert time.monotonic() - started < 30
