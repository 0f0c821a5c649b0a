"""System state through `TaskClient`: acceptance F20, on every store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepwell import StateConflictError, StateValueError, TaskClient


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/runs.db" if request.param == "sqlite" else str(request.param)


async def test_f20_a_value_is_kept_with_its_version(store: str) -> None:
    async with TaskClient(store) as client:
        await client.delete_system_state("cursor")
        first = await client.set_system_state("cursor", {"last_id": 1})
        assert (first.key, first.value, first.version) == ("cursor", {"last_id": 1}, 1)
        assert first.updated_at.utcoffset() == timedelta(0)
        assert await client.get_system_state("cursor") == first
        second = await client.set_system_state("cursor", {"last_id": 2})
        assert second.version == 2
        assert second.to_dict()["value"] == {"last_id": 2}
        assert await client.delete_system_state("cursor")
        assert not await client.delete_system_state("cursor")
        assert await client.get_system_state("cursor") is None


async def test_f20_a_stale_write_is_refused(store: str) -> None:
    async with TaskClient(store) as client:
        await client.delete_system_state("k")
        await client.set_system_state("k", {"n": 1}, expected_version=0)
        with pytest.raises(StateConflictError) as refused:
            await client.set_system_state("k", {"n": 2}, expected_version=0)
        assert (refused.value.current_version, refused.value.http_status) == (1, 412)
        with pytest.raises(StateConflictError):
            await client.delete_system_state("k", expected_version=7)
        assert (await client.set_system_state("k", {"n": 3}, expected_version=1)).version == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("k", 5),
        ("k", None),
        ("k", [1]),
        ("k", {"n": float("nan")}),
        ("k", {"x": "y" * 2**20}),
        ("", {}),
        ("a\nb", {}),
        ("k" * 513, {}),
        (7, {}),
    ],
    ids=lambda given: repr(given)[:20],
)
async def test_f20_what_cannot_be_kept_is_refused(key: Any, value: Any) -> None:
    async with TaskClient("memory:") as client:
        with pytest.raises(StateValueError) as refused:
            await client.set_system_state(key, value)
    assert refused.value.http_status == 422


async def test_f20_of_many_writers_one_leaves_a_whole_value(store: str) -> None:
    async with TaskClient(store) as client:
        await client.delete_system_state("shared")
        values = [{"writer": n, "again": n} for n in range(100)]
        await asyncio.gather(*(client.set_system_state("shared", value) for value in values))
        left = await client.get_system_state("shared")
        assert left is not None
        assert left.value in values
        assert left.version == 100


async def test_f20_a_value_is_there_after_a_restart(tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/runs.db"
    program = """
import asyncio, sys
from stepwell import TaskClient

async def main():
    async with TaskClient(sys.argv[1]) as client:
        await client.set_system_state("sync", {"at": "2023-10-27T10:00:00Z", "items": 500})

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program, store], check=True, timeout=60)
    async with TaskClient(store) as client:
        state = await client.get_system_state("sync")
        assert state is not None
        assert state.value == {"at": "2023-10-27T10:00:00Z", "items": 500}
