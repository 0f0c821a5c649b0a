"""A workflow file, run from Python: two years of sales become a report.

    python examples/python/workflow_file.py

Paths are relative to the directory you run it from: the root of this repository. Kill it at any moment and run it
again: it goes on with the same run, and what was finished stays finished. When it is through, it is through: run again
it tells what came of it. `stepwell show sales-1` tells the same.
"""

import asyncio
from typing import Any

from stepwell import Client, Workflow


async def main() -> None:
    workflow = Workflow.load("examples/workflows/sales_report.yaml")
    print(f"{workflow.name}: {len(workflow.steps)} steps, version {workflow.version[:8]}")

    # Without a store it is that of the project: .stepwell/stepwell.db. The client carries the run out.
    async with Client() as client:
        report = await client.run_workflow(workflow, run_id="sales-1")
        for step, view in report.results.items():
            print(f"  {step}: {view['status']}")
        print(f"written to {report.results['place']['result']['report']}")

        # The service for exchange rates refused its first two calls.
        run = await client.get("sales-1")
        attempts = [event["event"]["attempt"] async for event in run.events() if is_attempt(event, "rates")]
        print(f"attempts at the exchange rates: {attempts}")

        completed = [
            found.run_id async for found in client.list(workflow="sales-report", status=report.status)
        ]
        print(f"completed: {completed}")


def is_attempt(event: dict[str, Any], step: str) -> bool:
    return bool(event["event"]["type"] == "AttemptStarted" and event["event"]["step"] == step)


asyncio.run(main())
