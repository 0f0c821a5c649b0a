"""G1 to G9, G14, G38 and G41: single tasks, workflow files and how they stand."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepwell.compat.gleitzeit import GleitzeitClient, Workflow
from stepwell.compat.gleitzeit.core.errors import (
    ConfigurationError,
    ErrorCode,
    GleitzeitError,
    PersistenceError,
    ProtocolError,
)

from .words import MEET, journal, script, stored, until

LEAVES_NOTHING = """
import asyncio, os, sys, time
from stepwell.compat.gleitzeit import GleitzeitClient

def counted():
    threads = os.listdir("/proc/self/task")
    children = "".join(open(f"/proc/self/task/{one}/children").read() for one in threads)
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    sockets = sorted(os.readlink(link) for link in links if os.path.exists(link) and "socket" in os.readlink(link))
    return len(threads), children, sockets, len(asyncio.all_tasks())

def left():
    while True:
        try:
            return counted()
        except (FileNotFoundError, ProcessLookupError):
            pass  # what was listed, a thread or a socket, went before it was read

async def used():
    async with GleitzeitClient(**eval(sys.argv[1])) as client:
        assert (await client.execute_python(code="result = 1"))["result"] == 1
        return left()

async def main():
    # What the process has once and for all, such as the pair of sockets that signals come by.
    await used()
    patience = time.monotonic() + 30  # a thread that has nothing more to do is not waited for
    while (before := left())[:2] != (1, "") or before[3] != 1:
        assert time.monotonic() < patience, before
        await asyncio.sleep(0.01)
    for _ in range(3):
        assert await used() != before
        patience = time.monotonic() + 30
        while left() != before:
            assert time.monotonic() < patience, (left(), before)
            time.sleep(0.01)  # nor does the loop go on meanwhile

asyncio.run(main())
"""


@pytest.mark.parametrize("place", ["{'persistence': 'memory'}", "{'db_path': 'runs.db'}"])
def test_g1_the_constructor_takes_five_keywords_and_nothing_is_left_behind(project: Path, place: str) -> None:
    names = ["persistence", "db_path", "redis_url", "ollama_url", "debug"]
    assert list(inspect.signature(GleitzeitClient).parameters) == names
    command = [sys.executable, "-c", LEAVES_NOTHING, place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


async def test_g1_a_client_opens_by_itself_and_is_not_used_after_its_end(project: Path) -> None:
    client = GleitzeitClient(persistence="memory")
    assert (await client.execute_python(code="result = 1"))["result"] == 1
    await client.close()
    with pytest.raises(GleitzeitError) as refused:
        await client.execute_python(code="result = 1")
    assert refused.value.code == ErrorCode.SYSTEM_NOT_INITIALIZED


async def test_g1_what_is_done_is_told_on_standard_error_if_it_is_wanted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for debug in (False, True):
        async with GleitzeitClient(persistence="memory", debug=debug) as client:
            await client.execute_python(code="result = 1")
        assert ("workflow 'execute_python' is started" in capsys.readouterr().err) is debug


async def test_g2_code_results_in_a_float(client: GleitzeitClient) -> None:
    result = (await client.execute_python(code="import math; result = math.sqrt(16)", timeout=5))["result"]
    assert (type(result), result) == (float, 4.0)


async def test_g3_a_script_is_given_args_and_context_and_returns_every_type(
    client: GleitzeitClient, project: Path
) -> None:
    (project / "echo.py").write_text(
        "print('{\"result\": 1}')\nassert args is context\nresult = args['value']\n"
    )
    value: dict[str, Any] = {
        "null": None,
        "bool": True,
        "int": -(2**63),
        "unsigned": 2**64 - 1,
        "float": 1e-300,
        "text": "é\u2028🦀 ${not.a.reference}",
        "list": [1, [2.5, {}]],
        "${key}": {"a b": ""},
    }
    view = await client.execute_python(file="echo.py", args={"value": value})
    assert view["result"] == value
    assert type(view["result"]["float"]) is float
    assert (view["output"], view["status"], view["success"]) == ('{"result": 1}\n', "completed", True)
    assert view["error"] is None


async def test_g4_all_ways_to_write_a_workflow_are_one(client: GleitzeitClient, project: Path) -> None:
    code = {"code": "result = ${input.n} + 1"}
    tasks = [script("a", code["code"]), script("b", "result = ${a.result} * 2", ("a",))]
    one = {"name": "one", "tasks": tasks}
    aliases: dict[str, Any] = {"name": "one", "steps": [dict(task) for task in tasks]}
    for step in aliases["steps"]:
        step["parameters"] = step.pop("params")
        step["needs"] = step.pop("dependencies")
    (project / "one.json").write_text(json.dumps(one))
    # Every JSON is YAML too.
    (project / "one.yaml").write_text(json.dumps(aliases))
    created = await client.create_workflow("one", tasks)
    ways: list[Any] = ["one.json", Path("one.yaml"), one, aliases, created, Workflow("one", tasks)]
    seen = set()
    for way in ways:
        results = await client.run_workflow(way, inputs={"n": 20})
        assert (list(results), results["b"]["result"]) == (["a", "b"], 42)
        started = await client.run_workflow_async(way, inputs={"n": 20})
        assert started.total_tasks == len(started.tasks) == 2
        seen.add((started.workflow_id, started.version))
    assert seen == {("one", created.version)}


async def test_g5_results_are_keyed_by_id_in_the_order_of_definition(client: GleitzeitClient) -> None:
    tasks = [
        script("Final_Report", "result = '${first.result}!'", ("The first",)),
        {**script("The first", "result = 'x'"), "id": "first"},
    ]
    await client.run_workflow({"tasks": [script("another", "")]})
    results = await client.run_workflow({"tasks": tasks})
    assert list(results) == ["Final_Report", "first"]
    assert results["Final_Report"]["result"] == "x!"


async def test_g6_the_data_pipeline_writes_its_report(client: GleitzeitClient, project: Path) -> None:
    # A question that nobody answers in time stands in for the model.
    (project / "extract.py").write_text("result = [{'id': 1, 'n': 2}, {'id': 2, 'n': None}]")
    (project / "validate.py").write_text("result = [row for row in args['data'] if row['n']]")
    report = "one row\nis \"fine\" \\ 'really'"
    save = """
import json
data = ${Validate Data.result}
report = "${Generate Report.result}"
with open('results.json', 'w') as f:
    json.dump({'data': data, 'analysis': report}, f, indent=2)
result = f"Saved {len(data)} records with analysis"
"""
    tasks = [
        script("Extract Data", "", file="extract.py"),
        script(
            "Validate Data",
            "",
            ("Extract Data",),
            file="validate.py",
            args={"data": "${Extract Data.result}"},
        ),
        {
            "name": "Generate Report",
            "method": "human/ask",
            "dependencies": ["Validate Data"],
            "params": {"prompt": "Analyze ${Validate Data.result}", "deadline": 0, "default": report},
        },
        script("Save Results", save, ("Validate Data", "Generate Report")),
    ]
    results = await client.run_workflow({"name": "Data Pipeline", "tasks": tasks})
    assert results["Save Results"]["result"] == "Saved 1 records with analysis"
    assert json.loads((project / "results.json").read_text()) == {
        "data": [{"id": 1, "n": 2}],
        "analysis": report,
    }


async def test_g7_steps_run_side_by_side_and_wait_for_their_own_needs_only(
    client: GleitzeitClient, project: Path
) -> None:
    def meets(name: str, needs: tuple[str, ...], *others: str) -> dict[str, Any]:
        return script(name, MEET, needs, args={"me": name, "others": list(others)}, timeout=20)

    merge = "result = {'merged': ${Source_A.result} + ${Source_B.result}}"
    tasks = [
        meets("Source_A", (), "Source_B", "Source_C"),
        meets("Source_B", (), "Source_A", "Source_C"),
        meets("Source_C", (), "Source_A", "Source_B"),
        # Of the first level, and ends after a step of the third.
        meets("slow", (), "Statistical_Analysis"),
        script("Merge_Data", merge, ("Source_A", "Source_B", "Source_C")),
        meets("Statistical_Analysis", ("Merge_Data",), "ML_Prediction"),
        meets("ML_Prediction", ("Merge_Data",), "Statistical_Analysis"),
    ]
    results = await client.run_workflow({"name": "Parallel Processing", "tasks": tasks})
    assert results["Merge_Data"]["result"] == {"merged": "Source_ASource_B"}
    assert [view["status"] for view in results.values()] == ["completed"] * 7


LOADED: dict[str, Any] = {
    "a": {"b": [1, {"c": None}], "a key": True, "7": "seven"},
    "items": ["x", 2.5, -3, "ä 🦀", "", False],
}
REFERENCES: list[tuple[str, Any]] = [
    ("${Load.v1 Data}", LOADED),
    ("${Load.v1 Data.result.a.b}", [1, {"c": None}]),
    ("${Load.v1 Data.result.a.b[1].c}", None),
    ('${Load.v1 Data.result.a["a key"]}', True),
    ("${Load.v1 Data.result.a.7}", "seven"),
    ("${Load.v1 Data.result.items[0]}", "x"),
    ("${Load.v1 Data.result.items.1}", 2.5),
    ("${Load.v1 Data.result.items[5]}", False),
    ("${Load.v1 Data.output}", "printed\n"),
    ("${Load.v1 Data.status}", "completed"),
    ("a ${Load.v1 Data.result.a.b} b", 'a [1,{"c":null}] b'),
    ("n=${Load.v1 Data.result.items[2]}", "n=-3"),
    ("$${Load.v1 Data}", "${Load.v1 Data}"),
    ("$$${Load.v1 Data.result.items[0]}", "$x"),
]


async def test_g8_references_name_values_by_path_and_keep_their_types(client: GleitzeitClient) -> None:
    tasks = [
        script("Load.v1 Data", "print('printed'); result = args", args=LOADED),
        script("read", "result = args['all']", args={"all": [text for text, _ in REFERENCES]}),
    ]
    results = await client.run_workflow({"tasks": tasks})
    assert results["read"]["result"] == [value for _, value in REFERENCES]


async def test_g9_a_run_goes_on_in_the_background_and_its_progress_never_falls(
    client: GleitzeitClient, project: Path
) -> None:
    waits = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.005)"
    chain = [script("s0", waits), *(script(f"s{n}", "", (f"s{n - 1}",)) for n in range(1, 6))]
    started = await client.run_workflow_async({"name": "chain", "tasks": chain})
    assert (str(started.status), started.completed_tasks, started.total_tasks) == ("running", 0, 6)
    assert started.tasks == chain
    (project / "go").touch()
    seen = [0]
    while seen[-1] < 6:
        status = await client.get_workflow_status(started.id)
        assert status is not None
        assert f"{status.status}" in ("running", "completed")
        seen.append(status.completed_tasks)
    assert seen == sorted(seen)
    done = await client.get_workflow_status(started.id)
    assert done is not None
    assert (done.status, done.error, done.workflow_id) == ("completed", None, "chain")
    assert done.created_at is not None
    assert done.ended_at is not None
    assert done.created_at.utcoffset() is not None
    assert done.ended_at >= done.created_at
    assert [task["name"] for task in done.tasks] == [task["name"] for task in chain]
    assert await client.get_workflow_status("nobody") is None


async def test_g9_a_definition_stands_as_its_latest_run(client: GleitzeitClient) -> None:
    created = await client.create_workflow("made", [script("a", "result = 1")], description="for later")
    assert await stored(client) == []
    status = await client.get_workflow_status("made")
    assert status is not None
    assert (status.status, status.description, status.total_tasks) == ("pending", "for later", 1)
    await client.run_workflow(created)
    latest = await client.run_workflow_async(created)
    status = await client.get_workflow_status(created.id)
    assert status is not None
    assert status.id == latest.id


async def test_g14_what_asks_a_model_is_refused_as_long_as_there_is_none(
    client: GleitzeitClient, project: Path
) -> None:
    (project / "a.png").touch()
    calls = [client.chat("${x}"), client.vision("a.png"), client.batch_process(files=["a.png"])]
    for call in calls:
        with pytest.raises(ProtocolError) as refused:
            await call
        assert refused.value.code == ErrorCode.PROTOCOL_NOT_FOUND
    assert await stored(client) == []


async def test_g38_a_store_that_cannot_be_opened_is_an_error_and_no_other_is_touched(project: Path) -> None:
    (project / "text").write_text("no store, but a text that is long enough to be looked at" * 99)
    (project / "directory").mkdir()
    for place, code in (
        ("directory", ErrorCode.PERSISTENCE_CONNECTION_FAILED),
        ("nowhere/runs.db", ErrorCode.PERSISTENCE_CONNECTION_FAILED),
        ("text", ErrorCode.PERSISTENCE_INTEGRITY_ERROR),
    ):
        with pytest.raises(PersistenceError) as refused:
            await GleitzeitClient(db_path=str(project / place)).initialize()
        assert (refused.value.code, refused.value.data["backend"]) == (code, "sqlite")
        if code == ErrorCode.PERSISTENCE_CONNECTION_FAILED:
            assert refused.value.data["connection_string"] == f"sqlite://{project / place}"
    assert sorted(file.name for file in project.iterdir()) == ["directory", "text"]


def test_g38_a_store_that_does_not_exist_is_refused_at_once() -> None:
    wrong: list[dict[str, Any]] = [
        {"persistence": "postgres"},
        {"persistence": "redis"},
        {"persistence": "redis", "redis_url": "redis://localhost:6379/0"},
        {"persistence": "memory", "db_path": "a.db"},
        {"redis_url": "redis://localhost:6379/0"},
    ]
    for arguments in wrong:
        with pytest.raises(ConfigurationError) as refused:
            GleitzeitClient(**arguments)
        assert refused.value.code == ErrorCode.CONFIGURATION_ERROR


async def test_g38_the_store_of_the_project_is_the_default(project: Path) -> None:
    async with GleitzeitClient() as client:
        await client.execute_python(code="result = 1")
    assert (project / ".stepwell" / "stepwell.db").is_file()


async def test_g41_two_workflows_at_once_see_nothing_of_each_other(client: GleitzeitClient) -> None:
    def named(me: str, other: str) -> dict[str, Any]:
        value = script("value", MEET, args={"me": me, "others": [other]}, timeout=20)
        return {"name": me, "tasks": [value, script("after", "result = '${value.result}'", ("value",))]}

    left, right = await asyncio.gather(
        client.run_workflow(named("left", "right")), client.run_workflow(named("right", "left"))
    )
    assert (left["after"]["result"], right["after"]["result"]) == ("left", "right")


async def test_who_stops_waiting_cancels_the_run(client: GleitzeitClient, project: Path) -> None:
    code = "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)"
    waiting = asyncio.ensure_future(client.run_workflow({"tasks": [script("a", code, timeout=600)]}))
    await until((project / "begun").exists)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    [run] = await stored(client)
    status = await client.get_workflow_status(run)
    assert status is not None
    assert status.status == "cancelled"
    assert [event["seq"] for event in await journal(client, run)] == list(
        range(1, 1 + len(await journal(client, run)))
    )
