"""The pipelines of the application. What they do stands in for models and mail servers."""

from __future__ import annotations

from typing import Any

from stepwell import Pipeline, Step, step

DECISION = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["approve", "reject"]},
        "comment": {"type": "string"},
    },
    "required": ["verdict"],
    "additionalProperties": False,
}


@step
async def summarize(document: dict[str, Any]) -> dict[str, Any]:
    """Say in a line what a document is about."""
    first_line = document["text"].strip().splitlines()[0]
    return {"title": document["title"], "summary": first_line[:80]}


@step
async def publish(decision: dict[str, Any]) -> str:
    """Do what was decided."""
    return "published" if decision["verdict"] == "approve" else "archived"


@step
async def understand(message: str) -> str:
    """Find out what is not clear."""
    return f"By {message!r}, do you mean this year or all years?"


@step
async def answer(clarified: str) -> str:
    """Answer, now that it is clear."""
    return f"Sales of {clarified}: 1,200"


review = Pipeline(
    [
        summarize,
        Step.human_in_the_loop("decide", message_for_user="Publish this document?", input_schema=DECISION),
        publish,
    ],
    name="review",
)

chat = Pipeline([understand, Step.human_in_the_loop("clarify"), answer], name="chat")

#: By their names, for runs that are answered without their pipeline.
PIPELINES = {pipeline.name: pipeline for pipeline in (review, chat)}
