"""What the function of a step can lead to, read from its source and never by calling it.

The join rule relies on it: a branch that can still come is waited for. What cannot be read is unknown, which
counts as anything; that only makes others wait longer. `routes_of` is where to start.
"""

from __future__ import annotations

import ast
import functools
import linecache
import types
import weakref
from collections.abc import Callable, Iterable, Iterator

from stepwell._native import END

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Loop = ast.For | ast.AsyncFor | ast.While

# That with `except*` has a class of its own, which Python 3.10 does not know.
_TRIES = (ast.Try, getattr(ast, "TryStar", ast.Try))

# CO_GENERATOR | CO_ASYNC_GENERATOR, as the module inspect has them.
_GENERATORS = 0x20 | 0x200

# Code that is equal says the same, wherever it stands: many steps can share one function.
_read: weakref.WeakKeyDictionary[types.CodeType, tuple[str, ...]] = weakref.WeakKeyDictionary()


class _Unknown(Exception):  # noqa: N818 - not an error: it is how a reading ends that finds more than can be read
    """Something that is read can be anything."""


def routes_of(function: Callable[..., object]) -> tuple[str, ...] | None:
    """Return the names that a function can return, in the order of its source; `None` if they are unknown.

    `END` among them says that it can end its branch; a `*` in a name is any text. A decorator that says by
    `functools.wraps` that it stands for a function is believed.

    >>> async def review(context):
    ...     return "publish" if context.get_state("good") else ["revise", ("notify", {"by": "mail"})]
    >>> routes_of(review)
    ('publish', 'revise', 'notify')
    """
    try:
        code = _code_of(function)
        if code not in _read:
            _read[code] = tuple(dict.fromkeys(_routes_of_node(_node_of(code, function))))
    except (_Unknown, RecursionError):
        return None
    return _read[code]


def source_of(function: Callable[..., object]) -> _Function | None:
    """Return the source of a function, as Python reads it; `None` if it cannot be found."""
    try:
        return _node_of(_code_of(function), function)
    except (_Unknown, RecursionError):
        return None


def _node_of(code: types.CodeType, function: Callable[..., object]) -> _Function:
    if code.co_flags & _GENERATORS:
        raise _Unknown
    lines = linecache.getlines(code.co_filename, getattr(function, "__globals__", None))
    found = _functions_in("".join(lines)).get((code.co_firstlineno, code.co_name), [])
    # Several functions can stand on one line under one name, as lambdas do: all or none of them is meant.
    if len({ast.dump(node) for node in found}) != 1:
        raise _Unknown
    return found[0]


def _code_of(function: object) -> types.CodeType:
    seen: set[int] = set()
    while id(function) not in seen:
        seen.add(id(function))
        if hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif isinstance(function, types.FunctionType):
            return function.__code__
        else:
            function = getattr(type(function), "__call__", None)  # noqa: B004 - its code is wanted
    raise _Unknown


@functools.lru_cache(maxsize=16)
def _functions_in(source: str) -> dict[tuple[int, str], list[_Function]]:
    """Return the functions of a file by the line and the name that their code objects have."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError):
        raise _Unknown from None
    functions: dict[tuple[int, str], list[_Function]] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Lambda):
            functions.setdefault((node.lineno, "<lambda>"), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            functions.setdefault((first, node.name), []).append(node)
    return functions


def _routes_of_node(function: _Function) -> Iterator[str]:
    if isinstance(function, ast.Lambda):
        yield from _routes_of_value(function.body)
        return
    for statement in _own_statements(function.body):
        if isinstance(statement, ast.Return):
            yield from _routes_of_value(statement.value)
    if _goes_on(function.body):
        yield END


def _own_statements(block: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a block and of the blocks in it, without those of functions and classes."""
    for statement in block:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for inner in _blocks_in(statement):
                yield from _own_statements(inner)


def _blocks_in(statement: ast.AST) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        yield getattr(statement, field, [])
    for part in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
        yield part.body


def _routes_of_value(value: ast.expr | None) -> Iterator[str]:
    """Yield what a returned value names."""
    match value:
        case None | ast.Constant(value=None):
            yield END
        case ast.IfExp():
            yield from _routes_of_value(value.body)
            yield from _routes_of_value(value.orelse)
        case ast.List(elts=[]):
            yield END
        case ast.List(elts=targets):
            for target in targets:
                yield from _routes_of_target(target)
        case ast.ListComp(elt=target):
            yield from _routes_of_target(target)
        case ast.Name(id="END") | ast.Attribute(attr="END"):
            yield END
        case _:
            yield from _routes_of_target(value)


def _routes_of_target(target: ast.expr) -> Iterator[str]:
    """Yield what an element of a list of targets names, or a value that is one target."""
    match target:
        case ast.Constant(value=str() as name):
            yield name
        case ast.JoinedStr(values=parts):
            yield _pattern(parts)
        case ast.IfExp():
            yield from _routes_of_target(target.body)
            yield from _routes_of_target(target.orelse)
        case ast.Tuple(elts=[step, _payload]) if not isinstance(step, ast.Tuple):
            yield from _routes_of_target(step)
        case _:
            raise _Unknown


def _pattern(parts: list[ast.expr]) -> str:
    pattern = ""
    for part in parts:
        if isinstance(part, ast.Constant):
            pattern += str(part.value)
        elif not pattern.endswith("*"):
            pattern += "*"
    if pattern == "*":
        raise _Unknown
    return pattern


def _goes_on(block: Iterable[ast.stmt]) -> bool:
    """Return whether what follows a block can be reached through its end. Exceptions are not looked at."""
    return all(_is_passed(statement) for statement in block)


def _is_passed(statement: ast.stmt) -> bool:
    if isinstance(statement, _TRIES):
        return _is_try_passed(statement)
    match statement:
        case ast.Return() | ast.Raise() | ast.Break() | ast.Continue():
            return False
        case ast.If():
            return _goes_on(statement.body) or _goes_on(statement.orelse)
        case ast.While(test=ast.Constant(value=truth)) if truth:
            return _breaks(statement)
        case ast.For() | ast.AsyncFor() | ast.While():
            return _breaks(statement) or _goes_on(statement.orelse)
        case ast.With() | ast.AsyncWith():
            return _goes_on(statement.body)
        case ast.Match(cases=cases):
            is_exhaustive = any(case.guard is None and _takes_all(case.pattern) for case in cases)
            return not is_exhaustive or any(_goes_on(case.body) for case in cases)
        case _:
            return True


def _is_try_passed(statement: ast.Try) -> bool:
    ends = [[*statement.body, *statement.orelse], *(handler.body for handler in statement.handlers)]
    return _goes_on(statement.finalbody) and any(_goes_on(end) for end in ends)


def _takes_all(pattern: ast.pattern) -> bool:
    match pattern:
        case ast.MatchAs(pattern=None):
            return True
        case ast.MatchAs(pattern=ast.pattern() as inner):
            return _takes_all(inner)
        case ast.MatchOr(patterns=patterns):
            return any(_takes_all(inner) for inner in patterns)
        case _:
            return False


def _breaks(loop: _Loop) -> bool:
    return any(_leaves(statement) for statement in loop.body)


def _leaves(statement: ast.stmt) -> bool:
    """Return whether a statement holds a `break` of the loop it stands in."""
    if isinstance(statement, ast.Break):
        return True
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    # The `else` of an inner loop belongs to the outer one.
    blocks = [statement.orelse] if isinstance(statement, _Loop) else _blocks_in(statement)
    return any(_leaves(inner) for block in blocks for inner in block)
