"""The layout of Flujo: the same objects under its names (F8, F24)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import stepwell
from stepwell.compat import flujo
from stepwell.compat.flujo import exceptions
from stepwell.compat.flujo.state.backends.memory import InMemoryBackend
from stepwell.compat.flujo.state.backends.postgres import PostgresBackend
from stepwell.compat.flujo.state.backends.sqlite import SQLiteBackend


def test_the_names_are_those_of_the_package() -> None:
    refused = {"StateMachineStep", "TreeSearchStep", "UsageLimits"}
    for name in set(flujo.__all__) - refused:
        assert getattr(flujo, name) is getattr(stepwell, name)
    for name in set(exceptions.__all__) - {"FlujoError"}:
        assert getattr(exceptions, name) is getattr(stepwell, name)
    assert exceptions.FlujoError is stepwell.StepwellError
    assert issubclass(exceptions.TaskNotFoundError, exceptions.TaskClientError)
    assert (SQLiteBackend, PostgresBackend, InMemoryBackend) == (
        stepwell.SQLiteBackend,
        stepwell.PostgresBackend,
        stepwell.InMemoryBackend,
    )


@pytest.mark.parametrize("refused", [flujo.StateMachineStep, flujo.TreeSearchStep, flujo.UsageLimits])
def test_f24_what_is_not_carried_out_is_refused_when_it_is_built(refused: Callable[..., object]) -> None:
    with pytest.raises(stepwell.ConfigurationError, match="is not carried out by this engine"):
        refused("name", total_cost_usd_limit=1.0)
