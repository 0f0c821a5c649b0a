"""Agents of Python functions: what fluffy.md promises of them, on every store."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Agent, Context, RetryPolicy, RunExistsError, RunFailed


async def test_a1_the_quick_start_ends_with_its_result(store: str) -> None:
    calls = []

    async def process_data(context: Context) -> str:
        calls.append("process")
        context.set_state("data", "processed")
        return "format_output"

    async def format_output(context: Context) -> None:
        calls.append("format")
        context.set_state("result", str(context.get_state("data")).upper())

    agent = Agent("my_workflow", store=store)
    agent.add_state("process_data", process_data)
    agent.add_state("format_output", format_output)
    result = await agent.run()
    assert result.get_state("result") == "PROCESSED"
    assert result.status == "completed"
    assert result.completed_states == {"process_data", "format_output"}
    assert calls == ["process", "format"]


async def test_a2_values_come_back_as_they_were(store: str) -> None:
    values: dict[str, Any] = {
        "text": "é\u2028🦀",
        "list": [1, [True, None]],
        "nested": {"a": {"b": 1.5}},
        "none": None,
        "large": 2**60,
        "unsigned": 2**64 - 1,
        "negative": -(2**63),
        "mebibyte": "x" * 2**20,
    }
    seen: dict[str, Any] = {}

    async def write(context: Context) -> str:
        for key, value in values.items():
            context.set_state(key, value)
        context.set_state("tuple", (1, 2))
        context.remove_state("given")
        return "read"

    async def read(context: Context) -> None:
        seen.update({key: context.get_state(key) for key in context.get_keys()})
        assert not context.has_state("given")
        assert context.get_state("given", 7) == 7

    agent = Agent("values", store=store)
    agent.add_state("write", write)
    agent.add_state("read", read)
    await agent.run({"given": 1})
    assert seen == {**values, "tuple": [1, 2]}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (threading.Lock(), "lock is not str"),
        (lambda: 0, "function is not str"),
        ({1}, "set is not str"),
        (float("nan"), "NaN is not a finite number"),
        (b"", "bytes is not str"),
        (2**64, "an int must lie between"),
        ({1: 2}, "the keys of a dict must be str, not int"),
        ("\ud800", "a lone surrogate"),
    ],
)
async def test_a4_what_is_no_json_is_a_type_error_that_names_the_key(value: object, reason: str) -> None:
    async def write(context: Context) -> None:
        context.set_state("good", 1)
        with pytest.raises(TypeError, match=f"context key 'bad' cannot be kept as JSON: .*{reason}"):
            context.set_state("bad", value)

    agent = Agent("misfits", store="memory:")
    agent.add_state("write", write)
    assert (await agent.run()).context == {"good": 1}


async def test_a4_a_type_error_that_nobody_catches_is_not_tried_again() -> None:
    calls = 0

    async def write(context: Context) -> None:
        nonlocal calls
        calls += 1
        context.set_state("bad", {1})

    agent = Agent("misfit", store="memory:", retry_policy=RetryPolicy(initial_delay=0.0))
    agent.add_state("write", write)
    with pytest.raises(RunFailed, match="context key 'bad'") as failed:
        await agent.run()
    assert isinstance(failed.value.__cause__, TypeError)
    assert calls == 1


async def test_a6_branches_run_side_by_side_and_meet_once(store: str) -> None:
    both = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None
    merges = []

    async def start(context: Context) -> list[str]:
        return ["a", "b"]

    async def a(context: Context) -> str:
        if both is not None:
            await both.wait()
        context.set_state("a", 1)
        return "merge"

    async def b(context: Context) -> str:
        if both is not None:
            await both.wait()
        context.set_state("b", 2)
        return "merge"

    async def merge(context: Context) -> None:
        merges.append((context.get_state("a"), context.get_state("b")))

    agent = Agent("fork", store=store)
    for state in (start, a, b, merge):
        agent.add_state(state.__name__, state)
    await agent.run()
    assert merges == [(1, 2)]


async def test_a11_payloads_are_executions_of_their_own(store: str) -> None:
    async def split(context: Context) -> list[tuple[str, dict[str, int]]]:
        return [("part", {"chunk_id": i}) for i in range(20)]

    async def part(context: Context) -> str:
        context.set_state(f"part_{context.get_state('chunk_id')}", context.payload)
        return "merge"

    async def merge(context: Context) -> None:
        context.set_state("merged", len(context.get_keys()))

    agent = Agent("chunks", store=store)
    for state in (split, part, merge):
        agent.add_state(state.__name__, state)
    result = await agent.run()
    assert result.get_state("merged") == 20
    assert result.get_state("part_7") == {"chunk_id": 7}


async def test_a12_another_agent_goes_a_branch(store: str) -> None:
    async def bill(context: Context) -> None:
        context.set_state("billed", context.get_state("amount"))

    billing = Agent("billing", store=store)
    billing.add_state("bill", bill)

    async def order(context: Context) -> tuple[Agent, str]:
        context.set_state("amount", 3)
        return (billing, "bill")

    async def asks(context: Context) -> None:
        result = await context.run_agent(billing, {"amount": 5})
        context.set_state("billed", result.get_state("billed"))

    ordering = Agent("ordering", store=store)
    ordering.add_state("order", order)
    assert (await ordering.run()).status == "completed"

    asking = Agent("asking", store=store)
    asking.add_state("asks", asks)
    assert (await asking.run()).get_state("billed") == 5


async def test_a13_a_reducer_unites_what_branches_write(store: str) -> None:
    async def start(context: Context) -> list[str]:
        return ["a", "b"]

    async def count(context: Context) -> None:
        context.set_state("n", context.get_state("n", 0) + 1)

    agent = Agent("counting", store=store, reducers={"n": "sum"})
    agent.add_state("start", start)
    agent.add_state("a", count)
    agent.add_state("b", count)
    assert (await agent.run()).get_state("n") == 2


async def test_a17_needs_and_their_conditions_are_kept(store: str) -> None:
    order: list[str] = []

    def step(name: str) -> Any:
        async def run(context: Context) -> None:
            order.append(name)
            context.set_state(name, True)

        return run

    async def is_ready(context: Context) -> bool:
        return bool(context.get_state("prepare"))

    agent = Agent("needs", store=store)
    agent.add_state("prepare", step("prepare"))
    agent.add_state("final", step("final"), dependencies=["prepare"], next=[])
    agent.add_state(
        "maybe",
        step("maybe"),
        dependencies={"final": (stepwell.DependencyType.CONDITIONAL, None, is_ready)},
        next=[],
    )
    agent.add_state(
        "never",
        step("never"),
        dependencies={"final": (stepwell.DependencyType.CONDITIONAL, None, lambda context: False)},
        next=[],
    )
    result = await agent.run()
    assert order == ["prepare", "final", "maybe"]
    assert result.completed_states == {"prepare", "final", "maybe"}


async def test_a20_all_mistakes_of_a_definition_are_told_at_once() -> None:
    async def nothing(context: Context) -> None:
        """End."""

    agent = Agent("wrong", store="memory:")
    agent.add_state("a", nothing, dependencies=["a", "missing"])
    agent.add_state("b", nothing, dependencies={"a": stepwell.DependencyType.TIMEOUT})
    with pytest.raises(stepwell.DefinitionError) as wrong:
        await agent.run()
    assert "missing" in str(wrong.value)
    assert "step 'b': its need of 'a' is of kind TIMEOUT and has no timeout" in str(wrong.value)
    assert len(wrong.value.problems) >= 3


async def test_a22_a_failure_keeps_its_type_and_traceback(store: str) -> None:
    calls = 0

    async def fails(context: Context) -> None:
        nonlocal calls
        calls += 1
        raise KeyError("no bread")

    agent = Agent("failing", store=store)
    agent.add_state("fails", fails, retry_policy=RetryPolicy(max_retries=2, initial_delay=0.0))
    with pytest.raises(RunFailed) as failed:
        await agent.run()
    assert calls == 3
    assert isinstance(failed.value.__cause__, KeyError)
    error = failed.value.result.error
    assert error.data["last_error"]["data"]["exception_type"] == "KeyError"
    assert 'raise KeyError("no bread")' in error.data["last_error"]["data"]["traceback"]
    result = await agent.run(raise_on_error=False)
    assert result.status == "failed"
    assert result.failed_states == {"fails"}
    [letter] = await (await agent.find(result.run_id)).dead_letters()
    assert (letter["step"], letter["attempts"], letter["timed_out"]) == ("fails", 3, False)


@pytest.mark.parametrize("named", [(KeyError,), ("LookupError",)])
async def test_an_exception_that_is_named_is_not_tried_again(named: Any) -> None:
    calls = 0

    async def fails(context: Context) -> None:
        nonlocal calls
        calls += 1
        raise KeyError("no bread")

    agent = Agent("failing", store="memory:")
    agent.add_state("fails", fails, retry_policy=RetryPolicy(initial_delay=0.0, non_retryable=named))
    with pytest.raises(RunFailed):
        await agent.run()
    assert calls == 1


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("nowhere", "which no step is named"),
        (42, "it returned 42, which names no step"),
        ({"b": 1}, "names no step"),
        (["b", 7], "names no step"),
        (("b",), "names no step"),
        (("b", {1}), "a payload for 'b' cannot be kept as JSON"),
    ],
)
async def test_a27_a_wrong_route_fails_once_and_nothing_of_it_takes_effect(
    returned: Any, message: str
) -> None:
    calls = []

    async def a(context: Context) -> Any:
        calls.append("a")
        return returned

    async def b(context: Context) -> None:
        calls.append("b")

    agent = Agent("routes", store="memory:", retry_policy=RetryPolicy(initial_delay=0.0))
    agent.add_state("a", a, entry=True)
    agent.add_state("b", b)
    with pytest.raises(RunFailed, match=message):
        await agent.run()
    assert calls == ["a"]


async def test_a30_cancelling_is_seen_by_the_function(store: str) -> None:
    begun, seen = asyncio.Event(), asyncio.Event()

    async def sleeps(context: Context) -> str:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            assert context.cancelled
            seen.set()
            raise
        return "after"

    async def after(context: Context) -> None:
        raise AssertionError("it never begins")

    agent = Agent("long", store=store)
    agent.add_state("sleeps", sleeps)
    agent.add_state("after", after)
    running = asyncio.create_task(agent.run())
    await begun.wait()
    assert await agent.cancel_all() == 1
    with pytest.raises(stepwell.RunCancelled):
        await running
    assert seen.is_set()


async def test_a30_what_is_cancelled_before_its_function_began_ends_at_once(store: str) -> None:
    blocked, called = threading.Event(), threading.Barrier(3)

    def until(step: str, status: str) -> None:
        while agent.state_metadata[step].status != status:
            time.sleep(0.001)

    async def blocks_the_loop(context: Context) -> None:
        # The loop has called the two others.
        while called.n_waiting < 2:
            await asyncio.sleep(0)
        called.wait()
        blocked.set()
        until("late", "cancelled")

    def leads(context: Context) -> str:
        called.wait()
        blocked.wait()
        return "late"

    def fails(context: Context) -> None:
        called.wait()
        until("late", "running")
        raise KeyError("no bread")

    async def late(context: Context) -> None:
        raise AssertionError("it never begins")

    agent = Agent("late", store=store)
    agent.add_state("blocks_the_loop", blocks_the_loop)
    agent.add_state("leads", leads)
    agent.add_state("fails", fails)
    agent.add_state("late", late)
    running = agent.run(cleanup_timeout=600, raise_on_error=False)
    # Nobody waits until an engine gives an attempt up by itself, which takes 10 s.
    assert (await asyncio.wait_for(running, 8)).status == "failed"


async def test_a38_a_question_lets_go_and_the_function_runs_again(store: str) -> None:
    calls, charged = 0, 0

    def charge() -> str:
        nonlocal charged
        charged += 1
        return "receipt"

    async def ask(context: Context) -> None:
        nonlocal calls
        calls += 1
        context.set_state("receipt", await context.once("charge", charge))
        context.set_state("name", await context.ask_human("Who?", {"type": "string", "minLength": 2}))
        context.set_state("sure", await context.human_in_the_loop("Sure?"))

    agent = Agent("asking", store=store)
    agent.add_state("ask", ask)
    run = await agent.start()
    assert await run.rest() == "paused"
    [question] = await run.questions()
    assert question["prompt"] == "Who?"
    with pytest.raises(stepwell.AnswerInvalidError):
        await run.answer(question["wait_id"], "x")
    await run.answer(question["wait_id"], "Ada")
    with pytest.raises(stepwell.ResumeError):
        await run.answer(question["wait_id"], "Bob")
    # It goes on, and comes to rest at the next question.
    await run.rest()
    [question] = await run.questions()
    assert question["prompt"] == "Sure?"
    await run.answer(question["wait_id"], "yes")
    result = await run.wait()
    assert result.context == {"receipt": "receipt", "name": "Ada", "sure": "yes"}
    assert (calls, charged) == (3, 1)


async def test_a38_without_an_answer_the_default_or_a_timeout(store: str) -> None:
    async def ask(context: Context) -> None:
        context.set_state("answer", await context.human_in_the_loop("?", timeout=0.01, default=None))
        with pytest.raises(stepwell.HumanTimeout):
            await context.human_in_the_loop("?", timeout=0.01)

    agent = Agent("patient", store=store)
    agent.add_state("ask", ask)
    assert (await agent.run()).context == {"answer": None}


async def test_questions_side_by_side_are_open_at_once(store: str) -> None:
    async def ask(context: Context) -> None:
        answers = await asyncio.gather(
            context.ask_human("A?", name="a"), context.ask_human("B?", name="b"), context.sleep(0)
        )
        context.set_state("answers", answers[:2])

    agent = Agent("gathering", store=store)
    agent.add_state("ask", ask)
    run = await agent.start()
    await run.rest()
    questions = {q["prompt"]: q["wait_id"] for q in await run.questions()}
    assert set(questions) == {"A?", "B?"}
    await run.answer(questions["B?"], 2)
    await run.answer(questions["A?"], 1)
    assert (await run.wait()).get_state("answers") == [1, 2]


async def test_a_plain_function_runs_on_a_thread_and_waits_directly(store: str) -> None:
    here = threading.get_ident()

    def plain(context: Any) -> str:
        assert threading.get_ident() != here
        context.set_state("once", context.once("x", lambda: 7))
        context.sleep(0.0)
        context.set_state("signal", context.wait_for_signal("go"))
        return "after"

    def after(context: Any) -> None:
        context.set_state("after", True)

    agent = Agent("plain", store=store)
    agent.add_state("plain", plain)
    agent.add_state("after", after)
    run = await agent.start()
    await run.signal("go", [1])
    assert (await run.wait()).context == {"once": 7, "signal": [1], "after": True}


async def test_a_context_is_stale_when_its_attempt_has_ended() -> None:
    kept: list[Context] = []

    async def keep(context: Context) -> None:
        kept.append(context)

    agent = Agent("keeping", store="memory:")
    agent.add_state("keep", keep)
    await agent.run()
    with pytest.raises(stepwell.StaleContext):
        kept[0].set_state("late", 1)


async def test_an_agent_that_runs_already_says_so() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def waits(context: Context) -> None:
        begun.set()
        await go.wait()

    agent = Agent("busy", store="memory:")
    agent.add_state("waits", waits)
    first = asyncio.create_task(agent.run())
    await begun.wait()
    with pytest.raises(stepwell.AlreadyRunning):
        await agent.run()
    go.set()
    await first


def test_an_agent_runs_in_one_loop_after_another() -> None:
    async def step(context: Context) -> None:
        context.set_state("n", context.get_state("n") + 1)

    agent = Agent("loops", store="memory:")
    agent.add_state("step", step)
    assert [agent.run_sync({"n": n}).get_state("n") for n in range(3)] == [1, 2, 3]


async def test_many_runs_at_once_all_end(store: str) -> None:
    async def first(context: Context) -> str:
        context.set_state("n", context.get_state("n") + 1)
        return "second"

    async def second(context: Context) -> None:
        context.set_state("n", context.get_state("n") + 1)

    agent = Agent("many", store=store)
    agent.add_state("first", first)
    agent.add_state("second", second)
    runs = [await agent.start({"n": n}) for n in range(100)]
    results = await asyncio.gather(*(run.wait() for run in runs))
    assert [result.get_state("n") for result in results] == [n + 2 for n in range(100)]


@pytest.mark.parametrize("func", [lambda: None, lambda a, b: None, 7])
def test_what_cannot_be_called_with_a_context_is_refused(func: Any) -> None:
    with pytest.raises(TypeError, match="step 'x'"):
        Agent("wrong").add_state("x", func)


def speaker(word: str, store: str) -> Agent:
    async def say(context: Context) -> None:
        context.set_state("said", word)
        await asyncio.sleep(0)

    agent = Agent("speaker", store=store)
    agent.add_state("say", say)
    return agent


async def test_agents_of_one_name_run_their_own_functions(store: str) -> None:
    one, other = speaker("one", store), speaker("other", store)
    said = [(await agent.run()).get_state("said") for agent in (one, other, one)]
    assert said == ["one", "other", "one"]


async def test_agents_of_one_name_with_other_functions_do_not_run_at_once(store: str) -> None:
    one, other = speaker("one", store), speaker("other", store)
    results = await asyncio.gather(one.run(), other.run(), return_exceptions=True)
    assert isinstance(results[0], stepwell.RunResult)
    assert results[0].get_state("said") == "one"
    assert isinstance(results[1], stepwell.ConfigurationError)
    assert "another agent called 'speaker' is running" in str(results[1])


async def test_runs_of_an_agent_keep_their_functions_while_another_has_its_name(store: str) -> None:
    def asker(word: str) -> Agent:
        async def ask(context: Context) -> None:
            context.set_state("said", [word, await context.human_in_the_loop("?")])

        agent = Agent("asker", store=store)
        agent.add_state("ask", ask)
        return agent

    one, other = asker("one"), asker("other")
    run = await one.start(run_id="kept")
    await run.rest()
    refused = "another agent called 'asker' is running in this process, with other functions: run kept"
    for begins in (other.start(), other.run()):
        with pytest.raises(stepwell.ConfigurationError, match=refused):
            await begins
    # What people do concerns the run, and not whose functions it has.
    (asked,) = await other.inbox()
    await other.answer(asked["wait_id"], "1")
    assert (await run.wait()).get_state("said") == ["one", "1"]

    begun = await other.start(run_id="repaired")
    await begun.rest()
    # Who names the run takes it over.
    taken = await one.find("repaired")
    (asked,) = await one.inbox()
    await one.answer(asked["wait_id"], "2")
    assert (await taken.wait()).get_state("said") == ["one", "2"]

    await (await one.start()).rest()
    assert await other.cancel_all() == 1
    await (await other.start()).rest()
    assert await other.cancel_all() == 1


def test_functions_of_a_loop_that_has_ended_make_room_for_others(tmp_path: Path) -> None:
    async def left(agent: Agent) -> None:
        await agent.start()

    store = f"sqlite://{tmp_path / 'runs.db'}"
    asyncio.run(left(speaker("one", store)))
    assert speaker("other", store).run_sync(progress=False).get_state("said") == "other"


async def test_what_is_given_wrongly_is_named() -> None:
    agent = speaker("one", "memory:")
    with pytest.raises(TypeError, match="input must be a dict"):
        await agent.run("hello")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"use `await agent.run"):
        agent.run_sync()
    told = []

    async def ask(context: Context) -> None:
        for form in ({"schema": ["a"]}, {"options": "yes"}):
            with pytest.raises(TypeError) as wrong:
                await context.ask_human("which?", **form)
            told.append(str(wrong.value))
        forgotten = context.sleep(0)
        with pytest.raises(TypeError, match="was an `await` forgotten"):
            context.set_state("slept", forgotten)
        forgotten.close()

    asking = Agent("asking", store="memory:")
    asking.add_state("ask", ask)
    await asking.run()
    assert "what may be chosen is `options=[…]`" in told[0]
    assert "options must be a list, not the str 'yes'" in told[1]


async def test_a_run_that_had_failed_before_says_so(store: str) -> None:
    is_broken = True

    async def work(context: Context) -> None:
        if is_broken:
            raise ValueError("bug")
        context.set_state("done", True)

    agent = Agent("mended", store=store)
    agent.add_state("work", work)
    with pytest.raises(RunFailed) as first:
        await agent.run(run_id="r")
    assert first.value.hint is None
    is_broken = False
    with pytest.raises(RunFailed, match=r"nothing was done now; `agent\.retry\('r'\)` tries again"):
        await agent.run(run_id="r")
    assert (await agent.retry("r")).get_state("done") is True


async def test_a_run_id_of_other_steps_is_refused_with_what_has_changed(store: str) -> None:
    async def nothing(context: Context) -> None:
        pass

    before, after = Agent("changed", store=store), Agent("changed", store=store)
    for agent in (before, after):
        agent.add_state("first", nothing, max_retries=1 if agent is after else 0)
    before.add_state("second", nothing, entry=True)
    after.add_state("third", nothing, entry=True)
    await before.run(run_id="changed")
    with pytest.raises(RunExistsError, match="step 'second' is missing; step 'third' is new") as refused:
        await after.run(run_id="changed")
    assert refused.value.data["changes"][0].startswith("step 'first' has another retry")
    assert "go on with the definition that the run began with" in str(refused.value.hint)
