"""What the tests write workflows with, and how they wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from stepwell.compat.gleitzeit import GleitzeitClient

_T = TypeVar("_T")


def script(name: str, code: str, needs: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return a task that runs code; `args` and `file` are its parameters, all else its settings."""
    params = {"args": more.pop("args")} if "args" in more else {}
    named = {"file": more.pop("file")} if "file" in more else {"code": code}
    return {
        "name": name,
        "protocol": "python/v1",
        "method": "python/execute",
        "dependencies": list(needs),
        "params": {**named, **params},
        **more,
    }


async def until(look: Callable[[], _T]) -> _T:
    """Wait for what is looked for, and return it."""
    patience = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < patience
        await asyncio.sleep(0.002)
    return found


async def stored(client: GleitzeitClient) -> list[str]:
    """Return the runs of the client's store."""
    return [run.run_id async for run in client._client.list()]


async def journal(client: GleitzeitClient, run_id: str) -> list[dict[str, Any]]:
    """Return the events of a run."""
    run = await client._client.get(run_id)
    return [recorded async for recorded in run.events()]


#: A script that says that it is there, and waits until all of the others said so too.
MEET = """
import pathlib, time

pathlib.Path(args["me"]).touch()
while not all(pathlib.Path(other).exists() for other in args["others"]):
    time.sleep(0.005)
result = args["me"]
"""
