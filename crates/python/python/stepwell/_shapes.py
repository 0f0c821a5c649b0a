"""Annotations as what may cross into JSON: their JSON Schema, objects to JSON, and JSON back to objects.

`shape_of` is where to start. A shape checks deeply and never converts on the quiet: an int fits a float, a bool fits
neither, an annotation that is not known takes any JSON. Dataclasses and pydantic models are the models; pydantic is
never imported here, a class of it is known by the module that its owner has imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import sys
import types
import typing
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal, NewType, Union, cast

#: The dataclasses around the one whose schema is being made.
_told_now: ContextVar[frozenset[type]] = ContextVar("_told_now", default=frozenset())

_JSON = (str, bool, int, float, type(None), list, tuple, dict)


class MisfitError(TypeError):
    """A value is not of its annotation."""


class Shape(ABC):
    """What an annotation takes."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what `load` reads."""

    @abstractmethod
    def dump(self, value: Any, at: str) -> Any:
        """Return a value as JSON; `at` is where it stands, for the message.

        Raises:
            MisfitError: It is not of the annotation.
        """

    @abstractmethod
    def load(self, value: Any, at: str) -> Any:
        """Return the object for JSON.

        Raises:
            MisfitError: It is none.
        """


def shape_of(annotation: Any) -> Shape:
    """Return the shape of an annotation.

    >>> shape_of(list[int]).schema()
    {'type': 'array', 'items': {'type': 'integer'}}
    >>> shape_of(date | None).load("2024-02-29", "the day")
    datetime.date(2024, 2, 29)
    >>> shape_of(dict[str, float]).dump({"a": True}, "prices")
    Traceback (most recent call last):
    stepwell._shapes.MisfitError: prices['a'] must be float, not True
    """
    try:
        return _known_shape(annotation)
    except TypeError:  # It cannot be hashed: a Literal of a list, metadata of an Annotated.
        return _shape(annotation)


def is_model(cls: object) -> bool:
    """Return whether a class is a dataclass or a pydantic model."""
    return isinstance(cls, type) and (dataclasses.is_dataclass(cls) or _is_pydantic(cls))


def fields_of(cls: type) -> frozenset[str]:
    """Return the names of the fields of a model."""
    if _is_pydantic(cls):
        return frozenset(cast("Any", cls).model_fields)
    return frozenset(field.name for field in dataclasses.fields(cls))


def changed(value: Any, changes: Mapping[str, Any]) -> Any:
    """Return a copy of a model with other values in those fields; nothing is checked but by a constructor."""
    if _is_pydantic(type(value)):
        return value.model_copy(update=dict(changes))
    fixed = {field.name for field in dataclasses.fields(value) if not field.init}
    other = dataclasses.replace(value, **{name: new for name, new in changes.items() if name not in fixed})
    for name in fixed:
        object.__setattr__(other, name, changes.get(name, getattr(value, name)))
    return other


def _is_pydantic(cls: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    model = getattr(pydantic, "BaseModel", None)
    return isinstance(model, type) and issubclass(cls, model) and hasattr(cls, "model_validate_json")


@functools.lru_cache(maxsize=1_024)
def _known_shape(annotation: Any) -> Shape:
    return _shape(annotation)


def _shape(annotation: Any) -> Shape:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, NewType):
        return shape_of(annotation.__supertype__)
    if origin is typing.Annotated:
        return shape_of(args[0])
    if origin in (Union, types.UnionType):
        return _Union([shape_of(arg) for arg in args])
    if origin is Literal:
        return _Literal(args)
    kind = origin or annotation
    if not isinstance(kind, type):
        return _Anything()
    if kind in _Scalar.NAMES:
        return _Scalar(kind)
    if is_model(kind):
        return _Pydantic(kind) if _is_pydantic(kind) else _Dataclass(kind)
    if issubclass(kind, Enum):
        return _Enum(kind)
    if kind in _Text.KINDS:
        return _Text(kind)
    if kind is tuple and args and args[-1] is not Ellipsis:
        return _Tuple([] if args == ((),) else [shape_of(arg) for arg in args])
    if kind in _List.KINDS:
        return _List(_List.KINDS[kind], shape_of(args[0] if args else Any))
    if kind in (dict, Mapping) and args and args[0] is str:
        return _Dict(shape_of(args[1]))
    return _Anything()


class _Anything(Shape):
    """What is not known: any JSON."""

    def schema(self) -> dict[str, Any]:
        return {}

    def dump(self, value: Any, at: str) -> Any:
        # Whether the parts are JSON is found where it is kept.
        if not isinstance(value, _JSON) or isinstance(value, Enum):
            raise MisfitError(f"{at} is {_told(value)}, which is no JSON: annotate the field with its class")
        return value

    def load(self, value: Any, at: str) -> Any:
        return value


class _Scalar(Shape):
    """What JSON has itself."""

    NAMES: ClassVar[dict[type, str]] = {
        str: "string",
        bool: "boolean",
        int: "integer",
        float: "number",
        type(None): "null",
    }

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def schema(self) -> dict[str, Any]:
        return {"type": self.NAMES[self._kind]}

    def dump(self, value: Any, at: str) -> Any:
        takes = (int, float) if self._kind is float else self._kind
        if not isinstance(value, takes) or (isinstance(value, bool) and self._kind is not bool):
            raise _misfit(at, self._kind.__name__, value)
        return value

    def load(self, value: Any, at: str) -> Any:
        # JSON has no whole numbers of its own: 3.0 is one.
        if self._kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        return self.dump(value, at)


class _Text(Shape):
    """Objects that JSON has a text for."""

    KINDS: ClassVar[dict[type, tuple[str | None, Callable[[Any], str], Callable[[str], Any]]]] = {
        datetime: ("date-time", datetime.isoformat, lambda text: datetime.fromisoformat(_with_offset(text))),
        date: ("date", date.isoformat, date.fromisoformat),
        time: ("time", time.isoformat, time.fromisoformat),
        uuid.UUID: ("uuid", str, uuid.UUID),
        Decimal: (None, str, Decimal),
        Path: (None, str, Path),
        PurePath: (None, str, PurePath),
    }

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._format, self._written, self._read = self.KINDS[kind]

    def schema(self) -> dict[str, Any]:
        return {"type": "string"} if self._format is None else {"type": "string", "format": self._format}

    def dump(self, value: Any, at: str) -> Any:
        # A datetime is a date, and would come back as one.
        if not isinstance(value, self._kind) or (self._kind is date and isinstance(value, datetime)):
            raise _misfit(at, self._kind.__name__, value)
        return self._written(value)

    def load(self, value: Any, at: str) -> Any:
        if not isinstance(value, str):
            raise _misfit(at, f"{self._kind.__name__} as text", value)
        try:
            return self._read(value)
        except (ValueError, ArithmeticError):
            raise _misfit(at, self._kind.__name__, value) from None


def _with_offset(text: str) -> str:
    # Python 3.10 does not know the letter.
    return f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text


class _Enum(Shape):
    """Members by their values."""

    def __init__(self, kind: type[Enum]) -> None:
        self._kind = kind

    def schema(self) -> dict[str, Any]:
        return {"enum": [member.value for member in self._kind]}

    def dump(self, value: Any, at: str) -> Any:
        if not isinstance(value, self._kind):
            raise _misfit(at, self._kind.__name__, value)
        return _Anything().dump(value.value, at)

    def load(self, value: Any, at: str) -> Any:
        for member in self._kind:
            if _is_same_json(member.value, value):
                return member
        raise _misfit(at, f"a value of {self._kind.__name__}", value)


class _Literal(Shape):
    """One of the values that are listed."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = [value.value if isinstance(value, Enum) else value for value in values]

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self._values)}

    def dump(self, value: Any, at: str) -> Any:
        if not any(_is_same_json(known, value) for known in self._values):
            raise _misfit(at, f"one of {', '.join(map(repr, self._values))}", value)
        return value

    def load(self, value: Any, at: str) -> Any:
        return self.dump(value, at)


class _List(Shape):
    """A list, or what is kept as one."""

    KINDS: ClassVar[dict[Any, type]] = {
        list: list,
        Sequence: list,
        tuple: tuple,
        set: set,
        frozenset: frozenset,
    }

    def __init__(self, kind: type, item: Shape) -> None:
        self._kind, self._item = kind, item

    def schema(self) -> dict[str, Any]:
        unique = {"uniqueItems": True} if self._kind in (set, frozenset) else {}
        items = self._item.schema()
        return {"type": "array", **({"items": items} if items else {}), **unique}

    def dump(self, value: Any, at: str) -> Any:
        if not isinstance(value, self._kind):
            raise _misfit(at, self._kind.__name__, value)
        given = cast("Iterable[Any]", value)
        parts = [self._item.dump(part, f"{at}[{i}]") for i, part in enumerate(given)]
        # The order of a set is another in each process.
        return sorted(parts, key=json.dumps) if self._kind in (set, frozenset) else parts

    def load(self, value: Any, at: str) -> Any:
        if not isinstance(value, list):
            raise _misfit(at, "a list", value)
        return self._kind(self._item.load(part, f"{at}[{i}]") for i, part in enumerate(value))


class _Tuple(Shape):
    """A tuple of so many parts."""

    def __init__(self, parts: list[Shape]) -> None:
        self._parts = parts

    def schema(self) -> dict[str, Any]:
        count = len(self._parts)
        parts = {"prefixItems": [part.schema() for part in self._parts]} if count else {}
        return {"type": "array", **parts, "minItems": count, "maxItems": count}

    def dump(self, value: Any, at: str) -> Any:
        return [shape.dump(part, f"{at}[{i}]") for i, (shape, part) in self._pairs(value, tuple, at)]

    def load(self, value: Any, at: str) -> Any:
        return tuple(shape.load(part, f"{at}[{i}]") for i, (shape, part) in self._pairs(value, list, at))

    def _pairs(self, value: Any, kind: type, at: str) -> Iterable[tuple[int, tuple[Shape, Any]]]:
        if not isinstance(value, kind) or len(cast("Sequence[Any]", value)) != len(self._parts):
            raise _misfit(at, f"a {kind.__name__} of {len(self._parts)}", value)
        return enumerate(zip(self._parts, cast("Sequence[Any]", value), strict=True))


class _Dict(Shape):
    """A dict with text keys."""

    def __init__(self, item: Shape) -> None:
        self._item = item

    def schema(self) -> dict[str, Any]:
        items = self._item.schema()
        return {"type": "object", **({"additionalProperties": items} if items else {})}

    def dump(self, value: Any, at: str) -> Any:
        return {key: self._item.dump(part, f"{at}[{key!r}]") for key, part in self._parts(value, at)}

    def load(self, value: Any, at: str) -> Any:
        return {key: self._item.load(part, f"{at}[{key!r}]") for key, part in self._parts(value, at)}

    def _parts(self, value: Any, at: str) -> list[tuple[str, Any]]:
        if not isinstance(value, dict):
            raise _misfit(at, "dict", value)
        if not all(isinstance(key, str) for key in value):
            raise MisfitError(f"{at} must be a dict whose keys are str, not {_told(value)}")
        return list(value.items())


class _Union(Shape):
    """One of several; the first that takes it."""

    def __init__(self, members: list[Shape]) -> None:
        self._members = members

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [member.schema() for member in self._members]}

    def dump(self, value: Any, at: str) -> Any:
        dumped = self._first("dump", value, at)
        if self.load(dumped, at) != value:
            message = f"{at} is {_told(value)}, which would come back as {_told(self.load(dumped, at))}"
            raise MisfitError(f"{message}: the members of its union cannot be told apart in JSON")
        return dumped

    def load(self, value: Any, at: str) -> Any:
        return self._first("load", value, at)

    def _first(self, how: str, value: Any, at: str) -> Any:
        misfits = []
        for member in self._members:
            try:
                return getattr(member, how)(value, at)
            except MisfitError as misfit:
                misfits.append(str(misfit))
        raise MisfitError("; or ".join(dict.fromkeys(misfits)))


class _Dataclass(Shape):
    """A dataclass: an object of its fields. What is not among them is left out when it is read."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    @functools.cached_property
    def _fields(self) -> dict[str, tuple[dataclasses.Field[Any], Shape]]:
        # Not before they are used: a class may have fields of its own kind.
        hints = _hints_of(self._cls)
        fields = dataclasses.fields(self._cls)
        return {field.name: (field, shape_of(hints.get(field.name, Any))) for field in fields}

    def schema(self) -> dict[str, Any]:
        told: dict[str, Any] = {"type": "object", "title": self._cls.__name__}
        around = _told_now.get()
        if self._cls in around:  # It is a part of itself; whoever fills in a form must come to an end.
            return told
        doc = inspect.cleandoc(self._cls.__doc__ or "")
        if doc and not doc.startswith(f"{self._cls.__name__}("):
            told["description"] = doc
        taken = {name: pair for name, pair in self._fields.items() if pair[0].init}
        token = _told_now.set(around | {self._cls})
        try:
            told["properties"] = {name: _property(*pair) for name, pair in taken.items()}
        finally:
            _told_now.reset(token)
        told["required"] = [name for name, (field, _) in taken.items() if _is_required(field)]
        return told

    def dump(self, value: Any, at: str) -> Any:
        if type(value) is not self._cls:
            raise _misfit(at, self._cls.__name__, value)
        return {
            name: shape.dump(getattr(value, name), f"{at}.{name}")
            for name, (_, shape) in self._fields.items()
        }

    def load(self, value: Any, at: str) -> Any:
        if not isinstance(value, dict):
            raise _misfit(at, f"{self._cls.__name__} as an object", value)
        given = {name: pair for name, pair in self._fields.items() if name in value}
        missing = [
            name for name, (field, _) in self._fields.items() if name not in value and _is_required(field)
        ]
        if missing:
            raise MisfitError(f"{at} has no {', '.join(missing)}, which a {self._cls.__name__} must have")
        read = {name: shape.load(value[name], f"{at}.{name}") for name, (_, shape) in given.items()}
        try:
            made = self._cls(**{name: part for name, part in read.items() if given[name][0].init})
        except Exception as error:
            raise MisfitError(f"{at} is no {self._cls.__name__}: {error}") from error
        for name, (field, _) in given.items():
            if not field.init:
                object.__setattr__(made, name, read[name])
        return made


def _is_required(field: dataclasses.Field[Any]) -> bool:
    has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    return field.init and not has_default


def _property(field: dataclasses.Field[Any], shape: Shape) -> dict[str, Any]:
    schema = shape.schema()
    if field.default is not dataclasses.MISSING:
        # It may be of another type than the annotation, as None often is.
        with contextlib.suppress(MisfitError):
            schema["default"] = shape.dump(field.default, field.name)
    return schema


def _hints_of(cls: type) -> dict[str, Any]:
    own = {cls.__name__: cls}
    try:
        return typing.get_type_hints(cls, localns=own)
    except Exception:
        # One name that cannot be found, as of a class inside of a function, leaves the other fields known.
        hints: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            names = vars(sys.modules.get(base.__module__, typing))
            for name, annotation in vars(base).get("__annotations__", {}).items():
                hints[name] = _evaluated(annotation, names, own)
        return hints


def _evaluated(annotation: Any, names: dict[str, Any], own: dict[str, Any]) -> Any:
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, names, own)["it"]
    except Exception:
        return Any


class _Pydantic(Shape):
    """A pydantic model, by its own rules; what is kept is checked strictly."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    def schema(self) -> dict[str, Any]:
        schema = self._cls.model_json_schema()
        return cast("dict[str, Any]", _inlined(schema, schema.pop("$defs", {}), ()))

    def dump(self, value: Any, at: str) -> Any:
        if type(value) is not self._cls:
            raise _misfit(at, self._cls.__name__, value)
        try:
            dumped = value.model_dump(mode="json", by_alias=True, round_trip=True, warnings=False)
            self._cls.model_validate_json(json.dumps(dumped), strict=True)
        except ValueError as error:
            raise MisfitError(f"{at} is no {self._cls.__name__}: {error}") from error
        return dumped

    def load(self, value: Any, at: str) -> Any:
        try:
            return self._cls.model_validate_json(json.dumps(value))
        except ValueError as error:
            raise MisfitError(f"{at} is no {self._cls.__name__}: {error}") from error


def _inlined(schema: Any, parts: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    """Return a schema with its parts in the places that name them, so that a form can be made of it."""
    if isinstance(schema, list):
        return [_inlined(part, parts, within) for part in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    rest = {key: _inlined(part, parts, within) for key, part in schema.items() if key != "$ref"}
    if name not in parts:
        return rest if "$ref" not in schema else dict(schema)
    if name in within:
        return {**rest, "title": name}
    return {**_inlined(parts[name], parts, (*within, name)), **rest}


def _is_same_json(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _misfit(at: str, wanted: str, value: Any) -> MisfitError:
    return MisfitError(f"{at} must be {wanted}, not {_told(value)}")


def _told(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}…"
