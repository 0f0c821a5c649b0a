"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from stepwell.errors import StepwellError, from_object
from stepwell.statuses import TaskStatus


@dataclass(frozen=True)
class RunResult:
    """What came of a run."""

    run_id: str
    """Which run."""
    status: TaskStatus
    """How it ended."""
    error: StepwellError | None
    """What ended it, unless it completed."""
    context: dict[str, Any]
    """What its steps left, by key."""
    output: Any
    """What the only step that leads nowhere resulted in."""
    completed_states: frozenset[str]
    """Steps that ended well at least once."""
    failed_states: frozenset[str]
    """Steps that failed for good at least once."""
    not_reached: frozenset[str]
    """Steps that never began."""
    started_at: datetime | None
    """When it began."""
    finished_at: datetime | None
    """When it ended."""

    @property
    def duration(self) -> float | None:
        """How many seconds it took, pauses and waits included."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def get_state(self, key: str, default: Any = None) -> Any:
        """Return the value that the run left under a key, or the default."""
        return self.context.get(key, default)

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> RunResult:
        error = told["error"]
        return cls(
            run_id=told["run_id"],
            status=TaskStatus(told["status"]),
            error=None if error is None else from_object(error),
            context=told["context"],
            output=told["output"],
            completed_states=frozenset(told["completed_states"]),
            failed_states=frozenset(told["failed_states"]),
            not_reached=frozenset(told["not_reached"]),
            started_at=moment(told["started_at"]),
            finished_at=moment(told["finished_at"]),
        )


def moment(seconds: float | None) -> datetime | None:
    """Return a moment given in seconds since 1970."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
