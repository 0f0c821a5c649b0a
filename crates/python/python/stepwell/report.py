"""How a run stands, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stepwell.errors import StepwellError, from_object
from stepwell.result import moment
from stepwell.statuses import TaskStatus


@dataclass(frozen=True)
class RunReport:
    """How a run stands, and what its steps came to so far. `Run.report` returns it."""

    run_id: str
    """Which run."""
    workflow: str
    """The id of what it runs."""
    version: str
    """The hash of what it runs."""
    name: str
    """What people call that."""
    description: str
    """What that is for."""
    status: TaskStatus
    """How it stands."""
    results: dict[str, dict[str, Any]]
    """What others see of each step that has ended: its result object with `status`, `success` and `error`. By id, in
    the order of definition."""
    output: Any
    """What the only step that leads nowhere resulted in."""
    error: StepwellError | None
    """What ended it, unless it completed."""
    metadata: dict[str, Any]
    """Its tags."""
    total: int
    """How many steps there are; one with `for_each` is one."""
    completed: int
    """How many of them ended well."""
    failed: int
    """How many of them failed for good."""
    steps: list[dict[str, Any]]
    """The steps as they are declared, in the form that the store keeps."""
    created_at: datetime
    """When it was created."""
    started_at: datetime | None
    """When it began."""
    finished_at: datetime | None
    """When it ended."""

    def _repr_html_(self) -> str:
        """Show it in a notebook: a table of its steps."""
        from stepwell import _html

        return _html.of_report(self)

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> RunReport:
        created_at = moment(told["created_at"])
        assert created_at is not None  # noqa: S101 - every run was created
        return cls(
            run_id=told["run_id"],
            workflow=told["workflow"],
            version=told["version"],
            name=told["name"],
            description=told["description"],
            status=TaskStatus(told["status"]),
            results=told["results"],
            output=told["output"],
            error=None if told["error"] is None else from_object(told["error"]),
            metadata=told["metadata"],
            total=len(told["steps"]),
            completed=len(told["completed_states"]),
            failed=len(told["failed_states"]),
            steps=told["steps"],
            created_at=created_at,
            started_at=moment(told["started_at"]),
            finished_at=moment(told["finished_at"]),
        )
