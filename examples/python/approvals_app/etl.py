"""A job for cron that loses no row, however often it fails or is killed.

python -m approvals_app.etl
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from stepwell import Pipeline, SQLiteBackend, Step, TaskClient

SOURCE, TARGET = Path("source.json"), Path("target.jsonl")
AT_ONCE = 100


async def copy(payload: dict[str, Any]) -> dict[str, Any]:
    """Copy so many rows, from one on. Rows that are there already are left alone, since it may be tried twice."""
    rows = json.loads(SOURCE.read_text())[payload["start_id"] : payload["start_id"] + payload["limit"]]
    there = {json.loads(line)["id"] for line in TARGET.read_text().splitlines()} if TARGET.exists() else set()
    with TARGET.open("a") as target:
        for row in rows:
            if row["id"] not in there:
                target.write(json.dumps(row) + "\n")
    return {"end_id": payload["start_id"] + len(rows)}


etl = Pipeline([Step("copy", copy, max_retries=2)], name="etl", metadata={"job_type": "etl"})


async def run_etl(client: TaskClient) -> int:
    """Copy the next rows, or those of the run that failed; return where the next run begins."""
    state = await client.get_system_state("etl_cursor")
    last_id = state.value["last_id"] if state else 0
    failed = await client.list_tasks(status="failed", metadata_filter={"job_type": "etl"}, limit=1)
    if failed:
        result = await client.resume_task(failed[0].run_id, etl)
    else:
        # The same cursor is the same run: a job that was killed is taken up, and none is begun twice.
        task = await client.start_task(etl, {"start_id": last_id, "limit": AT_ONCE}, run_id=f"etl_{last_id}")
        result = await client.wait_task(task.run_id)
    end = int(result.output["end_id"])
    await client.set_system_state(
        "etl_cursor", {"last_id": end}, expected_version=state.version if state else 0
    )
    return end


async def main() -> None:
    """Run once."""
    async with TaskClient(SQLiteBackend("etl.db")) as client:
        print(f"copied up to {await run_etl(client)}")


if __name__ == "__main__":
    asyncio.run(main())
