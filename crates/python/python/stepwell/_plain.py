"""Objects of a program as plain JSON values, and their types as JSON Schema."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

#: As deep as any value may be; what is deeper is refused where it crosses the border.
_MAX_NESTING = 128

_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
}


def plain(value: Any, levels: int = _MAX_NESTING) -> Any:
    """Return a value with dataclasses, pydantic models and enumerations in it made plain; all else is left as it is.

    >>> from stepwell import RefinementCheck
    >>> plain([RefinementCheck(True)])
    [{'is_complete': True, 'feedback': None}]
    """
    if value is None or type(value) in (str, int, float, bool) or levels == 0:
        return value
    if isinstance(value, Mapping):
        return {key: plain(inner, levels - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, levels - 1) for inner in value]
    if isinstance(value, Enum):
        return plain(value.value, levels - 1)
    if isinstance(value, type):
        return value
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {item.name: plain(getattr(value, item.name), levels - 1) for item in fields}
    dump = getattr(value, "model_dump", None)
    return value if dump is None else dump(mode="json")


def schema_of(given: Any) -> dict[str, Any]:
    """Return the JSON Schema that a schema, a dataclass, a pydantic model or a type stands for.

    Raises:
        TypeError: It stands for none.

    >>> schema_of(bool)
    {'type': 'boolean'}
    """
    if isinstance(given, Mapping):
        return dict(given)
    model_schema = getattr(given, "model_json_schema", None)
    if model_schema is not None:
        return dict(model_schema())
    return _of_type(given)


def _of_type(kind: Any) -> dict[str, Any]:
    if (simple := next((schema for known, schema in _SIMPLE.items() if known is kind), None)) is not None:
        return dict(simple)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Union or origin is getattr(types, "UnionType", Union):
        return {"anyOf": [_of_type(arg) for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (list, typing.Sequence) or kind is list:
        return {"type": "array", **({"items": _of_type(args[0])} if args else {})}
    if origin is dict or kind is dict:
        return {"type": "object", **({"additionalProperties": _of_type(args[1])} if args else {})}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _of_dataclass(kind)
    if hasattr(kind, "model_json_schema"):
        return dict(kind.model_json_schema())
    raise TypeError(f"{kind!r} stands for no JSON Schema")


def _of_dataclass(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    fields = [item for item in dataclasses.fields(kind) if item.init]
    missing = dataclasses.MISSING
    required = [item.name for item in fields if item.default is missing and item.default_factory is missing]
    properties = {item.name: _of_type(hints[item.name]) for item in fields}
    return {"title": kind.__name__, "type": "object", "properties": properties, "required": required}
