"""What came of a run of a pipeline, and of each of its steps."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from stepwell.errors import StepwellError, from_object


@dataclass(frozen=True)
class StepResult:
    """What a step came to. Of one that holds others, such as a loop, those of its body are in `step_history`."""

    name: str
    """What the step is called."""
    output: Any = None
    """What it handed on; None if it failed."""
    success: bool = True
    """Whether it ended well."""
    attempts: int = 1
    """Attempts that were begun; 0 if the output was remembered."""
    latency_s: float = 0.0
    """Seconds from its first attempt to its end."""
    token_counts: int = 0
    """Tokens that it used."""
    cost_usd: float = 0.0
    """What it cost."""
    feedback: str | None = None
    """What went wrong, if it failed."""
    branch_context: dict[str, Any] | None = None
    """What a branch wrote to the context; not told yet."""
    metadata_: dict[str, Any] = field(default_factory=dict)
    """Where it stands (`path`), for which item of a map (`item`), as which child run (`run_id`)."""
    step_history: list[StepResult] = field(default_factory=list)
    """What its body did; of a step with a fallback, its failure and the fallback."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> StepResult:
        error = told["error"]
        facts = {"path": told["path"], "item": told["item"], "run_id": told["child"]}
        return cls(
            name=told["name"],
            output=told["output"],
            success=error is None,
            attempts=told["attempts"],
            latency_s=told["duration"],
            feedback=None if error is None else error["message"],
            metadata_={name: fact for name, fact in facts.items() if fact is not None},
            step_history=[cls._of(inner) for inner in told["history"]],
        )


class PipelineContext(Mapping[str, Any]):
    """What a run of a pipeline knows when it rests: its context, and what its steps came to.

    It is a mapping whose keys are attributes as well. Besides what the steps wrote there are `run_id`, `status`,
    `initial_prompt` (the input), `pause_message` (the oldest open question), `hitl_history` (what people answered),
    `step_outputs`, `metadata`, and the output of each step under its name where no context key has that name.

    >>> context = PipelineContext({"draft": "On wells"})
    >>> (context.draft, context["draft"], context.get("title"))
    ('On wells', 'On wells', None)
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Hold values."""
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        return self._values[key]

    def __getattr__(self, name: str) -> Any:
        """Return the value of a key."""
        if name.startswith("__") or "_values" not in self.__dict__:
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"the context of this run has no {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        """Go over the keys."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show the values."""
        return f"PipelineContext({self._values!r})"


@dataclass(frozen=True)
class PipelineResult:
    """What came of a run of a pipeline when it rested."""

    status: str
    """How it stands: `completed`, `paused`, `failed` or `cancelled`, or `running` if nobody waited."""
    output: Any = None
    """What its last step returned; None unless it completed."""
    success: bool = False
    """Whether it completed."""
    step_history: list[StepResult] = field(default_factory=list)
    """What its steps came to, in the order in which they ended."""
    total_cost_usd: float = 0.0
    """What it cost."""
    total_tokens: int = 0
    """Tokens that it used."""
    final_pipeline_context: Any = None
    """What it knows now: a `PipelineContext`, or what the `context_model` made of it."""
    trace_tree: None = None
    """Nothing yet."""
    run_id: str = ""
    """Which run."""
    error_message: str | None = None
    """What ended it, if it failed or was cancelled."""
    wait_id: str | None = None
    """The oldest open question."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        told = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        told["step_history"] = [step.to_dict() for step in self.step_history]
        context = self.final_pipeline_context
        told["final_pipeline_context"] = dict(context) if isinstance(context, Mapping) else context
        return told

    def _repr_html_(self) -> str:
        """Show it in a notebook: a table of its steps."""
        from stepwell import _html

        return _html.of_pipeline(self)

    @classmethod
    def _of(cls, told: Mapping[str, Any], model: Callable[..., Any] | None = None) -> PipelineResult:
        """Make it of what the engine tells of a run (`_native.Run.details`)."""
        is_completed = told["status"] == "completed"
        questions = told["questions"]
        return cls(
            status=told["status"],
            output=told["output"] if is_completed else None,
            success=is_completed,
            step_history=history(told),
            final_pipeline_context=final_context(told, model),
            run_id=told["run_id"],
            error_message=error_message(told),
            wait_id=questions[0]["wait_id"] if questions else None,
        )


def history(told: Mapping[str, Any]) -> list[StepResult]:
    """Return what the steps of a run came to."""
    return [StepResult._of(step) for step in told["history"]]


def snapshot(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of a run, with what its steps came to: `step_outputs`, and each under its own name."""
    outputs = {step["name"]: step["output"] for step in told["history"] if step["error"] is None}
    return {**outputs, "step_outputs": outputs, **told["context"]}


#: What a run knows by itself.
BUILT_IN = ("run_id", "initial_prompt", "pause_message", "status", "hitl_history", "step_outputs", "metadata")


def final_context(told: Mapping[str, Any], model: Callable[..., Any] | None = None) -> Any:
    """Return what a run knows now: as attributes, or as a model (pydantic or a class with these fields)."""
    questions = told["questions"]
    answers = [
        {**answer, "answered_at": datetime.fromtimestamp(answer["answered_at"], timezone.utc)}
        for answer in told["answers"]
    ]
    built_in = {
        "run_id": told["run_id"],
        "initial_prompt": told["input"],
        "pause_message": questions[0]["prompt"] if questions else None,
        "status": told["status"],
        "hitl_history": answers,
        "metadata": told["metadata"],
    }
    values = {**built_in, **snapshot(told)}
    return PipelineContext(values) if model is None else modelled(model, values)


def modelled(model: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Return an instance of a model, made of those of the values that it has fields for."""
    validate = getattr(model, "model_validate", None)
    if validate is not None:
        names = getattr(model, "model_fields", values)
        return validate({name: value for name, value in values.items() if name in names})
    if dataclasses.is_dataclass(model):
        names = {item.name for item in dataclasses.fields(model) if item.init}
        return model(**{name: value for name, value in values.items() if name in names})
    return model(**values)


def error_message(told: Mapping[str, Any]) -> str | None:
    """Return what ended a run, such as `step 'load' failed after 2 attempts: ValueError: bad row 7`."""
    return None if told["error"] is None else failure_text(from_object(told["error"]), told["history"])


def failure_text(error: StepwellError, records: list[dict[str, Any]]) -> str:
    """Return what went wrong, with the step and how many attempts it had."""
    step = error.data.get("step") or error.data.get("task_id")
    if step is None:
        return error.message
    what = re.sub(rf"^step '{re.escape(str(step))}'( failed( after \d+ attempts)?)?: ", "", error.message)
    attempts = _attempts(str(step), records)
    after = f" after {attempts} attempts" if attempts > 1 else ""
    return f"step '{step}' failed{after}: {what}"


def _attempts(path: str, records: list[dict[str, Any]]) -> int:
    for record in reversed(records):
        if record["path"] == path and not record["history"]:
            return int(record["attempts"])
        if (inner := _attempts(path, record["history"])) > 0:
            return inner
    return 0
