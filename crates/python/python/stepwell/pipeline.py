"""Pipelines: steps that follow each other, each given what the one before it returned."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from stepwell import _checks, _engines, _native
from stepwell._border import Border
from stepwell._lowering import Lowering
from stepwell.context import UNSET
from stepwell.errors import ConfigurationError
from stepwell.steps import Step


class Pipeline:
    """Steps that follow each other: each is given what the one before it returned.

    The first is given what the run was begun with. A pipeline is put together with `>>`, or of a list, and never
    changes. Wherever one is taken, a step is accepted.

    >>> from stepwell import step
    >>> @step
    ... async def trim(text):
    ...     return text.strip()
    >>> @step
    ... def count(text):
    ...     return len(text)
    >>> pipeline = Pipeline([trim, count], name="sizes", metadata={"team": "legal"})
    >>> [each.name for each in pipeline.steps]
    ['trim', 'count']
    """

    def __init__(
        self,
        steps: Iterable[Step | Pipeline],
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a pipeline.

        Args:
            steps: Its steps; of a pipeline in it its steps are taken.
            name: What its runs are listed by; without it `pipeline-` and the name of the first step.
            metadata: Tags of its runs; those that a run is begun with win per key.
        """
        if isinstance(steps, Step | Pipeline | str | Mapping) or not isinstance(steps, Iterable):
            raise ConfigurationError(f"a pipeline is made of a list of steps, not of {steps!r}")
        self._steps = [step for given in steps for step in _steps_of(given)]
        self._name = _name(name)
        self._metadata = _metadata(metadata)
        self._checked: _native.Pipeline | None = None
        self._built: tuple[weakref.ref[Border], _native.Engine, Any, _native.Pipeline] | None = None
        self._causes: dict[str, BaseException] = {}

    @classmethod
    def from_step(
        cls, step: Step, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Pipeline:
        """Make a pipeline of one step."""
        return cls([step], name=name, metadata=metadata)

    @classmethod
    def of(cls, given: object) -> Pipeline:
        """Return a pipeline as it is, and that of a step.

        Raises:
            ConfigurationError: It is neither.
        """
        if isinstance(given, Pipeline):
            return given
        if isinstance(given, Step):
            return given._alone()
        raise ConfigurationError(f"{_checks.shown(given)} is neither a pipeline nor a step")

    @property
    def steps(self) -> list[Step]:
        """Its steps, in order."""
        return list(self._steps)

    @property
    def name(self) -> str:
        """What its runs are listed by."""
        if self._name is not None:
            return self._name
        return f"pipeline-{self._steps[0].name}" if self._steps else "pipeline"

    @property
    def metadata(self) -> dict[str, Any]:
        """Tags of its runs."""
        return dict(self._metadata)

    @property
    def version(self) -> str:
        """The hash of what it declares: names, order, branches, policies and forms, and not what its functions do.

        Raises:
            ConfigurationError: Everything that is wrong with it.
        """
        return self._check().version

    @property
    def definition(self) -> dict[str, Any]:
        """The steps that it is lowered to, as the engine keeps them.

        Raises:
            ConfigurationError: Everything that is wrong with it.
        """
        return dict(self._check().definition())

    def __rshift__(self, other: Step | Pipeline) -> Pipeline:
        """Return a pipeline that goes on with another step or pipeline; of two names the first stands."""
        if not isinstance(other, Step | Pipeline):
            return NotImplemented
        more = Pipeline.of(other)
        both = {**self._metadata, **more._metadata}
        return Pipeline([*self._steps, *more._steps], name=self._name or more._name, metadata=both)

    def __repr__(self) -> str:
        """Show name and steps."""
        return f"Pipeline({self._steps!r}, name={self.name!r})"

    def _check(self) -> _native.Pipeline:
        if self._checked is None:
            self._checked = _native.Pipeline.build(_native.Border(), self._described(Lowering()))
        return self._checked

    def _in(self, engine: _native.Engine, border: Border, resources: Any = UNSET) -> _native.Pipeline:
        """Return the pipeline as an engine carries it out, with its functions at that border.

        Who gives no resources leaves them as they are.
        """
        if resources is UNSET:
            resources = None if self._built is None else self._built[2]
        if self._built is not None:
            at, of, given, native = self._built
            if at() is border and of is engine and given is resources:
                _engines.carry_out(engine, native)
                return native
        # Not with the pipeline itself: it has what calls these functions, and would be kept by them.
        lowering = Lowering(border, engine, resources, functools.partial(_note_cause, self._causes))
        native = _native.Pipeline.build(border.native, self._described(lowering))
        _engines.carry_out(engine, native)
        self._built = (weakref.ref(border), engine, resources, native)
        return native

    def _described(self, lowering: Lowering) -> dict[str, Any]:
        return {"name": self.name, "metadata": self._metadata, "parts": lowering.parts(self)}


def _note_cause(causes: dict[str, BaseException], context: _native.Context, error: BaseException) -> None:
    causes[context.run_id] = error


def _steps_of(given: object) -> list[Step]:
    return Pipeline.of(given)._steps if not isinstance(given, Step) else [given]


def _name(given: object) -> str | None:
    if given is None or (isinstance(given, str) and given):
        return given
    raise ConfigurationError(f"the name of a pipeline must be a text, not {_checks.shown(given)}")


def _metadata(given: object) -> dict[str, Any]:
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    raise ConfigurationError(f"the metadata of a pipeline must be a dict, not {_checks.shown(given)}")
