"""Values of the context that know their class (A3)."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pydantic
import pytest

import stepwell
from stepwell import Agent, Context, ContextKeyError, TypedContextData
from stepwell import typed as typed_values


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/runs.db"
    return str(request.param)


@dataclass
class UserProfile(TypedContextData):
    name: str
    age: int
    scores: list[float]
    seen: datetime | None = None


@dataclass
class Other(TypedContextData):
    name: str


@dataclass
class Plain:
    """Without the base, it is found in its module."""

    n: int = 0


@dataclass
class Link:
    next: Link | None = None


class Model(pydantic.BaseModel):
    n: int
    tags: set[str] = set()


@dataclass
class ForRust(TypedContextData):
    __stepwell_type__ = "Named"
    n: int


PROFILE = UserProfile("Alice", 28, [95.0, 87.5], datetime(2024, 1, 1, tzinfo=timezone.utc))


async def in_a_step(store: str, act: Any) -> stepwell.RunResult:
    """Run a step on a context that holds a typed and an untyped value, written by the step before."""

    async def write(context: Context) -> str:
        context.set_typed("user", PROFILE)
        context.set_state("plain", 1)
        return "act"

    async def run(context: Context) -> None:
        act(context)

    agent = Agent("typed", store=store)
    agent.add_state("write", write)
    agent.add_state("act", run)
    return await agent.run()


async def test_a3_a_value_is_read_equal_as_its_class_in_a_later_step(store: str) -> None:
    def act(context: Context) -> None:
        assert context.get_typed("user", UserProfile) == PROFILE
        assert context.get_typed("user", Other) is None
        assert context.get_typed("plain", UserProfile) is None
        assert context.get_typed("missing", UserProfile) is None
        context.set_typed("model", Model(n=1, tags={"a"}))
        context.update_typed("model", n=2)
        context.update_typed("user", age=29)
        context.set_typed("rust", ForRust(7))

    result = await in_a_step(store, act)
    user = result.get_typed("user", UserProfile)
    assert user is not None
    assert (user.age, user.name) == (29, "Alice")
    assert result.get_typed("model", Model) == Model(n=2, tags={"a"})
    # What `Typed` of the Rust library reads and writes.
    assert result.context["rust"] == {"$type": "Named", "$value": {"n": 7}}
    with pytest.raises(KeyError):
        result.get_state("user")


async def test_a3_typed_and_untyped_access_do_not_mix(store: str) -> None:
    def act(context: Context) -> None:
        for use in (
            lambda: context.get_state("user"),
            lambda: context.set_state("user", 1),
            lambda: context.set_typed("plain", PROFILE),
            lambda: context.update_typed("plain", age=1),
            lambda: context.update_typed("missing", age=1),
        ):
            with pytest.raises(KeyError) as wrong:
                use()
            assert isinstance(wrong.value, ContextKeyError)
        context.remove_state("user")
        context.set_state("user", "free")

    assert (await in_a_step(store, act)).context == {"user": "free", "plain": 1}


async def test_a3_what_does_not_fit_is_told_at_its_line_and_nothing_is_written() -> None:
    def act(context: Context) -> None:
        with pytest.raises(AttributeError, match="UserProfile has no field 'agee'"):
            context.update_typed("user", agee=1)
        with pytest.raises(TypeError, match=r"context key 'user': UserProfile\.age must be int, not '29'"):
            context.update_typed("user", age="29")
        with pytest.raises(TypeError, match=r"UserProfile\.scores\[1\] must be float, not True"):
            context.update_typed("user", scores=[1, True])
        loop = Link()
        loop.next = loop
        with pytest.raises(TypeError, match="nested too deeply, or in itself"):
            context.set_typed("loop", loop)
        with pytest.raises(TypeError, match="dict is no dataclass or pydantic model"):
            context.set_typed("user", {"name": "x"})
        with pytest.raises(TypeError, match="no dataclass or pydantic model"):
            context.get_typed("user", dict)
        assert context.get_typed("user", UserProfile) == PROFILE

    await in_a_step("memory:", act)


async def test_a3_a_class_that_is_not_loaded_is_named_and_never_imported() -> None:
    def act(context: Context) -> None:
        context._native.set_typed("user", "colorsys.Profile", {"n": 1})
        sys.modules.pop("colorsys", None)
        with pytest.raises(LookupError, match=r"colorsys\.Profile, a class that is not loaded"):
            context.update_typed("user", n=2)
        assert "colorsys" not in sys.modules

    await in_a_step("memory:", act)


def test_a_class_is_found_by_its_name_without_having_been_used() -> None:
    gc.collect()
    assert typed_values.updated(f"{__name__}.Plain", {"n": 1}, {"n": 2}, "k") == (
        f"{__name__}.Plain",
        {"n": 2},
    )
    # As it is named where this file is the script.
    assert typed_values.load("__main__.Plain", {"n": 1}, Plain, "k") == Plain(1)
    assert typed_values.load("other.Plain", {"n": 1}, Plain, "k") is None


def test_fields_that_changed_since_are_told() -> None:
    with pytest.raises(TypeError, match="has no name, which a Other must have"):
        typed_values.load(typed_values.tag_of(Other), {"nom": "x"}, Other, "k")


PROGRAM = """
import asyncio, os, sys
from dataclasses import dataclass
import pydantic
from stepwell import Agent, TypedContextData

@dataclass
class User(TypedContextData):
    name: str

class Model(pydantic.BaseModel):
    n: int

async def write(context):
    context.set_typed("user", User("Ada"))
    context.set_typed("model", Model(n=1))
    return "read"

async def read(context):
    if sys.argv[2] == "dies":
        os._exit(7)
    context.update_typed("user", name="Bob")
    context.update_typed("model", n=context.get_typed("model", Model).n + 1)

agent = Agent("typed", store=sys.argv[1])
agent.add_state("write", write)
agent.add_state("read", read)
result = agent.run_sync(run_id="r")
print(result.get_typed("user", User), repr(result.get_typed("model", Model)))
"""


def test_a3_typed_values_survive_their_process(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), f"sqlite://{tmp_path}/runs.db"]
    assert subprocess.run([*command, "dies"], timeout=60).returncode == 7
    done = subprocess.run([*command, "lives"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "User(name='Bob') Model(n=2)\n", done.stderr


def test_pydantic_is_not_imported_for_those_who_do_not_use_it() -> None:
    program = """
import sys
from dataclasses import dataclass
from stepwell import Agent

@dataclass
class User:
    name: str

async def step(context):
    context.set_typed("user", User("Ada"))
    assert context.get_typed("user", User) == User("Ada")

agent = Agent("plain", store="memory:")
agent.add_state("step", step)
agent.run_sync()
assert "pydantic" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert (done.returncode, done.stderr) == (0, "")


@dataclass
class Approval:
    approved: bool
    reason: str = ""
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a refusal without a reason."""
        if not self.approved and not self.reason:
            raise ValueError("say why")


class Order(pydantic.BaseModel):
    count: int = pydantic.Field(gt=0)


async def test_a_question_is_answered_by_the_class_that_it_names(store: str) -> None:
    seen: list[Any] = []

    async def ask(context: Context) -> None:
        seen.append(await context.ask_human("Approve?", Approval))
        seen.append(await context.ask_human("How many?", Order))
        seen.append(await context.ask_human("And now?", Order, default=Order(count=3), deadline=0.0))
        context.set_typed("approval", seen[-3])

    agent = Agent("asking", store=store)
    agent.add_state("ask", ask)
    run = await agent.start()
    await run.rest()
    [question] = await run.questions()
    assert question["schema"]["required"] == ["approved"]
    with pytest.raises(stepwell.AnswerInvalidError):
        await run.answer(question["wait_id"], {"approved": "yes"})
    # The form takes it and the class does not: it is asked again.
    await run.answer(question["wait_id"], {"approved": False})
    await run.rest()
    [again] = await run.questions()
    assert "say why" in again["rejected"]["message"]
    assert again["wait_id"] != question["wait_id"]
    await run.answer(again["wait_id"], {"approved": False, "reason": "no"})
    await run.rest()
    [question] = await run.questions()
    await run.answer(question["wait_id"], {"count": 2})
    result = await run.wait()
    assert seen[-3:] == [Approval(False, "no"), Order(count=2), Order(count=3)]
    assert result.get_typed("approval", Approval) == Approval(False, "no")
