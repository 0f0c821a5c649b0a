"""How a pipeline is described to the engine: its parts, with its functions as numbers at a border."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stepwell import _native
from stepwell._border import Border, Function
from stepwell._plain import plain
from stepwell._signatures import Called, StepFunction, is_async
from stepwell.step_context import BlockingStepContext, StepContext
from stepwell.task import Task

if TYPE_CHECKING:
    from stepwell.pipeline import Pipeline

#: Makes what a function is called with of what the engine gives it.
_Arguments = Callable[[StepContext, list[Any]], tuple[list[Any], dict[str, Any]]]


class Lowering:
    """Describes one pipeline. Without a border its functions have no numbers: it can be checked and not run."""

    def __init__(
        self,
        border: Border | None = None,
        engine: _native.Engine | None = None,
        resources: Any = None,
        failed: Callable[[_native.Context, BaseException], None] = lambda _cx, _error: None,
    ) -> None:
        """Describe for an engine."""
        self._border = border
        self._engine = engine
        self._resources = resources
        self._failed = failed

    def parts(self, pipeline: Pipeline) -> list[dict[str, Any]]:
        """Return the descriptions of its steps."""
        return [step._describe(self) for step in pipeline.steps]

    def step(self, function: StepFunction) -> int:
        """Return the number of the function of a step."""

        def arguments(context: StepContext, args: list[Any]) -> tuple[list[Any], dict[str, Any]]:
            data = Task(args[0], context.metadata) if function.wants_task else args[0]
            named: dict[str, Any] = {}
            if function.wants_context:
                named["context"] = context
            if function.wants_resources:
                named["resources"] = self._resources
            return [data], named

        return self._number(function.call, arguments, plain)

    def decides(self, function: Called, made: Callable[[Any], Any]) -> int:
        """Return the number of a function of what comes in and the context, whose result is made something else."""
        return self._number(function.call, lambda context, args: ([args[0], context], {}), made)

    def makes(self, function: Called | None) -> int | None:
        """Return the number of a function of a value, the context and what else it takes."""
        if function is None:
            return None
        more = function.count - 2
        return self._number(
            function.call, lambda context, args: ([args[0], context, *args[1 : 1 + more]], {}), plain
        )

    def reduces(self, function: Called | None) -> int | None:
        """Return the number of a function of a value alone."""
        if function is None:
            return None
        return self._number(function.call, lambda _, args: ([args[0]], {}), plain)

    def refines(self, function: Called | None) -> int | None:
        """Return the number of a function of what came in and what a critic said."""
        if function is None:
            return None
        from stepwell.step_config import RefinementCheck

        return self._number(function.call, lambda _, args: ([args[0], RefinementCheck(**args[2])], {}), plain)

    def _number(self, function: Callable[..., Any], arguments: _Arguments, made: Callable[[Any], Any]) -> int:
        if self._border is None or self._engine is None:
            return 0
        engine, runs_here = self._engine, is_async(function)
        kind = StepContext if runs_here else BlockingStepContext

        def call(context: StepContext, *args: Any) -> Any:
            positional, named = arguments(context, list(args))
            return function(*positional, **named)

        return self._border.register(
            Function(
                call=call,
                is_async=runs_here,
                context=lambda native, border: kind(native, border, engine),
                returned=lambda value, _: made(value),
                gives_value=True,
                failed=self._failed,
            )
        )
