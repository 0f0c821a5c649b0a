"""The engines of this process: one for each store and pool of resources, and those that somebody opens and closes."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from typing import TYPE_CHECKING

from stepwell import _native
from stepwell._border import Border

if TYPE_CHECKING:
    from stepwell.resources import ResourcePool

#: So many attempts at once, over all runs.
SLOTS = 1_024

#: URL, pool of resources, and whose store in memory it is if it is somebody's.
Key = tuple[str, "ResourcePool | None", object]

_Version = tuple[str, str]
_Loop = weakref.ref[asyncio.AbstractEventLoop]

_engines: dict[Key, _native.Engine] = {}
#: Those that a loop is opening; done when it has, or could not.
_opening: dict[Key, concurrent.futures.Future[None]] = {}
#: The pipelines that an engine carries out, by name and version, and the loops that call their functions: another
#: object of the same may have come since.
_pipelines: dict[_native.Engine, dict[_Version, tuple[_native.Pipeline, _Loop]]] = {}
#: How many runners and clients have opened it and not closed it.
_holders: dict[Key, int] = {}
#: Those that somebody uses who never says when they are done.
_kept: set[Key] = set()
#: Those that somebody opened and is to close.
lent: set[_native.Engine] = set()
#: Loops of several threads use them.
_lock = threading.Lock()


def key(store: str | None, pool: ResourcePool | None = None, *, owner: object = None) -> Key:
    """Return what an engine is known by; without a URL that of the project."""
    return (store or _native.default_store(), pool, owner)


async def opened(store: str | None, pool: ResourcePool | None, border: Border) -> _native.Engine:
    """Return the engine of a store, opened if nobody has yet; it stays open until the process ends."""
    known = key(store, pool)
    _kept.add(known)
    return await at(known, border)


async def held(key: Key, border: Border, *, keep: bool = False) -> _native.Engine:
    """Return an engine for somebody who will release it, unless it is to be kept; opened if nobody has yet."""
    with _lock:
        _holders[key] = _holders.get(key, 0) + 1
        if keep:
            _kept.add(key)
    try:
        return await at(key, border)
    except BaseException:
        _is_free(key)
        raise


async def released(key: Key) -> None:
    """Close an engine if nobody else uses it."""
    if _is_free(key):
        await closed(key)


def _is_free(key: Key) -> bool:
    """Let one holder go; return whether the engine is to be closed now."""
    with _lock:
        left = _holders.get(key, 1) - 1
        if left > 0:
            _holders[key] = left
            return False
        _holders.pop(key, None)
        return key not in _kept


async def at(key: Key, border: Border) -> _native.Engine:
    """Return the engine that is known by that, opened if nobody has yet."""
    while True:
        with _lock:
            if (known := _engines.get(key)) is not None:
                return known
            if (opening := _opening.get(key)) is None:
                ours = _opening[key] = concurrent.futures.Future()
                ours.set_running_or_notify_cancel()
                break
        # A loop of another thread opens it. If it cannot, this one tries, and hears why.
        await asyncio.wait([asyncio.wrap_future(opening)])
    options = _options(key)
    try:
        engine: _native.Engine = await border.request(
            lambda native, number: _native.Engine.open(native, number, options)
        )
        with _lock:
            known = _engines.setdefault(key, engine)
        if known is not engine:  # A look was faster.
            await border.request(engine.shutdown)
        return known
    finally:
        with _lock:
            _opening.pop(key, None)
        ours.set_result(None)


async def closed(key: Key) -> None:
    """Close an engine, if it is open: steps in hand end first, and its leases are given back."""
    from stepwell._border import of_running_loop

    with _lock:
        engine = _engines.pop(key, None)
        _kept.discard(key)
        _holders.pop(key, None)
    if engine is not None:
        _pipelines.pop(engine, None)
        await of_running_loop().request(engine.shutdown)


def abandoned(key: Key) -> None:
    """Close an engine whose only holder is gone without a word. At any moment of any thread: it waits for nothing."""
    engine = _engines.pop(key, None)
    _kept.discard(key)
    _holders.pop(key, None)
    if engine is not None:
        _pipelines.pop(engine, None)
        engine.abandon()


def lend(owner: object, engine: _native.Engine) -> None:
    """Take note of an engine that somebody is to close; it is closed at the latest when they are gone."""
    lent.add(engine)
    weakref.finalize(owner, _take_back, engine).atexit = False


def _take_back(engine: _native.Engine) -> None:
    if engine in lent:
        lent.discard(engine)
        engine.abandon()


def opened_now(store: str | None, pool: ResourcePool | None) -> _native.Engine:
    """Return the engine of a store for a look, opened if nobody has yet, while the thread waits."""
    known_by = key(store, pool)
    with _lock:
        _kept.add(known_by)
        if (known := _engines.get(known_by)) is None:
            known = _engines[known_by] = _native.Engine.open_now(_options(known_by))
    return known


def apart(pool: ResourcePool | None) -> _native.Engine:
    """Return an engine on nothing, where what is built is seen by nobody."""
    return _native.Engine.open_now(_options(key("memory:", pool)))


def adopt(store: str, engine: _native.Engine) -> None:
    """Let an engine be that of a store."""
    with _lock:
        _engines[key(store)] = engine


def forget() -> None:
    """Take note that all engines were shut down."""
    with _lock:
        for known in (_engines, _holders, _kept):
            known.clear()


def is_open(key: Key, engine: _native.Engine) -> bool:
    """Return whether an engine is the one that is open: nobody has closed it, and it is of this process."""
    return _engines.get(key) is engine


def carry_out(engine: _native.Engine, pipeline: _native.Pipeline) -> None:
    """Let an engine carry out a pipeline with the functions of this object, if it does not yet."""
    known, of = _pipelines.setdefault(engine, {}), (pipeline.name, pipeline.version)
    if of not in known or known[of][0] is not pipeline:
        pipeline.register(engine)
        known[of] = (pipeline, weakref.ref(asyncio.get_running_loop()))


def is_carried_elsewhere(engine: _native.Engine, name: str, version: str) -> bool:
    """Return whether another loop, one that goes on, calls the functions of a pipeline."""
    known = _pipelines.get(engine, {}).get((name, version))
    loop = None if known is None else known[1]()
    return loop is not None and loop is not asyncio.get_running_loop() and loop.is_running()


def _options(key: Key) -> dict[str, object]:
    return {"store": key[0], "pool": totals(key[1]), "slots": SLOTS}


def totals(pool: ResourcePool | None) -> dict[str, float]:
    """Return how much there is of each dimension of a pool."""
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
    while lent:
        lent.pop().abort()


def _let_go() -> None:
    _engines.clear()
    lent.clear()


atexit.register(_close_all)


def _forget() -> None:
    """Leave the engines to the process that opened them.

    Their threads do not come along into a forked one, and a lock may have been held by one of them.
    """
    global _lock
    _lock = threading.Lock()
    for known in (_engines, _opening, _holders, _kept, lent, _pipelines):
        known.clear()


os.register_at_fork(after_in_child=_forget)
