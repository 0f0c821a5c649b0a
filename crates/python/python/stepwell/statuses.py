"""How runs and steps stand, in the words of those who use agents and tasks."""

from stepwell._text_enum import TextEnum


class AgentStatus(TextEnum):
    """How an agent's latest run stands."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StateStatus(TextEnum):
    """How the latest execution of a step stands."""

    PENDING = "pending"
    BLOCKED = "blocked"
    READY = "ready"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class TaskStatus(TextEnum):
    """How a run stands; the words of the engine itself.

    >>> TaskStatus("paused") == "paused"
    True
    """

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
