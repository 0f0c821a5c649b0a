"""Exceptions are one tree, made of what the engine tells (spec/fluffy.md §6, spec/flujo.md §1.4)."""

import json
import pickle
import subprocess
import sys
from typing import Any

import pytest

import stepwell
from stepwell import _native, errors
from stepwell.errors import RunFailedError, StepwellError, from_object

CODES = {name: number for name, number, _, _ in _native.error_codes()}


def told(name: str, **data: Any) -> dict[str, Any]:
    """Return an error as the engine tells it."""
    return {"code": CODES[name], "name": name, "message": f"it is {name}", "hint": None, "data": data}


CLASSES: list[tuple[str, dict[str, Any], type[StepwellError], tuple[type[Exception], ...], int]] = [
    ("WORKFLOW_NOT_FOUND", {}, errors.TaskNotFoundError, (RuntimeError,), 404),
    ("RUN_EXISTS", {}, errors.RunExistsError, (RuntimeError,), 409),
    ("WORKFLOW_INVALID_STATE", {}, errors.ResumeError, (RuntimeError,), 409),
    ("WORKFLOW_INVALID_STATE", {"reason": "no_open_wait"}, errors.ResumeError, (), 409),
    ("WORKFLOW_INVALID_STATE", {"reason": "not_resumable"}, errors.NotResumableError, (), 409),
    ("WORKFLOW_INVALID_STATE", {"reason": "wait_closed"}, errors.ResumeConflictError, (), 409),
    ("WORKFLOW_INVALID_STATE", {"reason": "wait_ambiguous"}, errors.AmbiguousWaitError, (), 409),
    ("WORKFLOW_INVALID_STATE", {"reason": "already_running"}, errors.AlreadyRunning, (RuntimeError,), 409),
    ("DEFINITION_MISMATCH", {}, errors.PipelineMismatchError, (errors.ResumeError,), 409),
    ("HANDLER_UNAVAILABLE", {}, errors.PipelineUnavailableError, (errors.ResumeError,), 503),
    ("ANSWER_INVALID", {}, errors.AnswerInvalidError, (ValueError,), 422),
    ("INVALID_PARAMS", {}, errors.InvalidFilterError, (ValueError,), 400),
    ("STATE_CONFLICT", {}, errors.StateConflictError, (), 412),
    ("STATE_VALUE_INVALID", {}, errors.StateValueError, (ValueError, TypeError), 422),
    ("PERSISTENCE_CONNECTION_FAILED", {}, errors.BackendUnavailableError, (), 503),
    ("CONFIGURATION_ERROR", {}, errors.ConfigurationError, (ValueError,), 500),
    ("WORKFLOW_VALIDATION_FAILED", {}, errors.DefinitionError, (ValueError,), 422),
    ("WORKFLOW_CIRCULAR_DEPENDENCY", {}, errors.DefinitionError, (ValueError,), 422),
    ("CHECKPOINT_INVALID", {}, errors.CheckpointError, (ValueError,), 500),
    ("RESOURCE_EXHAUSTED", {}, errors.ResourceError, (), 500),
    ("WORKFLOW_EXECUTION_FAILED", {}, RunFailedError, (), 500),
    ("WORKFLOW_CANCELLED", {}, errors.RunCancelledError, (RunFailedError,), 500),
    ("WORKFLOW_TIMEOUT", {}, errors.RunTimeoutError, (RunFailedError,), 500),
    ("BUDGET_EXCEEDED", {}, errors.UsageLimitExceededError, (RunFailedError,), 500),
    ("PRICE_UNKNOWN", {}, errors.UsageLimitExceededError, (RunFailedError,), 500),
    ("TASK_EXECUTION_FAILED", {"reason": "typed_key"}, errors.ContextKeyError, (KeyError,), 500),
    ("HUMAN_TIMEOUT", {}, errors.HumanTimeout, (TimeoutError,), 500),
    ("SIGNAL_TIMEOUT", {}, errors.SignalTimeout, (TimeoutError,), 500),
    ("REPLAY_MISMATCH", {}, errors.ReplayMismatch, (), 500),
    ("CHILD_FAILED", {}, errors.ChildFailed, (), 500),
    ("STALE_CONTEXT", {}, errors.StaleContext, (RuntimeError,), 500),
    ("INTERNAL_ERROR", {}, StepwellError, (), 500),
    ("DEADLOCK", {}, StepwellError, (), 500),
]


@pytest.mark.parametrize(("name", "data", "kind", "bases", "status"), CLASSES)
def test_an_error_is_of_the_class_that_declares_its_code_and_reason(
    name: str,
    data: dict[str, Any],
    kind: type[StepwellError],
    bases: tuple[type[Exception], ...],
    status: int,
) -> None:
    error = from_object(told(name, **data))
    assert type(error) is kind
    assert all(isinstance(error, base) for base in (*bases, StepwellError))
    assert (error.name, error.code, error.http_status) == (name, CODES[name], status)
    assert (error.message, error.hint) == (f"it is {name}", None)


def test_every_code_makes_an_error_and_every_class_has_codes_of_the_engine() -> None:
    for name, number, status, again in _native.error_codes():
        error = from_object({"code": number, "message": "it failed"})
        assert (error.name, error.http_status, error.retryable) == (name, status, again)
        assert 400 <= status < 600
    with pytest.raises(ValueError, match="the engine has no code DEADLOK"):
        type("Misspelt", (StepwellError,), {}, codes="DEADLOK")


def test_how_a_run_ended_is_told_within_the_failures_of_runs() -> None:
    kinds = [
        (told("TASK_EXECUTION_FAILED"), RunFailedError),
        (told("HUMAN_TIMEOUT"), RunFailedError),
        (told("WORKFLOW_CANCELLED"), errors.RunCancelledError),
        (told("BUDGET_EXCEEDED"), errors.UsageLimitExceededError),
    ]
    for error, kind in kinds:
        made = from_object(error, within=RunFailedError)
        assert type(made) is kind
        assert (made.code, made.result) == (error["code"], None)
    assert (errors.RunFailed, errors.RunCancelled) == (RunFailedError, errors.RunCancelledError)


def test_what_is_wrong_with_a_definition_is_told_as_that_whatever_its_code() -> None:
    wrong = [{"message": "steps[0] has no parameter 'minutes'"}]
    for name in ("INVALID_PARAMS", "PROTOCOL_NOT_FOUND", "WORKFLOW_VALIDATION_FAILED"):
        error = from_object(told(name, validation_errors=wrong))
        assert (type(error), error.name) == (errors.DefinitionError, name)
        assert isinstance(error, errors.DefinitionError)
        assert error.problems == wrong
    made = from_object(told("INVALID_PARAMS", validation_errors=wrong), within=RunFailedError)
    assert type(made) is RunFailedError


def test_details_are_attributes() -> None:
    def of(name: str, **data: Any) -> Any:
        return from_object(told(name, **data))

    resume = of("WORKFLOW_INVALID_STATE", reason="not_resumable", run_id="r1", status="completed")
    assert (resume.run_id, resume.status) == ("r1", "completed")
    assert of("WORKFLOW_INVALID_STATE", reason="wait_ambiguous", wait_ids=["a", "b"]).wait_ids == ["a", "b"]
    mismatch = of("DEFINITION_MISMATCH", stored="1", given="2")
    assert (mismatch.stored, mismatch.given) == ("1", "2")
    assert of("STATE_CONFLICT", current_version=3).current_version == 3
    wrong = [{"path": "", "message": "is no number", "keyword": "type"}]
    assert of("ANSWER_INVALID", errors=wrong).errors == wrong
    assert of("WORKFLOW_VALIDATION_FAILED", validation_errors=[{"message": "x"}]).problems == [
        {"message": "x"}
    ]


def test_an_error_made_here_has_the_code_of_its_class() -> None:
    error = errors.NotResumableError("run r1 is completed", hint="start another", data={"run_id": "r1"})
    assert (error.code, error.data) == (-28007, {"run_id": "r1", "reason": "not_resumable"})
    assert str(error) == "run r1 is completed [WORKFLOW_INVALID_STATE -28007]\nhint: start another"
    assert type(from_object(error.to_dict())) is errors.NotResumableError
    with pytest.raises(
        ValueError, match="code must be a code of the engine, by name or number, not 'NO_SUCH'"
    ):
        StepwellError("x", code="NO_SUCH")


def test_a_code_of_another_version_is_kept() -> None:
    error = from_object({"code": -28999, "message": "new"})
    assert (type(error), error.code, error.name, error.http_status) == (
        StepwellError,
        -28999,
        "UNKNOWN_ERROR",
        500,
    )


@pytest.mark.parametrize(
    "wrong", [{}, {"code": "x", "message": ""}, {"code": True, "message": ""}, {"code": 1}]
)
def test_what_is_no_error_object_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="an error is an object with a number 'code' and a text 'message'"):
        from_object(wrong)


def test_errors_travel_between_processes() -> None:
    for name, data, _, _, _ in CLASSES:
        error = from_object(told(name, **data, by="x"))
        back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(back), back.to_dict(), str(back)) == (type(error), error.to_dict(), str(error))
    failed = RunFailedError("x")
    failed.result = {"a": 1}
    assert pickle.loads(pickle.dumps(failed)).result == {"a": 1}  # noqa: S301 - our own


def test_the_object_is_the_one_that_the_command_line_prints(tmp_path: Any) -> None:
    command = [sys.executable, "-m", "stepwell", "show", "nobody", "--json"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stderr
    error = json.loads(printed)["error"]
    assert from_object(error).to_dict() == error


def test_each_class_is_a_name_of_the_package() -> None:
    below = [StepwellError]
    for kind in below:
        below += [one for one in kind.__subclasses__() if one.__module__ == "stepwell.errors"]
        assert getattr(stepwell, kind.__name__) is kind
    assert len(set(below)) > 25
