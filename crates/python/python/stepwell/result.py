"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol, TypeVar

from stepwell import typed
from stepwell.errors import ContextKeyError, StepwellError, from_object
from stepwell.statuses import TaskStatus

_T = TypeVar("_T")


class Telling(Protocol):
    """What can tell more about a run than its result holds: the agent that it is of."""

    def metrics(self, run_id: str | None = None) -> dict[str, Any]:
        """Return what the run did, in numbers."""

    def warnings(self) -> list[dict[str, Any]]:
        """Return what the agent warns of."""


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
    _telling: Telling | None = field(default=None, repr=False, compare=False)

    @property
    def metrics(self) -> dict[str, Any]:
        """What the run did, in numbers; as `Agent.metrics`. The store is read for it."""
        return {} if self._telling is None else self._telling.metrics(self.run_id)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What is odd about the agent: steps that are named and not there, resources that are not counted."""
        return [] if self._telling is None else self._telling.warnings()

    @property
    def duration(self) -> float | None:
        """How many seconds it took, pauses and waits included."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def get_state(self, key: str, default: Any = None) -> Any:
        """Return the value that the run left under a key, or the default.

        Raises:
            KeyError: The value is typed, and `get_typed` reads it.
        """
        value = self.context.get(key, default)
        if (parts := typed.parts_of(value)) is not None:
            raise ContextKeyError(f"context key {key!r} holds a {parts[0]}: read it as that type")
        return value

    def get_typed(self, key: str, cls: type[_T]) -> _T | None:
        """Return the value that the run left under a key if it is of that class; None: it is not.

        Raises:
            TypeError: The class has other fields by now, or is no dataclass or pydantic model.
        """
        parts = typed.parts_of(self.context.get(key))
        return None if parts is None else typed.load(*parts, cls, key)

    def _repr_html_(self) -> str:
        """Show it in a notebook: a table of its steps."""
        from stepwell import _html

        return _html.of_result(self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process, so that it can be pickled."""
        return {**self.__dict__, "_telling": None}

    @classmethod
    def _of(cls, told: Mapping[str, Any], telling: Telling | None = None) -> RunResult:
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
            _telling=telling,
        )


def moment(seconds: float | None) -> datetime | None:
    """Return a moment given in seconds since 1970."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
