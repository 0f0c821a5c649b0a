"""The errors of Gleitzeit: one class a family, each with its code and what programs need to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from stepwell.compat.gleitzeit.core.codes import ErrorCode
from stepwell.errors import StepwellError

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionTimeoutError",
    "ErrorCode",
    "GleitzeitError",
    "InvalidParameterError",
    "MethodNotSupportedError",
    "NetworkError",
    "PersistenceConnectionError",
    "PersistenceError",
    "ProtocolError",
    "ProviderError",
    "ProviderNotAvailableError",
    "ProviderNotFoundError",
    "ProviderTimeoutError",
    "QueueError",
    "QueueFullError",
    "QueueNotFoundError",
    "ResourceExhaustedError",
    "SystemError",
    "TaskDependencyError",
    "TaskError",
    "TaskExecutionError",
    "TaskTimeoutError",
    "TaskValidationError",
    "WorkflowCircularDependencyError",
    "WorkflowError",
    "WorkflowFileNotFoundError",
    "WorkflowValidationError",
]


class GleitzeitError(StepwellError):
    """A failure with a stable code.

    >>> error = GleitzeitError("no answer", ErrorCode.PROVIDER_TIMEOUT, {"endpoint": "here"}, cause=OSError("gone"))
    >>> print(error)
    [PROVIDER_TIMEOUT] no answer (caused by: gone)
    >>> error.data
    {'endpoint': 'here', 'cause': 'gone', 'cause_type': 'OSError'}
    """

    #: What `data` of each instance has, None if nobody knows it.
    keys: ClassVar[tuple[str, ...]] = ()
    #: The views of the run's steps, as far as it came, of an error that ended a run.
    results: dict[str, dict[str, Any]] | None = None

    def __init_subclass__(cls, *, codes: str | None = None, keys: str = "", **known: str | None) -> None:
        """Declare codes, and what `data` has beside what that of the base has."""
        super().__init_subclass__(codes=codes, **known)
        cls.keys = (*cls.keys, *keys.split())

    def __init__(
        self,
        message: str,
        code: int | str | None = None,
        data: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
        *,
        hint: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        """Make an error; the code is an `ErrorCode`, its number or its name."""
        super().__init__(message, code=code, hint=hint, data=data, retryable=retryable)
        for key in self.keys:
            self.data.setdefault(key, None)
        if cause is not None:
            self.data.update(cause=str(cause), cause_type=type(cause).__qualname__)
            self.__cause__ = cause
        if self.code in _KNOWN:
            self.code: int = ErrorCode(self.code)

    def __str__(self) -> str:
        """Return the name of the code and the message, and what caused it."""
        cause = f" (caused by: {self.data['cause']})" if "cause" in self.data else ""
        return f"[{self.name}] {self.message}{cause}"

    def __reduce__(self) -> tuple[Callable[..., GleitzeitError], tuple[Any, ...], dict[str, Any]]:
        """Let it be pickled, with whatever was added to it."""
        return (type(self), (self.message, int(self.code)), self.__dict__)


class SystemError(GleitzeitError, codes="INTERNAL_ERROR"):  # noqa: A001 - the name is promised
    """Stepwell itself cannot go on."""


class ConfigurationError(SystemError, codes="CONFIGURATION_ERROR", keys="path"):
    """A setting, a file or a directory that cannot be used."""


class WorkflowFileNotFoundError(ConfigurationError, FileNotFoundError):
    """There is no such workflow file."""


class ResourceExhaustedError(SystemError, codes="RESOURCE_EXHAUSTED", keys="resource_type"):
    """A limit of Stepwell's own is reached."""


class ProviderError(GleitzeitError, codes="PROVIDER_NOT_AVAILABLE", keys="provider_id"):
    """Who carries out steps cannot."""


class ProviderNotFoundError(ProviderError, codes="PROVIDER_NOT_FOUND"):
    """There is no provider of that name."""


class ProviderNotAvailableError(ProviderError, codes="PROVIDER_NOT_AVAILABLE", keys="endpoint"):
    """The provider cannot be reached."""


class ProviderTimeoutError(ProviderError, codes="PROVIDER_TIMEOUT", keys="timeout_seconds"):
    """The provider took too long."""


class MethodNotSupportedError(ProviderError, codes="METHOD_NOT_SUPPORTED", keys="method supported_methods"):
    """The protocol has no such method."""


class ProtocolError(GleitzeitError, codes="PROTOCOL_NOT_FOUND PROTOCOL_VERSION_MISMATCH", keys="protocol_id"):
    """No provider speaks the protocol, or not this version of it."""


class TaskError(GleitzeitError, codes="TASK_EXECUTION_FAILED", keys="task_id"):
    """A task failed."""


class TaskValidationError(TaskError, codes="TASK_VALIDATION_FAILED", keys="validation_errors"):
    """A single task that is malformed."""


class TaskTimeoutError(TaskError, codes="TASK_TIMEOUT", keys="timeout_seconds"):
    """A task took too long."""


class TaskDependencyError(TaskError, codes="TASK_DEPENDENCY_FAILED", keys="failed_dependencies"):
    """What a task needs did not complete."""


class TaskExecutionError(TaskError, codes="TASK_EXECUTION_FAILED"):
    """The script, tool or function of a task raised."""


class InvalidParameterError(TaskError, codes="INVALID_PARAMS", keys="parameter reason"):
    """A parameter of a task or a call cannot be right."""


class WorkflowError(GleitzeitError, codes="WORKFLOW_EXECUTION_FAILED", keys="workflow_id"):
    """A workflow cannot be run, or failed as a whole."""


class WorkflowValidationError(WorkflowError, codes="WORKFLOW_VALIDATION_FAILED", keys="validation_errors"):
    """A definition that cannot be run, with everything that is wrong with it."""


class WorkflowCircularDependencyError(
    WorkflowError, codes="WORKFLOW_CIRCULAR_DEPENDENCY", keys="dependency_cycle"
):
    """Tasks that need each other."""


class QueueError(GleitzeitError, codes="QUEUE_NOT_FOUND", keys="queue_name"):
    """Something is wrong with a queue."""


class QueueNotFoundError(QueueError, codes="QUEUE_NOT_FOUND"):
    """There is no such queue."""


class QueueFullError(QueueError, codes="QUEUE_FULL", keys="max_size"):
    """The queue takes no more."""


class PersistenceError(GleitzeitError, codes="PERSISTENCE_WRITE_FAILED", keys="backend"):
    """The store failed."""


class PersistenceConnectionError(
    PersistenceError, codes="PERSISTENCE_CONNECTION_FAILED", keys="connection_string"
):
    """The store cannot be reached."""


class NetworkError(GleitzeitError, codes="NETWORK_UNREACHABLE", keys="endpoint"):
    """The network failed."""


class ConnectionTimeoutError(NetworkError, codes="CONNECTION_TIMEOUT"):
    """No connection in time."""


class AuthenticationError(NetworkError, codes="AUTHENTICATION_FAILED", keys="auth_method"):
    """Who asks is not known there."""


_KNOWN = frozenset(ErrorCode)

#: Whose code it is; of a class and one below it, the one below.
_CLASSES: dict[str, type[GleitzeitError]] = {
    code: one
    for name in list(globals())
    if isinstance(one := globals()[name], type) and issubclass(one, GleitzeitError) and "codes" in vars(one)
    for code in one.codes
}

#: The families of codes, by their thousands.
_FAMILIES: dict[int, type[GleitzeitError]] = {
    25: NetworkError,
    26: PersistenceError,
    27: QueueError,
    28: WorkflowError,
    29: TaskError,
    30: ProviderError,
    31: SystemError,
}


def of(error: StepwellError) -> GleitzeitError:
    """Return an error of Stepwell as one of Gleitzeit, with the same code, message and data.

    >>> of(StepwellError("a → a", code="WORKFLOW_CIRCULAR_DEPENDENCY"))
    WorkflowCircularDependencyError('a → a')
    """
    if isinstance(error, GleitzeitError):
        return error
    kind = _CLASSES.get(error.name) or _FAMILIES.get(-error.code // 1000, GleitzeitError)
    data = dict(error.data)
    if kind is ConfigurationError and data.get("reason") == "not_found" and "validation_errors" in data:
        kind = WorkflowFileNotFoundError
    if issubclass(kind, TaskError):
        # What was found before a task began is told with the step that it is about.
        steps = [problem.get("step") for problem in data.get("validation_errors", ())]
        data.setdefault("task_id", next((step for step in steps if step), None))
    if issubclass(kind, ProviderError):
        data.setdefault("provider_id", data.get("protocol_id"))
    return kind(error.message, error.code, data, hint=error.hint, retryable=error.retryable)
