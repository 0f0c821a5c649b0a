"""Annotations and JSON: every object comes back equal, and what does not fit is told with its place (A3)."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Optional

import pydantic
import pytest

from stepwell._shapes import MisfitError, changed, is_model, shape_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(pydantic.BaseModel):
    x: int
    y: float = 0.0


@dataclass
class Leaf:
    """A part."""

    id: uuid.UUID
    day: date | None = None


@dataclass
class Everything:
    text: str
    number: float
    count: int
    flag: bool
    colour: Colour
    at: datetime
    cost: Decimal
    pair: tuple[int, str]
    tags: set[str]
    leaves: list[Leaf]
    by_name: dict[str, Leaf]
    point: Point
    mode: Literal["fast", "slow"]
    open: Any
    builtin: dict[str, any]  # type: ignore[valid-type] # as the seed writes it
    later: Optional[int] = None  # noqa: UP045
    computed: int = field(init=False, default=0)


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


def everything() -> Everything:
    leaf = Leaf(uuid.UUID(int=7), date(2024, 2, 29))
    made = Everything(
        text="é",
        number=1,
        count=2**60,
        flag=True,
        colour=Colour.BLUE,
        at=datetime(2024, 1, 1, tzinfo=timezone.utc),
        cost=Decimal("1.10"),
        pair=(1, "a"),
        tags={"b", "a"},
        leaves=[leaf],
        by_name={"leaf": leaf},
        point=Point(x=1, y=2.5),
        mode="fast",
        open={"any": [1]},
        builtin={"batch_size": 10},
    )
    made.computed = 9
    return made


def test_a3_what_is_dumped_is_json_and_loads_equal() -> None:
    shape = shape_of(Everything)
    dumped = shape.dump(everything(), "it")
    assert shape.load(json.loads(json.dumps(dumped)), "it") == everything()
    assert dumped["tags"] == ["a", "b"]
    tree = Tree(1, [Tree(2)])
    assert shape_of(Tree).load(shape_of(Tree).dump(tree, "it"), "it") == tree


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", True, "it.count must be int, not True"),
        ("count", 1.5, "it.count must be int, not 1.5"),
        ("number", True, "it.number must be float, not True"),
        ("text", None, "it.text must be str, not None"),
        ("colour", "red", "it.colour must be Colour, not 'red'"),
        ("pair", (1,), "it.pair must be a tuple of 2"),
        ("leaves", [Leaf(uuid.UUID(int=1)), Leaf("no")], "it.leaves\\[1\\].id must be UUID, not 'no'"),  # type: ignore[arg-type]
        ("by_name", {1: 2}, "it.by_name must be a dict whose keys are str"),
        ("mode", "medium", "it.mode must be one of 'fast', 'slow', not 'medium'"),
        ("point", Point.model_construct(x="no"), "it.point is no Point"),
        ("later", "x", "it.later must be int, not 'x'; or it.later must be NoneType, not 'x'"),
        ("open", object(), "it.open is <object .*, which is no JSON"),
        ("computed", "x", "it.computed must be int, not 'x'"),
    ],
)
def test_a3_a_wrong_part_is_a_type_error_that_names_its_place(name: str, value: Any, message: str) -> None:
    wrong = changed(everything(), {name: value})
    with pytest.raises(TypeError, match=message):
        shape_of(Everything).dump(wrong, "it")


def test_what_is_read_must_fit_and_may_have_more() -> None:
    shape = shape_of(Leaf)
    assert shape.load({"id": str(uuid.UUID(int=1)), "added_since": 1}, "it") == Leaf(uuid.UUID(int=1))
    with pytest.raises(MisfitError, match="it has no id, which a Leaf must have"):
        shape.load({}, "it")
    with pytest.raises(MisfitError, match=r"it\.id must be UUID, not 'x'"):
        shape.load({"id": "x"}, "it")
    with pytest.raises(MisfitError, match="it must be Leaf as an object, not 7"):
        shape.load(7, "it")


def test_members_of_a_union_that_json_cannot_tell_apart_are_refused() -> None:
    shape = shape_of(date | str)
    assert shape.load(shape.dump(date(2024, 1, 1), "it"), "it") == date(2024, 1, 1)
    assert shape.load(shape.dump("soon", "it"), "it") == "soon"
    with pytest.raises(MisfitError, match="cannot be told apart"):
        shape.dump("2024-01-01", "it")


def test_a_class_inside_of_a_function_has_its_other_fields_checked() -> None:
    class Unknown:
        """Cannot be found by its name."""

    @dataclass
    class Local:
        count: int
        what: Unknown | None = None
        again: Local | None = None

    shape = shape_of(Local)
    with pytest.raises(MisfitError, match=r"it\.count must be int"):
        shape.dump(Local("x"), "it")  # type: ignore[arg-type]
    assert shape.load(shape.dump(Local(1, again=Local(2)), "it"), "it") == Local(1, again=Local(2))


def test_schemas_are_written_in_place_and_end() -> None:
    assert shape_of(Leaf).schema() == {
        "type": "object",
        "title": "Leaf",
        "description": "A part.",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
        },
        "required": ["id"],
    }
    tree = shape_of(Tree).schema()
    assert tree["properties"]["children"] == {"type": "array", "items": {"type": "object", "title": "Tree"}}

    class Line(pydantic.BaseModel):
        begin: Point
        end: Point

    line = shape_of(Line).schema()
    assert "$defs" not in line
    assert line["properties"]["begin"]["properties"]["x"]["type"] == "integer"
    assert shape_of(tuple[int, str]).schema()["maxItems"] == 2


def test_pydantic_models_and_dataclasses_are_models() -> None:
    assert is_model(Point)
    assert is_model(Leaf)
    assert not is_model(dict)
    assert not is_model(Leaf(uuid.UUID(int=1)))
