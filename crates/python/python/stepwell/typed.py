"""Values of the context that know their class."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

from stepwell._shapes import MisfitError, changed, fields_of, is_model, shape_of
from stepwell.errors import ContextTypeError

_T = TypeVar("_T")

#: Classes that values were made of in this process. None is ever imported for its tag.
_classes: WeakValueDictionary[str, type] = WeakValueDictionary()


class TypedContextData:
    """A base for dataclasses and pydantic models that the context keeps with their class.

    It has no content: `Context.set_typed` takes any dataclass and pydantic model. A class that derives from it is known
    by its name from the start, so that `Context.update_typed` finds it.

    The name is that of the module and the class. `__stepwell_type__` gives another, for a class that is to be moved, or
    that a Rust program reads too.
    """

    __slots__ = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Make the class known."""
        super().__init_subclass__(**options)
        _classes[tag_of(cls)] = cls


def tag_of(cls: type) -> str:
    """Return the name that the values of a class are kept under."""
    own = vars(cls).get("__stepwell_type__")
    return own if isinstance(own, str) else f"{cls.__module__}.{cls.__qualname__}"


def dump(value: Any, key: str) -> tuple[str, Any]:
    """Return the tag and the fields of an instance.

    Raises:
        ContextTypeError: It is no instance of a dataclass or pydantic model, or a field is of another type.
    """
    cls = type(value)
    if not is_model(cls):
        raise ContextTypeError(
            f"context key {key!r} cannot be kept with its type: {cls.__qualname__} is no dataclass or pydantic model",
            hint="`set_state` keeps plain values",
        )
    try:
        fields = shape_of(cls).dump(value, cls.__name__)
    except MisfitError as misfit:
        raise ContextTypeError(f"context key {key!r}: {misfit}") from None
    except RecursionError:
        raise ContextTypeError(
            f"context key {key!r}: the {cls.__name__} is nested too deeply, or in itself"
        ) from None
    tag = tag_of(cls)
    _classes[tag] = cls
    return tag, fields


def load(tag: str, fields: Any, cls: type[_T], key: str) -> _T | None:
    """Return the object; none: it is of another class.

    Raises:
        ContextTypeError: The class has other fields by now, or is no dataclass or pydantic model.
    """
    if not is_model(cls):
        raise ContextTypeError(
            f"context key {key!r} cannot be read as {cls!r}: it is no dataclass or pydantic model"
        )
    if not _is_same(tag, tag_of(cls)):
        return None
    try:
        return cast("_T", shape_of(cls).load(fields, cls.__name__))
    except MisfitError as misfit:
        raise ContextTypeError(f"context key {key!r}: {misfit}") from None


def updated(tag: str, fields: Any, changes: Mapping[str, Any], key: str) -> tuple[str, Any]:
    """Return the tag and the fields of a value with other values in some of them.

    Raises:
        AttributeError: The class has no such field.
        LookupError: The class is not loaded in this process.
        ContextTypeError: A field is of another type.
    """
    cls = _class_of(tag)
    if cls is None:
        raise LookupError(
            f"context key {key!r} holds a {tag}, a class that is not loaded here: import its module first"
        )
    unknown = sorted(changes.keys() - fields_of(cls))
    if unknown:
        raise AttributeError(f"context key {key!r}: {cls.__name__} has no field {unknown[0]!r}")
    value = changed(load(tag, fields, cls, key), changes)
    return tag, dump(value, key)[1]


def parts_of(value: Any) -> tuple[str, Any] | None:
    """Return the tag and the fields of a typed value as it is kept; none: it is untyped."""
    if (
        isinstance(value, dict)
        and len(value) == 2
        and isinstance(value.get("$type"), str)
        and "$value" in value
    ):
        return value["$type"], value["$value"]
    return None


def _class_of(tag: str) -> type | None:
    known = _classes.get(tag) or next((cls for one, cls in _classes.items() if _is_same(one, tag)), None)
    if known is not None:
        return known
    module, _, name = tag.rpartition(".")
    for place in (module, "__main__"):
        found = getattr(sys.modules.get(place), name, None)
        if isinstance(found, type) and is_model(found) and _is_same(tag_of(found), tag):
            return found
    return None


def _is_same(one: str, other: str) -> bool:
    """Return whether two tags are of one class; that of a script has its name wherever it is imported from."""
    if one == other:
        return True
    if not (one.startswith("__main__.") or other.startswith("__main__.")):
        return False
    short, long = sorted((one, other), key=lambda tag: not tag.startswith("__main__."))
    return long.endswith(short.removeprefix("__main__"))
