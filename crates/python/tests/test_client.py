"""Workflow files and batches from Python: what the client and the engine promise by themselves, on every store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell import (
    Client,
    ConfigurationError,
    DefinitionError,
    Engine,
    ResumeError,
    RunCancelledError,
    RunExistsError,
    RunFailedError,
    StepwellError,
    TaskNotFoundError,
    Workflow,
)

DOUBLE = {
    "id": "double",
    "steps": [
        {
            "name": "double",
            "method": "python/execute",
            "params": {"code": "result = 2 * args['n']", "args": {"n": "${input.n}"}},
        }
    ],
}
WAITS = {"id": "waits", "steps": [{"name": "wait", "method": "signal/wait", "params": {"name": "go"}}]}


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return f"sqlite://{tmp_path}/runs.db" if request.param == "sqlite" else str(request.param)


async def test_a_workflow_runs_and_tells_what_came_of_each_step(store: str) -> None:
    async with Client(store) as client:
        report = await client.run_workflow(DOUBLE, {"n": 21}, run_id="d", metadata={"team": "ops"})
        assert (report.status, report.output, report.run_id) == ("completed", 42, "d")
        assert report.results["double"]["result"] == 42
        assert (report.total, report.completed, report.failed) == (1, 1, 0)
        assert report.metadata == {"team": "ops"}
        # The same again is the same run; another one is refused.
        again = await client.run_workflow(DOUBLE, {"n": 21}, run_id="d", metadata={"team": "ops"})
        assert again == report
        with pytest.raises(RunExistsError):
            await client.run_workflow(DOUBLE, {"n": 22}, run_id="d")


async def test_runs_are_listed_found_and_cancelled(store: str) -> None:
    async with Client(store) as client:
        run = await client.start(WAITS, run_id="w")
        await client.run_workflow(DOUBLE, {"n": 1}, run_id="d", metadata={"n": 1})
        listed = [(one.run_id, one.workflow) async for one in client.list()]
        assert listed == [("d", "double"), ("w", "waits")]
        assert [one.run_id async for one in client.list(metadata={"n": 1}, workflow="double")] == ["d"]
        assert [one.run_id async for one in client.list(limit=1)] == ["d"]
        await run.rest()
        assert [one.pause_reason async for one in client.list(status=await run.status())] == ["input"]
        await client.cancel("w")
        await client.cancel("w")
        with pytest.raises(ResumeError):
            await client.cancel("d")
        with pytest.raises(TaskNotFoundError):
            await client.get("nobody")
        cancelled = await (await client.get("w")).report()
        assert (cancelled.status, cancelled.results["wait"]["status"]) == ("cancelled", "cancelled")


async def test_more_runs_than_a_page_are_listed(store: str) -> None:
    async with Client(store) as client:
        nap = Workflow.from_dict(
            {"steps": [{"name": "n", "method": "timer/sleep", "params": {"seconds": 0}}]}
        )
        for n in range(205):
            await client.start(nap, run_id=f"r{n}")
        assert len([run async for run in client.list()]) == 205


async def test_a_failure_is_raised_with_the_report_or_told(store: str) -> None:
    fails = {"steps": [{"name": "a", "method": "python/execute", "params": {"code": "raise KeyError('k')"}}]}
    async with Client(store) as client:
        with pytest.raises(RunFailedError, match="KeyError") as failed:
            await client.run_workflow(fails)
        assert failed.value.result.results["a"]["error"]["code"] == -29002
        told = await client.run_workflow(fails, raise_on_error=False)
        assert (told.status, told.failed) == ("failed", 1)


async def test_one_who_waits_for_a_run_that_is_cancelled_is_told(store: str) -> None:
    async with Client(store) as client:
        waiting = asyncio.ensure_future(client.run_workflow(WAITS, run_id="w"))
        while not [run async for run in client.list()]:
            await asyncio.sleep(0.001)
        await client.cancel("w")
        with pytest.raises(RunCancelledError):
            await waiting


async def test_a_batch_tells_what_came_of_each_file(store: str, tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text("result = len(open(args['file_path']).read())")
    (tmp_path / "in").mkdir()
    for name in ("a", "bb"):
        (tmp_path / "in" / name).write_text(name)
    async with Client(store) as client:
        result = await client.batch("python/execute", {"file": "count.py"}, directory="in", pattern="*")
        assert {path: entry["result"] for path, entry in result.results.items()} == {"in/a": 1, "in/bb": 2}
        assert repr(result).endswith("2 files, 2 successful, 0 failed)")
        run = await client.get(result.batch_id)
        assert (await client.batch_result(run)).to_dict() == result.to_dict()
        for directory, files in ((None, None), ("in", ["in/a"])):
            with pytest.raises(ConfigurationError) as refused:
                await client.batch("python/execute", directory=directory, files=files)
            assert refused.value.code == -32602
        other = await client.start(DOUBLE, {"n": 1})
        with pytest.raises(ConfigurationError, match="none of a batch"):
            await client.batch_result(other)


async def test_files_lie_in_the_roots_that_an_engine_is_given(store: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    project = tmp_path / "project"
    for directory in (elsewhere, project):
        directory.mkdir()
    (elsewhere / "a.py").write_text("result = 1")
    step = {"name": "a", "method": "python/execute", "params": {"file": str(elsewhere / "a.py")}}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        async with Client(store) as client:
            with pytest.raises(StepwellError) as refused:
                await client.run_workflow({"steps": [step]})
            assert refused.value.data["reason"] == "outside_roots"
            # A workflow file may name what lies beside it.
            (elsewhere / "w.yaml").write_text(f"steps: [{step}]")
            assert (await client.run_workflow(elsewhere / "w.yaml")).output == 1
        async with Engine(store, roots=[elsewhere]) as engine:
            assert (await Client(engine).run_workflow({"steps": [step]})).output == 1


async def test_an_engine_that_takes_no_work_starts_and_shows(tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/runs.db"
    async with Engine(store, work=False) as idle, Engine(store) as worker:
        started = await Client(idle).start(DOUBLE, {"n": 3}, run_id="d")
        assert (await (await Client(worker).get("d")).report(at_end=True)).output == 6
        assert (await started.report()).status == "completed"


@pytest.mark.parametrize("grace", [0.0, 20.0])
async def test_attempts_may_end_while_an_engine_is_closed_if_they_are_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: float
) -> None:
    monkeypatch.chdir(tmp_path)
    code = """
import pathlib, time
with open("attempts", "a") as file:
    file.write("x")
while not pathlib.Path("go").exists():
    time.sleep(0.005)
"""
    step = {"name": "a", "method": "python/execute", "params": {"code": code}}
    attempts = tmp_path / "attempts"
    engine = await Engine(f"sqlite://{tmp_path}/runs.db").open()
    await Client(engine).start({"steps": [step]}, run_id="r")
    while not attempts.exists() or not attempts.read_text():
        await asyncio.sleep(0.002)
    closing = asyncio.ensure_future(engine.close(grace))
    if not grace:
        await closing
    (tmp_path / "go").touch()
    await closing
    async with Client(f"sqlite://{tmp_path}/runs.db") as client:
        report = await (await client.get("r")).report(at_end=True)
    assert (report.status, attempts.read_text()) == ("completed", "x" if grace else "xx")


async def test_what_is_closed_is_not_used(store: str) -> None:
    client = Client(store)
    assert (await client.run_workflow(DOUBLE, {"n": 1})).output == 2
    await client.close()
    await client.close()
    with pytest.raises(StepwellError) as refused:
        await client.run_workflow(DOUBLE, {"n": 1})
    assert refused.value.name == "SYSTEM_NOT_INITIALIZED"


def test_problems_of_a_file_are_told_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(
        "steps:\n  - name: a\n    method: timer/sleep\n    tiemout: 1\n    retry: {max_attempts: 50}\n"
    )
    with pytest.raises(DefinitionError) as refused:
        Workflow.load(file)
    assert [(one["line"], one["step"]) for one in refused.value.problems] == [
        (2, "a"),
        (4, "a"),
        (5, "a"),
        (5, "a"),
    ]
    with pytest.raises(ConfigurationError, match="there is no file"):
        Workflow.load(tmp_path / "none.yaml")
    wrong: list[Any] = [{"steps": {1, 2}}, {"steps": []}, {1: 2}]
    for definition in wrong:
        with pytest.raises(DefinitionError):
            Workflow.from_dict(definition)
    misplaced = {"steps": [{"name": "a", "method": "timer/sleep", "params": {"minutes": 1}}]}
    with pytest.raises(DefinitionError, match="minutes") as refused:
        Workflow.from_dict(misplaced)
    assert refused.value.name == "INVALID_PARAMS"
    nonsense: Any = 7
    with pytest.raises(TypeError, match="not int"):
        Workflow.of(nonsense)
