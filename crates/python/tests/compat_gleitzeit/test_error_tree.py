"""The errors of Gleitzeit: one tree, each with its code and what programs need to know (spec/gleitzeit.md §4)."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from stepwell import _native
from stepwell.compat.gleitzeit.core import errors
from stepwell.compat.gleitzeit.core.errors import ErrorCode, GleitzeitError
from stepwell.errors import StepwellError, from_object

#: Class, base, default code, keys of `data`.
TREE: list[tuple[str, str, int, list[str]]] = [
    ("SystemError", "GleitzeitError", -32603, []),
    ("ConfigurationError", "SystemError", -31003, ["path"]),
    ("ResourceExhaustedError", "SystemError", -31004, ["resource_type"]),
    ("ProviderError", "GleitzeitError", -30003, ["provider_id"]),
    ("ProviderNotFoundError", "ProviderError", -30002, ["provider_id"]),
    ("ProviderNotAvailableError", "ProviderError", -30003, ["provider_id", "endpoint"]),
    ("ProviderTimeoutError", "ProviderError", -30006, ["provider_id", "timeout_seconds"]),
    ("MethodNotSupportedError", "ProviderError", -30008, ["provider_id", "method", "supported_methods"]),
    ("ProtocolError", "GleitzeitError", -30001, ["protocol_id"]),
    ("TaskError", "GleitzeitError", -29002, ["task_id"]),
    ("TaskValidationError", "TaskError", -29001, ["task_id", "validation_errors"]),
    ("TaskTimeoutError", "TaskError", -29003, ["task_id", "timeout_seconds"]),
    ("TaskDependencyError", "TaskError", -29005, ["task_id", "failed_dependencies"]),
    ("TaskExecutionError", "TaskError", -29002, ["task_id"]),
    ("InvalidParameterError", "TaskError", -32602, ["task_id", "parameter", "reason"]),
    ("WorkflowError", "GleitzeitError", -28003, ["workflow_id"]),
    ("WorkflowValidationError", "WorkflowError", -28001, ["workflow_id", "validation_errors"]),
    ("WorkflowCircularDependencyError", "WorkflowError", -28006, ["workflow_id", "dependency_cycle"]),
    ("QueueError", "GleitzeitError", -27001, ["queue_name"]),
    ("QueueNotFoundError", "QueueError", -27001, ["queue_name"]),
    ("QueueFullError", "QueueError", -27002, ["queue_name", "max_size"]),
    ("PersistenceError", "GleitzeitError", -26002, ["backend"]),
    ("PersistenceConnectionError", "PersistenceError", -26001, ["backend", "connection_string"]),
    ("NetworkError", "GleitzeitError", -25001, ["endpoint"]),
    ("ConnectionTimeoutError", "NetworkError", -25003, ["endpoint"]),
    ("AuthenticationError", "NetworkError", -25005, ["endpoint", "auth_method"]),
]


@pytest.mark.parametrize(("name", "base", "code", "keys"), TREE)
def test_an_error_has_its_base_its_code_and_its_data(
    name: str, base: str, code: int, keys: list[str]
) -> None:
    kind: type[GleitzeitError] = getattr(errors, name)
    assert kind.__base__ is getattr(errors, base)
    error = kind("it is so", data={"more": 1})
    assert (error.code, type(error.code)) == (code, ErrorCode)
    assert {**dict.fromkeys(keys), "more": 1} == error.data
    assert str(error) == f"[{error.name}] it is so"


def test_the_codes_are_those_of_the_engine() -> None:
    assert {code.name: code.value for code in ErrorCode} == {
        name: number for name, number, _, _ in _native.error_codes()
    }
    assert set(errors.__all__) > {name for name, *_ in TREE}


def test_every_error_of_the_engine_has_a_class_of_its_family() -> None:
    families = {25: "Network", 26: "Persistence", 27: "Queue", 28: "Workflow", 29: "Task"}
    exact = {code: name for name, _, code, _ in TREE}
    for code in ErrorCode:
        error = errors.of(from_object({"code": code.value, "message": "it is so", "data": {"a": 1}}))
        assert (error.code, error.data["a"], error.message) == (code, 1, "it is so")
        family = getattr(errors, families.get(-code // 1000, "Gleitzeit") + "Error")
        assert isinstance(error, family)
        if code in exact:
            assert type(error).__name__ == exact[code]
        assert errors.of(error) is error


def test_an_error_is_told_and_pickled_with_everything(tmp_path: Any) -> None:
    cause = OSError("the cable is out")
    error = errors.NetworkError("no way", data={"endpoint": "here"}, cause=cause, hint="plug it in")
    error.results = {"a": {"result": 1}}
    assert str(error) == "[NETWORK_UNREACHABLE] no way (caused by: the cable is out)"
    assert error.to_dict() == {
        "code": -25001,
        "name": "NETWORK_UNREACHABLE",
        "message": "no way",
        "hint": "plug it in",
        "data": {"endpoint": "here", "cause": "the cable is out", "cause_type": "OSError"},
        "retryable": True,
        "help": "docs/errors/NETWORK_UNREACHABLE.md",
    }
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), again.to_dict(), again.results) == (type(error), error.to_dict(), error.results)
    assert isinstance(again, StepwellError)
    missing = errors.WorkflowFileNotFoundError("there is no file", data={"path": "w.yaml"})
    assert isinstance(pickle.loads(pickle.dumps(missing)), FileNotFoundError)  # noqa: S301
