"""Blocks of Python in a document, run as they are printed."""

from __future__ import annotations

import ast
import inspect
import itertools
import linecache
import re
import sys
import types
from pathlib import Path
from typing import Any

_numbers = itertools.count()


class Document:
    """The Python blocks of a document, in their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: list[str] = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)

    def block(self, beginning: str) -> str:
        """Return the only block that has this in it."""
        [found] = [block for block in self.blocks if beginning in block]
        return found


def mended(block: str, *changes: tuple[str, str]) -> str:
    """Return a block with other words in the place of those, each of which is there once."""
    for before, after in changes:
        assert block.count(before) == 1, before
        block = block.replace(before, after)
    return block


async def run(block: str, **setting: Any) -> dict[str, Any]:
    """Run a block with these names around it; return the names that there are then.

    It is a module of its own, whose source can be read; it may await at its top level.
    """
    name = f"document_{next(_numbers)}"
    file = f"<{name}>"
    module = sys.modules[name] = types.ModuleType(name)
    names = vars(module)
    names.update(setting)
    linecache.cache[file] = (len(block), None, block.splitlines(keepends=True), file)
    code = compile(block, file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)  # noqa: S307 - the document is ours
    else:
        exec(code, names)  # noqa: S102
    return names
