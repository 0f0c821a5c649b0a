"""G10 to G13 and G15: batches."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell.batch import BatchResult
from stepwell.compat.gleitzeit import GleitzeitClient
from stepwell.compat.gleitzeit.core.errors import (
    ConfigurationError,
    ErrorCode,
    InvalidParameterError,
    MethodNotSupportedError,
)

from .words import stored, until

SIZE = "result = open(args['file_path']).read()"


def tree(project: Path) -> None:
    """Make files at several depths, hidden ones among them."""
    for name in (
        "src/a.py",
        "src/b/c.py",
        "src/b/c.txt",
        "src/.hidden.py",
        "src/.git/d.py",
        "src/z.jpeg",
        "src/y.png",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / "size.py").write_text(SIZE)


async def batch(client: GleitzeitClient, **where: Any) -> BatchResult:
    """Carry out a batch of a script over a directory, which only batches of models can do by the names of Gleitzeit."""
    return await client._client.batch("python/execute", {"file": "size.py"}, **where)


async def test_g10_files_are_found_by_pattern_in_order(client: GleitzeitClient, project: Path) -> None:
    tree(project)
    found = {
        "**/*.py": ["src/a.py", "src/b/c.py"],
        "*.{jpg,png,jpeg}": ["src/y.png", "src/z.jpeg"],
        "*": ["src/a.py", "src/y.png", "src/z.jpeg"],
        "b/?.[pt]*": ["src/b/c.py", "src/b/c.txt"],
        "*.none": [],
    }
    for pattern, files in found.items():
        result = await batch(client, directory="src", pattern=pattern)
        assert list(result.results) == files
        assert [one["result"] for one in result.results.values()] == files
        assert (result.total_files, result.successful, result.failed) == (len(files), len(files), 0)
        assert (result.parameters["directory"], result.parameters["pattern"]) == ("src", pattern)
        assert result.parameters["method"] == "python/execute"
        assert result.created_at.utcoffset() is not None
        assert result.processing_time >= 0


async def test_g10_ids_of_batches_are_unique(client: GleitzeitClient, project: Path) -> None:
    tree(project)
    ids = {(await client.batch_python("size.py", [])).batch_id for _ in range(1_000)}
    assert len(ids) == 1_000


async def test_g11_no_more_files_at_once_than_were_asked_for(client: GleitzeitClient, project: Path) -> None:
    (project / "count.py").write_text(
        """
import os, pathlib, time

me = pathlib.Path("live") / args["file_path"]
me.touch()
result = len(os.listdir("live"))
if result >= 3:
    pathlib.Path("reached").touch()
while not pathlib.Path("reached").exists():
    time.sleep(0.002)
me.unlink()
"""
    )
    (project / "live").mkdir()
    files = [f"f{n:02}" for n in range(20)]
    for file in files:
        (project / file).touch()
    result = await client.batch_python("count.py", files, max_concurrent=3)
    at_once = [entry["result"] for entry in result.results.values()]
    assert (len(at_once), max(at_once)) == (20, 3)


async def test_g12_everything_is_saved_whole(client: GleitzeitClient, project: Path) -> None:
    (project / "long.py").write_text("result = 'ä' + 'x' * 100_000 + args['file_path']")
    for name in ("a", "b"):
        (project / name).touch()
    result = await client.batch_python("long.py", ["a", "b", "missing"])
    result.save_to_json("out.json")
    result.save_to_markdown(project / "out.md")
    assert json.loads((project / "out.json").read_text()) == result.to_dict() == json.loads(result.to_json())
    assert result.to_dict()["summary"]["failed"] == 1
    page = (project / "out.md").read_text()
    assert page == result.to_markdown()
    for name in ("a", "b"):
        assert "ä" + "x" * 100_000 + name in page
    assert result.batch_id in page
    for save in (result.save_to_json, result.save_to_markdown):
        with pytest.raises(FileNotFoundError):
            save("nowhere/out")


SAVES = """
import asyncio
from stepwell.compat.gleitzeit import GleitzeitClient

async def main():
    async with GleitzeitClient(persistence="memory") as client:
        results = [await client.batch_python("long.py", [name]) for name in ("a", "b")]
    results[0].save_to_json("out.json")
    print("saved", flush=True)
    while True:
        for result in results:
            result.save_to_json("out.json")

asyncio.run(main())
"""


def test_g12_a_kill_while_writing_leaves_one_of_both(project: Path) -> None:
    (project / "long.py").write_text("result = args['file_path'] * 1_000_000")
    for name in ("a", "b"):
        (project / name).touch()
    for n in range(5):
        with subprocess.Popen([sys.executable, "-c", SAVES], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "saved\n"
            time.sleep(0.007 * n)  # any moment will do
            process.send_signal(signal.SIGKILL)
        [(path, entry)] = json.loads((project / "out.json").read_text())["results"].items()
        assert entry["result"] == path * 1_000_000


async def test_g13_a_script_that_fails_for_one_file_fails_for_no_other(
    client: GleitzeitClient, project: Path
) -> None:
    (project / "sum.py").write_text("result = sum(int(line) for line in open(args['file_path']))")
    for n, text in enumerate(("1\n2\n", "three\n", "5\n")):
        (project / f"data{n}.csv").write_text(text)
    files = ["data2.csv", "data0.csv", "data1.csv", "data0.csv", "data9.csv"]
    result = await client.batch_python("sum.py", files, max_concurrent=3)
    assert list(result.results) == ["data0.csv", "data1.csv", "data2.csv", "data9.csv"]
    assert (result.total_files, result.successful, result.failed) == (4, 2, 2)
    entries = result.results
    assert entries["data0.csv"] == {"status": "success", "content": "3", "result": 3, "output": ""}
    assert entries["data2.csv"]["result"] == 5
    assert (entries["data1.csv"]["status"], entries["data1.csv"]["code"]) == ("failed", -29002)
    assert "ValueError" in entries["data1.csv"]["error"]
    assert (entries["data9.csv"]["code"], entries["data9.csv"]["data"]["reason"]) == (-32602, "not_found")


async def test_g13_g21_what_no_batch_can_be_made_of_is_refused(
    client: GleitzeitClient, project: Path
) -> None:
    tree(project)
    with pytest.raises(InvalidParameterError) as script:
        await client.batch_python("none.py", ["src/a.py"])
    assert script.value.data["parameter"] == "script"
    for where in ({}, {"directory": "src", "files": ["src/a.py"]}):
        with pytest.raises(InvalidParameterError) as both:
            await client.batch_process(**where)  # type: ignore[arg-type]
        assert both.value.code == ErrorCode.INVALID_PARAMS
    with pytest.raises(ConfigurationError) as missing:
        await client.batch_process(directory="none")
    assert (missing.value.code, missing.value.data["path"]) == (ErrorCode.CONFIGURATION_ERROR, "none")
    with pytest.raises(MethodNotSupportedError) as method:
        await client.batch_process(directory="src", method="python/execute")
    assert method.value.data["supported_methods"] == ["llm/chat", "llm/complete", "llm/vision"]
    assert await stored(client) == []


async def test_g15_settings_of_a_template_are_settings_and_each_step_has_its_own_file(
    client: GleitzeitClient, project: Path
) -> None:
    (project / "in").mkdir()
    for name in ("a", "b"):
        (project / "in" / name).touch()
    (project / "once.py").write_text(
        """
import pathlib
seen = pathlib.Path(args["file_path"] + ".seen")
if not seen.exists():
    seen.touch()
    raise OSError("not yet")
result = [args["file_path"], args["kind"]]
"""
    )
    (project / "batch.yaml").write_text(
        """
name: sums
batch: {directory: in, pattern: "?"}
template:
  method: python/execute
  file: once.py
  context: {kind: csv}
  timeout: 20
  priority: high
  retry: {max_attempts: 2, base_delay: 0.1, jitter: false}
"""
    )
    results = await client.run_workflow("batch.yaml")
    assert {name: view["result"] for name, view in results.items()} == {
        "process-a-0": ["in/a", "csv"],
        "process-b-1": ["in/b", "csv"],
    }
    [run] = await stored(client)
    status = await client.get_workflow_status(run)
    assert status is not None
    assert (status.name, status.total_tasks, status.completed_tasks) == ("sums", 2, 2)


async def test_g32_hostile_names_of_files_execute_nothing_and_are_told_rightly(
    client: GleitzeitClient, project: Path
) -> None:
    (project / "name.py").write_text("import os; result = os.path.basename(args['file_path'])")
    names = [
        "it's",
        'a"b',
        "new\nline",
        "semi;colon",
        "$(touch owned)",
        "`touch owned`",
        "${value}",
        "-rf",
        "ümläut",
    ]
    (project / "in").mkdir()
    for name in names:
        (project / "in" / name).touch()
    os.close(os.open(b"in/odd\xff", os.O_CREAT))
    result = await client._client.batch("python/execute", {"file": "name.py"}, directory="in")
    by_name = {path.removeprefix("in/"): entry for path, entry in result.results.items()}
    assert by_name.pop("odd\\xff")["data"]["reason"] == "not_utf8"
    assert {name: entry["result"] for name, entry in by_name.items()} == {name: name for name in names}
    listed = await client.batch_python("name.py", [f"in/{name}" for name in names])
    assert sorted(entry["result"] for entry in listed.results.values()) == sorted(names)
    odd = await client.batch_python("name.py", [os.fsdecode(b"in/odd\xff")])
    [entry] = odd.results.values()
    assert entry["data"]["reason"] == "not_utf8"
    assert not (project / "owned").exists()


async def test_who_stops_waiting_for_a_batch_cancels_it(client: GleitzeitClient, project: Path) -> None:
    (project / "waits.py").write_text("open('begun', 'w'); import time; time.sleep(20)")
    (project / "a").touch()
    waiting = asyncio.ensure_future(client.batch_python("waits.py", ["a"]))
    await until((project / "begun").exists)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    status = await client.get_workflow_status("batch")
    assert status is not None
    assert status.status == "cancelled"
