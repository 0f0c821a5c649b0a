"""What the function of a step may return: whom it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

#: One step; a step with a payload for an execution of its own; another agent and one of its steps.
Target: TypeAlias = str | tuple[str, Any] | tuple[object, str]

#: Nobody (None, or no target): the branch ends. One target, or several: a branch each.
StateResult: TypeAlias = Target | Sequence[Target] | None
