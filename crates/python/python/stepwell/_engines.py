"""The engines of this process: one for each store and pool of resources."""

from __future__ import annotations

import asyncio
import atexit
import os
from typing import TYPE_CHECKING

from stepwell import _native
from stepwell._border import Border

if TYPE_CHECKING:
    from stepwell.resources import ResourcePool

#: So many attempts at once, over all runs.
_SLOTS = 1_024

_Key = tuple[str, "ResourcePool | None"]

_engines: dict[_Key, _native.Engine] = {}
_opening: dict[_Key, asyncio.Lock] = {}


async def opened(store: str | None, pool: ResourcePool | None, border: Border) -> _native.Engine:
    """Return the engine of a store, opened if nobody has yet."""
    key = (store or _native.default_store(), pool)
    if (known := _engines.get(key)) is not None:
        return known
    async with _opening.setdefault(key, asyncio.Lock()):
        if (known := _engines.get(key)) is not None:
            return known
        options = {"store": key[0], "pool": _totals(pool), "slots": _SLOTS}
        engine: _native.Engine = await border.request(
            lambda native, number: _native.Engine.open(native, number, options)
        )
        _engines[key] = engine
        return engine


def _totals(pool: ResourcePool | None) -> dict[str, float]:
    if pool is None:
        return {}
    names = ("cpu_units", "memory_mb", "io_weight", "network_weight", "gpu_units")
    given = {name: getattr(pool, name) for name in names}
    return {name: total for name, total in given.items() if total is not None} | dict(pool.custom)


def _close_all() -> None:
    """Give back what this process holds, as it ends; whoever opens the store next goes on with it."""
    while _engines:
        _, engine = _engines.popitem()
        engine.abort()


atexit.register(_close_all)
# The threads of an engine do not come along into a forked process.
os.register_at_fork(after_in_child=_engines.clear)
