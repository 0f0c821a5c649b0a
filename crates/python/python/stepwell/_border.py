"""Where an event loop and the engine meet: functions are called here, and answers to requests come back.

The engine never attaches to the interpreter. It puts what it wants into a queue; the loop is woken once and takes
all that waits there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, cast

from stepwell import _native
from stepwell._failure import barely_described, described
from stepwell._suspended import Suspended
from stepwell._threads import threads
from stepwell._watch import begin_watching

Start = Callable[[_native.Border, int], object]
_Message = tuple[str, int, Any, Any, Any]
#: Its number, what is called, and with what.
_Call = tuple[int, "Function", _native.Context, list[Any]]

#: Seconds that a task goes on with the next call before others of the loop have their turn.
_TURN = 0.001

#: So many tasks begin before others of the loop have their turn.
_AT_ONCE = 16


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
    #: What it returns is a value, and leads nowhere.
    gives_value: bool = False
    never_again: tuple[type[BaseException] | str, ...] = ()
    #: Is told of an exception that ends an attempt.
    failed: Callable[[_native.Context, BaseException], None] = lambda _cx, _error: None


class Border:
    """What one event loop and the engine say to each other."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Listen on a loop; None: nobody listens."""
        self.native = _native.Border()
        self._loop = None if loop is None else weakref.ref(loop)
        self._functions: dict[int, Function] = {}
        self._numbers = itertools.count()
        self._requests: dict[int, asyncio.Future[Any] | concurrent.futures.Future[Any]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        #: Calls whose tasks begin when it is their turn.
        self._waiting: dict[int, _Call] = {}
        #: How many tasks have begun in this turn of the loop.
        self._begun = 0
        self._told_to_end: set[int] = set()
        self._is_watched = False
        if loop is not None:
            # The loop has it from now on, and nobody else for long: with its loop it goes, also if that is not closed.
            loop.add_reader(self.native.fileno(), self._read)
            weakref.finalize(self, self.native.close)

    @classmethod
    def apart(cls) -> Border:
        """Return one where nothing is ever called."""
        return cls(None)

    @classmethod
    def gone(cls) -> Border:
        """Return one whose loop has ended: calls wait until their functions are taken to another."""
        border = cls(None)
        border.native.close()
        return border

    @property
    def is_closed(self) -> bool:
        """Whether its loop has ended, so that nothing is called here any more."""
        loop = None if self._loop is None else self._loop()
        return loop is None or loop.is_closed()

    def register(self, function: Function) -> int:
        """Make a function known until the engine forgets it; return the number that it is called by."""
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
        self._begun = 0
        self._take(self.native.take())

    def _take(self, messages: list[_Message], *, goes_on: bool = False) -> _Call | None:
        """Do what messages say. Return the first call of a coroutine function if a task `goes_on` with it."""
        first = None
        for kind, number, a, b, args in messages:
            if kind == "call":
                call = (number, self._functions[a], b, args)
                if not call[1].is_async:
                    try:
                        threads.submit(functools.partial(self._run_blocking, *call))
                    except RuntimeError as error:
                        self._bring_failure(number, call[1], b, error)
                elif goes_on and first is None:
                    first = call
                else:
                    self._begin_in_turn(call)
            elif kind == "cancel":
                # A task of its own can be told to end before it begins.
                if (call_in_turn := self._waiting.pop(number, None)) is not None:
                    self._begin(call_in_turn)
                elif first is not None and first[0] == number:
                    self._begin(first)
                    first = None
                if (task := self._tasks.get(number)) is not None:
                    self._told_to_end.add(number)
                    task.cancel()
            elif kind == "forget":
                self._functions.pop(number, None)
            elif (future := self._requests.get(number)) is None or future.done():
                continue
            elif kind == "done":
                future.set_result(a)
            else:
                future.set_exception(a)
        return first

    def _begin_in_turn(self, call: _Call) -> None:
        if not self._waiting and self._begun < _AT_ONCE:
            self._begun += 1
            self._begin(call)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._begin_some)
        self._waiting[call[0]] = call

    def _begin_some(self) -> None:
        numbers = list(itertools.islice(self._waiting, _AT_ONCE))
        self._begun = len(numbers)
        for number in numbers:
            self._begin(self._waiting.pop(number))
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._begin_some)

    def _begin(self, call: _Call) -> None:
        number, function, native, _ = call
        if not self._is_watched:
            self._is_watched = True
            begin_watching(self.native, threading.get_ident(), Border._carry_out)
        task = self._tasks[number] = _task_of(self._run(call))

        def ended(_: object) -> None:
            if self._tasks.pop(number, None) is None:
                return
            # It was cancelled before it began.
            if number in self._told_to_end:
                self._told_to_end.discard(number)
                self._bring_failure(number, function, native, asyncio.CancelledError())
            else:
                self.native.let_go(number)

        task.add_done_callback(ended)

    async def _run(self, call: _Call | None) -> None:
        """Carry a call out, then the one that follows from it: a task for each would cost more than most steps."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        turn_began = time.monotonic()
        while call is not None:
            number = call[0]
            self._tasks[number] = task
            try:
                messages = await _Isolated(self._carry_out(*call))
            finally:
                del self._tasks[number]
                was_told = number in self._told_to_end
                self._told_to_end.discard(number)
            # A task that was told to end, by whomever, remembers it, and must not carry out anything else.
            goes_on = not (was_told or _is_told_to_end(task)) and time.monotonic() - turn_began < _TURN
            call = None if messages is None else self._take(messages, goes_on=goes_on)

    async def _carry_out(
        self, number: int, function: Function, native: _native.Context, args: list[Any]
    ) -> list[_Message] | None:
        try:
            value = await function.call(function.context(native, self), *args)
            return self._bring(number, function, value, here=True)
        except asyncio.CancelledError as error:
            if not native.cancelled and _is_cancelled_from_outside():
                # The loop ends, which is no fault of the step.
                self.native.let_go(number)
            else:
                self._bring_failure(number, function, native, error)
        except KeyboardInterrupt:
            # Of the program, which ends; it is no fault of the step that happened to run.
            self.native.let_go(number)
            raise
        except BaseException as error:
            self._bring_failure(number, function, native, error)
        return None

    def _run_blocking(
        self, number: int, function: Function, native: _native.Context, args: list[Any]
    ) -> None:
        try:
            value = function.call(function.context(native, self), *args)
            self._bring(number, function, value, here=False)
        except BaseException as error:
            self._bring_failure(number, function, native, error)

    def _bring(self, number: int, function: Function, value: Any, *, here: bool) -> list[_Message] | None:
        if function.is_condition:
            self.native.judge(number, bool(value))
            return None
        returned = function.returned(value, self)
        if function.gives_value:
            return self.native.give(number, returned, here)
        return self.native.finish(number, returned, here)

    def _bring_failure(
        self, number: int, function: Function, native: _native.Context, error: BaseException
    ) -> None:
        if isinstance(error, Suspended):
            self.native.suspend(number)
            return
        function.failed(native, error)
        try:
            self.native.fail(number, described(error, never_again=function.never_again))
        except Exception:
            # An exception may carry anything, and whatever it does, its step fails.
            self.native.fail(number, barely_described(error))


class _Isolated:
    """A coroutine whose context variables are its own, as those of a task are."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, list[_Message] | None]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, list[_Message] | None]:
        coroutine, run = self._coroutine, contextvars.copy_context().run
        try:
            awaited = run(coroutine.send, None)
            while True:
                try:
                    brought = yield awaited
                except BaseException as error:
                    awaited = run(coroutine.throw, error)
                else:
                    awaited = run(coroutine.send, brought)
        except StopIteration as ended:
            return cast("list[_Message] | None", ended.value)


class _CountingTask(asyncio.Task[None]):
    """A task that knows how often it was told to end, as every task does since Python 3.11."""

    told_to_end = 0

    def cancel(self, msg: Any = None) -> bool:
        """Tell it to end; return whether it is still there to hear it."""
        is_told = super().cancel(msg)
        self.told_to_end += is_told
        return is_told


def _task_of(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin a task in the running loop that `_is_told_to_end` can be asked about."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 11):
        return loop.create_task(coroutine)
    return _CountingTask(coroutine, loop=loop)


def _is_cancelled_from_outside() -> bool:
    """Return whether the running task was told to end, and did not just await something that was."""
    return _is_told_to_end(cast("asyncio.Task[None]", asyncio.current_task()))


def _is_told_to_end(task: asyncio.Task[None]) -> bool:
    """Return whether a task was told to end, and may not have heard it yet."""
    if sys.version_info >= (3, 11):
        return task.cancelling() > 0
    return cast("_CountingTask", task).told_to_end > 0


#: What a border is called for belongs to tasks of its loop, so that whoever holds one holds the loop.
_borders: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Border]] = (
    weakref.WeakKeyDictionary()
)


def of_running_loop() -> Border:
    """Return the border of the running loop."""
    loop = asyncio.get_running_loop()
    known = _borders.get(loop)
    border = None if known is None else known()
    if border is None:
        # Those of loops that have ended and are not collected yet.
        for other, left in list(_borders.items()):
            if other.is_closed() and (ended := left()) is not None:
                ended.native.close()
        border = Border(loop)
        _borders[loop] = weakref.ref(border)
    return border
