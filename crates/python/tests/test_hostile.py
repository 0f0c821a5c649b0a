"""What callers give that nobody should: it is refused by a word that names it, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import (
    Agent,
    ConfigurationError,
    Engine,
    Flujo,
    Pipeline,
    ResourcePool,
    RetryPolicy,
    RunFailed,
    Step,
    StepwellError,
)


async def nothing(_context: object) -> None:
    pass


def with_nothing() -> Agent:
    agent = Agent("hostile", store="memory:")
    agent.add_state("nothing", nothing)
    return agent


def add(**options: Any) -> None:
    Agent("hostile", store="memory:").add_state("nothing", nothing, **options)


class Unshown:
    """Something that cannot be shown."""

    def __repr__(self) -> str:
        """Fail."""
        raise ValueError("it shows nothing")


@pytest.mark.parametrize("given", [True, 1, float("nan"), b"", object(), Unshown()])
@pytest.mark.parametrize(
    ("name", "take"),
    [
        ("retry_policy", lambda given: Agent("hostile", retry_policy=given)),
        ("resource_pool", lambda given: Agent("hostile", resource_pool=given)),
        ("limits", lambda given: Agent("hostile", limits=given)),
        ("reducers", lambda given: Agent("hostile", reducers=given)),
        ("on_failure", lambda given: Agent("hostile", on_failure=given)),
        ("retry_policy", lambda given: add(retry_policy=given)),
        ("resources", lambda given: add(resources=given)),
        ("limits", lambda given: add(limits=given)),
        ("on_failure", lambda given: add(on_failure=given)),
    ],
)
def test_f14_an_argument_of_a_wrong_type_is_named(
    name: str, take: Callable[[Any], object], given: object
) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a "):
        take(given)


@pytest.mark.parametrize(
    "take",
    [
        lambda huge: ResourcePool(cpu_units=huge),
        lambda huge: RetryPolicy(exponential_base=huge),
        lambda huge: Agent("hostile", state_timeout=huge),
    ],
)
def test_f14_a_number_beyond_all_bounds_is_refused_in_few_words(take: Callable[[int], object]) -> None:
    with pytest.raises(ValueError, match=r"must be a .*number") as refused:
        take(10**4000)
    assert len(str(refused.value)) < 300


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("name", ["priority", "join", "effect", "func"])
def test_f14_what_is_nested_beyond_all_bounds_is_refused_as_what_it_is(name: str) -> None:
    given: dict[str, Any] = {"name": "step", "func": nothing, name: nested()}
    with pytest.raises((TypeError, ValueError), match=rf"{name} must be .* a list that cannot be shown"):
        Agent("hostile", store="memory:").add_state(**given)


@pytest.mark.parametrize(
    ("told", "take"),
    [
        ("reducers", lambda given: Agent("hostile", reducers={"key": given})),
        ("dependencies", lambda given: add(dependencies=[given])),
        ("input", lambda given: with_nothing().run_sync(given)),
        ("neither a pipeline nor a step", lambda given: Pipeline.of(given)),
        ("name of a pipeline", lambda given: Pipeline([], name=given)),
        ("metadata of a pipeline", lambda given: Pipeline([], metadata=given)),
        ("name of a step", lambda given: Step(given, nothing)),
        ("custom", lambda given: ResourcePool(custom=given)),
        ("non_retryable", lambda given: RetryPolicy(non_retryable=given)),
    ],
)
def test_what_is_nested_beyond_all_bounds_is_named_in_place_of_the_stack(
    told: str, take: Callable[[Any], object]
) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=f"{told}.*that cannot be shown|cannot be shown.*{told}"
    ):
        take(nested())


async def test_a_route_that_is_nested_beyond_all_bounds_names_no_step(store: str) -> None:
    async def work(_context: object) -> Any:
        return (1, nested())

    agent = Agent("hostile", store=store)
    agent.add_state("work", work)
    with pytest.raises(RunFailed, match="it returned a tuple that cannot be shown, which names no step"):
        await agent.run()


def test_f14_a_hook_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'x' cannot be"):
        Flujo(Step("nothing", nothing), hooks="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [True, 1, b"", object()])
async def test_f14_a_store_is_a_backend_or_a_url(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="a store is given by a backend or a URL"):
        await Flujo(Step("nothing", nothing), state_backend=given).run_async(1)


async def test_as_many_slots_as_can_be_counted_are_no_bound() -> None:
    engine = Engine("memory:", slots=2**63)
    assert await asyncio.wait_for(engine.open(), 30) is engine
    await engine.close()


@pytest.mark.parametrize("grace", [float("nan"), float("inf"), -1, "x", None, True, 10**400])
async def test_a_grace_that_is_no_time_is_refused_and_the_engine_stays_open(grace: Any) -> None:
    async with Engine("memory:") as engine:
        with pytest.raises((TypeError, ValueError), match=r"^grace must be a number of seconds"):
            await engine.close(grace)
        assert await engine.open() is engine


async def test_an_engine_that_is_closed_while_it_opens_does_not_stay_open(store: str) -> None:
    engine = Engine(store)
    opening = asyncio.ensure_future(engine.open())
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(StepwellError, match="the engine is closed"):
        await opening
    with pytest.raises(StepwellError, match="the engine is closed"):
        await engine.open()
