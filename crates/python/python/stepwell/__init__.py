"""Stepwell runs workflows and AI agents so that no step is ever lost.

Modules are loaded when one of their names is used first, so that the import of the package costs next to nothing.
"""

from stepwell._native import END, __version__

# As in the module typing, which takes longer to import than all of this.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from stepwell.agent import Agent
    from stepwell.backends import InMemoryBackend, PostgresBackend, SQLiteBackend
    from stepwell.batch import BatchResult
    from stepwell.checkpoint import Checkpoint
    from stepwell.client import Client
    from stepwell.context import UNSET, Context, Secret
    from stepwell.engine import Engine
    from stepwell.errors import (
        AlreadyRunning,
        AmbiguousWaitError,
        AnswerInvalidError,
        BackendUnavailableError,
        CheckpointError,
        ChildFailed,
        ConfigurationError,
        ContextKeyError,
        ContextTypeError,
        DefinitionError,
        HumanTimeout,
        InvalidFilterError,
        NotResumableError,
        PipelineMismatchError,
        PipelineUnavailableError,
        ReplayMismatch,
        ResourceError,
        ResumeConflictError,
        ResumeError,
        RunCancelled,
        RunCancelledError,
        RunExistsError,
        RunFailed,
        RunFailedError,
        RunTimeout,
        RunTimeoutError,
        SignalTimeout,
        StaleContext,
        StateConflictError,
        StateValueError,
        StepError,
        StepwellError,
        TaskClientError,
        TaskNotFoundError,
        UsageLimitExceededError,
    )
    from stepwell.flujo import Flujo, RunEvent
    from stepwell.human_step import HumanInTheLoopStep
    from stepwell.needs import DependencyConfig, DependencyLifecycle, DependencyType
    from stepwell.pipeline import Pipeline
    from stepwell.pipeline_result import PipelineContext, PipelineResult, StepResult
    from stepwell.report import RunReport
    from stepwell.resources import Priority, ResourcePool, ResourceRequirements
    from stepwell.result import RunResult
    from stepwell.retry import RetryPolicy
    from stepwell.run import Run
    from stepwell.state_result import StateResult
    from stepwell.statuses import AgentStatus, StateStatus, TaskStatus
    from stepwell.step_config import BranchFailureStrategy, MergeStrategy, RefinementCheck, StepConfig
    from stepwell.step_context import StepContext
    from stepwell.steps import Step, step
    from stepwell.summary import RunSummary
    from stepwell.task import Task
    from stepwell.task_client import TaskClient
    from stepwell.task_models import SystemState, TaskDetail, TaskSummary, WaitInfo
    from stepwell.typed import TypedContextData
    from stepwell.workflow import Workflow

__all__ = [
    "END",
    "UNSET",
    "Agent",
    "AgentStatus",
    "AlreadyRunning",
    "AmbiguousWaitError",
    "AnswerInvalidError",
    "BackendUnavailableError",
    "BatchResult",
    "BranchFailureStrategy",
    "Checkpoint",
    "CheckpointError",
    "ChildFailed",
    "Client",
    "ConfigurationError",
    "Context",
    "ContextKeyError",
    "ContextTypeError",
    "DefinitionError",
    "DependencyConfig",
    "DependencyLifecycle",
    "DependencyType",
    "Engine",
    "Flujo",
    "HumanInTheLoopStep",
    "HumanTimeout",
    "InMemoryBackend",
    "InvalidFilterError",
    "MergeStrategy",
    "NotResumableError",
    "Pipeline",
    "PipelineContext",
    "PipelineMismatchError",
    "PipelineResult",
    "PipelineUnavailableError",
    "PostgresBackend",
    "Priority",
    "RefinementCheck",
    "ReplayMismatch",
    "ResourceError",
    "ResourcePool",
    "ResourceRequirements",
    "ResumeConflictError",
    "ResumeError",
    "RetryPolicy",
    "Run",
    "RunCancelled",
    "RunCancelledError",
    "RunEvent",
    "RunExistsError",
    "RunFailed",
    "RunFailedError",
    "RunReport",
    "RunResult",
    "RunSummary",
    "RunTimeout",
    "RunTimeoutError",
    "SQLiteBackend",
    "Secret",
    "SignalTimeout",
    "StaleContext",
    "StateConflictError",
    "StateResult",
    "StateStatus",
    "StateValueError",
    "Step",
    "StepConfig",
    "StepContext",
    "StepError",
    "StepResult",
    "StepwellError",
    "SystemState",
    "Task",
    "TaskClient",
    "TaskClientError",
    "TaskDetail",
    "TaskNotFoundError",
    "TaskStatus",
    "TaskSummary",
    "TypedContextData",
    "UsageLimitExceededError",
    "WaitInfo",
    "Workflow",
    "__version__",
    "step",
]

_NAMES = {
    "agent": ["Agent"],
    "backends": ["InMemoryBackend", "PostgresBackend", "SQLiteBackend"],
    "checkpoint": ["Checkpoint"],
    "context": ["UNSET", "Context", "Secret"],
    "batch": ["BatchResult"],
    "client": ["Client"],
    "engine": ["Engine"],
    "errors": [
        "AlreadyRunning",
        "AmbiguousWaitError",
        "AnswerInvalidError",
        "BackendUnavailableError",
        "CheckpointError",
        "ChildFailed",
        "ConfigurationError",
        "ContextKeyError",
        "ContextTypeError",
        "DefinitionError",
        "HumanTimeout",
        "InvalidFilterError",
        "NotResumableError",
        "PipelineMismatchError",
        "PipelineUnavailableError",
        "ReplayMismatch",
        "ResourceError",
        "ResumeConflictError",
        "ResumeError",
        "RunCancelled",
        "RunCancelledError",
        "RunExistsError",
        "RunFailed",
        "RunFailedError",
        "RunTimeout",
        "RunTimeoutError",
        "SignalTimeout",
        "StaleContext",
        "StateConflictError",
        "StateValueError",
        "StepError",
        "StepwellError",
        "TaskClientError",
        "TaskNotFoundError",
        "UsageLimitExceededError",
    ],
    "flujo": ["Flujo", "RunEvent"],
    "human_step": ["HumanInTheLoopStep"],
    "needs": ["DependencyConfig", "DependencyLifecycle", "DependencyType"],
    "pipeline": ["Pipeline"],
    "pipeline_result": ["PipelineContext", "PipelineResult", "StepResult"],
    "report": ["RunReport"],
    "resources": ["Priority", "ResourcePool", "ResourceRequirements"],
    "result": ["RunResult"],
    "retry": ["RetryPolicy"],
    "run": ["Run"],
    "state_result": ["StateResult"],
    "statuses": ["AgentStatus", "StateStatus", "TaskStatus"],
    "step_config": ["BranchFailureStrategy", "MergeStrategy", "RefinementCheck", "StepConfig"],
    "steps": ["Step", "step"],
    "step_context": ["StepContext"],
    "task": ["Task"],
    "task_client": ["TaskClient"],
    "task_models": ["SystemState", "TaskDetail", "TaskSummary", "WaitInfo"],
    "typed": ["TypedContextData"],
    "summary": ["RunSummary"],
    "workflow": ["Workflow"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


if not TYPE_CHECKING:  # A type checker that saw this would believe in every name.

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module 'stepwell' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"stepwell.{module}"), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
