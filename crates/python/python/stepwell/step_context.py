"""What the function of a pipeline's step sees of its run."""

from __future__ import annotations

from typing import Any

from stepwell.context import BlockingContext, Context
from stepwell.errors import ConfigurationError


class StepContext(Context):
    """What the function of a step sees of its run besides its input, and what it leaves there.

    In a branch or an item of a map it is the context as it was when that began, and what was written there since. In a
    function that is no coroutine what others await returns directly.
    """

    __slots__ = ()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        return self._native.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Set the value of a key; others see it when the step has ended well.

        Raises:
            TypeError: JSON cannot hold the value; nothing is written.
        """
        from stepwell._plain import plain

        self._native.set(key, plain(value))

    @property
    def input(self) -> Any:
        """What the run was begun with, or what a retry replaced it with."""
        return self._native.input

    def spend(self, cost_usd: float = 0.0, tokens: int = 0) -> None:
        """Tell what the attempt costs. This version keeps no account, and says so."""
        raise ConfigurationError(
            "what steps cost cannot be kept yet: the engine has no budgets", hint="leave out `spend`"
        )


class BlockingStepContext(StepContext, BlockingContext):
    """The context of a function that is no coroutine, which runs on a thread of its own."""

    __slots__ = ()
