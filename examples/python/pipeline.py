"""A newsletter that survives its process: facts are gathered side by side, a draft is refined, a person decides.

    python examples/python/pipeline.py

Kill it whenever you like and run it again: what was finished is not done again, and the question is still open.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from stepwell import Flujo, Pipeline, RefinementCheck, SQLiteBackend, Step, StepContext, step


@step
async def topics(season: str) -> list[str]:
    return [f"wells in {season}", f"steps in {season}"]


@step(max_retries=3, timeout_s=10)
def research(topic: str, *, context: StepContext) -> str:
    # A plain function runs on a thread. The key is the same for every attempt, for services that take one.
    print(f"looking up {topic} ({context.idempotency_key})")
    return f"{topic} are deep"


@step(sink_to="facts")
def gather(facts: list[str]) -> list[str]:
    return facts


@step
def write(facts: list[str]) -> str:
    return ". ".join(facts)


@step
def judge(draft: str) -> RefinementCheck:
    return RefinementCheck(len(draft) < 40, feedback="shorter")


@step
def send(answer: str, *, context: StepContext) -> str:
    # What is done once is done once, whatever is killed when.
    number = context.once("send", lambda: 42)
    return f"sent as number {number}" if answer == "send" else "thrown away"


newsletter = Pipeline(
    [
        topics,
        Step.map_over("research_all", research, max_concurrent=2),
        gather,
        Step.refine_until("draft", write, judge, feedback_mapper=lambda facts, check: facts[:1]),
        Step.human_in_the_loop("approve", options=["send", "drop"]),
        send,
    ],
    name="newsletter",
    metadata={"team": "press"},
)


async def main(store: str) -> None:
    """Begin the run, or go on with it, and answer its question."""
    async with Flujo(newsletter, state_backend=SQLiteBackend(store)) as runner:
        result = await runner.run_async("spring", run_id="newsletter-1")
        for done in result.step_history:
            print(f"{done.name}: {done.output}")
        if result.status == "paused":
            print(f"asked: {result.final_pipeline_context.pause_message}")
            where = f"sqlite://{Path(store).resolve()}"
            print(f"answer with: stepwell --store {where} answer {result.run_id} --text send")
        else:
            print(result.output)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "newsletter.db"))
