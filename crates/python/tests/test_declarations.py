"""What steps are declared with: defaults, words and refusals as spec/fluffy.md §1, §3, §5 and §6 have them."""

import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import (
    AgentStatus,
    DependencyConfig,
    DependencyLifecycle,
    DependencyType,
    Priority,
    ResourcePool,
    ResourceRequirements,
    RetryPolicy,
    StateResult,
    StateStatus,
    TaskStatus,
)


def test_words_are_lower_case_text() -> None:
    for words in (AgentStatus, StateStatus, TaskStatus, DependencyType, DependencyLifecycle):
        for word in words:
            assert word == word.name.lower() == str(word) == f"{word}" == json.loads(json.dumps(word))
            assert pickle.loads(pickle.dumps(word)) is word  # noqa: S301 - our own
    assert [*AgentStatus] == ["idle", "running", "paused", "completed", "failed", "cancelled"]
    assert [*TaskStatus] == ["pending", "running", "paused", "completed", "failed", "cancelled"]
    states = ["pending", "blocked", "ready", "running", "completed", "failed", "timeout", "cancelled"]
    assert [*StateStatus] == states
    assert [*DependencyLifecycle] == ["once", "always", "session", "temporary"]
    assert len(DependencyType) == 9


def test_priorities_are_ordered_numbers() -> None:
    assert sorted(Priority, reverse=True) == [
        Priority.CRITICAL,
        Priority.HIGH,
        Priority.NORMAL,
        Priority.LOW,
    ]
    assert [int(priority) for priority in Priority] == [0, 1, 2, 3]


def test_defaults() -> None:
    assert RetryPolicy() == RetryPolicy(3, 1.0, 2.0, True, 60.0, ())
    assert ResourceRequirements() == ResourceRequirements(
        1.0, 100.0, 1.0, 1.0, 0.0, Priority.NORMAL, None, {}
    )
    pool = ResourcePool()
    assert (pool.cpu_units, pool.gpu_units, pool.custom) == (None, None, {})
    need = DependencyConfig(DependencyType.REQUIRED)
    assert (need.lifecycle, need.condition, need.expiry, need.timeout) == ("once", None, None, None)


def test_values_are_kept_as_what_they_are() -> None:
    amounts = {"licences": 2}
    asked = ResourceRequirements(cpu_units=2, custom=amounts, priority=2)  # type: ignore[arg-type] # as JSON has it
    amounts["licences"] = 5
    assert (asked.custom, asked.priority) == ({"licences": 2.0}, Priority.HIGH)
    assert isinstance(asked.priority, Priority)
    assert isinstance(asked.cpu_units, float)
    need = DependencyConfig("required", "temporary", expiry=60)  # type: ignore[arg-type] # as JSON has it
    assert (need.type, need.lifecycle, need.expiry) == (
        DependencyType.REQUIRED,
        DependencyLifecycle.TEMPORARY,
        60.0,
    )
    policy = RetryPolicy(non_retryable=[KeyError, "BadKey"])  # type: ignore[arg-type] # a list is one as well
    assert policy.non_retryable == (KeyError, "BadKey")
    assert hash(policy) == hash(RetryPolicy(non_retryable=(KeyError, "BadKey")))
    assert hash(asked) == hash(
        ResourceRequirements(cpu_units=2, custom={"licences": 2}, priority=Priority.HIGH)
    )


def test_a_pool_is_itself_and_no_other() -> None:
    pool = ResourcePool(cpu_units=4)
    assert pool == pool
    assert pool != ResourcePool(cpu_units=4)
    assert len({pool, ResourcePool(cpu_units=4)}) == 2


def test_declarations_do_not_change() -> None:
    for declared in (
        RetryPolicy(),
        ResourceRequirements(),
        ResourcePool(),
        DependencyConfig(DependencyType.OR),
    ):
        with pytest.raises(AttributeError):
            declared.timeout = 1  # type: ignore[union-attr, misc]


# What belongs to a kind and is missing is found with the definition (A20), so it is no refusal here.
def test_what_a_need_lacks_is_not_refused_yet() -> None:
    for kind in DependencyType:
        assert DependencyConfig(kind, DependencyLifecycle.TEMPORARY).expiry is None


REFUSALS: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: RetryPolicy(max_retries=-1),
        ValueError,
        "max_retries must be a whole number from 0 to 4294967295, not -1",
    ),
    (lambda: RetryPolicy(max_retries=True), TypeError, "max_retries must be a whole number, not True"),
    (lambda: RetryPolicy(max_retries=1.0), TypeError, "max_retries must be a whole number, not 1.0"),  # type: ignore[arg-type]
    (
        lambda: RetryPolicy(initial_delay=-0.1),
        ValueError,
        "initial_delay must be a number of seconds, at least 0 and at most 100 years, not -0.1",
    ),
    (
        lambda: RetryPolicy(max_delay=math.inf),
        ValueError,
        "max_delay must be a number of seconds, at least 0 and at most 100 years, not inf",
    ),
    (
        lambda: RetryPolicy(initial_delay="1s"),  # type: ignore[arg-type]
        TypeError,
        "initial_delay must be a number of seconds, not '1s'",
    ),
    (
        lambda: RetryPolicy(exponential_base=0.5),
        ValueError,
        "exponential_base must be a finite number of at least 1, not 0.5",
    ),
    (lambda: RetryPolicy(jitter=1), TypeError, "jitter must be True or False, not 1"),  # type: ignore[arg-type]
    (
        lambda: RetryPolicy(non_retryable=ValueError),  # type: ignore[arg-type]
        TypeError,
        "non_retryable must be a tuple of exception types or their names, such as (KeyError, 'BadKey'), "
        "not <class 'ValueError'>",
    ),
    (
        lambda: RetryPolicy(non_retryable=(int,)),  # type: ignore[arg-type]
        TypeError,
        "non_retryable must be a tuple of exception types or their names, such as (KeyError, 'BadKey'); "
        "<class 'int'> is neither",
    ),
    (
        lambda: ResourceRequirements(cpu_units=-1),
        ValueError,
        "cpu_units must be a finite number of at least 0, not -1",
    ),
    (
        lambda: ResourceRequirements(memory_mb=math.nan),
        ValueError,
        "memory_mb must be a finite number of at least 0, not nan",
    ),
    (
        lambda: ResourceRequirements(timeout=0),
        ValueError,
        "timeout must be a number of seconds, more than 0 and at most 100 years, not 0",
    ),
    (
        lambda: ResourceRequirements(priority=4),  # type: ignore[arg-type]
        ValueError,
        "priority must be a Priority (0, 1, 2, 3), not 4",
    ),
    (
        lambda: ResourceRequirements(custom=["licences"]),  # type: ignore[arg-type]
        TypeError,
        "custom must be a dict of names and amounts, such as {'licences': 1}, not ['licences']",
    ),
    (
        lambda: ResourceRequirements(custom={"licences": -1}),
        ValueError,
        "custom['licences'] must be a finite number of at least 0, not -1",
    ),
    (lambda: ResourcePool(custom={1: 1}), TypeError, "custom must have names as keys, not 1"),  # type: ignore[dict-item]
    (
        lambda: ResourcePool(custom={"cpu_units": 1}),
        ValueError,
        "custom must not name 'cpu_units': give it as the argument cpu_units",
    ),
    (lambda: ResourcePool(gpu_units="1"), TypeError, "gpu_units must be a number, not '1'"),  # type: ignore[arg-type]
    (
        lambda: DependencyConfig("needed"),  # type: ignore[arg-type]
        ValueError,
        "type must be a DependencyType (required, and, optional, parallel, sequential, conditional, timeout, or, "
        "xor), not 'needed'",
    ),
    (
        lambda: DependencyConfig(DependencyType.OR, "periodic"),  # type: ignore[arg-type]
        ValueError,
        "lifecycle must be a DependencyLifecycle (once, always, session, temporary), not 'periodic'",
    ),
    (
        lambda: DependencyConfig(None),  # type: ignore[arg-type]
        TypeError,
        "type must be a DependencyType (required, and, optional, parallel, sequential, conditional, timeout, or, "
        "xor), not None",
    ),
    (
        lambda: DependencyConfig(DependencyType.CONDITIONAL, condition=True),  # type: ignore[arg-type]
        TypeError,
        "condition must be a function that is called with the context, not True",
    ),
    (
        lambda: DependencyConfig(DependencyType.REQUIRED, expiry=0),
        ValueError,
        "expiry must be a number of seconds, more than 0 and at most 100 years, not 0",
    ),
]


@pytest.mark.parametrize(("make", "kind", "message"), REFUSALS, ids=[message for _, _, message in REFUSALS])
def test_refusals_name_the_argument_and_what_it_may_be(
    make: Callable[[], object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as refused:
        make()
    assert str(refused.value) == message


def test_what_functions_of_steps_return_has_a_type() -> None:
    def one(cx: Any) -> StateResult:
        names = ["a", "b"]
        return names if cx else [("p", {"chunk_id": i}) for i in range(3)]

    def none(cx: Any) -> StateResult:
        return None

    assert [one(1), none(1)] == [["a", "b"], None]
