"""The pipelines that tests of tasks start."""

from __future__ import annotations

from typing import Any

from stepwell import Pipeline, Step, TaskClient


class Counts:
    """Counts executions of steps, outside of the engine."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.of: dict[str, int] = {}

    def note(self, name: str) -> None:
        """Count one."""
        self.of[name] = self.of.get(name, 0) + 1


def review(counts: Counts | None = None, name: str = "review") -> Pipeline:
    """Draft, ask, send."""
    counted = counts or Counts()

    async def draft(topic: str) -> str:
        counted.note("draft")
        return f"On {topic}"

    async def send(verdict: Any) -> Any:
        counted.note("send")
        return {"sent": verdict}

    ask = Step.human_in_the_loop("ask", message_for_user="Send it?")
    return Pipeline([Step("draft", draft), ask, Step("send", send)], name=name)


def failing(counts: Counts, times: int = 1) -> Pipeline:
    """Load, and fail so many times when it is to save."""

    async def load(data: Any) -> Any:
        counts.note("load")
        return data

    async def save(data: Any) -> Any:
        counts.note("save")
        if counts.of["save"] <= times:
            raise ValueError("bad row 7")
        return data

    return Pipeline([Step("load", load), Step("save", save, max_retries=0)], name="etl")


async def paused(client: TaskClient, pipeline: Pipeline, run_id: str, **given: Any) -> None:
    await client.start_task(pipeline, "wells", run_id=run_id, **given)
    assert (await client.wait_task(run_id, timeout=30)).status == "paused"
