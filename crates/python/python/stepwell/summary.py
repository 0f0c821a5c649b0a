"""Runs as they are listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stepwell.errors import StepwellError, from_object
from stepwell.result import moment
from stepwell.statuses import TaskStatus


@dataclass(frozen=True)
class RunSummary:
    """A run as it is listed. `Client.get` returns the run itself."""

    run_id: str
    """Which run."""
    workflow: str
    """The id of what it runs."""
    version: str
    """The hash of what it runs."""
    status: TaskStatus
    """How it stands."""
    pause_reason: str | None
    """Why it is paused: `input` or `operator`."""
    metadata: dict[str, Any]
    """Its tags."""
    parent: str | None
    """The run that began it."""
    error: StepwellError | None
    """What ended it, unless it completed."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it last came to stand otherwise."""
    started_at: datetime | None
    """When it began."""
    finished_at: datetime | None
    """When it ended."""

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> RunSummary:
        read = {
            "status": TaskStatus(told["status"]),
            "error": None if told["error"] is None else from_object(told["error"]),
            **{
                name: moment(told[name]) for name in ("created_at", "updated_at", "started_at", "finished_at")
            },
        }
        return cls(**{**told, **read})
