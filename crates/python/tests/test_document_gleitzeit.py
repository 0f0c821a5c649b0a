"""The API reference of Gleitzeit is executed, block by block (G42). Fixtures are what the blocks name."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from stepwell.compat.gleitzeit import GleitzeitClient
from stepwell.compat.gleitzeit.core.errors import (
    ConfigurationError,
    ErrorCode,
    GleitzeitError,
    ProtocolError,
)

TESTS = Path(__file__).parent
DOCUMENT = (TESTS / "documents" / "gleitzeit.md").read_text()

#: Blocks that ask a language model, for which there is no provider yet.
ASKS_A_MODEL = {
    "create_workflow() 2",
    "batch_process() 2",
    "batch_vision() 2",
    "chat() 2",
    "vision() 2",
    "Example 1: Data Processing Pipeline",
    "Example 3: Parallel Processing with Dependencies",
}
#: Blocks that want the store on Redis, which is not there yet.
WANTS_REDIS = {"Constructor 2", "Example 2: Document Batch Analysis"}

FILES = {
    "workflow.yaml": "steps: [{name: double, method: python/execute, params: {code: result = 42}}]",
    "process_data.py": "result = open(args['input']).read().splitlines()",
    "process_csv.py": "result = sum(int(line) for line in open(args['file_path']))",
    "scripts/analyze.py": "result = [args['output_format'], open(args['input_file']).read()]",
    "data.csv": "1\n2\n",
    **{f"data{n}.csv": f"{n}\n{n}\n" for n in (1, 2, 3)},
    "src/a.py": "a = 1",
    "src/b/c.py": "c = 1",
    "images/text.png": "png",
    "diagram.png": "png",
    "documents/a.md": "# A",
}


def blocks() -> dict[str, str]:
    """Return the Python blocks by the heading that they stand under, numbered where it has several."""
    found: dict[str, list[str]] = {}
    heading = ""
    for match in re.finditer(r"^#+ (.*?)$|^```(\w*)\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE):
        heading = match[1] or heading
        if match[2] == "python":
            found.setdefault(heading, []).append(match[3])
    return {
        f"{heading} {n}" if len(those) > 1 else heading: block
        for heading, those in found.items()
        for n, block in enumerate(those, 1)
    }


BLOCKS = blocks()
SIGNATURES = {
    name for name, block in BLOCKS.items() if re.match(r"async def \w+\([^:]*:(?s:.)*\) -> .*\n\Z", block)
}
CONSTRUCTOR = "Constructor 1"
PROGRAMS = sorted(BLOCKS.keys() - SIGNATURES - {CONSTRUCTOR})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let a block find what it names, and the names of Gleitzeit."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEPWELL_STORE", raising=False)
    monkeypatch.syspath_prepend(TESTS.parent / "dropin")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "gleitzeit"]:
        del sys.modules[name]


def execute(block: str, **names: Any) -> dict[str, Any]:
    """Execute a block, which may await; return the names that it leaves."""
    code = compile(block, "document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names |= {"__name__": "document", "GleitzeitClient": GleitzeitClient, "Path": Path}
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(awaited(code, names))
    else:
        exec(code, names)  # noqa: S102
    return names


async def awaited(code: CodeType, names: dict[str, Any]) -> None:
    if "client" in names:  # A client that the block takes for granted.
        async with names["client"]:
            await eval(code, names)  # noqa: S307
    else:
        await eval(code, names)  # noqa: S307


def test_every_block_is_known() -> None:
    assert len(BLOCKS) == 26
    assert len(SIGNATURES) == 9
    assert (ASKS_A_MODEL | WANTS_REDIS).issubset(PROGRAMS)


@pytest.mark.parametrize("name", sorted(SIGNATURES | {CONSTRUCTOR}))
def test_a_signature_is_that_of_the_document(name: str) -> None:
    declared = BLOCKS[name].strip()
    if name == CONSTRUCTOR:
        declared = "async def __init__" + declared.removeprefix("GleitzeitClient")
    function = ast.parse(f"{declared}: ...").body[0]
    assert isinstance(function, ast.AsyncFunctionDef)
    arguments = function.args
    defaults = [ast.literal_eval(value) for value in arguments.defaults]
    ours = list(inspect.signature(getattr(GleitzeitClient, function.name)).parameters.values())[1:]
    # What there is beside it can only be given by name.
    ours = [one for one in ours if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert [one.name for one in ours] == [one.arg for one in arguments.args]
    assert [one.default for one in ours if one.default is not inspect.Parameter.empty] == defaults


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in ASKS_A_MODEL | WANTS_REDIS])
def test_a_block_runs(name: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken: dict[str, Any] = {}
    if name == "get_workflow_status() 2":
        taken["client"] = GleitzeitClient()
    left = execute(BLOCKS[name], **taken)
    told = capsys.readouterr().out
    expected: dict[str, Any] = {
        "Quick Start": lambda: told == "Workflow completed with 1 task results\n",
        "Context Manager": lambda: left["results"]["double"]["result"] == 42,
        "run_workflow() 2": lambda: left["results"]["Process Data"]["result"] == ["1", "2"],
        "get_workflow_status() 2": lambda: re.fullmatch(
            r"Status: (running|completed), Progress: [01]/1\n", told
        ),
        "batch_python() 2": lambda: [one["result"] for one in left["results"].results.values()] == [2, 4, 6],
        "execute_python() 2": lambda: (told, left["result"]["result"]) == ("4.0\n", ["json", "1\n2\n"]),
        "Error Handling": lambda: asyncio.run(left["robust_workflow"]()) is None,
    }
    assert expected[name]()


@pytest.mark.parametrize("name", sorted(ASKS_A_MODEL))
def test_a_block_that_asks_a_model_is_refused_before_anything_begins(name: str, project: Path) -> None:
    with pytest.raises(ProtocolError) as refused:
        execute(BLOCKS[name])
    assert refused.value.code == ErrorCode.PROTOCOL_NOT_FOUND
    assert refused.value.data["protocol_id"] in ("llm", "llm/v1")


@pytest.mark.parametrize("name", sorted(WANTS_REDIS))
def test_a_block_that_wants_redis_is_refused_at_once(name: str, project: Path) -> None:
    wanting = [statement for statement in statements(BLOCKS[name]) if "redis" in statement]
    for statement in statements(BLOCKS[name]):
        if statement not in wanting:
            names = {"asyncio": asyncio, "analyze_documents": lambda: asyncio.sleep(0)}
            execute(statement, **names)
    for statement in wanting:
        with pytest.raises(ConfigurationError, match="no store on Redis"):
            asyncio.run(execute(statement).get("analyze_documents", asyncio.sleep)())


def statements(block: str) -> list[str]:
    return [ast.get_source_segment(block, node) or "" for node in ast.parse(block).body]


@pytest.mark.parametrize(
    ("workflow", "told"),
    [
        (
            "steps: [{name: a, method: python/execute, params: {code: x}, neds: [b]}]",
            "Invalid workflow: .*'neds'",
        ),
        (
            "steps: [{name: a, method: python/execute, params: {code: x}, needs: [a]}]",
            r"Circular dependency detected: \{.*'dependency_cycle': \['a', 'a'\]",
        ),
        (
            "steps: [{name: a, method: python/execute, timeout: 0.2, params: {code: while True: pass}}]",
            "Task timed out: a",
        ),
    ],
)
def test_the_block_about_errors_tells_which_one_it_was(
    workflow: str, told: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "workflow.yaml").write_text(workflow.replace("while True: pass", "'while True: pass'"))
    left = execute(BLOCKS["Error Handling"])
    asyncio.run(left["robust_workflow"]())
    assert re.match(told, capsys.readouterr().out)
    assert issubclass(left["WorkflowError"], GleitzeitError)
