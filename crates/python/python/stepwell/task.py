"""What a run is begun with, when it brings tags along."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """What is to be done, and tags of the run that does it.

    The first step is given the prompt, or the task if its parameter is annotated as one.
    """

    prompt: str
    metadata: dict[str, Any] = field(default_factory=dict)
