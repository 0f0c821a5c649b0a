"""How steps of pipelines are run: settings and the words for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stepwell._text_enum import TextEnum


class MergeStrategy(TextEnum):
    """What becomes of what the branches of a parallel write to the context, in the order of their declaration."""

    CONTEXT_UPDATE = "context_update"
    """All of it; of different values for one key the last stands, and the journal has a conflict."""
    OVERWRITE = "overwrite"
    """The same, and the journal has nothing."""
    KEEP_FIRST = "keep_first"
    """All of it; of different values for one key the first stands."""
    ERROR_ON_CONFLICT = "error_on_conflict"
    """All of it; different values for one key fail the step."""
    NO_MERGE = "no_merge"
    """Nothing."""


class BranchFailureStrategy(TextEnum):
    """What the failure of a branch does to the others."""

    PROPAGATE = "propagate"
    """They are cancelled, and the step fails."""
    IGNORE = "ignore"
    """They go on; the output of the branch is None, and nothing that it wrote is merged."""


@dataclass(frozen=True)
class RefinementCheck:
    """What a critic says of a draft."""

    is_complete: bool
    """The draft may pass."""
    feedback: Any = None
    """What should be better."""


@dataclass(frozen=True)
class StepConfig:
    """How a step is run.

    >>> StepConfig(max_retries=2, timeout_s=30)
    StepConfig(max_retries=2, timeout_s=30)
    """

    max_retries: int = 1
    """So many attempts after the first."""
    timeout_s: float | None = None
    """Seconds that an attempt may take."""
