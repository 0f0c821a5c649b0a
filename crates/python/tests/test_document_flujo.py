"""Runs every Python block of the guide to the middleware as it is printed.

Only what it leaves to its reader is supplied.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fastapi
import httpx
import pytest

from stepwell import HumanInTheLoopStep, NotResumableError, Pipeline, RunFailedError, Step
from stepwell.compat import flujo as package
from stepwell.compat.flujo import client, exceptions

DOCUMENT = Path(__file__).parent / "documents" / "flujo_middleware.md"
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"^ *```python\n(.*?)^ *```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
]
LAYOUT = ["client", "exceptions", "state", "state.backends"] + [
    f"state.backends.{store}" for store in ("sqlite", "postgres", "memory")
]


class Reader:
    """Someone who types the guide into one session, block by block."""

    def __init__(self) -> None:
        """Begin with what the guide imports nowhere."""
        self.names: dict[str, Any] = {"Flujo": package.Flujo, "Task": package.Task}

    async def types(self, number: int) -> None:
        """Type a block."""
        code = compile(BLOCKS[number], f"block {number}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        returned = eval(code, self.names)  # noqa: S307
        if inspect.iscoroutine(returned):
            await returned

    def __getitem__(self, name: str) -> Any:
        """Return what a name stands for."""
        return self.names[name]


async def draft_mail(topic: str) -> str:
    return f"Hi all, {topic}"


async def send(verdict: str) -> str:
    return f"sent: {verdict}"


def mail() -> Pipeline:
    """Draft, ask, and send: the pipeline that the guide imports."""
    ask = HumanInTheLoopStep("approve", message_for_user="Send this email?")
    return Pipeline([Step("email_draft", draft_mail), ask, Step("send", send)], name="mail")


@pytest.fixture
async def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Reader]:
    """Someone who has installed the package under the name that the guide imports, and typed the first block."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "flujo", package)
    for name in LAYOUT:
        module = importlib.import_module(f"stepwell.compat.flujo.{name}")
        monkeypatch.setitem(sys.modules, f"flujo.{name}", module)
    project = types.ModuleType("my_project.pipeline")
    project.pipeline_def = mail()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_project", types.ModuleType("my_project"))
    monkeypatch.setitem(sys.modules, "my_project.pipeline", project)
    reader = Reader()
    await reader.types(0)
    yield reader
    await reader["client"].close()
    await reader["backend"].close()


def test_the_guide_has_nine_blocks() -> None:
    assert len(BLOCKS) == 9


async def test_a_listing(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = reader["client"]
    tags = {"department": "legal", "priority": "high", "title": "Contract"}
    await tasks.start_task(mail(), "wells", run_id="run_1", metadata=tags)
    await tasks.start_task(mail(), "ropes", run_id="run_2", metadata={"department": "legal"})
    for run_id in ("run_1", "run_2"):
        await tasks.wait_task(run_id)
    await reader.types(1)
    assert [task.run_id for task in reader["pending_tasks"]] == ["run_2", "run_1"]
    assert [task.run_id for task in reader["legal_reviews"]] == ["run_1"]
    assert capsys.readouterr().out.startswith("run_1 - Started: 20")


async def test_b_inspecting_and_c_resuming(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    await reader["client"].start_task(mail(), "wells", run_id="run_12345")
    await reader["client"].wait_task("run_12345")
    await reader.types(2)
    assert capsys.readouterr().out == (
        "AI Request: Send this email?\nDraft Content: Hi all, wells\nSteps taken: 1\n"
    )
    await reader.types(3)
    assert capsys.readouterr().out == (
        "Workflow finished!\nFinal Output: sent: Approved with edits: Change the greeting to 'Hi Team'.\n"
    )
    await reader.types(2)
    assert reader["task"].status == "completed"


async def test_b_a_failed_task_tells_its_error(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    async def load(data: Any) -> Any:
        raise ValueError("bad row 7")

    await reader["client"].start_task(Step("load", load), 1, run_id="run_12345")
    with pytest.raises(RunFailedError):
        await reader["client"].wait_task("run_12345")
    await reader.types(2)
    assert "Error: step 'load' failed after 2 attempts: ValueError: bad row 7\n" in capsys.readouterr().out


async def test_d_system_state(reader: Reader) -> None:
    await reader.types(4)
    first = reader["last_sync"]
    await reader.types(4)
    assert first is None
    assert reader["last_sync"].value["items_processed"] == 500
    assert reader["last_sync"].version == 1


def service(reader: Reader) -> httpx.AsyncClient:
    """Make the application of the recipes, with the one handler that makes HTTP of its errors."""
    app = reader.names["app"] = fastapi.FastAPI()
    reader.names.update(chat_pipeline=mail(), TaskNotFoundError=client.TaskNotFoundError)

    @app.exception_handler(exceptions.FlujoError)
    async def refused(_: fastapi.Request, error: exceptions.FlujoError) -> fastapi.responses.JSONResponse:
        return fastapi.responses.JSONResponse(error.to_dict(), status_code=error.http_status)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


async def test_f22_recipe_1_lists_the_approvals_of_a_department(reader: Reader) -> None:
    async with service(reader) as http:
        await reader.types(5)
        tasks = reader["client"]
        await tasks.start_task(
            mail(), "a", run_id="a", metadata={"assigned_to": "legal", "title": "Contract"}
        )
        await tasks.start_task(mail(), "b", run_id="b", metadata={"assigned_to": "legal"})
        await tasks.start_task(mail(), "c", run_id="c", metadata={"assigned_to": "finance"})
        for run_id in "abc":
            await tasks.wait_task(run_id)
        shown = (await http.get("/approvals", params={"department": "legal"})).json()
        assert [(one["id"], one["title"]) for one in shown] == [("b", "Untitled Task"), ("a", "Contract")]
        assert shown[0]["waiting_since"].endswith(("Z", "+00:00"))
        await tasks.resume_task("b", mail(), "yes")
        shown = (await http.get("/approvals", params={"department": "legal"})).json()
        assert [one["id"] for one in shown] == ["a"]


async def test_f4_recipe_2_asks_back_and_answers(reader: Reader) -> None:
    async with service(reader) as http:
        await reader.types(6)

        async def turn(message: str) -> httpx.Response:
            return await http.post("/chat/c1", params={"user_message": message})

        first = await turn("wells")
        assert first.json() == {"type": "question", "text": "Send this email?"}
        assert (await turn("yes")).json() == {"type": "answer", "text": "sent: yes"}
        third = await turn("again")
        assert third.status_code == 409
        assert third.json()["data"]["reason"] == NotResumableError.reason


async def test_f21_recipe_3_skips_no_row(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    dice, fails = random.Random(7), [True]  # noqa: S311
    copied: list[int] = []
    runs = iter(range(1_000_000))

    async def copy(payload: dict[str, int]) -> dict[str, int]:
        if fails[0]:
            raise ConnectionError("the source is away")
        copied.extend(range(payload["start_id"], payload["start_id"] + payload["limit"]))
        return payload

    clock = types.SimpleNamespace(time=lambda: next(runs))
    pipeline = Pipeline([Step("copy", copy)], name="etl", metadata={"job_type": "etl"})
    reader.names.update(time=clock, etl_pipeline=pipeline)
    await reader.types(7)
    tasks = reader["client"]

    async def watermark() -> int:
        state = await tasks.get_system_state("etl_cursor")
        return 0 if state is None else int(state.value["last_id"])

    with pytest.raises(RunFailedError, match="the source is away"):
        await reader["run_etl"]()
    assert await watermark() == 0
    assert len(await tasks.list_tasks(status="failed")) == 1
    fails[0] = False
    await reader["run_etl"]()
    assert (await tasks.list_tasks(status="failed"), copied[0]) == ([], 0)
    for _ in range(20):
        fails[0] = dice.random() < 0.4
        try:
            await reader["run_etl"]()
        except RunFailedError:
            assert fails[0]
    assert set(copied) == set(range(max(copied) + 1)), "no id is skipped"
    assert len(copied) > 400


async def test_tags_of_a_task_are_found(reader: Reader) -> None:
    reader.names["runner"] = package.Flujo(Step("report", draft_mail), state_backend=reader["backend"])
    await reader.types(8)
    found = await reader["client"].list_tasks(metadata_filter={"user_id": "u_123"})
    assert [task.metadata for task in found] == [{"user_id": "u_123", "type": "report"}]
    await reader["runner"].aclose()
