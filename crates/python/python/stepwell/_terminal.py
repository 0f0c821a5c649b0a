"""Questions of a run asked on the terminal, while its event loop goes on.

They are in the inbox all the same: whoever answers first is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from stepwell import _progress
from stepwell._tty import is_ours, printable
from stepwell.errors import AnswerInvalidError, ConfigurationError, ResumeError
from stepwell.result import RunResult

if TYPE_CHECKING:
    from stepwell.run import Run

_YES = {"y": True, "yes": True, "n": False, "no": False}


def terminal(interactive: bool | None) -> int | None:
    """Return the descriptor that answers are read from; None: nothing is asked here.

    Raises:
        ConfigurationError: It is to be asked, and there is no standard input.
    """
    if interactive is False:
        return None
    try:
        fd = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        if interactive is None:
            return None
        raise ConfigurationError(
            "interactive: there is no standard input to read answers from",
            hint="answer with `stepwell answer`",
        ) from None
    return fd if interactive or is_ours(fd) else None


async def waited(run: Run, fd: int | None, *, raise_on_error: bool, progress: bool) -> RunResult:
    """Wait for the end of a run, and ask its questions meanwhile."""
    if fd is None:
        return await run.wait(raise_on_error=raise_on_error, progress=progress)
    async with _progress.following(run, progress) as line:
        asking = asyncio.create_task(_ask_all(run, _Lines(fd), line))
        try:
            return await run.wait(raise_on_error=raise_on_error)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def _ask_all(run: Run, lines: _Lines, line_of_progress: _progress.Line | None) -> None:
    moved = asyncio.Event()
    following = asyncio.create_task(_follow(run, moved))
    shown = None
    try:
        while not following.done():
            moved.clear()
            question = next(iter(await run.questions()), None)
            if question is None or question["wait_id"] != shown:
                if shown is not None:
                    _say("It was answered elsewhere.")
                shown = None
            if question is None:
                if line_of_progress is not None:
                    line_of_progress.show()
                await moved.wait()
                continue
            if shown is None:
                shown = question["wait_id"]
                if line_of_progress is not None:
                    line_of_progress.hide()
                _show(question)
            if not await _first(lines.ready(), moved.wait()):
                continue
            line = lines.take()
            if line is None:  # Nobody is there any more. The question stays in the inbox.
                return
            if await _is_taken(run, question, line):
                shown = None
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(run: Run, moved: asyncio.Event) -> None:
    after = 0
    try:
        while events := await run._next_events(after):
            after = events[-1]["seq"]
            moved.set()
    finally:
        moved.set()


async def _first(one: Any, other: Any) -> bool:
    """Wait for the first of two; return whether the one is there."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _is_taken(run: Run, question: dict[str, Any], line: str) -> bool:
    """Give an answer; return whether the question is over."""
    try:
        await run.answer(question["wait_id"], _answer_of(line, question))
    except AnswerInvalidError as error:
        _say(f"{error.message}\n> ", end="")
        return False
    except ResumeError:
        _say("It was answered elsewhere.")
    return True


def _answer_of(line: str, question: dict[str, Any]) -> Any:
    """Return what a line means: text where text is asked for, one of the options, else JSON."""
    schema = question["schema"] or {}
    for option in question["options"] or ():
        if line == (option if isinstance(option, str) else json.dumps(option)):
            return option
    if schema.get("type") == "string":
        return line
    if schema.get("type") == "boolean" and line.strip().lower() in _YES:
        return _YES[line.strip().lower()]
    try:
        return json.loads(line)
    except ValueError:
        return line


def _show(question: dict[str, Any]) -> None:
    if (rejected := question["rejected"]) is not None:
        _say(f"{json.dumps(rejected['answer'])} was rejected: {rejected['message']}")
    _say(question["prompt"])
    for option in question["options"] or ():
        _say(f"  {option if isinstance(option, str) else json.dumps(option)}")
    _say("> ", end="")


def _say(text: str, end: str = "\n") -> None:
    """Write to the terminal, with nothing in it that a terminal obeys."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(printable(text) + end)
        sys.stderr.flush()


class _Lines:
    """Lines of a descriptor, read when somebody waits for them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun = b""
        self._lines: deque[str | None] = deque()

    async def ready(self) -> None:
        """Wait until there is a line, or the end."""
        loop = asyncio.get_running_loop()
        while not self._lines:
            readable = loop.create_future()
            try:
                loop.add_reader(self._fd, _set, readable)
            except PermissionError:  # A file, which is always readable.
                self._read()
                continue
            try:
                await readable
            finally:
                loop.remove_reader(self._fd)
            self._read()

    def take(self) -> str | None:
        """Return the next line; None: it was the last."""
        return self._lines.popleft()

    def _read(self) -> None:
        try:
            more = os.read(self._fd, 4096)
        except OSError:
            more = b""
        *whole, self._begun = (self._begun + more).split(b"\n")
        if not more and self._begun:
            whole, self._begun = [self._begun], b""
        self._lines.extend(line.decode(errors="replace") for line in whole)
        if not more:
            self._lines.append(None)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
