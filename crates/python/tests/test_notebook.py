"""How runs are shown in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from stepwell import Agent, Client, Engine, Flujo, RunFailed, RunReport, Step, TaskStatus
from stepwell.errors import StepwellError
from stepwell.pipeline_result import PipelineResult, StepResult

HOSTILE = "</td><script>alert(1)</script>&amp;<img src=x onerror='alert(2)'>\x1b[31m\u202egpj"


class Shown(HTMLParser):
    """What a browser makes of it: rows of cells, and what stands around the table."""

    def __init__(self, html: str | None) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.around: list[str] = []
        self._into = self.around
        assert html is not None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"p", "table", "thead", "tbody", "tr", "th", "td"}
        assert attrs == []
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td", "p"}:
            self._into = self.around if tag == "p" else self.rows[-1]
            self._into.append("")

    def handle_data(self, data: str) -> None:
        self._into[-1] += data


async def broken(context: Any) -> None:
    raise ValueError(HOSTILE)


async def test_the_result_of_a_run_is_a_table_of_its_steps(store: str) -> None:
    agent = Agent("shown", store=store)
    agent.add_state("first", lambda context: HOSTILE[:39])
    agent.add_state(HOSTILE[:39], broken)
    with pytest.raises(RunFailed) as failed:
        await agent.run()
    shown = Shown(failed.value.result._repr_html_())
    assert shown.rows == [["step", "status"], [HOSTILE[:39], "failed"], ["first", "completed"]]
    title, error = shown.around
    assert title.startswith(f"Run {failed.value.result.run_id}: failed in ")
    assert "<script>alert(1)</script>" in error
    assert "\\x1b[31m\\u202egpj" in error


async def test_a_run_and_its_report_are_tables_of_steps(store: str) -> None:
    nap = {"method": "timer/sleep", "params": {"seconds": 0}}
    workflow = {
        "name": "naps",
        "steps": [
            {"name": "first", **nap},
            {"name": "second", "depends_on": ["first"], **nap, "params": {"seconds": 3600}},
        ],
    }
    async with Engine(store) as engine, Client(engine) as client:
        run = await client.start(workflow)
        after = 0
        while not (await run.report()).completed:
            after = (await run._next_events(after))[-1]["seq"]
        report = await run.report()
        assert Shown(report._repr_html_()).rows == [
            ["step", "status", "error"],
            ["first", "completed", ""],
            ["second", "", ""],
        ]
        assert Shown(report._repr_html_()).around == [f"naps, run {run.id}: running, 1 of 2 steps"]
        shown = Shown(run._repr_html_())
        assert shown.around == [f"Run {run.id}: running"]
        assert shown.rows[:2] == [["step", "status", "attempts"], ["first", "completed", "1"]]
        await run.cancel()
        await run.wait(raise_on_error=False)
    # The engine is closed, and nothing can be read.
    assert run._repr_html_() is None


def test_a_result_of_a_pipeline_shows_what_its_steps_took() -> None:
    inner = Step("inner", lambda n: n + 1)
    result = Flujo(Step("outer", lambda n: [n, n]) >> Step.map_over("each", inner), persist_state=False).run(
        1
    )
    shown = Shown(result._repr_html_())
    assert shown.around == [f"Run {result.run_id}: completed"]
    assert shown.rows[0] == ["step", "status", "attempts", "seconds", "error"]
    assert [row[:3] for row in shown.rows[1:3]] == [["outer", "completed", "1"], ["each", "completed", "1"]]
    assert {row[0] for row in shown.rows[3:]} == {"each/inner [0]", "each/inner [1]"}


def test_what_others_wrote_is_text() -> None:
    step = StepResult(HOSTILE, success=False, feedback=HOSTILE, metadata_={"path": HOSTILE, "item": HOSTILE})
    told = PipelineResult(HOSTILE, step_history=[step], run_id=HOSTILE, error_message=HOSTILE)
    written = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    shown = Shown(told._repr_html_())
    assert shown.around == [f"Run {written}: {written}", written]
    assert shown.rows[1] == [f"{written} [{written}]", "failed", "1", "0", written]


def test_of_much_the_beginning_is_shown() -> None:
    steps = [StepResult(f"s{n}", feedback="x" * 10_000) for n in range(150)]
    shown = Shown(PipelineResult("failed", step_history=steps)._repr_html_())
    assert len(shown.rows) == 101
    assert shown.rows[-1][4] == "x" * 300 + "…"
    assert shown.around[-1] == "and 50 more"


async def test_a_report_shows_errors_that_are_hostile(store: str) -> None:
    async with Client(store) as client:
        run = await client.start(
            {"name": "plain", "steps": [{"name": "first", "method": "timer/sleep", "params": {"seconds": 0}}]}
        )
        report = await run.report()
    hostile: dict[str, Any] = {
        **vars(report),
        "name": HOSTILE,
        "status": TaskStatus.FAILED,
        "error": StepwellError(HOSTILE),
        "steps": [{"name": HOSTILE}],
        "results": {HOSTILE: {"status": HOSTILE, "error": {"message": HOSTILE}}},
    }
    written = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    shown = Shown(RunReport(**hostile)._repr_html_())
    assert shown.rows[1] == [written, written, written]
    assert shown.around[0].startswith(written)
    assert shown.around[1] == written
