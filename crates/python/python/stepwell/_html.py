"""How a run is shown in a notebook: a table of its steps, all of it text of ours and escaped text of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice
from typing import TYPE_CHECKING

from stepwell._tty import printable

if TYPE_CHECKING:
    from stepwell.pipeline_result import PipelineResult, StepResult
    from stepwell.report import RunReport
    from stepwell.result import RunResult
    from stepwell.run import Run

#: A notebook is read by people: of more than this the first are shown.
_ROWS = 100
_LETTERS = 300


def of_result(result: RunResult) -> str:
    """Return what came of a run."""
    duration = "" if result.duration is None else f" in {result.duration:.3g} s"
    steps = {
        **dict.fromkeys(result.not_reached, "not reached"),
        **dict.fromkeys(result.completed_states, "completed"),
        **dict.fromkeys(result.failed_states, "failed"),
    }
    error = None if result.error is None else result.error.message
    return _table(
        f"Run {result.run_id}: {result.status}{duration}", error, ["step", "status"], sorted(steps.items())
    )


def of_report(report: RunReport) -> str:
    """Return how a run stands, with what went wrong in its steps."""
    title = f"{report.name}, run {report.run_id}: {report.status}, {report.completed} of {report.total} steps"
    rows = []
    for step in report.steps:
        view = report.results.get(step["name"], {})
        wrong = view.get("error") or {}
        rows.append((step["name"], view.get("status", ""), wrong.get("message", "")))
    error = None if report.error is None else report.error.message
    return _table(title, error, ["step", "status", "error"], rows)


def of_pipeline(result: PipelineResult) -> str:
    """Return what came of a run of a pipeline, with what its steps took."""
    title = f"Run {result.run_id}: {result.status}"
    return _table(
        title,
        result.error_message,
        ["step", "status", "attempts", "seconds", "error"],
        _flat(result.step_history),
    )


def of_run(run: Run) -> str:
    """Return how a run stands. The store is read for it."""
    from stepwell.checkpoint import Checkpoint

    status, _ = run._native.look()
    states = Checkpoint._read(run._native.checkpoint_now()).state_metadata
    rows = [(name, state["status"], state["attempts"]) for name, state in states.items()]
    return _table(f"Run {run.id}: {status}", None, ["step", "status", "attempts"], rows)


def _flat(steps: Iterable[StepResult]) -> Iterable[Sequence[object]]:
    for step in steps:
        item = step.metadata_.get("item")
        name = f"{step.metadata_.get('path', step.name)}{'' if item is None else f' [{item}]'}"
        status = "completed" if step.success else "failed"
        yield name, status, step.attempts, f"{step.latency_s:.3g}", step.feedback or ""
        yield from _flat(step.step_history)


def _table(title: str, error: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    left = iter(rows)
    shown = "".join(_row("td", row) for row in islice(left, _ROWS))
    more = sum(1 for _ in left)
    told = f"<p>{_text(title)}</p>"
    if error is not None:
        told += f"<p>{_text(error)}</p>"
    told += f"<table><thead>{_row('th', columns)}</thead><tbody>{shown}</tbody></table>"
    return told + (f"<p>and {more} more</p>" if more else "")


def _row(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(value: object) -> str:
    """Return it as HTML that is nothing but text; what would turn or hide text is written out."""
    text = str(value)
    if len(text) > _LETTERS:
        text = f"{text[:_LETTERS]}…"
    return escape(printable(text))
