"""Threads for functions that block: as many as there are at once, none that keeps the interpreter from ending."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

_IDLE_SECONDS = 10.0


class Threads:
    """Runs functions on threads of their own. A thread that finds no more work ends after a while."""

    def __init__(self) -> None:
        """Begin with no thread."""
        self.forget()

    def forget(self) -> None:
        """Begin anew: threads do not come along into a forked process, and a lock may have been held by one."""
        self._work: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._idle = 0

    def submit(self, function: Callable[[], None]) -> None:
        """Run a function, which raises nothing.

        Raises:
            RuntimeError: The system gives no more threads, and the function is not run.
        """
        with self._changed:
            self._work.append(function)
            if self._idle >= len(self._work):
                self._changed.notify()
                return
        try:
            threading.Thread(target=self._run, name="stepwell-step", daemon=True).start()
        except RuntimeError:
            with self._changed:
                if function not in self._work:
                    return  # A thread that became free has taken it.
                self._work.remove(function)
            raise

    def _run(self) -> None:
        while (function := self._next()) is not None:
            function()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            if not self._work:
                self._idle += 1
                self._changed.wait(_IDLE_SECONDS)
                self._idle -= 1
            return self._work.popleft() if self._work else None


threads = Threads()
os.register_at_fork(after_in_child=threads.forget)
