"""What steps take while an attempt of theirs runs, and what a process has of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from stepwell import _checks

_DIMENSIONS = ("cpu_units", "memory_mb", "io_weight", "network_weight", "gpu_units")


class Priority(IntEnum):
    """Order among steps that are ready; higher first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


@dataclass(frozen=True)
class ResourceRequirements:
    """What an attempt of a step takes of a `ResourcePool` while it runs.

    A dimension that the pool does not have bounds nothing. `custom` names further ones. `priority` and `timeout`, in
    seconds, are those of the step.

    >>> ResourceRequirements(cpu_units=2, custom={"licences": 1}).custom
    {'licences': 1.0}
    """

    cpu_units: float = 1.0
    memory_mb: float = 100.0
    io_weight: float = 1.0
    network_weight: float = 1.0
    gpu_units: float = 0.0
    priority: Priority = Priority.NORMAL
    timeout: float | None = None
    custom: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check what is given."""
        for name in _DIMENSIONS:
            object.__setattr__(self, name, _checks.number(name, getattr(self, name)))
        object.__setattr__(self, "priority", _checks.member("priority", self.priority, Priority))
        if self.timeout is not None:
            object.__setattr__(self, "timeout", _checks.seconds("timeout", self.timeout))
        object.__setattr__(self, "custom", _custom(self.custom))


@dataclass(frozen=True, eq=False)
class ResourcePool:
    """What the attempts of a process share. Agents that are given the same object share it.

    A dimension that is None, as all are by default, is not bounded.

    >>> ResourcePool(cpu_units=4).memory_mb is None
    True
    """

    cpu_units: float | None = None
    memory_mb: float | None = None
    io_weight: float | None = None
    network_weight: float | None = None
    gpu_units: float | None = None
    custom: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what is given."""
        for name in _DIMENSIONS:
            if (total := getattr(self, name)) is not None:
                object.__setattr__(self, name, _checks.number(name, total))
        object.__setattr__(self, "custom", _custom(self.custom))


def _custom(given: object) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise TypeError(
            f"custom must be a dict of names and amounts, such as {{'licences': 1}}, not {_checks.shown(given)}"
        )
    amounts = {}
    for name, amount in given.items():
        if not isinstance(name, str):
            raise TypeError(f"custom must have names as keys, not {name!r}")
        if name in _DIMENSIONS:
            raise ValueError(f"custom must not name {name!r}: give it as the argument {name}")
        amounts[name] = _checks.number(f"custom[{name!r}]", amount)
    return amounts
