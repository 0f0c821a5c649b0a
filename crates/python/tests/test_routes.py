"""What a function can lead to is read from its source (spec/fluffy.md §2.1)."""

import functools
import itertools
import linecache
import os
import random
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stepwell._native import END
from stepwell._routes import routes_of

_number = itertools.count()


def made_of(source: str, name: str = "step") -> Any:
    """Return the function of that name from a source that a file could hold."""
    file = f"<routes {next(_number)}>"
    text = textwrap.dedent(source)
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"END": END, "functools": functools}
    exec(compile(text, file, "exec"), namespace)  # noqa: S102 - sources of this file
    return namespace[name]


VALUES = [
    ("'a'", ("a",)),
    ("'a' 'b'", ("ab",)),
    ("None", (END,)),
    ("", (END,)),
    ("[]", (END,)),
    ("END", (END,)),
    ("['a', 'b', 'a']", ("a", "b")),
    ("('p', {'chunk_id': 1})", ("p",)),
    ("('p', 'looks like a name')", ("p",)),
    ("[('p', i), 'a', ('q', None)]", ("p", "a", "q")),
    ("'a' if cx else 'b'", ("a", "b")),
    ("'a' if cx else ['b', 'c'] if cx else None", ("a", "b", "c", END)),
    ("['a' if cx else 'b', 'c']", ("a", "b", "c")),
    ("f'chunk_{cx}'", ("chunk_*",)),
    ("f'{cx}_of_{cx}{cx}'", ("*_of_*",)),
    ("f'{cx!r:>10}_x'", ("*_x",)),
    ("f'plain'", ("plain",)),
    ("[f'chunk_{i}' for i in range(3)]", ("chunk_*",)),
    ("[('p', {'chunk_id': i}) for i in range(20)]", ("p",)),
    ("[('p' if i else 'q', i) for i in range(2)]", ("p", "q")),
    ("[(f'p_{i}', i) for i in range(2)] if cx else 'merge'", ("p_*", "merge")),
    # What is not written down is unknown.
    ("f'{cx}'", None),
    ("cx", None),
    ("cx.next", None),
    ("cx or 'a'", None),
    ("'a' + cx", None),
    ("'a_%s' % cx", None),
    ("str(cx)", None),
    ("sorted(['a', 'b'])", None),
    ("[*cx, 'a']", None),
    ("[n for n in cx]", None),
    ("('a' for _ in range(2))", None),
    ("{'a', 'b'}", None),
    ("(cx, 'a')", None),
    ("[('a', 1), (cx, 'b')]", None),
    ("await_it(cx)", None),
    ("(name := 'a')", None),
    ("'a' if cx else cx", None),
    # Neither is what no step may return.
    ("1", None),
    ("True", None),
    ("b'a'", None),
    ("()", None),
    ("('a',)", None),
    ("('a', 'b', 'c')", None),
    ("[None]", None),
    ("[['a']]", None),
    ("(('a', 1), 2)", None),
]


@pytest.mark.parametrize(("value", "routes"), VALUES, ids=[value or "nothing" for value, _ in VALUES])
def test_returned_values(value: str, routes: tuple[str, ...] | None) -> None:
    assert routes_of(made_of(f"def step(cx):\n    return {value}\n")) == routes
    assert routes_of(made_of(f"async def step(cx):\n    return {value}\n")) == routes
    if value:
        assert routes_of(made_of(f"step = lambda cx: {value}\n")) == routes
        assert routes_of(made_of(f"def step(cx):\n    if cx: return 'z'\n    return {value}")) == (
            None if routes is None else ("z", *routes)
        )


BODIES = [
    ("pass", (END,)),
    ("'a docstring'", (END,)),
    ("if cx: return 'a'", ("a", END)),
    ("if cx: return 'a'\nelif cx: return 'b'\nelse: return", ("a", "b", END)),
    ("if cx: return 'a'\nelse: return 'b'", ("a", "b")),
    ("if cx: return 'a'\nelse: raise ValueError", ("a",)),
    ("raise ValueError", ()),
    ("for i in cx: return 'a'", ("a", END)),
    ("for i in cx: pass\nelse: return 'a'", ("a",)),
    ("for i in cx:\n  if i: break\nelse: return 'a'", ("a", END)),
    ("while True:\n  if cx: return 'a'", ("a",)),
    ("while True:\n  if cx: break\n  return 'a'", ("a", END)),
    ("while 1:\n  for i in cx: break\n  else: return 'a'", ("a",)),
    ("while True:\n  for i in cx: pass\n  else: break", (END,)),
    ("while cx: return 'a'", ("a", END)),
    ("while True:\n  def inner():\n    while cx: break", ()),
    ("with cx: return 'a'", ("a",)),
    ("with cx:\n  if cx: return 'a'", ("a", END)),
    ("try: return 'a'\nexcept ValueError: return 'handle_error'", ("a", "handle_error")),
    ("try: return 'a'\nexcept ValueError: pass", ("a", END)),
    ("try: cx()\nexcept ValueError: return 'b'\nelse: return 'a'", ("a", "b")),
    ("try: cx()\nfinally: return 'a'", ("a",)),
    ("try: return 'a'\nfinally: cx()", ("a",)),
    ("match cx:\n  case 1: return 'a'", ("a", END)),
    ("match cx:\n  case 1: return 'a'\n  case _: return 'b'", ("a", "b")),
    ("match cx:\n  case 1: return 'a'\n  case other if other: return 'b'", ("a", "b", END)),
    ("match cx:\n  case 1: return 'a'\n  case (2 | _) as x: return 'b'", ("a", "b")),
    # Functions and classes inside are not read.
    ("def inner(): return 'x'\nreturn 'a'", ("a",)),
    ("inner = lambda: 'x'\nreturn 'a'", ("a",)),
    ("class Inner:\n  def f(self): return 'x'\nreturn 'a'", ("a",)),
    # One return that cannot be read is enough.
    ("if cx: return 'a'\nreturn cx", None),
    ("name = 'a'\nreturn name", None),
    # A generator returns no route.
    ("yield 1", None),
]


@pytest.mark.filterwarnings("ignore:.*in a 'finally' block:SyntaxWarning")
@pytest.mark.parametrize(("body", "routes"), BODIES, ids=[body for body, _ in BODIES])
def test_ways_through_a_function(body: str, routes: tuple[str, ...] | None) -> None:
    found = routes_of(made_of("def step(cx):\n" + textwrap.indent(body, "    ")))
    assert found is None if routes is None else found is not None and set(found) == set(routes)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="`except*` came with Python 3.11")
def test_except_groups_are_read_where_the_language_has_them() -> None:
    step = made_of("def step(cx):\n    try: return 'a'\n    except* ValueError: cx()\n")
    assert routes_of(step) == ("a", END)


class Steps:
    """Functions of steps as methods."""

    def bound(self, cx: object) -> str:
        """Lead to one."""
        return "a"

    async def later(self, cx: object) -> str | None:
        """Lead to one or end."""
        return "b" if cx else None

    @staticmethod
    def static(cx: object) -> str:
        """Lead to one."""
        return "c"

    @classmethod
    def of_class(cls, cx: object) -> str:
        """Lead to one."""
        return "d"

    def __call__(self, cx: object) -> str:
        """Lead to one."""
        return "e"


def test_methods_and_objects_that_are_called() -> None:
    steps = Steps()
    found = [routes_of(f) for f in (steps.bound, steps.later, Steps.static, Steps.of_class, steps)]
    assert found == [("a",), ("b", END), ("c",), ("d",), ("e",)]


def timed(function: Callable[..., str]) -> Callable[..., str]:
    """Stand for a function."""

    @functools.wraps(function)
    def wrapper(*args: object) -> str:
        result = function(*args)
        return result  # noqa: RET504 - what is done in between is left out

    return wrapper


def opaque(function: Callable[..., str]) -> Callable[..., str]:
    """Hide a function."""

    def wrapper(*args: object) -> str:
        return function(*args)

    return wrapper


def registered(*names: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Return the function as it is."""
    return lambda function: function


@timed
@registered(
    "over",
    "lines",
)
def decorated(cx: object) -> str:
    """Lead to one."""
    return "a"


@opaque
def hidden(cx: object) -> str:
    """Lead to one."""
    return "a"


def test_decorators() -> None:
    assert routes_of(decorated) == ("a",)
    assert routes_of(hidden) is None
    assert routes_of(functools.partial(decorated, 1)) == ("a",)


def test_functions_made_in_a_loop_and_with_defaults() -> None:
    made = []
    for i in range(3):

        def step(cx: object, chunk_id: int = i) -> list[tuple[str, int]]:
            return [("merge", chunk_id)]

        made.append(step)
    assert [routes_of(step) for step in made] == [("merge",)] * 3


def test_lambdas_on_one_line_are_known_only_if_they_say_the_same() -> None:
    pair = [lambda cx: "a", lambda cx: "b"]  # fmt: skip
    same = [lambda cx: "a", lambda cx: "a"]  # fmt: skip
    spread = [
        lambda cx: "a",
        lambda cx: ["b", "c"]
        if cx
        else None,
    ]  # fmt: skip
    assert [routes_of(f) for f in pair] == [None, None]
    assert [routes_of(f) for f in same] == [("a",), ("a",)]
    assert [routes_of(f) for f in spread] == [("a",), ("b", "c", END)]


def test_without_a_source_that_fits_nothing_is_known() -> None:
    namespace: dict[str, Any] = {}
    exec("def sourceless(cx): return 'a'", namespace)  # noqa: S102 - a function without a source
    assert routes_of(namespace["sourceless"]) is None
    assert routes_of(print) is None
    assert routes_of(dict) is None
    moved = made_of("def moved(cx): return 'a'", "moved")
    for text in ("\ndef moved(cx): return 'b'", "def other(cx): return 'b'", "def moved(cx: return"):
        linecache.cache[moved.__code__.co_filename] = (0, None, [text], "")
        assert routes_of(moved) is None


def test_a_chain_deeper_than_the_stack_is_unknown() -> None:
    deep = made_of("def deep(cx): return 'a'", "deep")
    text = "def deep(cx): return " + "cx if cx else " * 3_000 + "'a'"
    linecache.cache[deep.__code__.co_filename] = (0, None, [text], "")
    assert routes_of(deep) is None


# Functions made at random are called: whatever they return was read before.


class Spent(BaseException):
    """The function has had its chances."""


class Chance:
    """What a function made at random asks which way to go."""

    def __init__(self, random: random.Random) -> None:
        """Begin with all chances."""
        self.random = random
        self.left = 40

    def __call__(self) -> bool:
        """Choose."""
        self.left -= 1
        if self.left < 0:
            raise Spent
        if self.random.random() < 0.1:
            raise ValueError
        return self.random.random() < 0.5

    def __enter__(self) -> None:
        """Begin a block."""

    def __exit__(self, *failure: object) -> None:
        """End a block."""


def value(rng: random.Random, depth: int = 0) -> str:
    """Make a value that a function can return."""
    kind = rng.randrange(9 if depth < 2 else 4)
    name = rng.choice("abcdef")
    if kind == 0:
        return "None"
    if kind in (1, 2):
        return repr(name)
    if kind == 3:
        return f"('{name}', {{'n': 1}})"
    if kind in (4, 5):
        return f"({value(rng, depth + 1)} if chance() else {value(rng, depth + 1)})"
    if kind == 6:
        return f"[f'{name}_{{i}}' for i in range({rng.randrange(1, 3)})]"
    return f"['{name}', ('{rng.choice('abcdef')}', 1), f'x_{{chance()}}']"


def block(rng: random.Random, depth: int, in_loop: bool, in_finally: bool = False) -> Iterator[str]:
    """Make the lines of a block."""
    for _ in range(rng.randrange(1, 4)):
        kind = rng.randrange(10 if depth < 3 else 4)
        inner = functools.partial(indented, rng, depth + 1)
        loop, final = in_loop and not in_finally, in_finally
        if kind == 0:
            yield "chance()"
        elif kind == 1:
            yield f"return {value(rng)}"
        elif kind == 2:
            yield rng.choice(["break", "continue"]) if loop else "def inner(): return 'never'"
        elif kind == 3:
            yield "raise ValueError" if rng.random() < 0.3 else "pass"
        elif kind in (4, 5):
            yield from ["if chance():", *inner(loop, final)]
            if rng.random() < 0.6:
                yield from ["else:", *inner(loop, final)]
        elif kind == 6:
            yield from [f"for i in range({rng.randrange(3)}):", *inner(True)]
            if rng.random() < 0.4:
                yield from ["else:", *inner(loop, final)]
        elif kind == 7:
            yield from ["while True:", "    chance()", *inner(True)]
        elif kind == 8:
            yield from ["with chance:", *inner(loop, final)]
        else:
            yield from ["try:", *inner(loop, final)]
            if rng.random() < 0.7:
                yield from ["except ValueError:", *inner(loop, final)]
                if rng.random() < 0.4:
                    yield from ["else:", *inner(loop, final)]
            yield from ["finally:", *(inner(False, True) if rng.random() < 0.3 else ["    pass"])]


def indented(rng: random.Random, depth: int, in_loop: bool, in_finally: bool = False) -> list[str]:
    """Make the lines of a block inside another."""
    return ["    " + line for line in block(rng, depth, in_loop, in_finally)]


def named_by(returned: object) -> set[str]:
    """Return what a returned value names when it is looked at."""
    if returned is None or returned == []:
        return {END}
    targets = returned if isinstance(returned, list) else [returned]
    return {str(target[0] if isinstance(target, tuple) else target) for target in targets}


@pytest.mark.filterwarnings("ignore:.*in a 'finally' block:SyntaxWarning")
def test_whatever_a_function_returns_was_read_before() -> None:
    cases = min(int(os.environ.get("STEPWELL_TEST_CASES", "200")), 2_000)
    first = int(os.environ.get("STEPWELL_SEED", str(random.SystemRandom().randrange(2**32))))
    returned = 0
    for seed in range(first, first + cases):
        rng = random.Random(seed)  # noqa: S311 - a seed that can be given again
        source = "def step(chance):\n" + "\n".join(indented(rng, 0, in_loop=False))
        step = made_of(source)
        routes = routes_of(step)
        assert routes is not None, f"STEPWELL_SEED={seed}\n{source}"
        for _ in range(20):
            try:
                names = named_by(step(Chance(rng)))
            except (Spent, ValueError):
                continue
            returned += 1
            read = {route.split("*")[0] for route in routes if "*" in route}
            missed = {n for n in names if n not in routes and not n.startswith(tuple(read))}
            assert not missed, f"STEPWELL_SEED={seed}: {missed} of {routes}\n{source}"
    assert returned > cases, "most functions return"
