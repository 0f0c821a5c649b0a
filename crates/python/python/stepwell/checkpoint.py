"""A run as it stood at one place of its journal."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from stepwell import _native
from stepwell.errors import CheckpointError
from stepwell.statuses import AgentStatus


class Checkpoint:
    """A run as it stood at one place of its journal, as plain data.

    No run needs one to survive its process: everything is in the store. A checkpoint is to look at a run, to carry it
    to another store, and to go on from it once more, or with another agent. Times are seconds since 1970. What it has
    beyond the attributes below is for the run that is made of it.
    """

    schema_version: int
    """The version of checkpoints that it is of."""
    run_id: str
    """The run that it was taken of."""
    seq: int
    """The last event that it knows of."""
    epoch: int
    """The life of the run: each retry begins one."""
    timestamp: float
    """When that event happened."""
    agent_name: str
    """The agent."""
    pause_reason: str | None
    """Why it was paused, if it was: `input` or `operator`."""
    definition: dict[str, Any]
    """The definition that it had."""
    definition_hash: str
    """The version of that."""
    completed_states: list[str]
    """Steps that had completed at least once."""
    running_states: list[str]
    """Steps of which an attempt was under way."""
    priority_queue: list[dict[str, Any]]
    """Executions that waited for a place or a worker, in the order in which they would have been taken."""
    state_metadata: dict[str, dict[str, Any]]
    """Each step by its name."""
    shared_state: dict[str, Any]
    """The context. A typed value is here as its fields."""
    types: dict[str, str]
    """The types of typed values, by key."""
    executions: list[dict[str, Any]]
    """All executions, in the order of their activation."""
    tokens: list[dict[str, Any]]
    """Live positions."""
    waits: list[dict[str, Any]]
    """Open questions and other waits."""
    timers: list[dict[str, Any]]
    """Other times that were to pass."""
    failures: list[dict[str, Any]]
    """What had failed for good."""
    session_start: float | None
    """When it last began, was resumed or retried."""
    metadata: dict[str, Any]
    """The tags of the run."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Made by an agent or a run; `from_dict` and `load` read one."""
        self._told = dict(told)

    def __getattr__(self, name: str) -> Any:
        """Return what it holds under a key."""
        if not name.startswith("_") and name in self._told:
            return self._told[name]
        raise AttributeError(f"a checkpoint has no {name!r}")

    @property
    def agent_status(self) -> AgentStatus:
        """How the run stood; `idle` if there was none."""
        return AgentStatus(self._told["agent_status"])

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return copy.deepcopy(self._told)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Checkpoint:
        """Return the checkpoint that a dict is.

        Raises:
            CheckpointError: It is none; the message names what is missing, of another type or of a newer version.
        """
        try:
            text = json.dumps(told, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"this is no checkpoint that can be restored: it is no JSON: {error}"
            ) from None
        return cls._read(_native.read_checkpoint(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that only its owner can read: whole or not at all. One that was there is replaced.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        _native.save_checkpoint(self._text(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a file.

        Raises:
            CheckpointError: It holds no checkpoint, or a damaged one.
            ConfigurationError: The file cannot be read.
        """
        return cls._read(_native.load_checkpoint(path))

    @classmethod
    def _read(cls, text: str) -> Checkpoint:
        return cls(json.loads(text))

    @classmethod
    def _idle(cls, agent_name: str) -> Checkpoint:
        """Return that of an agent without a run. None can be made of it."""
        empty_lists = (
            "completed_states",
            "running_states",
            "priority_queue",
            "executions",
            "tokens",
            "waits",
        )
        told: dict[str, Any] = {
            "schema_version": 1,
            "run_id": "",
            "seq": 0,
            "epoch": 0,
            "timestamp": time.time(),
            "agent_name": agent_name,
            "agent_status": "idle",
            "pause_reason": None,
            "definition": {},
            "definition_hash": "",
            "session_start": None,
        }
        told |= {name: [] for name in (*empty_lists, "timers", "failures")}
        return cls(told | {name: {} for name in ("state_metadata", "shared_state", "types", "metadata")})

    def _text(self) -> str:
        return json.dumps(self._told)

    def __eq__(self, other: object) -> bool:
        """Compare what they hold."""
        return isinstance(other, Checkpoint) and self._told == other._told

    __hash__ = None  # type: ignore[assignment] # it holds what can change

    def __repr__(self) -> str:
        """Show of which run it is and how that stood."""
        return f"Checkpoint({self.run_id!r}, seq={self.seq}, {self.agent_status})"
