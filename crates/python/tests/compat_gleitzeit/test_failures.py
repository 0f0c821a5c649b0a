"""G23, G24 and G26 to G30: tasks that fail, take too long or return what cannot be kept, and cancelled runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepwell.compat.gleitzeit import GleitzeitClient
from stepwell.compat.gleitzeit.core.errors import (
    ErrorCode,
    TaskError,
    TaskExecutionError,
    TaskTimeoutError,
    WorkflowError,
)

from .words import journal, script, stored, until


async def statuses(client: GleitzeitClient, definition: dict[str, Any]) -> dict[str, str]:
    """Run a workflow; return how its steps stand then."""
    results = await client.run_workflow(definition, raise_on_failure=False)
    return {name: view["status"] for name, view in results.items()}


async def ended(client: GleitzeitClient) -> str:
    """Return how the latest run stands."""
    status = await client.get_workflow_status((await stored(client))[0])
    assert status is not None
    return str(status.status)


FAILS: list[dict[str, Any]] = [
    script("fails", "import sys; print('out'); print('err', file=sys.stderr); raise KeyError('k')"),
    script("needs it", "open('called', 'w')", ("fails",)),
    script("needs that", "open('called', 'w')", ("needs it",)),
    script("alone", "result = 1"),
    script("after alone", "result = ${alone.result} + 1", ("alone",)),
]


async def test_g23_a_failure_skips_its_dependents_and_nothing_else(
    client: GleitzeitClient, project: Path
) -> None:
    with pytest.raises(TaskExecutionError) as failed:
        await client.run_workflow({"tasks": FAILS})
    error = failed.value
    assert (error.code, error.data["task_id"]) == (ErrorCode.TASK_EXECUTION_FAILED, "fails")
    assert error.data["exception_type"] == "KeyError"
    assert "KeyError: 'k'" in error.data["traceback"]
    assert (error.data["output"], error.data["stderr"]) == ("out\n", "err\n")
    assert (error.data["workflow_id"], error.data["failed_tasks"]) == ((await stored(client))[0], ["fails"])
    assert error.results is not None
    assert error.results["after alone"]["result"] == 2
    skipped = error.results["needs that"]["error"]
    assert (skipped["code"], skipped["data"]["failed_dependencies"]) == (-29005, ["needs it"])
    views = await client.run_workflow({"tasks": FAILS}, raise_on_failure=False)
    assert [view["status"] for view in views.values()] == [
        "failed",
        "skipped",
        "skipped",
        "completed",
        "completed",
    ]
    assert not (project / "called").exists()


async def test_g23_g30_the_policy_says_what_a_failure_does(client: GleitzeitClient, project: Path) -> None:
    fails = script("fails", "1 / 0", on_failure="continue")
    after = script("after", "result = args['x'] is None", ("fails",), args={"x": "${fails.result}"})
    assert await statuses(client, {"tasks": [fails, after]}) == {"fails": "failed", "after": "completed"}
    assert await ended(client) == "completed"
    # What goes on is cancelled.
    waits = script("waits", "open('begun', 'w'); import time; time.sleep(600)", timeout=600)
    first = "import pathlib, time\nwhile not pathlib.Path('begun').exists(): time.sleep(0.005)\n1 / 0"
    stops = {"tasks": [waits, script("stops", first, on_failure="stop"), script("after", "", ("waits",))]}
    assert await statuses(client, stops) == {"waits": "cancelled", "stops": "failed"}
    assert await ended(client) == "failed"
    # A condition that does not hold is no failure.
    skipped = {"tasks": [script("a", "result = 0"), script("b", "", ("a",), when="${a.result}")]}
    assert await statuses(client, skipped) == {"a": "completed", "b": "skipped"}
    assert await ended(client) == "completed"


@pytest.mark.parametrize(("of_step", "of_params"), [(0.3, 20), (None, 0.3)])
async def test_g24_the_smaller_limit_ends_a_task_and_what_it_started(
    client: GleitzeitClient, project: Path, of_step: float | None, of_params: float
) -> None:
    code = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; open('begun', 'w'); time.sleep(1); open('late', 'w')"])
time.sleep(600)
"""
    task = script("slow", code)
    task.update({} if of_step is None else {"timeout": of_step})
    task["params"]["timeout"] = of_params
    begun = time.monotonic()
    with pytest.raises(TaskTimeoutError) as failed:
        await client.run_workflow({"tasks": [task]})
    assert time.monotonic() - begun < 60, "it was to sleep for 600 seconds"
    assert (failed.value.code, failed.value.data["task_id"]) == (ErrorCode.TASK_TIMEOUT, "slow")
    [run] = await stored(client)
    [failure] = [one["event"] for one in await journal(client, run) if one["event"]["type"] == "StepFailed"]
    assert failure["timed_out"] is True
    # Had the grandchild been there, it would write in a second.
    await asyncio.sleep(1.2)
    assert not (project / "late").exists()


async def test_g24_a_run_has_a_limit_too(client: GleitzeitClient) -> None:
    waits = {"name": "waits", "method": "signal/wait", "params": {"name": "go"}}
    with pytest.raises(WorkflowError) as failed:
        await client.run_workflow({"timeout": 0.2, "tasks": [waits]})
    assert failed.value.code == ErrorCode.WORKFLOW_TIMEOUT


class Server(ThreadingHTTPServer):
    """Answers with the statuses that it was given, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on any port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = [200]
        self.requests = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """Counts requests."""

    server: Server

    def do_GET(self) -> None:
        """Answer with the next status."""
        statuses = self.server.statuses
        self.server.requests += 1
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "stepwell.toml").write_text('[http]\nallow_private = ["127.0.0.1"]\n')
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


async def test_g26_a_failure_is_tried_again_as_often_as_the_step_says(
    server: Server, client: GleitzeitClient
) -> None:
    retry = {"max_attempts": 3, "backoff": "fixed", "base_delay": 0.1, "jitter": False}
    task = {"name": "get", "method": "http/request", "params": {"url": server.url}, "retry": retry}
    server.statuses = [500]
    with pytest.raises(TaskError) as failed:
        await client.run_workflow({"tasks": [task]})
    assert (failed.value.code, server.requests) == (ErrorCode.TASK_RETRY_EXHAUSTED, 3)
    assert failed.value.data["last_error"]["data"]["http_status"] == 500
    attempts = failed.value.data["attempts"]
    assert [attempt["attempt"] for attempt in attempts] == [1, 2, 3]
    [run] = await stored(client)
    events = [recorded["event"] for recorded in await journal(client, run)]
    begun = [event["attempt"] for event in events if event["type"] == "AttemptStarted"]
    assert begun == [1, 2, 3]

    # What would only repeat is tried once, with its own code.
    server.statuses, server.requests = [400], 0
    with pytest.raises(TaskError) as failed:
        await client.run_workflow({"tasks": [task]})
    assert (failed.value.code, server.requests) == (ErrorCode.TASK_EXECUTION_FAILED, 1)

    server.statuses, server.requests = [500, 200], 0
    assert (await client.run_workflow({"tasks": [task]}))["get"]["status_code"] == 200
    assert server.requests == 2


@pytest.mark.parametrize(
    ("strategy", "delays"), [("fixed", [0.1, 0.1]), ("linear", [0.1, 0.2]), ("exponential", [0.1, 0.2])]
)
async def test_g26_delays_follow_the_strategy(
    client: GleitzeitClient, strategy: str, delays: list[float]
) -> None:
    retry = {"max_attempts": 3, "backoff": strategy, "base_delay": 0.1, "jitter": False}
    await client.run_workflow({"tasks": [script("a", "1 / 0", retry=retry)]}, raise_on_failure=False)
    events = await journal(client, (await stored(client))[0])
    waited = [(one["event"]["retry_at"] - one["at"]) / 1e6 for one in events if "retry_at" in one["event"]]
    assert waited == pytest.approx(delays, abs=0.02)


async def test_g27_results_of_any_size_are_whole_or_refused(client: GleitzeitClient) -> None:
    large = await client.execute_python(code="result = 'x' * 20_000_000 + 'y'")
    assert (len(large["result"]), large["result"][-2:]) == (20_000_001, "xy")
    with pytest.raises(TaskError) as failed:
        await client.execute_python(code="result = 'x' * (65 << 20)")
    assert failed.value.code == ErrorCode.TASK_RESULT_INVALID
    with pytest.raises(TaskExecutionError) as failed:
        await client.execute_python(code="while True: print('x' * 1000)")
    assert failed.value.data["reason"] == "output_limit"
    assert (await client.execute_python(code="result = 1"))["result"] == 1


INVALID = ErrorCode.TASK_RESULT_INVALID
RAISED = ErrorCode.TASK_EXECUTION_FAILED
UNFIT: list[tuple[str, ErrorCode, dict[str, Any]]] = [
    ("result = float('nan')", INVALID, {}),
    ("result = {'a': [float('inf')]}", INVALID, {}),
    ("result = b'bytes'", INVALID, {}),
    ("result = {1, 2}", INVALID, {}),
    ("result = 2 ** 64", INVALID, {}),
    ("result = '\\ud800'", INVALID, {}),
    ("result = {1: 'a', '1': 'b'}", INVALID, {}),
    ("result = []; result.append(result)", INVALID, {}),
    ("import sys; sys.exit(3)", RAISED, {"exit_code": 3}),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", RAISED, {}),
    ("def", RAISED, {"exception_type": "SyntaxError"}),
]


async def test_g28_what_cannot_be_kept_is_never_a_result(client: GleitzeitClient) -> None:
    for code, expected, data in UNFIT:
        with pytest.raises(TaskError) as failed:
            await client.execute_python(code=code)
        assert failed.value.code == expected, code
        assert {key: failed.value.data[key] for key in data} == data
        assert await ended(client) == "failed"


async def test_g28_what_is_odd_and_fine_is_a_result(client: GleitzeitClient) -> None:
    fine: list[tuple[str, Any, str]] = [
        ("import sys; sys.stdout.close(); result = 1", 1, ""),
        ("import sys; result = 2; sys.exit(0)", 2, ""),
        ("import sys; sys.stdout.buffer.write(b'a\\xffb'); result = (1, (2,))", [1, [2]], "a\ufffdb"),
        ("result = {1: 'a', None: 'b', True: 'c'}", {"1": "c", "null": "b"}, ""),
        ("x = 1", None, ""),
    ]
    for code, result, output in fine:
        view = await client.execute_python(code=code)
        assert (view["result"], view["output"]) == (result, output), code


async def test_g29_a_cancelled_run_ends_with_everything_in_it(client: GleitzeitClient, project: Path) -> None:
    code = """
import os, subprocess, time
child = subprocess.Popen(["sleep", "600"])
open("pids.part", "w").write(f"{os.getpid()} {child.pid}")
os.rename("pids.part", "pids")
time.sleep(600)
"""
    waiting = asyncio.ensure_future(
        client.run_workflow({"tasks": [script("a", code, timeout=600), script("b", "", ("a",))]})
    )
    await until((project / "pids").exists)
    [run] = await stored(client)
    begun = time.monotonic()
    assert await client.cancel_workflow(run) is True
    with pytest.raises(WorkflowError) as cancelled:
        await waiting
    assert time.monotonic() - begun < 60, "it was to sleep for 600 seconds"
    assert (cancelled.value.code, cancelled.value.data["workflow_id"]) == (ErrorCode.WORKFLOW_CANCELLED, run)
    pids = (project / "pids").read_text().split()
    await until(lambda: not any(is_alive(pid) for pid in pids))
    before = await journal(client, run)
    assert await client.cancel_workflow(run) is False
    assert await journal(client, run) == before
    status = await client.get_workflow_status(run)
    assert status is not None
    assert status.status == "cancelled"
    with pytest.raises(WorkflowError) as unknown:
        await client.cancel_workflow("nobody")
    assert unknown.value.code == ErrorCode.WORKFLOW_NOT_FOUND


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
