"""A project of its own for each test, and a client over each store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stepwell.compat.gleitzeit import GleitzeitClient


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEPWELL_STORE", raising=False)
    return tmp_path


@pytest.fixture(params=["memory", "sqlite"])
async def client(request: pytest.FixtureRequest, project: Path) -> AsyncIterator[GleitzeitClient]:
    place = str(project / "runs.db") if request.param == "sqlite" else None
    async with GleitzeitClient(persistence=request.param, db_path=place) as client:
        yield client
