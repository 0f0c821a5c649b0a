"""Stepwell runs workflows and AI agents so that no step is ever lost.

Modules are loaded when one of their names is used first, so that the import of the package costs next to nothing.
"""

from stepwell._native import END, __version__

# As in the module typing, which takes longer to import than all of this.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from stepwell.agent import Agent
    from stepwell.context import Context, Secret
    from stepwell.errors import (
        AlreadyRunning,
        AmbiguousWaitError,
        AnswerInvalidError,
        BackendUnavailableError,
        CheckpointError,
        ChildFailed,
        ConfigurationError,
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
    from stepwell.needs import DependencyConfig, DependencyLifecycle, DependencyType
    from stepwell.resources import Priority, ResourcePool, ResourceRequirements
    from stepwell.result import RunResult
    from stepwell.retry import RetryPolicy
    from stepwell.run import Run
    from stepwell.state_result import StateResult
    from stepwell.statuses import AgentStatus, StateStatus, TaskStatus

__all__ = [
    "END",
    "Agent",
    "AgentStatus",
    "AlreadyRunning",
    "AmbiguousWaitError",
    "AnswerInvalidError",
    "BackendUnavailableError",
    "CheckpointError",
    "ChildFailed",
    "ConfigurationError",
    "Context",
    "ContextTypeError",
    "DefinitionError",
    "DependencyConfig",
    "DependencyLifecycle",
    "DependencyType",
    "HumanTimeout",
    "InvalidFilterError",
    "NotResumableError",
    "PipelineMismatchError",
    "PipelineUnavailableError",
    "Priority",
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
    "RunExistsError",
    "RunFailed",
    "RunFailedError",
    "RunResult",
    "RunTimeout",
    "RunTimeoutError",
    "Secret",
    "SignalTimeout",
    "StaleContext",
    "StateConflictError",
    "StateResult",
    "StateStatus",
    "StateValueError",
    "StepError",
    "StepwellError",
    "TaskClientError",
    "TaskNotFoundError",
    "TaskStatus",
    "UsageLimitExceededError",
    "__version__",
]

_NAMES = {
    "agent": ["Agent"],
    "context": ["Context", "Secret"],
    "errors": [
        "AlreadyRunning",
        "AmbiguousWaitError",
        "AnswerInvalidError",
        "BackendUnavailableError",
        "CheckpointError",
        "ChildFailed",
        "ConfigurationError",
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
    "needs": ["DependencyConfig", "DependencyLifecycle", "DependencyType"],
    "resources": ["Priority", "ResourcePool", "ResourceRequirements"],
    "result": ["RunResult"],
    "retry": ["RetryPolicy"],
    "run": ["Run"],
    "state_result": ["StateResult"],
    "statuses": ["AgentStatus", "StateStatus", "TaskStatus"],
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
