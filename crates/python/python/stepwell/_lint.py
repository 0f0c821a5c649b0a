"""What the source of a function shows that was hardly meant.

Work that is done again when it has waited, and classes that nobody finds again by their name.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from stepwell._routes import source_of
from stepwell._shapes import is_model

#: What a function may come to wait at, and is run again from its start for.
_WAITS = {"human_in_the_loop", "ask_human", "sleep", "wait_for_signal", "run_agent"}
_TYPED = {"set_typed", "get_typed"}


def findings(name: str, func: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return what is found in the function of a step; nothing if its source cannot be read."""
    node = source_of(func)
    if node is None or isinstance(node, ast.Lambda) or not (node.args.posonlyargs or node.args.args):
        return []
    context = [*node.args.posonlyargs, *node.args.args][_offset(func)].arg
    found = []
    if (line := _effect_before_wait(node, context)) is not None:
        found.append(
            {
                "code": "effect_before_question",
                "step": name,
                "message": f"state {name!r} does something in line {line} that is done again when it has waited",
                "hint": "put it into `once`, or into a state of its own before",
            }
        )
    found += [
        {
            "code": "local_type",
            "step": name,
            "message": f"state {name!r} keeps values of class {cls!r}, which is defined inside of a function",
            "hint": "define it in its module: after a restart nobody finds it by its name",
        }
        for cls in _local_types(node, context, func)
    ]
    return found


def _offset(func: Callable[..., Any]) -> int:
    """Return 1 where the first parameter is the object that a method is of."""
    is_bound = inspect.ismethod(func) or not hasattr(func, "__code__")
    return 1 if is_bound and not hasattr(func, "__wrapped__") and _takes_two(func) else 0


def _takes_two(func: Callable[..., Any]) -> bool:
    call = getattr(func, "__func__", getattr(type(func), "__call__", None))  # noqa: B004 - its code is wanted
    code = getattr(call, "__code__", None)
    return code is not None and code.co_argcount >= 2


def _effect_before_wait(node: ast.FunctionDef | ast.AsyncFunctionDef, context: str) -> int | None:
    """Return the line of the first work that stands before a wait."""
    parts = [part for statement in node.body for part in _own_parts(statement)]
    waits = [part for part in parts if _method(part, context) in _WAITS]
    if not waits:
        return None
    last = max(_place(wait) for wait in waits)
    effects = [_place(part) for part in parts if _is_effect(part, context)]
    first = min((place for place in effects if place < last), default=None)
    return None if first is None else first[0]


def _is_effect(part: ast.AST, context: str) -> bool:
    """Return whether something is awaited, or called for nothing but its effect, that is not the context."""
    match part:
        case ast.Await(value=ast.Call() as call):
            return _method(call, context) is None
        case ast.Await(value=value):
            return not _is_context(value, context)
        case ast.Expr(value=ast.Call() as call):
            return _method(call, context) is None and not _is_harmless(call)
        case _:
            return False


def _is_harmless(call: ast.Call) -> bool:
    match call.func:
        case ast.Name(id="print"):
            return True
        # What changes a list or dict of the function itself, and what is logged.
        case ast.Attribute(value=ast.Name(), attr=name):
            return name in {"append", "extend", "update", "add", "sort", "debug", "info", "warning", "error"}
        case _:
            return False


def _local_types(
    node: ast.FunctionDef | ast.AsyncFunctionDef, context: str, func: Callable[..., Any]
) -> Iterator[str]:
    parts = [part for statement in node.body for part in _own_parts(statement)]
    if not any(_method(part, context) in _TYPED for part in parts):
        return
    called = inspect.unwrap(func)
    cells = inspect.getclosurevars(called) if inspect.isfunction(called) else None
    known = {**cells.globals, **cells.nonlocals} if cells is not None else {}
    for part in parts:
        if isinstance(part, ast.ClassDef):
            yield part.name
    for name, value in known.items():
        if is_model(value) and "<locals>" in value.__qualname__:
            yield name


def _own_parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and what is in it, but for functions and what is in classes."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _own_parts(child)


def _method(part: ast.AST, context: str) -> str | None:
    """Return which method of the context is called."""
    match part:
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if _is_context(value, context):
            return name
        case _:
            return None


def _is_context(value: ast.expr, context: str) -> bool:
    return isinstance(value, ast.Name) and value.id == context


def _place(part: ast.AST) -> tuple[int, int]:
    return getattr(part, "lineno", 0), getattr(part, "col_offset", 0)
