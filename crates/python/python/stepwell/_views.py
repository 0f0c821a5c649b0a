"""What an agent shows of its latest run. Each look reads the last committed state, and waits for nobody."""

from __future__ import annotations

import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stepwell import _engines, _lint, _native
from stepwell.checkpoint import Checkpoint
from stepwell.result import Telling, moment
from stepwell.statuses import AgentStatus, StateStatus

if TYPE_CHECKING:
    from stepwell._describe import State
    from stepwell.resources import ResourcePool
    from stepwell.run import Run

_COUNTED = (
    *("completed", "running", "pending", "ready", "blocked", "waiting", "retrying", "failed", "timed_out"),
    *(
        "cancelled",
        "skipped",
        "executions",
        "attempts",
        "retries",
        "conflicts",
        "joins",
        "absorbed",
        "max_running",
    ),
)


@dataclass(frozen=True)
class StateMetadata:
    """How a step of a run stands."""

    state_id: str
    """Its name."""
    status: StateStatus
    """How its latest execution stands."""
    detail: str | None
    """The same in the words of runs; None: it was never activated."""
    attempts: int
    """Attempts that its latest execution has begun."""
    max_retries: int
    """Further attempts after a failed one."""
    resources: dict[str, float]
    """What an attempt books."""
    dependencies: list[str]
    """The steps that it needs."""
    satisfied_dependencies: list[str]
    """Those of them that have completed."""
    last_execution: datetime | None
    """When it last began."""
    last_success: datetime | None
    """When it last completed."""


@dataclass
class Restored:
    """A run that is to be made of a checkpoint."""

    checkpoint: Checkpoint
    run_id: str
    allow_changes: bool


class AgentViews(ABC):
    """What an agent shows of its latest run."""

    _states: dict[str, State]
    _pool: ResourcePool | None
    _store: str | None
    _restored: Restored | None

    @property
    @abstractmethod
    def name(self) -> str:
        """The name."""

    @property
    def run_id(self) -> str | None:
        """Its latest run; None before the first."""
        if self._restored is not None:
            return self._restored.run_id
        run = self._current()
        return None if run is None else run.id

    @property
    def status(self) -> AgentStatus:
        """How the latest run stands; `idle` before the first."""
        return self._look()[0]

    @property
    def pause_reason(self) -> str | None:
        """Why the latest run is paused: by an `operator`, or for `input`; None: it is not."""
        return self._look()[1]

    @property
    def state_metadata(self) -> dict[str, StateMetadata]:
        """How each step stands in the latest run, by its name."""
        known = self.create_checkpoint().state_metadata
        own = {name: _not_begun(state) for name, state in self._states.items() if name not in known}
        return own | {name: _metadata(told) for name, told in known.items()}

    @property
    def completed_states(self) -> set[str]:
        """Steps of the latest run that have completed at least once."""
        return set(self.create_checkpoint().completed_states)

    @property
    def _running_states(self) -> set[str]:
        """Steps of the latest run that are under way. `metrics` counts them."""
        return set(self.create_checkpoint().running_states)

    @property
    def priority_queue(self) -> list[dict[str, Any]]:
        """Executions that wait for a place or a worker: `step`, `ordinal`, `priority`, `status`, the next one first."""
        return list(self.create_checkpoint().priority_queue)

    def create_checkpoint(self) -> Checkpoint:
        """Return how the latest run stands, as plain data; before the first an empty one that is `idle`."""
        if self._restored is not None:
            return self._restored.checkpoint
        run = self._current()
        return Checkpoint._idle(self.name) if run is None else Checkpoint._read(run._native.checkpoint_now())

    def latest_checkpoint(self, run_id: str | None = None) -> Checkpoint | None:
        """Return the last checkpoint that a run took by itself, while it ran or at its end.

        It takes them if the agent has a `checkpoint_interval`.

        Args:
            run_id: Which run; without it, the latest.
        """
        native = self._native_run(run_id)
        text = None if native is None else native.latest_checkpoint()
        return None if text is None else Checkpoint._read(text)

    def metrics(self, run_id: str | None = None) -> dict[str, Any]:
        """Return what a run did so far, in numbers.

        Executions by their status (`completed`, `running` and so on) and in all (`executions`), `attempts`, `retries`,
        `conflicts`, `joins`, `absorbed`, `max_running`, `run_seconds`, `queued_seconds`, and `bookings`: by dimension
        of the resource pool, what attempts of all runs have booked now and how much there is.

        Args:
            run_id: Which run; without it, the latest.
        """
        native = self._native_run(run_id)
        empty = dict.fromkeys(_COUNTED, 0) | {"run_seconds": 0.0, "queued_seconds": 0.0}
        told: dict[str, Any] = empty if native is None else native.metrics()
        totals = _engines.totals(self._pool)
        booked = self._engine_now().booked() if totals else {}
        bookings = {name: [booked.get(name, 0.0), total] for name, total in totals.items()}
        return {**told, "bookings": bookings}

    def dead_letters(self, run_id: str | None = None) -> list[dict[str, Any]]:
        """Return what failed for good in a run, oldest first, whatever was done about it.

        Args:
            run_id: Which run; without it, the latest.
        """
        native = self._native_run(run_id)
        letters = [] if native is None else native.dead_letters_now()
        return [{**letter, "agent": self.name} for letter in letters]

    def lint(self) -> list[dict[str, Any]]:
        """Return what the agent can do and was hardly meant to: `code`, `step`, `message`, `hint`. It changes nothing.

        Raises:
            DefinitionError: It cannot be run at all.
        """
        found = [*self._unknown_targets(), *self._native_lint()]
        for state in self._states.values():
            found += _lint.findings(state.name, state.func)
        return found

    def warnings(self) -> list[dict[str, Any]]:
        """Return those findings of `lint` that a run begins with.

        They are steps that are named and not there, and resources that are asked for and not counted.
        """
        uncounted = [one for one in self._native_lint() if one["code"] == "advisory_resource"]
        return [*self._unknown_targets(), *uncounted]

    def _unknown_targets(self) -> list[dict[str, Any]]:
        return [
            {
                "code": "unknown_target",
                "step": state.name,
                "message": f"state {state.name!r} returns {name!r}, which no state is named",
                "hint": "add it before that is returned, or the state fails",
            }
            for state in self._states.values()
            if state.described["is_inferred"]
            for name in state.described["next"] or ()
            if name != _native.END and not _is_there(name, self._states)
        ]

    @abstractmethod
    def _current(self) -> Run | None:
        """Return the latest run."""

    @abstractmethod
    def _native_lint(self) -> list[dict[str, Any]]:
        """Return what the engine finds odd."""

    def _telling(self, run: _native.Run | _native.Agent) -> Telling:
        return self

    def _look(self) -> tuple[AgentStatus, str | None]:
        if self._restored is not None:
            was = self._restored.checkpoint.agent_status
            return (was, None) if was is AgentStatus.COMPLETED else (AgentStatus.PAUSED, "operator")
        run = self._current()
        if run is None:
            return AgentStatus.IDLE, None
        status, reason = run._native.look()
        return (AgentStatus.IDLE if status == "pending" else AgentStatus(status)), reason

    def _native_run(self, run_id: str | None) -> _native.Run | None:
        if run_id is not None and run_id != self.run_id:
            return self._engine_now().find_now(self.name, run_id)
        run = None if self._restored is not None else self._current()
        return None if run is None else run._native

    def _engine_now(self) -> _native.Engine:
        return _engines.opened_now(self._store, self._pool)


def _is_there(name: str, states: Iterable[str]) -> bool:
    if "*" not in name:
        return name in states
    # Only a `*` is a pattern in a name.
    pattern = "*".join(part.replace("[", "[[]").replace("?", "[?]") for part in name.split("*"))
    return any(fnmatch.fnmatchcase(state, pattern) for state in states)


def _metadata(told: dict[str, Any]) -> StateMetadata:
    return StateMetadata(
        state_id=told["state_id"],
        status=StateStatus(told["status"]),
        detail=told["detail"],
        attempts=told["attempts"],
        max_retries=told["max_retries"],
        resources=told["resources"],
        dependencies=told["dependencies"],
        satisfied_dependencies=told["satisfied_dependencies"],
        last_execution=moment(told["last_execution"]),
        last_success=moment(told["last_success"]),
    )


def _not_begun(state: State) -> StateMetadata:
    return StateMetadata(
        state_id=state.name,
        status=StateStatus.PENDING,
        detail=None,
        attempts=0,
        max_retries=(state.described["retry"] or {}).get("max_retries", 0),
        resources=state.described["resources"],
        dependencies=list(state.needs),
        satisfied_dependencies=[],
        last_execution=None,
        last_success=None,
    )
