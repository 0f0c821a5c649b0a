"""Where an event loop and the engine meet: functions are called here, and answers to requests come back.

The engine never attaches to the interpreter. It puts what it wants into a queue; the loop is woken once and takes
all that waits there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from stepwell import _native
from stepwell._failure import described
from stepwell._suspended import Suspended
from stepwell._threads import threads

Start = Callable[[_native.Border, int], object]


@dataclass(frozen=True)
class Function:
    """A function that the engine may call, and how."""

    call: Callable[..., Any]
    is_async: bool
    #: Makes what the function is called with.
    context: Callable[[_native.Context, Border], Any]
    #: Makes what the engine is told of what it returned.
    returned: Callable[[Any, Border], Any] = lambda value, _border: value
    is_condition: bool = False
    never_again: tuple[type[BaseException] | str, ...] = ()
    #: Is told of an exception that ends an attempt.
    failed: Callable[[_native.Context, BaseException], None] = lambda _cx, _error: None


class Border:
    """What one event loop and the engine say to each other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen on a loop."""
        self.native = _native.Border()
        self._loop = weakref.ref(loop)
        self._functions: dict[int, Function] = {}
        self._numbers = itertools.count()
        self._requests: dict[int, asyncio.Future[Any] | concurrent.futures.Future[Any]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        loop.add_reader(self.native.fileno(), self._read)
        weakref.finalize(loop, self.native.close)

    def register(self, function: Function) -> int:
        """Make a function known; return the number that the engine calls it by."""
        number = next(self._numbers)
        self._functions[number] = function
        return number

    async def request(self, start: Start) -> Any:
        """Begin something and wait for what comes of it."""
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._requests[number] = future
        try:
            start(self.native, number)
            return await future
        finally:
            self._requests.pop(number, None)

    async def wait(self, start: Start) -> Any:
        """Wait for what may be known already: `start` returns it in a tuple then."""
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._requests[number] = future
        try:
            known = cast("tuple[Any] | None", start(self.native, number))
            return known[0] if known is not None else await future
        finally:
            self._requests.pop(number, None)

    def block(self, start: Start) -> Any:
        """Wait on a thread that is not the loop's."""
        number = next(self._numbers)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._requests[number] = future
        try:
            known = cast("tuple[Any] | None", start(self.native, number))
            return known[0] if known is not None else future.result()
        finally:
            self._requests.pop(number, None)

    def _read(self) -> None:
        for kind, number, a, b in self.native.take():
            if kind == "call":
                self._call(number, self._functions[a], b)
            elif kind == "cancel":
                if (task := self._tasks.get(number)) is not None:
                    task.cancel()
            elif (future := self._requests.get(number)) is None or future.done():
                continue
            elif kind == "done":
                future.set_result(a)
            else:
                future.set_exception(a)

    def _call(self, number: int, function: Function, native: _native.Context) -> None:
        if not function.is_async:
            threads.submit(lambda: self._run_blocking(number, function, native))
            return
        loop = asyncio.get_running_loop()
        task = self._tasks[number] = loop.create_task(self._run(number, function, native))
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _run(self, number: int, function: Function, native: _native.Context) -> None:
        try:
            value = await function.call(function.context(native, self))
            self._bring(number, function, value)
        except asyncio.CancelledError as error:
            if not native.cancelled and _is_cancelled_from_outside():
                # The loop ends, which is no fault of the step.
                self.native.let_go(number)
            else:
                self._bring_failure(number, function, native, error)
        except BaseException as error:
            self._bring_failure(number, function, native, error)
            if not isinstance(error, Exception | Suspended):
                raise

    def _run_blocking(self, number: int, function: Function, native: _native.Context) -> None:
        try:
            self._bring(number, function, function.call(function.context(native, self)))
        except BaseException as error:
            self._bring_failure(number, function, native, error)

    def _bring(self, number: int, function: Function, value: Any) -> None:
        if function.is_condition:
            self.native.judge(number, bool(value))
        else:
            self.native.finish(number, function.returned(value, self))

    def _bring_failure(
        self, number: int, function: Function, native: _native.Context, error: BaseException
    ) -> None:
        if isinstance(error, Suspended):
            self.native.suspend(number)
            return
        function.failed(native, error)
        self.native.fail(number, described(error, never_again=function.never_again))


def _is_cancelled_from_outside() -> bool:
    """Return whether the running task was told to end, and did not just await something that was."""
    task = asyncio.current_task()
    told = getattr(task, "cancelling", None)  # Since Python 3.11; before, nobody knows.
    return told is None or told() > 0


_borders: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Border] = weakref.WeakKeyDictionary()


def of_running_loop() -> Border:
    """Return the border of the running loop."""
    loop = asyncio.get_running_loop()
    border = _borders.get(loop)
    if border is None:
        border = _borders[loop] = Border(loop)
    return border
