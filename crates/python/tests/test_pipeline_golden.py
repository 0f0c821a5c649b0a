"""Python and Rust builders give one definition and one version (F24)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepwell import BranchFailureStrategy, MergeStrategy, Pipeline, Step

# The tests of the Rust library keep it, and build the same.
GOLDEN = Path(__file__).parents[2] / "stepwell/tests/it/golden/everything.json"


def same(value: Any) -> Any:
    return value


def test_f24_python_and_rust_give_the_same_version() -> None:
    both = Step.parallel("both", {"x": Step("x", same), "y": Step("y", same)})
    pipeline = Pipeline(
        [
            Step("tried", same, max_retries=2, timeout_s=30, fallback_step=same, sink_to="out.tried"),
            Step("updates", same, updates_context=True),
            Step.human_in_the_loop(
                "ask", "Send this?", {"type": "boolean"}, assignee="legal", deadline=3600, default=False
            ),
            Step.human_in_the_loop("show", options=["red", "blue"], sink_to="colour"),
            Step.loop_until(
                "loop",
                Step("body", same),
                lambda value, context: True,
                max_loops=7,
                initial_input_to_loop_body_mapper=lambda value, context: value,
                iteration_input_mapper=lambda value, context, rounds: value,
                loop_output_mapper=lambda value, context: value,
            ),
            Step.refine_until(
                "refine",
                Step("write", same),
                Step("judge", same),
                max_refinements=3,
                feedback_mapper=lambda value, check: value,
            ),
            Step.branch_on(
                "branch",
                lambda value, context: "yes",
                {"yes": Step("a", same) >> Step("b", same), "no": Step("c", same)},
                default_branch_pipeline=Step("d", same),
                branch_input_mapper=lambda value, context: value,
                branch_output_mapper=lambda value, context, key: value,
            ),
            Step.parallel(
                "parallel",
                {"web": Step("search", same), "db": both},
                context_include_keys=["colour"],
                merge_strategy=MergeStrategy.KEEP_FIRST,
                on_branch_failure=BranchFailureStrategy.IGNORE,
                reduce=lambda outputs: outputs,
                max_concurrent=2,
            ),
            Step.map_over("rows", Step("row", same), iterable_input="out.rows", max_concurrent=4),
            Step.cached(Step("last", same)),
        ],
        name="everything",
        metadata={"team": "legal"},
    )
    golden = json.loads(GOLDEN.read_text())
    assert pipeline.definition == golden["definition"]
    assert pipeline.version == golden["version"]
