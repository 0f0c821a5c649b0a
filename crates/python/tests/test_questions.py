"""Questions: their answers are checked, and they are asked on the terminal too (A38)."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Agent, Context


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/runs.db"
    return str(request.param)


async def only_question(run: stepwell.Run) -> dict[str, Any]:
    await run.rest()
    [question] = await run.questions()
    return question


@pytest.mark.parametrize("blocking", [False, True])
async def test_a38_a_rejected_answer_is_asked_for_again(store: str, blocking: bool) -> None:
    judged = []

    def validator(answer: str) -> bool:
        judged.append(answer)
        if answer == "raise":
            raise ValueError("too short by far")
        return len(answer) > 10

    async def ask(context: Context) -> None:
        feedback = await context.human_in_the_loop("Review:", timeout=300, validator=validator)
        sure = await context.ask_human("Sure?", {"type": "boolean"})
        context.set_state("feedback", [feedback, sure])

    def ask_directly(context: Any) -> None:
        feedback = context.human_in_the_loop("Review:", timeout=300, validator=validator)
        sure = context.ask_human("Sure?", {"type": "boolean"})
        context.set_state("feedback", [feedback, sure])

    agent = Agent("reviewing", store=store)
    agent.add_state("ask", ask_directly if blocking else ask)
    run = await agent.start()
    first = await only_question(run)
    await run.answer(first["wait_id"], "short")
    second = await only_question(run)
    assert second["wait_id"] != first["wait_id"]
    assert second["rejected"] == {"answer": "short", "message": "the answer was not accepted", "times": 1}
    assert second["deadline"] == first["deadline"]
    with pytest.raises(stepwell.ResumeError):
        await run.answer(first["wait_id"], "a second answer")
    await run.answer(second["wait_id"], "raise")
    third = await only_question(run)
    assert third["rejected"] == {"answer": "raise", "message": "too short by far", "times": 2}
    await run.answer(third["wait_id"], "approve, it is good")
    await run.answer((await only_question(run))["wait_id"], True)
    assert (await run.wait()).context == {"feedback": ["approve, it is good", True]}
    # The verdict is kept: the function ran again after it, and nobody was asked twice.
    assert judged == ["short", "raise", "approve, it is good"]


async def test_a38_a_default_is_not_validated(store: str) -> None:
    async def ask(context: Context) -> None:
        context.set_state(
            "answer",
            await context.human_in_the_loop("?", timeout=0.01, default="", validator=lambda _: False),
        )

    agent = Agent("patient", store=store)
    agent.add_state("ask", ask)
    assert (await agent.run()).context == {"answer": ""}


@pytest.mark.parametrize("validator", [7, "no"])
async def test_a_validator_must_be_a_plain_function(validator: Any) -> None:
    async def judge(answer: str) -> bool:
        return True

    async def ask(context: Context) -> None:
        with pytest.raises(TypeError, match="validator must be a function"):
            await context.human_in_the_loop("?", validator=validator)
        with pytest.raises(TypeError, match="validator must be a plain function"):
            await context.human_in_the_loop("?", validator=judge)

    agent = Agent("wrong", store="memory:")
    agent.add_state("ask", ask)
    await agent.run()


PROGRAM = """
import asyncio, sys
from stepwell import Agent

async def ask(context):
    text = await context.human_in_the_loop("Review \\x1b[31mthis:", validator=lambda x: len(x) > 3)
    count = await context.ask_human("How many?", {"type": "integer"})
    colour = await context.ask_human("Which?", options=["red", "blue"])
    sure = await context.ask_human("Sure?", {"type": "boolean"})
    elsewhere = None
    if sys.argv[2] == "elsewhere":
        elsewhere = await context.ask_human("Elsewhere?", name="elsewhere")
    last = await context.ask_human("Last?", {"type": "string"})
    context.set_state("answers", [text, count, colour, sure, elsewhere, last])

async def ticks():
    # The loop goes on while somebody thinks; one question is answered by another way.
    while True:
        await asyncio.sleep(0.01)
        for question in await agent.inbox():
            if question["prompt"] == "Elsewhere?":
                await agent.answer(question["wait_id"], "inbox")

agent = Agent("asking", store="memory:")
agent.add_state("ask", ask)

async def main():
    ticking = asyncio.create_task(ticks())
    result = await agent.run(**eval(sys.argv[1]))
    ticking.cancel()
    print("result:", result.get_state("answers"))

asyncio.run(main())
"""

ANSWERS = [
    ("Review \\x1b[31mthis:\r\n> ", "no"),
    ('"no" was rejected: the answer was not accepted\r\nReview \\x1b[31mthis:\r\n> ', "good"),
    ("How many?\r\n> ", "many"),
    ("is not of type", None),
    ("> ", "7"),
    ("Which?\r\n  red\r\n  blue\r\n> ", "blue"),
    ("Sure?\r\n> ", "yes"),
    ("Last?\r\n> ", "done"),
    ("result: ['good', 7, 'blue', True, 'inbox', 'done']", None),
]


def told_by(fd: int) -> Iterator[bytes]:
    try:
        while more := os.read(fd, 4096):
            yield more
    except OSError:  # The other side is closed.
        return


def test_a38_questions_are_asked_on_the_terminal_while_the_loop_goes_on(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, str(program), "{}", "elsewhere"])  # noqa: S606
    try:
        told, parts = "", told_by(fd)
        for prompt, answer in ANSWERS:
            while prompt not in told:
                more = next(parts, None)
                assert more is not None, told
                told += more.decode()
            told = told.split(prompt, 1)[1]
            if answer is not None:
                os.write(fd, f"{answer}\n".encode())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(fd)


def test_a38_what_is_not_a_terminal_is_asked_only_if_it_is_said(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    answers = tmp_path / "answers"
    answers.write_text("no\ngood\n7\nblue\ny\ndone")
    with answers.open() as given:
        done = subprocess.run(
            [sys.executable, str(program), "{'interactive': True}", "here"],
            stdin=given,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "result: ['good', 7, 'blue', True, None, 'done']" in done.stdout, done.stderr


DURABLE = """
import asyncio, os, sys
from stepwell import Agent

async def ask(context):
    print("runs", flush=True)
    answer = await context.human_in_the_loop("Approve?")
    context.set_state("answer", answer)

agent = Agent("approval", store=sys.argv[1])
agent.add_state("ask", ask)

async def main():
    run = await agent.start(run_id="r")
    if sys.argv[2] == "dies":
        await run.rest()
        os._exit(7)
    print((await run.wait()).get_state("answer"))

asyncio.run(main())
"""


def test_a38_a_question_outlives_its_process_and_is_answered_by_the_command_line(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(DURABLE)
    store = f"sqlite://{tmp_path}/runs.db"
    command = [sys.executable, str(program), store]
    died = subprocess.run([*command, "dies"], capture_output=True, text=True, timeout=60)
    assert (died.returncode, died.stdout) == (7, "runs\n")
    answer = [sys.executable, "-m", "stepwell", "--store", store, "answer", "r", "--text", "yes, do"]
    given = subprocess.run(answer, capture_output=True, text=True, timeout=60)
    assert given.returncode == 0, given.stderr
    done = subprocess.run([*command, "lives"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "runs\nyes, do\n", done.stderr
    # Nobody waits for it any more.
    again = subprocess.run(answer, capture_output=True, text=True, timeout=60)
    assert again.returncode == 5, again.stderr


async def test_without_a_standard_input_nothing_can_be_asked_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(context: Context) -> None:
        """End."""

    monkeypatch.setattr(sys, "stdin", None)
    agent = Agent("quiet", store="memory:")
    agent.add_state("nothing", nothing)
    assert (await agent.run()).status == "completed"
    with pytest.raises(stepwell.ConfigurationError, match="no standard input"):
        await agent.run(interactive=True)
