"""`stepwell worker my_module:agent`: imports the modules and serves their agents."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import traceback
from operator import attrgetter
from pathlib import Path

from stepwell import _engines, _native
from stepwell._border import of_running_loop
from stepwell.agent import Agent
from stepwell.errors import ConfigurationError, DefinitionError, StepwellError


def carry_out(worker: _native.Worker) -> int:
    """Serve the agents of a worker until it is asked to end; return the exit code."""
    try:
        # As `python -m` has it.
        sys.path.insert(0, str(Path.cwd()))
        # Agents that name no store are served in that of the worker.
        os.environ["STEPWELL_STORE"] = worker.store
        agents = [_found(name) for name in worker.agents]
        return asyncio.run(_serve(worker, agents))
    except StepwellError as error:
        return worker.refused(
            {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "data": error.data,
                "retryable": error.retryable,
            }
        )


async def _serve(worker: _native.Worker, agents: list[Agent]) -> int:
    border = of_running_loop()
    engine = await border.request(lambda b, n: worker.open(b, n, _engines.SLOTS))
    _engines.adopt(worker.store, engine)
    engines: list[_native.Engine] = [engine]
    for agent in agents:
        own = await agent._engine()
        if own not in engines:
            engines.append(own)
    servings = [engine.serve() for engine in engines]
    try:
        return int(await border.request(lambda b, n: worker.work(b, n, engines)))
    finally:
        for serving in servings:
            serving.stop()
        _engines.forget()


def _found(name: str) -> Agent:
    module_name, _, path = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(module_name, error) from error
        raise ConfigurationError(
            f"there is no module {error.name!r}",
            hint="modules are looked for in the working directory and where this Python finds them",
            data={"reason": "not_found", "module": error.name},
        ) from None
    except (Exception, SystemExit) as error:
        raise _broken(module_name, error) from error
    try:
        agent = attrgetter(path)(module)
    except AttributeError:
        named = sorted(key for key, value in vars(module).items() if isinstance(value, Agent))
        raise ConfigurationError(
            f"module {module_name!r} has no {path!r}",
            hint=f"its agents are {', '.join(named)}" if named else "it has no agent at its top",
            data={"reason": "not_found", "module": module_name, "attribute": path},
        ) from None
    if not isinstance(agent, Agent):
        raise DefinitionError(
            f"{name} is of type {type(agent).__name__}, not an agent",
            hint="name a stepwell.Agent that the module has made",
            data={"module": module_name, "attribute": path},
        )
    return agent


def _broken(module: str, error: BaseException) -> DefinitionError:
    # Without the frames of this file and of the import system above it.
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in _NOT_THEIRS:
        frames = frames.tb_next
    shown = "".join(traceback.format_exception(type(error), error, frames))
    return DefinitionError(
        f"module {module!r} cannot be imported: {type(error).__name__}: {error}",
        data={"module": module, "exception_type": type(error).__qualname__, "traceback": shown},
    )


_NOT_THEIRS = {
    __file__,
    importlib.__file__,
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
}
