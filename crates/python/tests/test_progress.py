"""How far a run is, on a terminal and in a notebook."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepwell import Agent, Client, Context, Flujo, Step, _progress
from stepwell._progress import Tally

PROGRAM = """
import asyncio, pathlib, sys
from stepwell import Agent, Flujo, Step, _progress

wanted, place = sys.argv[1], pathlib.Path(sys.argv[2])

async def first(context):
    return "second"

async def second(context):
    while not (place / "go").exists():
        await asyncio.sleep(0.01)
    if wanted == "asks":
        await context.ask_human("Which?")
        (place / "answered").write_text("")
        while not (place / "end").exists():
            await asyncio.sleep(0.01)

agent = Agent("slow", store="memory:")
agent.add_state("first", first)
agent.add_state("second", second)
if wanted == "pipeline":
    Flujo(Step("first", lambda n: n) >> Step("second", second), persist_state=False).run(1)
elif wanted == "dumb":
    assert _progress._line() is None
else:
    _progress._AFTER = {"short": 3600, "redirected": 0}.get(wanted, _progress._AFTER)
    agent.run_sync(interactive=wanted == "asks")
(place / "done").write_text("")
print("done")
"""


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, wanted: str, place: Path, term: str = "xterm") -> None:
        self.place = place
        self.told = ""
        program = place / "program.py"
        program.write_text(PROGRAM)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            command = [sys.executable, str(program), wanted, str(place)]
            os.execve(sys.executable, command, {**os.environ, "TERM": term})  # noqa: S606

    def until(self, text: str) -> str:
        """Read until a text was written; return what was before it."""
        while text not in self.told:
            assert self._read(), self.told
        before, self.told = self.told.split(text, 1)
        return before

    def rest(self) -> str:
        """Read to the end."""
        while self._read():
            pass
        return self.told

    def make(self, name: str) -> None:
        """Make a file, which the program waits for."""
        (self.place / name).write_text("")

    def _read(self) -> bool:
        try:
            more = os.read(self.fd, 4096)
        except OSError:  # The other side is closed.
            return False
        self.told += more.decode()
        return bool(more)


@contextmanager
def terminal(wanted: str, place: Path, term: str = "xterm") -> Iterator[Terminal]:
    made = Terminal(wanted, place, term)
    try:
        yield made
        assert os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1]) == 0
    finally:
        os.close(made.fd)


@pytest.mark.parametrize("wanted", ["agent", "pipeline"])
def test_what_a_script_runs_shows_how_far_it_is_and_leaves_nothing_behind(
    tmp_path: Path, wanted: str
) -> None:
    with terminal(wanted, tmp_path) as shown:
        # Nothing but blanks on the left.
        assert shown.until("[==========>         ] 1 of 2  second  0:00:0").strip(" ") == "\r\x1b[K"
        shown.make("go")
        frames = shown.rest()
        assert frames.endswith("\r\x1b[Kdone\r\n")


@pytest.mark.parametrize(("wanted", "term"), [("short", "xterm"), ("dumb", "dumb")])
def test_nothing_is_shown_of_what_is_short_or_on_a_terminal_that_can_but_write(
    tmp_path: Path, wanted: str, term: str
) -> None:
    with terminal(wanted, tmp_path, term) as shown:
        shown.make("go")
        assert shown.rest() == "done\r\n"


def test_a_question_is_not_written_over(tmp_path: Path) -> None:
    with terminal("asks", tmp_path) as shown:
        shown.until("1 of 2  second")
        shown.make("go")
        assert shown.until("Which?\r\n> ").endswith("\r\x1b[K")
        os.write(shown.fd, b"red\n")
        # The line is there again, and meanwhile there was nothing but the echo of the answer.
        assert shown.until("\x1b[K").strip("\r\n") == "red"
        shown.until("1 of 2  second")
        shown.make("end")
        assert shown.rest().endswith("\r\x1b[Kdone\r\n")


def test_a_terminal_that_is_stopped_stops_nothing(tmp_path: Path) -> None:
    with terminal("agent", tmp_path) as shown:
        shown.until("1 of 2")
        os.write(shown.fd, b"\x13")
        shown.make("go")
        while not (tmp_path / "done").exists():
            time.sleep(0.01)
        os.write(shown.fd, b"\x11")
        assert shown.rest().endswith("done\r\n")


def test_nothing_is_written_where_there_is_no_terminal(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    (tmp_path / "go").write_text("")
    command = [sys.executable, str(program), "redirected", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"done\n", b"")
    with (tmp_path / "log").open("w") as log, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", log)
        assert _progress._line() is None


async def test_it_is_not_shown_by_a_library_that_was_not_asked(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_for() -> None:
        raise AssertionError

    monkeypatch.setattr(_progress, "_line", looked_for)
    agent = Agent("quiet", store=store)
    agent.add_state("only", lambda context: None)
    await agent.run()
    await Flujo(Step("only", lambda n: n), persist_state=False).run_async(1)
    async with Client(store) as client:
        await client.run_workflow(
            {"steps": [{"name": "nap", "method": "timer/sleep", "params": {"seconds": 0}}]}
        )
    with pytest.raises(AssertionError):
        await agent.run(progress=True)


class Notebook(io.StringIO):
    """The standard error in a notebook: no terminal, but what follows a carriage return replaces what was there."""

    __module__ = "ipykernel.iostream"


async def shown(notebook: Notebook, text: str) -> None:
    while text not in notebook.getvalue():
        await asyncio.sleep(0.01)


def test_a_line_that_is_hidden_is_not_drawn() -> None:
    notebook = Notebook()
    line = _progress.Line(notebook, None)
    line.hide()
    line.draw("hidden")
    assert notebook.getvalue() == ""
    line.show()
    line.draw("shown")
    line.hide()
    line.draw("hidden")
    assert notebook.getvalue() == f"{'shown':>79}\r{' ' * 79}\r"
    notebook.close()
    line.show()
    line.draw("A stream that is closed is no fault.")


async def test_in_a_notebook_it_is_shown_if_it_is_asked_for(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = Notebook()
    monkeypatch.setattr(sys, "stderr", notebook)
    monkeypatch.setattr(_progress, "_AFTER", 0.01)

    async def waits(context: Context) -> None:
        await shown(notebook, "0 of 2  waits")

    agent = Agent("slow", store=store)
    agent.add_state("waits", waits, next=["never"])
    agent.add_state("never", waits)
    await agent.run(progress=True)
    assert "\x1b" not in notebook.getvalue()
    assert all(len(frame) == 79 for frame in notebook.getvalue().split("\r")[:-1])
    assert notebook.getvalue().endswith(f"\r{' ' * 79}\r")

    run = await agent.start()
    await run.wait(progress=False)
    written = notebook.getvalue()
    await (await agent.find(run.id)).wait(progress=True)
    assert notebook.getvalue() == written


async def test_what_a_run_waits_for_is_told(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook()
    monkeypatch.setattr(sys, "stderr", notebook)
    monkeypatch.setattr(_progress, "_AFTER", 0.01)
    runner = Flujo(Step.human_in_the_loop("review", "Fine?"), persist_state=False)
    paused = await runner.run_async("it")
    assert paused.status == "paused"
    await runner.aclose()
    workflow = {"steps": [{"name": "review", "method": "human/ask", "params": {"prompt": "Fine?"}}]}
    async with Client(store) as client:
        running = asyncio.create_task(client.run_workflow(workflow, run_id="r", progress=True))
        await shown(notebook, "0 of 1  review waits for an answer")
        run = await client.get("r")
        (question,) = await run.questions()
        await run.answer(question["wait_id"], "yes")
        assert (await running).status == "completed"


def test_everything_that_a_run_has_to_do_is_counted() -> None:
    tally = Tally(["a", "each", "b"])
    assert tally.text(0) == "[>                   ] 0 of 3  0:00:00"
    for step, execution in (("a", 1), ("each", 1), ("each[]", 1), ("each[]", 2)):
        tally.note({"type": "StepActivated", "step": step, "execution": execution})
        tally.note({"type": "AttemptStarted", "step": step, "execution": execution})
    assert tally.text(3661) == "[>                   ] 0 of 5  a and 2 more  1:01:01"
    tally.note({"type": "StepCompleted", "step": "a", "execution": 1})
    tally.note({"type": "StepSkipped", "step": "b", "execution": 0})
    tally.note({"type": "AttemptFailed", "step": "each", "execution": 1})
    assert tally.text(0) == "[========>           ] 2 of 5  each[]  0:00:00"
    # A failed one that is tried again is not done.
    tally.note({"type": "StepFailed", "step": "each", "execution": 1})
    assert " 3 of 5 " in tally.text(0)
    tally.note({"type": "AttemptStarted", "step": "each", "execution": 1})
    assert " 2 of 5 " in tally.text(0)


def test_names_are_cut_and_obeyed_by_no_terminal() -> None:
    tally = Tally([])
    tally.note({"type": "AttemptStarted", "step": "\x1b[2J\n", "execution": 1})
    assert tally.text(0) == "[>                   ] 0 of 1  \\x1b[2J   0:00:00"
    tally = Tally([])
    tally.note({"type": "AttemptStarted", "step": "漢" * 50, "execution": 1})
    assert tally.text(0) == f"[>                   ] 0 of 1  {'漢' * 14}…  0:00:00"


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_process_without_a_standard_error_has_no_line(
    stream: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert _progress._line() is None
