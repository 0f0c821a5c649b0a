"""How far a run is, on one line of the terminal or the notebook that the standard error is.

Nothing is drawn in the first second, nor where a line cannot be drawn anew. The line stands at the right and the cursor
at the left, so that what steps print begins where it should. What goes wrong here changes nothing for the run.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO
from unicodedata import combining, east_asian_width

from stepwell._tty import is_ours, printable

if TYPE_CHECKING:
    from stepwell.run import Run

#: Seconds before the line is there, and from one look to the next.
_AFTER = 1.0
_EVERY = 0.2

_BAR = 20
_NAME = 30
_NOTEBOOK = 80
_ENDED = ("StepCompleted", "StepFailed", "StepSkipped", "StepCancelled")


class Line:
    """A line that is drawn again and again."""

    def __init__(self, stream: TextIO, fd: int | None) -> None:
        """Take a stream: a terminal by its descriptor, or that of a notebook."""
        self._stream = stream
        self._fd = fd
        self._is_drawn = False
        self._is_hidden = False

    def draw(self, text: str) -> None:
        """Draw it anew."""
        if not self._is_hidden:
            columns = self._columns()
            self._is_drawn |= self._write(" " * (columns - _cells(text)) + _cut(text, columns) + "\r")

    def hide(self) -> None:
        """Wipe it away until it is shown again: something else is to be read and written there."""
        self._is_hidden = True
        if self._is_drawn:
            self._is_drawn = not self._write("" if self._fd is not None else " " * self._columns() + "\r")

    def show(self) -> None:
        """Let it be drawn again."""
        self._is_hidden = False

    def _write(self, text: str) -> bool:
        """Write over the line, unless that would have to wait; return whether it was written."""
        if self._fd is not None:
            # A terminal that was stopped is not waited for, and one that another program has is not written to.
            if not is_ours(self._fd) or not select.select([], [self._fd], [], 0)[1]:
                return False
            text = f"\r\x1b[K{text}"
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
            return True
        return False

    def _columns(self) -> int:
        """Return how many there are, without the last, behind which a terminal begins a line."""
        with suppress(OSError):
            if self._fd is not None:
                return max(os.get_terminal_size(self._fd).columns - 1, 0) or _NOTEBOOK - 1
        return _NOTEBOOK - 1


class Tally:
    """What a run has done and has to do, as far as its events tell."""

    def __init__(self, declared: Iterable[str]) -> None:
        """Begin with the names of its steps."""
        self._to_come = set(declared)
        self._known: set[tuple[str, int]] = set()
        self._ended: set[tuple[str, int]] = set()
        #: In the order in which they began.
        self._under_way: dict[tuple[str, int], None] = {}
        self._asked: dict[str, str] = {}

    def note(self, event: dict[str, Any]) -> None:
        """Take note of what happened."""
        kind = event["type"]
        if kind == "WaitOpened" and event["spec"]["kind"]["for"] == "human":
            self._asked[event["wait"]] = event["step"]
        elif kind == "WaitResolved":
            self._asked.pop(event["wait"], None)
        elif kind in ("StepActivated", "AttemptStarted", *_ENDED):
            execution = (event["step"], event.get("execution", 0))
            self._to_come.discard(event["step"])
            self._known.add(execution)
            self._ended.discard(execution)
            if kind == "AttemptStarted":
                self._under_way[execution] = None
            if kind in _ENDED:
                self._ended.add(execution)
        if kind in ("AttemptFailed", "AttemptLost", "AttemptSuspended", *_ENDED):
            self._under_way.pop((event["step"], event.get("execution", 0)), None)

    def text(self, seconds: float) -> str:
        """Return all of it as a line."""
        done, total = len(self._ended), len(self._known) + len(self._to_come)
        full = _BAR * done // max(total, 1)
        bar = ("=" * full + ">" * (full < _BAR)).ljust(_BAR)
        told = [f"[{bar}] {done} of {total}", *self._now(), str(timedelta(seconds=int(seconds)))]
        return "  ".join(told)

    def _now(self) -> list[str]:
        names = list(dict.fromkeys(step for step, _ in self._under_way))
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return [f"{_name(names[0])}{more}"]
        return [f"{_name(step)} waits for an answer" for step in list(self._asked.values())[:1]]


@asynccontextmanager
async def following(run: Run, is_wanted: bool) -> AsyncIterator[Line | None]:
    """Show how far a run is, as long as this is held."""
    line = _line() if is_wanted else None
    if line is None:
        yield None
        return
    drawing = asyncio.create_task(_draw(run, line))
    try:
        yield line
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        line.hide()


def _line() -> Line | None:
    """Return the line of the standard error, if it has one that can be drawn anew."""
    stream = sys.stderr
    # Its descriptor may be a terminal, that of the server.
    if type(stream).__module__ == "ipykernel.iostream":
        return Line(stream, None)
    try:
        fd = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    is_able = is_ours(fd) and os.environ.get("TERM") != "dumb"
    return Line(stream, fd) if is_able else None


async def _draw(run: Run, line: Line) -> None:
    began = time.monotonic()
    await asyncio.sleep(_AFTER)
    tally = Tally(step["name"] for step in (await run.report()).steps)
    # What has happened so far, before anything is drawn.
    after = await _note(run, tally, 0)
    noting = asyncio.create_task(_note_all(run, tally, after))
    try:
        while True:
            line.draw(tally.text(time.monotonic() - began))
            await asyncio.sleep(_EVERY)
    finally:
        noting.cancel()
        await asyncio.gather(noting, return_exceptions=True)


async def _note_all(run: Run, tally: Tally, after: int | None) -> None:
    while after is not None:
        # What happens meanwhile comes together.
        await asyncio.sleep(_EVERY)
        after = await _note(run, tally, after)


async def _note(run: Run, tally: Tally, after: int) -> int | None:
    """Take note of what happens next in a run; return which event was the last, or None if it has ended."""
    events = await run._next_events(after)
    for told in events:
        tally.note(told["event"])
    return events[-1]["seq"] if events else None


def _name(step: str) -> str:
    return _cut(printable(step).replace("\n", " "), _NAME)


def _cut(text: str, cells: int) -> str:
    """Return as much of a text as has room."""
    if _cells(text) <= cells:
        return text
    while text and _cells(text) >= cells:
        text = text[:-1]
    return f"{text}…"


def _cells(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
