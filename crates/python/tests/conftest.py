"""What tests of several files use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stepwell import InMemoryBackend, SQLiteBackend, TaskClient

Backend = InMemoryBackend | SQLiteBackend


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every store that a process can have for itself."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/runs.db"
    return str(request.param)


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return InMemoryBackend() if request.param == "memory" else SQLiteBackend(tmp_path / "runs.db")


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[TaskClient]:
    async with TaskClient(backend) as client:
        yield client
    await backend.close()
