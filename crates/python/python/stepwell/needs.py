"""What must be settled before a step starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwell import _checks
from stepwell._text_enum import TextEnum


class DependencyType(TextEnum):
    """When a need of another step is met."""

    REQUIRED = "required"
    """When it has completed; its failure skips the dependent."""
    AND = "and"
    """The same as `REQUIRED`."""
    OPTIONAL = "optional"
    """Unless it is under way: one that has not begun is not waited for."""
    PARALLEL = "parallel"
    """Always: it is drawn and orders nothing."""
    SEQUENTIAL = "sequential"
    """When it has settled, however."""
    CONDITIONAL = "conditional"
    """When it has settled and `condition` says yes."""
    TIMEOUT = "timeout"
    """When it has settled or `timeout` has passed."""
    OR = "or"
    """When the first of all needs of this kind has completed."""
    XOR = "xor"
    """When all needs of this kind have settled and exactly one has completed."""


class DependencyLifecycle(TextEnum):
    """Which completions of a needed step count."""

    ONCE = "once"
    """Any in this run."""
    ALWAYS = "always"
    """One later than the previous start of the dependent."""
    SESSION = "session"
    """One later than the last start, resume or retry of the run."""
    TEMPORARY = "temporary"
    """One younger than `expiry` when the rest is met."""


@dataclass(frozen=True)
class DependencyConfig:
    """What a step asks of another before it starts. Times are seconds.

    What a kind or lifecycle lacks is told with all other mistakes of the definition when a run starts.

    >>> DependencyConfig(DependencyType.REQUIRED, DependencyLifecycle.TEMPORARY, expiry=60).expiry
    60.0
    """

    type: DependencyType
    lifecycle: DependencyLifecycle = DependencyLifecycle.ONCE
    condition: Callable[[Any], Any] | None = None
    expiry: float | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Check what is given."""
        object.__setattr__(self, "type", _checks.member("type", self.type, DependencyType))
        lifecycle = _checks.member("lifecycle", self.lifecycle, DependencyLifecycle)
        object.__setattr__(self, "lifecycle", lifecycle)
        if self.condition is not None and not callable(self.condition):
            raise TypeError(
                f"condition must be a function that is called with the context, not {self.condition!r}"
            )
        for name in ("expiry", "timeout"):
            if (time := getattr(self, name)) is not None:
                object.__setattr__(self, name, _checks.seconds(name, time))
