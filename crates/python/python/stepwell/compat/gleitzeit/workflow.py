"""A workflow as programs of Gleitzeit see it: what it is made of, and how its run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stepwell.report import RunReport
from stepwell.statuses import TaskStatus


@dataclass
class Workflow:
    """A workflow, and how its run stands if it has one.

    >>> nap = Workflow("Nap", [{"name": "Nap", "method": "timer/sleep", "params": {"seconds": 0}}])
    >>> print(nap.status, nap.completed_tasks, nap.total_tasks)
    pending 0 1
    """

    name: str
    """What people call it."""
    tasks: list[dict[str, Any]]
    """The tasks, as they were given; of a run that was looked up, as the store has them."""
    description: str = ""
    """What it is for."""
    id: str = ""
    """The run; of a definition that has none, what its runs are listed by."""
    workflow_id: str = ""
    """What its runs are listed by."""
    version: str = ""
    """The hash of what it declares."""
    status: TaskStatus = TaskStatus.PENDING
    """How the run stands."""
    completed_tasks: int = 0
    """How many tasks ended well."""
    failed_tasks: int = 0
    """How many tasks failed for good."""
    total_tasks: int = -1
    """How many tasks there are; one with `for_each` is one."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What others see of the tasks that have ended, by id."""
    error: dict[str, Any] | None = None
    """What ended the run, unless it completed."""
    created_at: datetime | None = None
    """When the run was created."""
    started_at: datetime | None = None
    """When it began."""
    ended_at: datetime | None = None
    """When it ended."""
    definition: Mapping[str, Any] | None = field(default=None, repr=False)
    """All that its file would hold."""

    def __post_init__(self) -> None:
        """Count the tasks."""
        if self.total_tasks < 0:
            self.total_tasks = len(self.tasks)

    def to_definition(self) -> dict[str, Any]:
        """Return what a file of the workflow would hold."""
        if self.definition is not None:
            return dict(self.definition)
        told: dict[str, Any] = {"name": self.name, "tasks": self.tasks}
        if self.description:
            told["description"] = self.description
        if name := self.workflow_id or self.id:
            told["id"] = name
        return told


def of_report(report: RunReport, tasks: list[dict[str, Any]] | None = None) -> Workflow:
    """Return a run as it stands; the tasks as they were given, if somebody knows."""
    return Workflow(
        id=report.run_id,
        name=report.name,
        description=report.description,
        tasks=[_task(step) for step in report.steps] if tasks is None else tasks,
        workflow_id=report.workflow,
        version=report.version,
        status=report.status,
        completed_tasks=report.completed,
        failed_tasks=report.failed,
        total_tasks=report.total,
        results=report.results,
        error=None if report.error is None else report.error.to_dict(),
        created_at=report.created_at,
        started_at=report.started_at,
        ended_at=report.finished_at,
    )


def _task(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step of the store as a task of a file."""
    action = step["action"]
    task = {"id": step["name"], "name": step.get("title", step["name"])}
    task.update({key: action[key] for key in ("protocol", "method", "params") if key in action})
    if needs := step.get("needs"):
        task["dependencies"] = [need["step"] for need in needs]
    return task
