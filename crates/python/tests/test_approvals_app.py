"""Drives the example application of approvals over HTTP, in process: acceptance F22, F21 and F4."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Backend

from stepwell import RunFailedError, TaskClient

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "python"))

from approvals_app import etl
from approvals_app.app import create_app


@pytest.fixture
async def http(backend: Backend) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(backend)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as http,
    ):
        yield http


async def submitted(http: httpx.AsyncClient, department: str, title: str | None = None) -> str:
    document = {"title": title, "text": "We sell wells.\nMore.", "department": department}
    response = await http.post("/documents", json=document)
    assert response.status_code == 202
    run_id = str(response.json()["id"])
    await until(http, run_id, "paused")
    return run_id


async def until(http: httpx.AsyncClient, run_id: str, status: str) -> dict[str, Any]:
    async def shown() -> dict[str, Any]:
        while True:
            told: dict[str, Any] = (await http.get(f"/approvals/{run_id}")).json()
            if told["status"] == status:
                return told
            await asyncio.sleep(0.01)

    return await asyncio.wait_for(shown(), 30)


async def listed(http: httpx.AsyncClient, department: str) -> list[tuple[str, str]]:
    shown = (await http.get("/approvals", params={"department": department})).json()
    assert all(one["waiting_since"].endswith(("Z", "+00:00")) for one in shown)
    return [(one["id"], one["title"]) for one in shown]


async def test_f22_a_department_sees_what_waits_for_it_and_an_answer_takes_it_off(
    http: httpx.AsyncClient,
) -> None:
    contract = await submitted(http, "legal", "Contract")
    untitled = await submitted(http, "legal")
    await submitted(http, "finance", "Budget")
    assert await listed(http, "legal") == [(untitled, "Untitled Task"), (contract, "Contract")]

    shown = (await http.get(f"/approvals/{contract}")).json()
    assert shown["question"] == "Publish this document?"
    assert shown["summary"] == {"title": "Contract", "summary": "We sell wells."}
    assert shown["form"]["required"] == ["verdict"]

    decision = {"wait_id": shown["wait_id"], "answer": {"verdict": "maybe"}, "answered_by": "ann"}
    refused = await http.post(f"/approvals/{contract}", json=decision)
    assert refused.status_code == 422
    assert refused.json()["data"]["errors"][0]["path"] == "/verdict"

    decision["answer"] = {"verdict": "approve"}
    assert (await http.post(f"/approvals/{contract}", json=decision)).json()["status"] == "running"
    assert (await until(http, contract, "completed"))["output"] == "published"
    assert await listed(http, "legal") == [(untitled, "Untitled Task")]

    late = await http.post(f"/approvals/{contract}", json=decision)
    assert (late.status_code, late.json()["name"]) == (409, "WORKFLOW_INVALID_STATE")
    unknown = await http.get("/approvals/run_unknown")
    assert (unknown.status_code, unknown.json()["name"]) == (404, "WORKFLOW_NOT_FOUND")


async def test_f22_of_two_who_decide_at_once_one_is_taken(http: httpx.AsyncClient) -> None:
    run_id = await submitted(http, "legal")
    wait_id = (await http.get(f"/approvals/{run_id}")).json()["wait_id"]
    verdicts = ["approve", "reject"] * 5
    responses = await asyncio.gather(
        *(
            http.post(
                f"/approvals/{run_id}",
                json={"wait_id": wait_id, "answer": {"verdict": verdict}, "answered_by": "x"},
            )
            for verdict in verdicts
        )
    )
    taken = [verdict for verdict, one in zip(verdicts, responses, strict=True) if one.status_code == 200]
    assert sorted(one.status_code for one in responses) == [200] + [409] * 9
    done = await until(http, run_id, "completed")
    assert done["output"] == {"approve": "published", "reject": "archived"}[taken[0]]


async def test_f4_a_chat_asks_back_answers_and_is_over(http: httpx.AsyncClient) -> None:
    async def turn(message: str) -> httpx.Response:
        return await http.post("/chat/c1", params={"user_message": message})

    asked = (await turn("sales")).json()
    assert asked == {"type": "question", "text": "By 'sales', do you mean this year or all years?"}
    assert (await turn("this year")).json() == {"type": "answer", "text": "Sales of this year: 1,200"}
    assert (await turn("again")).status_code == 409


async def test_f21_the_job_loses_no_row(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with TaskClient(backend) as client:
        with pytest.raises(RunFailedError, match="source"):
            await etl.run_etl(client)
        assert await client.get_system_state("etl_cursor") is None
        etl.SOURCE.write_text(json.dumps([{"id": n} for n in range(250)]))
        assert [await etl.run_etl(client) for _ in range(3)] == [100, 200, 250]
    assert [json.loads(line)["id"] for line in etl.TARGET.read_text().splitlines()] == list(range(250))
