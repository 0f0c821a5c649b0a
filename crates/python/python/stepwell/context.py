"""What a function sees of its run, and what it leaves there."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stepwell import _checks, _native, typed
from stepwell._border import Border, Start
from stepwell._shapes import MisfitError, Shape, is_model, shape_of
from stepwell.errors import ContextKeyError

if TYPE_CHECKING:
    from stepwell.agent import Agent
    from stepwell.result import RunResult

_T = TypeVar("_T")


class _Unset:
    """The type of an argument that was not given."""

    def __repr__(self) -> str:
        """Show it as the documentation does."""
        return "<unset>"


UNSET: Any = _Unset()


class Secret:
    """A text that shows itself nowhere; `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold a text."""
        self._text = text

    def reveal(self) -> str:
        """Return the text. In errors and in what is emitted it is shown as `***`."""
        return self._text

    def __repr__(self) -> str:
        """Show nothing."""
        return "***"


class Context:
    """What a function sees of its run, and what it leaves there.

    A function sees what was committed when its attempt began and what it wrote itself. What it writes becomes
    everyone's when it ends well, all at once; what a failed attempt wrote is gone. Values are JSON.
    """

    __slots__ = ("_border", "_engine", "_native", "_once")

    def __init__(self, native: _native.Context, border: Border, engine: _native.Engine) -> None:
        """Made by the engine for each attempt."""
        self._native = native
        self._border = border
        self._engine = engine
        self._once: dict[str, asyncio.Lock] = {}

    def get_state(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default.

        Raises:
            KeyError: The key holds a typed value, which `get_typed` reads.
        """
        return self._native.get(key, default)

    def set_state(self, key: str, value: Any) -> None:
        """Set the value of a key.

        Raises:
            TypeError: JSON cannot hold the value; nothing is written.
            KeyError: The key holds a typed value, which `set_typed` writes; `remove_state` frees it.
        """
        self._native.set(key, value)

    def has_state(self, key: str) -> bool:
        """Return whether a key has a value."""
        return self._native.has(key)

    def remove_state(self, key: str) -> None:
        """Remove a key."""
        self._native.remove(key)

    def get_keys(self) -> list[str]:
        """Return the keys that have values."""
        return self._native.keys()

    def set_typed(self, key: str, value: Any) -> None:
        """Set a key to an instance of a dataclass or pydantic model, which is read back as that class.

        Raises:
            TypeError: It is no such instance, or a field does not fit its annotation; nothing is written.
            KeyError: The key holds an untyped value; `remove_state` frees it.
        """
        tag, fields = typed.dump(value, key)
        self._native.set_typed(key, tag, fields)

    def get_typed(self, key: str, cls: type[_T]) -> _T | None:
        """Return the value of a key if it is of that class; None: it is not there, untyped or of another.

        Raises:
            TypeError: The class has other fields by now, or is no dataclass or pydantic model.
        """
        known = self._native.typed(key)
        return None if known is None else typed.load(*known, cls, key)

    def update_typed(self, key: str, /, **fields: Any) -> None:
        """Change fields of a typed value.

        Raises:
            AttributeError: Its class has no such field.
            TypeError: A field is of another type; nothing is written.
            KeyError: The key holds no typed value.
            LookupError: Its class is not loaded in this process.
        """
        known = self._native.typed(key)
        if known is None:
            held = "an untyped value" if self._native.has(key) else "nothing"
            raise ContextKeyError(f"context key {key!r} holds {held}, whose fields cannot be changed")
        self._native.set_typed(key, *typed.updated(*known, fields, key))

    async def human_in_the_loop(
        self,
        prompt: str,
        timeout: float | None = None,
        default: Any = UNSET,
        validator: Callable[[str], object] | None = None,
    ) -> Any:
        """Ask a person for a text.

        The function is let go while it waits, and runs again from its start when it is answered: put what must not
        happen twice into `once`.

        Args:
            prompt: What is asked.
            timeout: Seconds after which nobody waits any longer.
            default: What stands for an answer then, unchecked; without it `HumanTimeout` is raised.
            validator: Is called once with each answer. If it returns something false or raises, the answer is rejected
                and the question asked again, until the same time; whoever answers next is shown why.
        """
        question = _question(prompt, {"type": "string"}, None, default, timeout, None)
        return await self._ask(question, _judge(validator))

    async def ask_human(
        self,
        prompt: str,
        schema: Mapping[str, Any] | type | None = None,
        options: Sequence[Any] | None = None,
        default: Any = UNSET,
        deadline: float | datetime | None = None,
        assignee: str | None = None,
        *,
        name: str | None = None,
        validator: Callable[[Any], object] | None = None,
    ) -> Any:
        """Ask a person for a value.

        Args:
            prompt: What is asked.
            schema: JSON Schema that an answer must fit, or the dataclass or pydantic model that it is returned as.
            options: What may be chosen.
            default: What stands for an answer after the deadline; without it `HumanTimeout` is raised.
            deadline: Seconds from now, or a moment with its time zone.
            assignee: Who is asked.
            name: By what the question is known when the function runs again; without it, by its order.
            validator: As of `human_in_the_loop`; it is called with what would be returned.
        """
        cls = schema if isinstance(schema, type) else None
        if cls is None:
            form = cast("Mapping[str, Any] | None", schema)
            question = _question(prompt, form, options, default, deadline, assignee, name)
            return await self._ask(question, _judge(validator))
        if not is_model(cls):
            raise TypeError(f"schema must be a JSON Schema, a dataclass or a pydantic model, not {schema!r}")
        shape = shape_of(cls)
        if default is not UNSET and type(default) is cls:
            default = shape.dump(default, "default")
        question = _question(prompt, shape.schema(), options, default, deadline, assignee, name)
        answer = await self._ask(question, _judge(validator, shape))
        try:
            return shape.load(answer, "the answer")
        except MisfitError:
            if default is UNSET:
                raise
            return answer  # Only the default is not checked.

    async def sleep(self, seconds: float) -> None:
        """Wait for a time that a restart neither shortens nor begins anew."""
        time = _checks.seconds("seconds", seconds, zero=True)
        await self._wait(lambda border, number: self._native.sleep(border, number, time))

    async def wait_for_signal(self, name: str, timeout: float | None = None, default: Any = UNSET) -> Any:
        """Wait for a signal and return its value.

        Raises:
            SignalTimeout: It did not come in time, and there is no default.
        """
        from stepwell.errors import SignalTimeout

        time = None if timeout is None else _checks.seconds("timeout", timeout)
        try:
            return await self._wait(lambda border, number: self._native.signal(border, number, name, time))
        except SignalTimeout:
            if default is UNSET:
                raise
            return default

    async def run_agent(
        self, agent: Agent, input: Mapping[str, Any] | None = None, entry: str | None = None
    ) -> RunResult:
        """Run another agent and wait for it; it is part of this run, and ends with it.

        Args:
            agent: Which.
            input: Its first context.
            entry: The step that it begins with, in place of those that it would begin with by itself.

        Raises:
            ChildFailed: It failed or was cancelled.
        """
        from stepwell.result import RunResult

        native = agent._in(self._engine, self._border)
        given = dict(input or {})
        told = await self._wait(
            lambda border, number: self._native.run_agent(border, number, native, given, entry)
        )
        return RunResult._of(told, agent._telling(native))

    async def once(self, name: str, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function once in the life of this execution, whatever crashes: its result is kept under the name.

        What it returns, which must be JSON, is durable before this returns. If it raises, nothing is kept.
        """
        async with self._once.setdefault(name, asyncio.Lock()):
            known = self._native.recorded(name)
            if known is not None:
                return known[0]
            value = f(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
            await self._border.request(
                lambda border, number: self._native.record(border, number, name, value)
            )
            return cast("tuple[Any]", self._native.recorded(name))[0]

    def emit(self, type: str, data: Any) -> None:
        """Tell those who watch the run something: a `message`, `progress` or `log`."""
        self._native.emit(type, data)

    def secret(self, name: str) -> Secret:
        """Return a secret of the environment. Its text is masked wherever the run is shown."""
        return Secret(self._native.secret(name))

    @property
    def payload(self) -> Any:
        """What the route that led here carried."""
        return self._native.payload

    @property
    def failure(self) -> dict[str, Any] | None:
        """What failed, in a step that a failure led to: step, ordinal, code, type, message, traceback, attempts."""
        return self._native.failure

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._native.attempt

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt of this execution, for services that take one."""
        return self._native.idempotency_key

    @property
    def deadline(self) -> datetime | None:
        """Until when this attempt may take."""
        at = self._native.deadline
        return None if at is None else datetime.fromtimestamp(at, timezone.utc)

    @property
    def cancelled(self) -> bool:
        """Whether the function should end: its run was cancelled, or its time is over."""
        return self._native.cancelled

    @property
    def run_id(self) -> str:
        """The run."""
        return self._native.run_id

    @property
    def step(self) -> str:
        """The step."""
        return self._native.step

    @property
    def ordinal(self) -> int:
        """Which activation of the step this is, from 1."""
        return self._native.ordinal

    @property
    def metadata(self) -> dict[str, Any]:
        """The tags of the run."""
        return self._native.metadata

    async def _ask(self, question: dict[str, Any], judge: Callable[[Any], str | None] | None) -> Any:
        return await self._wait(lambda border, number: self._native.ask(border, number, question, judge))

    async def _wait(self, start: Start) -> Any:
        return await self._border.wait(start)


class BlockingContext(Context):
    """The context of a function that is no coroutine: what others await returns directly.

    Such a function runs on a thread of its own.
    """

    __slots__ = ("_locks", "_locks_lock")

    def __init__(self, native: _native.Context, border: Border, engine: _native.Engine) -> None:
        """Made by the engine for each attempt."""
        super().__init__(native, border, engine)
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    async def _wait(self, start: Start) -> Any:
        return self._border.block(start)

    async def once(self, name: str, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function once in the life of this execution, whatever crashes: its result is kept under the name."""
        with self._locks_lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            known = self._native.recorded(name)
            if known is not None:
                return known[0]
            value = f(*args, **kwargs)
            self._border.block(lambda border, number: self._native.record(border, number, name, value))
            return cast("tuple[Any]", self._native.recorded(name))[0]


def _directly(method: Callable[..., Awaitable[_T]]) -> Callable[..., _T]:
    """Return a method that awaits nothing as a plain one."""

    def call(*args: Any, **kwargs: Any) -> _T:
        try:
            cast("Any", method(*args, **kwargs)).send(None)
        except StopIteration as returned:
            return cast("_T", returned.value)
        raise RuntimeError("a function on a thread awaited something")

    call.__name__ = method.__name__
    call.__doc__ = method.__doc__
    return call


for _name in ("human_in_the_loop", "ask_human", "sleep", "wait_for_signal", "run_agent", "once"):
    setattr(BlockingContext, _name, _directly(getattr(BlockingContext, _name)))


def _judge(
    validator: Callable[[Any], object] | None, shape: Shape | None = None
) -> Callable[[Any], str | None] | None:
    """Return what says what is wrong with an answer, if something looks at answers at all."""
    if validator is None and shape is None:
        return None
    if validator is not None and not callable(validator):
        raise TypeError(f"validator must be a function that is called with the answer, not {validator!r}")
    if inspect.iscoroutinefunction(validator):
        raise TypeError("validator must be a plain function: it is called while the answer is taken")

    def judge(answer: Any) -> str | None:
        try:
            value = answer if shape is None else shape.load(answer, "the answer")
            if validator is None or validator(value):
                return None
        except Exception as error:
            return str(error) or type(error).__name__
        return "the answer was not accepted"

    return judge


def _question(
    prompt: str,
    schema: object,
    options: Sequence[Any] | None,
    default: Any,
    deadline: float | datetime | None,
    assignee: str | None,
    name: str | None = None,
) -> dict[str, Any]:
    if schema is not None and not isinstance(schema, Mapping):
        hint = "; what may be chosen is `options=[…]`" if isinstance(schema, list | tuple) else ""
        raise TypeError(
            f"schema must be a JSON Schema, a dataclass or a pydantic model, not {schema!r}{hint}"
        )
    if isinstance(options, str):
        raise TypeError(f"options must be a list, not the str {options!r}")
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise ValueError("deadline must be seconds, or a moment with a time zone: give it a tzinfo")
        deadline = max(0.0, (deadline - datetime.now(timezone.utc)).total_seconds())
    elif deadline is not None:
        deadline = _checks.seconds("deadline", deadline, zero=True)
    return {
        "prompt": prompt,
        "schema": None if schema is None else dict(schema),
        "options": None if options is None else list(options),
        "default": [] if default is UNSET else [default],
        "deadline": deadline,
        "assignee": assignee,
        "name": name,
    }
