"""Says what blocks an event loop, when the engine has noticed that one does not move."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from stepwell import _native


def begin_watching(border: _native.Border, thread: int, run: Callable[..., Any]) -> None:
    """Wait on a thread of its own until the loop of a border, on that thread, is blocked; say by what, each time.

    `run` is what every step of the loop is called by.
    """
    code = run.__code__

    def watch() -> None:
        # The interpreter is not attached while this waits.
        while border.blocked():
            border.blocked_by(_what_runs(sys._current_frames().get(thread), code))

    threading.Thread(target=watch, name="stepwell-watch", daemon=True).start()


def _what_runs(frame: FrameType | None, code: object) -> str:
    """Return what a thread does, as the line of a step, or of what else runs there."""
    inner, at = None, frame
    while at is not None:
        if at.f_code is code:
            native: _native.Context = at.f_locals["native"]
            return f"step {native.step!r} of run {native.run_id} at {_place(inner or at)}"
        inner, at = at, at.f_back
    return "nothing that can be seen" if frame is None else f"what runs at {_place(frame)}"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
