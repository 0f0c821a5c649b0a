"""Every failure that Stepwell shows to a Python program: one exception a remedy, below one root.

`from_object` makes them of what the engine and the HTTP API tell. The codes are those of the engine; each has a page
(`stepwell explain NAME`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, overload

from stepwell import _native

_TABLE = {name: (number, status, again) for name, number, status, again in _native.error_codes()}
_NAMES = {number: name for name, (number, _, _) in _TABLE.items()}

_E = TypeVar("_E", bound="StepwellError")


class StepwellError(Exception):
    """A failure with a stable code. What has no class of its own below is one of these.

    >>> error = StepwellError("step 'b' waits for 'a'", code="DEADLOCK", hint="let 'a' lead to 'b'")
    >>> (error.code, error.name, error.http_status, error.data)
    (-28021, 'DEADLOCK', 500, {})
    >>> print(error)
    step 'b' waits for 'a' [DEADLOCK -28021]
    hint: let 'a' lead to 'b'
    """

    #: The codes whose failures are of this class; the first is that of an instance made without one.
    codes: ClassVar[tuple[str, ...]] = ("INTERNAL_ERROR",)
    #: What `data["reason"]` says where classes share a code.
    reason: ClassVar[str | None] = None

    def __init_subclass__(cls, *, codes: str | None = None, reason: str | None = None) -> None:
        """Declare codes, by name, and the reason; without them a class has those of its base."""
        super().__init_subclass__()
        if codes is not None:
            cls.codes = tuple(codes.split())
            unknown = [name for name in cls.codes if name not in _TABLE]
            if unknown:
                raise ValueError(f"{cls.__name__}: the engine has no code {unknown[0]}")
        cls.reason = reason

    def __init__(
        self,
        message: str,
        *,
        code: int | str | None = None,
        hint: str | None = None,
        data: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
    ) -> None:
        """Make an error; the code is a name or a number."""
        super().__init__(message)
        name, number, status, again = _entry(self.codes[0] if code is None else code)
        self.code: int = number
        self.name: str = name
        self.http_status: int = status
        self.message: str = message
        self.hint: str | None = hint
        self.data: dict[str, Any] = dict(data or {})
        if self.reason is not None:
            self.data.setdefault("reason", self.reason)
        self.retryable: bool = again if retryable is None else retryable

    def __str__(self) -> str:
        """Return the message with its code, and the hint."""
        told = f"{self.message} [{self.name} {self.code}]"
        return f"{told}\nhint: {self.hint}" if self.hint else told

    def __reduce__(self) -> tuple[Callable[..., StepwellError], tuple[Any, ...], dict[str, Any]]:
        """Let it be pickled, with whatever was added to it."""
        return (_rebuilt, (type(self), self.message, self.code), self.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as the engine, the command line and the HTTP API show it."""
        return {
            "code": self.code,
            "name": self.name,
            "message": self.message,
            "hint": self.hint,
            "data": self.data,
            "retryable": self.retryable,
            "help": f"docs/errors/{self.name}.md",
        }


# What cannot be declared.


class ConfigurationError(StepwellError, ValueError, codes="CONFIGURATION_ERROR"):
    """A setting, a file or a pipeline that cannot be used."""


class DefinitionError(ConfigurationError, codes="WORKFLOW_VALIDATION_FAILED WORKFLOW_CIRCULAR_DEPENDENCY"):
    """A workflow that cannot be run, with all that is wrong with it; the code is that which its problems share."""

    @property
    def problems(self) -> list[dict[str, Any]]:
        """What is wrong: `code`, `name`, `message`, `path` and `step` of each."""
        return list(self.data.get("validation_errors", []))


class CheckpointError(StepwellError, ValueError, codes="CHECKPOINT_INVALID"):
    """What was to be restored is no checkpoint, or a damaged one."""


class ResourceError(StepwellError, codes="RESOURCE_EXHAUSTED"):
    """More is asked for than there is in all."""


# What cannot be done with a run.


class AlreadyRunning(StepwellError, RuntimeError, codes="WORKFLOW_INVALID_STATE", reason="already_running"):
    """The agent has a live run; `start` begins several."""


class TaskClientError(StepwellError, RuntimeError):
    """A request about runs or system state was refused."""


class TaskNotFoundError(TaskClientError, codes="WORKFLOW_NOT_FOUND"):
    """There is no run or workflow of that name."""


class RunExistsError(TaskClientError, codes="RUN_EXISTS"):
    """A run of that id is there and is another."""


class ResumeError(TaskClientError, codes="WORKFLOW_INVALID_STATE"):
    """The run cannot go on like this."""

    @property
    def run_id(self) -> str | None:
        """The run."""
        return self.data.get("run_id")

    @property
    def status(self) -> str | None:
        """How the run stands."""
        return self.data.get("status")


class NotResumableError(ResumeError, reason="not_resumable"):
    """It is completed or cancelled, or not at rest."""


class ResumeConflictError(ResumeError, reason="wait_closed"):
    """The question is answered, expired or withdrawn."""


class AmbiguousWaitError(ResumeError, reason="wait_ambiguous"):
    """Several questions are open and none was named."""

    @property
    def wait_ids(self) -> list[str]:
        """The open questions."""
        return list(self.data.get("wait_ids", []))


class PipelineMismatchError(ResumeError, codes="DEFINITION_MISMATCH"):
    """The run has another definition."""

    @property
    def stored(self) -> str | None:
        """The version that the run has."""
        return self.data.get("stored")

    @property
    def given(self) -> str | None:
        """The version that it was to go on with."""
        return self.data.get("given")


class PipelineUnavailableError(ResumeError, codes="HANDLER_UNAVAILABLE"):
    """Nobody here or elsewhere can carry out its steps."""


class AnswerInvalidError(TaskClientError, ValueError, codes="ANSWER_INVALID"):
    """The answer does not fit what was asked; the run stays paused."""

    @property
    def errors(self) -> list[dict[str, Any]]:
        """What does not fit: `path`, `message` and `keyword` of each."""
        return list(self.data.get("errors", []))


class InvalidFilterError(TaskClientError, ValueError, codes="INVALID_PARAMS"):
    """An argument of a request about runs cannot be used: a filter, a page, tags, or a run id."""


class StateConflictError(TaskClientError, codes="STATE_CONFLICT"):
    """The system state has another version than expected."""

    @property
    def current_version(self) -> int | None:
        """The version that it has."""
        return self.data.get("current_version")


class StateValueError(TaskClientError, ValueError, TypeError, codes="STATE_VALUE_INVALID"):
    """The value cannot be system state."""


class BackendUnavailableError(TaskClientError, codes="PERSISTENCE_CONNECTION_FAILED"):
    """The store cannot be reached."""


# How a run ends.


class RunFailedError(StepwellError, codes="WORKFLOW_EXECUTION_FAILED"):
    """The run failed; the code is that of what ended it. `__cause__` is the exception of its step, if there is one."""

    #: The result as far as it came.
    result: Any = None


class RunCancelledError(RunFailedError, codes="WORKFLOW_CANCELLED"):
    """The run was cancelled."""


class RunTimeoutError(RunFailedError, codes="WORKFLOW_TIMEOUT"):
    """The time limit of the run has passed."""


class UsageLimitExceededError(RunFailedError, codes="BUDGET_EXCEEDED PRICE_UNKNOWN"):
    """The run would have cost more than it may."""


# Agents have shorter names for them.
RunFailed = RunFailedError
RunCancelled = RunCancelledError
RunTimeout = RunTimeoutError


# What the function of a step meets.


class StepError(StepwellError):
    """Something that a function asked of its context failed."""


class ContextTypeError(StepError, TypeError, codes="TASK_RESULT_INVALID"):
    """JSON cannot hold a value; nothing was written."""


class ContextKeyError(StepError, KeyError, codes="TASK_EXECUTION_FAILED", reason="typed_key"):
    """A key holds a typed value and was used as an untyped one, or the other way round; nothing was written."""


class HumanTimeout(StepError, TimeoutError, codes="HUMAN_TIMEOUT"):
    """Nobody answered in time."""


class SignalTimeout(StepError, TimeoutError, codes="SIGNAL_TIMEOUT"):
    """The signal did not come in time."""


class ReplayMismatch(StepError, codes="REPLAY_MISMATCH"):
    """The function asked for other things when it ran again."""


class ChildFailed(StepError, codes="CHILD_FAILED"):
    """A child run failed or was cancelled."""


class StaleContext(StepError, RuntimeError, codes="STALE_CONTEXT"):
    """The context is that of an attempt that has ended."""


@overload
def from_object(error: Mapping[str, Any]) -> StepwellError: ...
@overload
def from_object(error: Mapping[str, Any], within: type[_E]) -> _E: ...
def from_object(error: Mapping[str, Any], within: type[Any] = StepwellError) -> Any:
    """Return the exception for an error as the engine tells it: `{code, message, hint, data, …}`.

    Its class is the one below `within` that declares the code, and the reason if it has one; else `within` itself.
    What lists the problems of a definition is a `DefinitionError`, whatever the code, and how a run ended is told
    `within` `RunFailedError`.

    >>> from_object({"code": -28002, "message": "there is no run r1"})
    TaskNotFoundError('there is no run r1')
    >>> from_object({"code": -29002, "message": "step 'a' raised KeyError"}, within=RunFailedError)
    RunFailedError("step 'a' raised KeyError")
    """
    code, message = error.get("code"), error.get("message")
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(message, str):
        raise TypeError(f"an error is an object with a number 'code' and a text 'message', not {error!r}")
    data = error.get("data") or {}
    if "validation_errors" in data and issubclass(DefinitionError, within):
        fitting: type[Any] = DefinitionError
    else:
        fitting = _class_of(_NAMES.get(code), data.get("reason"), within)
    return fitting(message, code=code, hint=error.get("hint"), data=data, retryable=error.get("retryable"))


def _class_of(name: str | None, reason: object, within: type[_E]) -> type[_E]:
    classes = [one for one in _below(within) if name in one.codes and one.reason in (None, reason)]
    # One that declares the reason goes before one that takes any.
    return next((one for one in classes if one.reason is not None), next(iter(classes), within))


def _below(base: type[_E]) -> Iterator[type[_E]]:
    """Yield the classes of this file below one that declare a code or a reason."""
    for one in base.__subclasses__():
        if one.__module__ == __name__:
            if "codes" in vars(one) or one.reason is not None:
                yield one
            yield from _below(one)


def _entry(code: int | str) -> tuple[str, int, int, bool]:
    """Return name, number, HTTP status and whether another attempt could help."""
    name = _NAMES.get(code, "UNKNOWN_ERROR") if isinstance(code, int) else code
    if name in _TABLE:
        return (name, *_TABLE[name])
    if isinstance(code, int):  # of another version
        return (name, code, 500, False)
    raise ValueError(f"code must be a code of the engine, by name or number, not {code!r}")


def _rebuilt(kind: type[StepwellError], message: str, code: int) -> StepwellError:
    return kind(message, code=code)
