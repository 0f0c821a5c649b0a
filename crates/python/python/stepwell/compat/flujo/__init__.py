"""The names of Flujo.

What this engine does not carry out is refused when it is built, by name.
"""

from typing import NoReturn

from stepwell.errors import ConfigurationError
from stepwell.flujo import Flujo
from stepwell.human_step import HumanInTheLoopStep
from stepwell.pipeline import Pipeline
from stepwell.pipeline_result import PipelineContext, PipelineResult, StepResult
from stepwell.step_config import BranchFailureStrategy, MergeStrategy, StepConfig
from stepwell.steps import Step, step
from stepwell.task import Task
from stepwell.task_client import TaskClient

__all__ = [
    "BranchFailureStrategy",
    "Flujo",
    "HumanInTheLoopStep",
    "MergeStrategy",
    "Pipeline",
    "PipelineContext",
    "PipelineResult",
    "StateMachineStep",
    "Step",
    "StepConfig",
    "StepResult",
    "Task",
    "TaskClient",
    "TreeSearchStep",
    "UsageLimits",
    "step",
]


class _Refused:
    def __init__(self, *_args: object, **_options: object) -> None:
        refuse(type(self).__name__)


def refuse(name: str) -> NoReturn:
    """Refuse what this engine does not carry out."""
    raise ConfigurationError(f"{name} is not carried out by this engine")


class StateMachineStep(_Refused):
    """Refused: an `Agent` is a state machine."""


class TreeSearchStep(_Refused):
    """Refused."""


class UsageLimits(_Refused):
    """Refused: the engine keeps no budgets yet."""
