"""An approval queue and a chat over HTTP.

    uvicorn --factory approvals_app.app:create_app

Requests return as soon as what they ask for is in the store; the pipelines go on beside them, and after a crash in the
next process. No background jobs are needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from approvals_app.pipelines import PIPELINES, chat, review
from stepwell import Flujo, SQLiteBackend, StepwellError, TaskClient, TaskNotFoundError


class Document(BaseModel):
    """A document that somebody must approve."""

    title: str | None = None
    text: str
    department: str


class Decision(BaseModel):
    """What somebody decided: an answer to the question that was shown."""

    wait_id: str
    answer: Any
    answered_by: str


def create_app(backend: Any = None) -> FastAPI:
    """Make the application over a backend."""
    store = backend if backend is not None else SQLiteBackend("approvals.db")
    client = TaskClient(store, registry=PIPELINES)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as open_runners:
            # Runs that an earlier process left go on here.
            for pipeline in PIPELINES.values():
                await open_runners.enter_async_context(Flujo(pipeline, state_backend=store))
            yield
        await client.close()

    app = FastAPI(title="Approvals", lifespan=lifespan)

    @app.exception_handler(StepwellError)
    async def refused(_: Request, error: StepwellError) -> JSONResponse:
        """Tell an error as it is: its status, its code, and what to do about it."""
        return JSONResponse(error.to_dict(), status_code=error.http_status)

    @app.post("/documents", status_code=202)
    async def submit(document: Document) -> dict[str, str]:
        """Begin a review."""
        tags: dict[str, Any] = {"assigned_to": document.department}
        if document.title:
            tags["title"] = document.title
        given = {"title": document.title or "Untitled Task", "text": document.text}
        task = await client.start_task(review, given, metadata=tags)
        return {"id": task.run_id}

    @app.get("/approvals")
    async def approvals(department: str) -> list[dict[str, Any]]:
        """List what waits for a department, newest first."""
        tasks = await client.list_tasks(status="paused", metadata_filter={"assigned_to": department})
        return [
            {
                "id": task.run_id,
                "title": task.metadata.get("title", "Untitled Task"),
                "waiting_since": task.updated_at,
            }
            for task in tasks
        ]

    @app.get("/approvals/{run_id}")
    async def approval(run_id: str) -> dict[str, Any]:
        """Show what is to be decided, and what to decide it on."""
        task = await client.get_task(run_id)
        question = task.open_waits[0] if task.open_waits else None
        return {
            "id": task.run_id,
            "status": task.status,
            "question": None if question is None else question.prompt,
            "wait_id": None if question is None else question.wait_id,
            "form": task.pending_human_input_schema,
            "summary": task.context_snapshot.get("summarize"),
            "output": task.output,
        }

    @app.post("/approvals/{run_id}")
    async def decide(run_id: str, decision: Decision) -> dict[str, str]:
        """Take a decision. Of two who decide at once one is taken, and the other is told (409)."""
        result = await client.resume_task(
            run_id,
            decision.answer,
            wait_id=decision.wait_id,
            answered_by=decision.answered_by,
            wait=False,
        )
        return {"id": run_id, "status": result.status}

    @app.post("/chat/{conversation_id}")
    async def turn(conversation_id: str, user_message: str) -> dict[str, Any]:
        """Take a turn of a conversation, which may ask back."""
        try:
            result = await client.resume_task(conversation_id, chat, user_message)
        except TaskNotFoundError:
            await client.start_task(chat, user_message, run_id=conversation_id)
            result = await client.wait_task(conversation_id)
        if result.status == "completed":
            return {"type": "answer", "text": result.output}
        return {"type": "question", "text": result.final_pipeline_context.pause_message}

    return app
