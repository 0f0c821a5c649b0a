"""Stepwell runs workflows and AI agents so that no step is ever lost.

Modules are loaded when one of their names is used first, so that the import of the package costs next to nothing.
"""

from stepwell._native import END, __version__

# As in the module typing, which takes longer to import than all of this.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from stepwell.needs import DependencyConfig, DependencyLifecycle, DependencyType
    from stepwell.resources import Priority, ResourcePool, ResourceRequirements
    from stepwell.retry import RetryPolicy
    from stepwell.state_result import StateResult
    from stepwell.statuses import AgentStatus, StateStatus, TaskStatus

__all__ = [
    "END",
    "AgentStatus",
    "DependencyConfig",
    "DependencyLifecycle",
    "DependencyType",
    "Priority",
    "ResourcePool",
    "ResourceRequirements",
    "RetryPolicy",
    "StateResult",
    "StateStatus",
    "TaskStatus",
    "__version__",
]

_MODULES = {
    "AgentStatus": "statuses",
    "DependencyConfig": "needs",
    "DependencyLifecycle": "needs",
    "DependencyType": "needs",
    "Priority": "resources",
    "ResourcePool": "resources",
    "ResourceRequirements": "resources",
    "RetryPolicy": "retry",
    "StateResult": "state_result",
    "StateStatus": "statuses",
    "TaskStatus": "statuses",
}


if not TYPE_CHECKING:  # A type checker that saw this would believe in every name.

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module 'stepwell' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"stepwell.{module}"), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
