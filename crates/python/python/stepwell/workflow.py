"""Workflows that were written down: files in YAML or JSON, their text, or the same as a dict."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from stepwell import _native
from stepwell.errors import ContextTypeError, DefinitionError


class Workflow:
    """A workflow that was read and can be run: an immutable definition.

    What is wrong with one is told all at once, each problem with its place.

    >>> nap = Workflow.from_text("steps: [{name: Nap, method: timer/sleep, params: {seconds: 0}}]")
    >>> nap.steps
    ['Nap']
    >>> nap.version == Workflow.from_dict({"tasks": [{"id": "Nap", "method": "timer/sleep",
    ...                                               "parameters": {"seconds": 0}}]}).version
    True
    >>> Workflow.from_dict({"steps": [{"name": "Nap", "method": "timer/sleep", "after": 1}]})
    Traceback (most recent call last):
        ...
    stepwell.errors.DefinitionError: ...
    """

    def __init__(self, native: _native.Workflow) -> None:
        """Made by `load`, `from_text`, `from_dict` and `of`."""
        self._native = native

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        strict: bool = False,
        roots: Iterable[str | os.PathLike[str]] = (),
    ) -> Workflow:
        """Read a workflow file: `.yaml`, `.yml` or `.json`.

        Args:
            path: The file.
            strict: Warnings are problems.
            roots: Directories beside its own and the working directory that the files of a batch may lie in.

        Raises:
            DefinitionError: Everything that is wrong with it; `problems` has each with line and column.
            ConfigurationError: There is no such file, or it cannot be read.
        """
        return cls(_native.Workflow.file(path, _paths(roots), strict))

    @classmethod
    def from_text(
        cls,
        text: str,
        format: Literal["yaml", "json"] = "yaml",  # noqa: A002 - it is what it is
        *,
        strict: bool = False,
        roots: Iterable[str | os.PathLike[str]] = (),
    ) -> Workflow:
        """Read the text of a workflow file, as `load` does."""
        return cls(_native.Workflow.text(text, format, _paths(roots), strict))

    @classmethod
    def from_dict(
        cls,
        definition: Mapping[str, Any],
        *,
        strict: bool = False,
        roots: Iterable[str | os.PathLike[str]] = (),
    ) -> Workflow:
        """Take what a workflow file would hold, as `load` does."""
        try:
            return cls(_native.Workflow.value(dict(definition), _paths(roots), strict))
        except ContextTypeError as error:
            raise DefinitionError(error.message) from error

    @classmethod
    def of(
        cls,
        source: Workflow | Mapping[str, Any] | str | os.PathLike[str],
        *,
        roots: Iterable[str | os.PathLike[str]] = (),
    ) -> Workflow:
        """Return a workflow as it is, or read it: a `str` or a path names a file."""
        given: Any = source
        if isinstance(given, Workflow):
            return given
        if isinstance(given, Mapping):
            return cls.from_dict(given, roots=roots)
        if isinstance(given, str | os.PathLike):
            return cls.load(Path(given), roots=roots)
        kind = type(given).__name__
        raise TypeError(f"a workflow is a Workflow, a dict or the path of a file, not {kind}")

    @property
    def id(self) -> str:
        """What its runs are listed by."""
        return self._native.id

    @property
    def name(self) -> str:
        """What people call it."""
        return self._native.name

    @property
    def description(self) -> str:
        """What it is for."""
        return self._native.description

    @property
    def version(self) -> str:
        """The hash of what it declares: what makes two workflows the same."""
        return self._native.version

    @property
    def steps(self) -> list[str]:
        """The ids of its steps, in the order of definition."""
        return self._native.steps

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What is worth knowing: `message`, `path`, `step`, `line` and `column` of each."""
        return self._native.warnings

    def document(self) -> Any:
        """Return what was read; None if it was no document, but a batch."""
        return self._native.document()

    def __repr__(self) -> str:
        """Show which workflow it is."""
        return f"Workflow({self.id!r})"


def _paths(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    return [os.fspath(path) for path in paths]
