"""G16 to G22: what cannot be right is refused before anything begins, and nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell.compat.gleitzeit import GleitzeitClient
from stepwell.compat.gleitzeit.core.errors import (
    ConfigurationError,
    ErrorCode,
    GleitzeitError,
    InvalidParameterError,
    MethodNotSupportedError,
    ProtocolError,
    TaskError,
    WorkflowCircularDependencyError,
    WorkflowError,
    WorkflowValidationError,
)

from .words import script, stored

Definition = dict[str, Any]


def tasks(*tasks: dict[str, Any], **more: Any) -> Definition:
    return {"tasks": list(tasks), **more}


def one(**params: Any) -> Definition:
    return tasks({"name": "a", "method": "python/execute", "params": params})


REFUSED: dict[str, tuple[Definition, type[GleitzeitError], ErrorCode, dict[str, Any]]] = {
    "g16 unknown dependency": (
        tasks(script("a", "", ("nobody",))),
        WorkflowValidationError,
        ErrorCode.WORKFLOW_VALIDATION_FAILED,
        {"dependency": "nobody"},
    ),
    "g17 cycle": (
        tasks(script("A", "", ("B",)), script("B", "", ("A",))),
        WorkflowCircularDependencyError,
        ErrorCode.WORKFLOW_CIRCULAR_DEPENDENCY,
        {"dependency_cycle": ["A", "B", "A"]},
    ),
    "g17 itself": (
        tasks(script("A", "", ("A",))),
        WorkflowCircularDependencyError,
        ErrorCode.WORKFLOW_CIRCULAR_DEPENDENCY,
        {"dependency_cycle": ["A", "A"]},
    ),
    "g17 cycle of references": (
        tasks(script("A", "result = ${B.result}"), script("B", "result = '${A.result}'")),
        WorkflowCircularDependencyError,
        ErrorCode.WORKFLOW_CIRCULAR_DEPENDENCY,
        {"dependency_cycle": ["A", "B", "A"]},
    ),
    "g18 no steps": (tasks(), WorkflowValidationError, ErrorCode.WORKFLOW_VALIDATION_FAILED, {}),
    "g19 protocol": (
        tasks({"name": "a", "protocol": "cobol/v1", "method": "cobol/run", "params": {}}),
        ProtocolError,
        ErrorCode.PROTOCOL_NOT_FOUND,
        {"protocol_id": "cobol/v1"},
    ),
    "g19 protocol of the workflow": (
        tasks(script("a", ""), providers=["cobol/v1"]),
        ProtocolError,
        ErrorCode.PROTOCOL_NOT_FOUND,
        {"protocol_id": "cobol/v1"},
    ),
    "g19 mcp, which is not there yet": (
        tasks({"name": "a", "method": "mcp/tool.add", "params": {"a": 1, "b": 2}}),
        ProtocolError,
        ErrorCode.PROTOCOL_NOT_FOUND,
        {"protocol_id": "mcp"},
    ),
    "g19 version": (
        tasks({"name": "a", "protocol": "python/v7", "method": "python/execute", "params": {"code": ""}}),
        ProtocolError,
        ErrorCode.PROTOCOL_VERSION_MISMATCH,
        {},
    ),
    "g19 method": (
        tasks({"name": "a", "method": "python/evaluate", "params": {}}),
        MethodNotSupportedError,
        ErrorCode.METHOD_NOT_SUPPORTED,
        {"method": "python/evaluate", "supported_methods": ["python/execute", "execute"]},
    ),
    "g20 unknown step": (
        one(code="", args={"a": "${nobody.result}"}),
        WorkflowValidationError,
        ErrorCode.WORKFLOW_VALIDATION_FAILED,
        {},
    ),
    "g20 strict": (
        tasks(script("a", "result = ${b}"), script("b", ""), strict=True),
        WorkflowValidationError,
        ErrorCode.WORKFLOW_VALIDATION_FAILED,
        {},
    ),
    "g22 code and file": (
        one(code="", file="a.py"),
        InvalidParameterError,
        ErrorCode.INVALID_PARAMS,
        {"parameter": "code", "task_id": "a"},
    ),
    "g22 neither": (
        one(),
        InvalidParameterError,
        ErrorCode.INVALID_PARAMS,
        {"parameter": "code", "task_id": "a"},
    ),
    "g22 unknown": (
        one(code="", cod=""),
        InvalidParameterError,
        ErrorCode.INVALID_PARAMS,
        {"parameter": "cod", "reason": "unknown"},
    ),
    "g22 type": (
        one(code="", args=[1]),
        InvalidParameterError,
        ErrorCode.INVALID_PARAMS,
        {"parameter": "args", "reason": "type"},
    ),
    "g22 no messages": (
        tasks({"name": "a", "method": "human/ask", "params": {}}),
        InvalidParameterError,
        ErrorCode.INVALID_PARAMS,
        {"parameter": "prompt", "reason": "missing"},
    ),
    "g33 a path outside": (
        one(file="/etc/passwd"),
        InvalidParameterError,
        ErrorCode.INVALID_PARAMS,
        {"parameter": "file", "reason": "outside_roots"},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_definition_that_cannot_be_right_is_refused(name: str, client: GleitzeitClient) -> None:
    definition, kind, code, data = REFUSED[name]
    for call in (client.run_workflow, client.run_workflow_async):
        with pytest.raises(kind) as refused:
            await call(definition)
        error = refused.value
        assert (type(error), error.code) == (kind, code)
        assert {key: error.data[key] for key in data} == data
        assert error.data["validation_errors"]
        # The classes that programs catch.
        assert isinstance(error, WorkflowError) is (-29000 < code <= -28000)
    assert await stored(client) == []


async def test_g16_the_problem_names_step_and_dependency(client: GleitzeitClient) -> None:
    with pytest.raises(WorkflowError) as refused:
        await client.create_workflow("w", [script("load", ""), script("sum", "", ("laod",))])
    [problem] = refused.value.data["validation_errors"]
    assert (problem["step"], problem["path"]) == ("sum", "tasks[1].dependencies[0]")
    assert "'laod'" in problem["message"]
    assert await client.get_workflow_status("w") is None


MANY = f"""name: many
tasks:
  - name: twice
    method: python/execute
    params: {{code: ""}}
  - name: twice
    method: python/execute
    params: {{code: ""}}
  - {{name: bad, method: "python/../x", params: {{}}}}
  - {{name: never, method: python/execute, timeout: 0, params: {{code: ""}}}}
  - {{name: often, method: python/execute, retry: {{max_attempts: 50}}, params: {{code: ""}}}}
  - {{name: {"n" * 201}, method: python/execute, params: {{code: ""}}}}
  - {{name: odd, method: python/execute, priority: soon, colour: red, params: {{code: ""}}}}
"""


async def test_g18_everything_that_is_wrong_with_a_file_is_told_at_once(
    client: GleitzeitClient, project: Path
) -> None:
    (project / "many.yaml").write_text(MANY)
    with pytest.raises(WorkflowValidationError) as refused:
        await client.run_workflow("many.yaml")
    problems = refused.value.data["validation_errors"]
    assert sorted(problem["line"] for problem in problems) == [6, 9, 10, 11, 12, 13, 13]
    assert all(problem["column"] for problem in problems)
    assert await stored(client) == []


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: 1\na: 2", "tasks: [", "tasks: 7"])
async def test_g18_what_is_no_definition_at_all_is_refused(
    text: str, client: GleitzeitClient, project: Path
) -> None:
    (project / "w.yaml").write_text(text)
    with pytest.raises(WorkflowValidationError):
        await client.run_workflow("w.yaml")


async def test_g20_a_reference_is_a_need_and_a_missing_field_is_told(client: GleitzeitClient) -> None:
    inferred = tasks(script("after", "result = ${before.result}"), script("before", "result = [7]"))
    assert (await client.run_workflow(inferred))["after"]["result"] == [7]
    missing = tasks(
        script("before", "result = {'there': 1}"),
        script("after", "open('called', 'w')", args={"x": "${before.result.gone}"}),
    )
    with pytest.raises(TaskError) as failed:
        await client.run_workflow(missing)
    error = failed.value
    assert (error.code, error.data["task_id"]) == (ErrorCode.TASK_PARAMETER_ERROR, "after")
    assert (error.data["available_keys"], error.data["reference"]) == (["there"], "before.result.gone")
    assert not Path("called").exists()


async def test_g21_files_that_are_none_are_refused(client: GleitzeitClient, project: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        await client.run_workflow("none.yaml")
    assert isinstance(missing.value, ConfigurationError)
    assert (missing.value.code, missing.value.data["path"]) == (ErrorCode.CONFIGURATION_ERROR, "none.yaml")
    (project / "w.toml").touch()
    (project / "d.yaml").mkdir()
    for name in ("w.toml", "d.yaml"):
        with pytest.raises(ConfigurationError) as refused:
            await client.run_workflow(project / name)
        assert not isinstance(refused.value, FileNotFoundError)
    with pytest.raises(TypeError):
        await client.run_workflow(7)  # type: ignore[arg-type]


async def test_g22_arguments_of_a_call_are_checked(client: GleitzeitClient) -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"code": "", "file": "a.py"},
        {"code": "", "args": [1]},
        {"code": "", "timeout": 0},
        {"code": "", "timeout": "soon"},
    ]
    for arguments in wrong:
        with pytest.raises(InvalidParameterError) as refused:
            await client.execute_python(**arguments)
        assert refused.value.data["parameter"] in ("code", "args", "timeout")
    with pytest.raises(InvalidParameterError):
        await client.execute_python(code="", args={"now": object()})
    assert await stored(client) == []
