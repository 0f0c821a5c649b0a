"""Tasks as people see them: what is listed of a run, what is known of it, what it asks; and system state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from stepwell.pipeline_result import StepResult, error_message, history, modelled, snapshot
from stepwell.statuses import TaskStatus


@dataclass(frozen=True)
class TaskSummary:
    """A run as it is listed."""

    run_id: str
    """Which run."""
    pipeline_name: str
    """Of which workflow."""
    pipeline_version: str
    """Of which version of it: a hash of what it declares."""
    status: TaskStatus
    """How it stands."""
    created_at: datetime
    """When it was created, in UTC."""
    updated_at: datetime
    """When a status or an outcome of it changed last, in UTC."""
    metadata: dict[str, Any]
    """Its tags."""
    pause_reason: str | None
    """Why it is paused, if it is: `input` (only people and signals can move it) or `operator`."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, with times as they are."""
        return dataclasses.asdict(self)

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> TaskSummary:
        return cls(**_listed(told))


@dataclass(frozen=True)
class WaitInfo:
    """An open question."""

    wait_id: str
    """Its id: what an answer is given to."""
    step: str
    """The step that asks."""
    prompt: str
    """What is asked."""
    schema: dict[str, Any] | None
    """The JSON Schema that an answer must fit."""
    options: list[Any] | None
    """The choices, `{value, label}` or plain values."""
    default: Any
    """What stands in for an answer after the deadline."""
    assignee: str | None
    """Who should answer."""
    deadline: datetime | None
    """Until when, in UTC."""
    opened_at: datetime
    """Since when, in UTC."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, with times as they are."""
        return dataclasses.asdict(self)

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> WaitInfo:
        names = ("wait_id", "step", "prompt", "schema", "options", "default", "assignee")
        deadline = told["deadline"]
        return cls(
            **{name: told[name] for name in names},
            deadline=None if deadline is None else _utc(deadline),
            opened_at=_utc(told["opened_at"]),
        )


@dataclass(frozen=True)
class TaskDetail(TaskSummary):
    """A run in full, as it stood when it was asked for."""

    current_step_index: int
    """How many steps of its top level have completed."""
    step_history: list[StepResult]
    """What its steps came to, in the order in which they ended. An open question is not among them."""
    context_snapshot: dict[str, Any]
    """Its context; with it `step_outputs`, and each of those under the name of its step where no key has that name."""
    last_prompt: str | None
    """What the oldest open question asks."""
    pending_human_input_schema: dict[str, Any] | None
    """What an answer to it must fit."""
    error_message: str | None
    """What ended it, if it failed or was cancelled."""
    input: Any
    """What it was begun with, or what a retry replaced that with."""
    output: Any
    """What its last step returned; None unless it completed."""
    open_waits: list[WaitInfo]
    """Its open questions and those of runs that it waits for, oldest first."""
    total_cost_usd: float = 0.0
    """What it cost."""
    cost_incomplete: bool = False
    """Whether something in it has a cost that nobody knows."""
    total_tokens: int = 0
    """Tokens that it used."""

    @classmethod
    def _told(
        cls,
        listed: Mapping[str, Any],
        told: Mapping[str, Any],
        asked: list[dict[str, Any]],
        model: Any = None,
    ) -> TaskDetail:
        """Make it of the run as it is listed, of what the engine tells of it, and of its open questions."""
        steps, oldest = history(told), asked[0] if asked else None
        known = snapshot(told)
        return cls(
            **{**_listed(listed), "status": TaskStatus(told["status"]), "pause_reason": told["pause_reason"]},
            current_step_index=sum(step.success for step in steps),
            step_history=steps,
            context_snapshot=known if model is None else _fields(modelled(model, known)),
            last_prompt=None if oldest is None else oldest["prompt"],
            pending_human_input_schema=None if oldest is None else oldest["schema"],
            error_message=error_message(told),
            input=told["input"],
            output=told["output"] if told["status"] == "completed" else None,
            open_waits=[WaitInfo._of(one) for one in asked],
        )


@dataclass(frozen=True)
class SystemState:
    """A value that is kept outside of runs."""

    key: str
    """What it is kept under."""
    value: dict[str, Any]
    """The value."""
    updated_at: datetime
    """When it was written, in UTC."""
    version: int = field(default=1)
    """Counts its writes: 1, 2, …"""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, with times as they are."""
        return dataclasses.asdict(self)

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> SystemState:
        return cls(**{**told, "updated_at": _utc(told["updated_at"])})


def _listed(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run_id": told["run_id"],
        "pipeline_name": told["workflow"],
        "pipeline_version": told["version"],
        "status": TaskStatus(told["status"]),
        "created_at": _utc(told["created_at"]),
        "updated_at": _utc(told["updated_at"]),
        "metadata": told["metadata"],
        "pause_reason": told["pause_reason"],
    }


def _fields(instance: Any) -> dict[str, Any]:
    """Return the fields of an instance of a model."""
    if hasattr(instance, "model_dump"):
        return dict(instance.model_dump())
    if dataclasses.is_dataclass(instance) and not isinstance(instance, type):
        return dataclasses.asdict(instance)
    return dict(vars(instance))


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
