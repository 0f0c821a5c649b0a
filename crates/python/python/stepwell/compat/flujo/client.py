"""`flujo.client`: the client, its models and its exceptions."""

from stepwell.context import UNSET
from stepwell.errors import (
    AmbiguousWaitError,
    AnswerInvalidError,
    BackendUnavailableError,
    InvalidFilterError,
    NotResumableError,
    PipelineMismatchError,
    PipelineUnavailableError,
    ResumeConflictError,
    ResumeError,
    RunExistsError,
    StateConflictError,
    StateValueError,
    TaskClientError,
    TaskNotFoundError,
)
from stepwell.pipeline_result import PipelineContext, PipelineResult, StepResult
from stepwell.statuses import TaskStatus
from stepwell.task_client import TaskClient
from stepwell.task_models import SystemState, TaskDetail, TaskSummary, WaitInfo

__all__ = [
    "UNSET",
    "AmbiguousWaitError",
    "AnswerInvalidError",
    "BackendUnavailableError",
    "InvalidFilterError",
    "NotResumableError",
    "PipelineContext",
    "PipelineMismatchError",
    "PipelineResult",
    "PipelineUnavailableError",
    "ResumeConflictError",
    "ResumeError",
    "RunExistsError",
    "StateConflictError",
    "StateValueError",
    "StepResult",
    "SystemState",
    "TaskClient",
    "TaskClientError",
    "TaskDetail",
    "TaskNotFoundError",
    "TaskStatus",
    "TaskSummary",
    "WaitInfo",
]
