"""Every Python block of the document of Fluffy Agent Flow is run, with only the setting around it supplied.

What the print itself gets wrong runs as printed against the error that spec/fluffy.md §11 names, and once in each
mended form.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, List  # noqa: UP035 - as the document has it

import pytest
from document import Document, mended, run

import stepwell
from stepwell import Agent, Context, TypedContextData
from stepwell.compat import fluffy_agent

DOCUMENT = Document(Path(__file__).parent / "documents" / "fluffy_agent_flow.md")

#: The blocks that a test has run.
_done: set[str] = set()


@pytest.fixture(autouse=True, params=["memory:", "sqlite"])
def surroundings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the names that the document imports be ours, and its stores and files be thrown away."""
    monkeypatch.setitem(sys.modules, "fluffy_agent", fluffy_agent)
    monkeypatch.chdir(tmp_path)
    store = "memory:" if request.param == "memory:" else f"sqlite://{tmp_path}/runs.db"
    monkeypatch.setenv("STEPWELL_STORE", store)


def printed(words: str) -> str:
    """Return the block with these words as it is printed."""
    block = DOCUMENT.block(words)
    _done.add(block)
    return block


class Notes:
    """Steps that note that they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def step(self, name: str, to: Any = None, does: Callable[[Context], Any] | None = None) -> Any:
        async def note(context: Context) -> Any:
            self.ran.append(name)
            if does is not None:
                does(context)
            return to

        return note

    def add(self, agent: Agent, *names: str, to: Any = None) -> None:
        for name in names:
            agent.add_state(name, self.step(name, to), next=[] if to is None else [to])


@pytest.fixture
def notes() -> Notes:
    return Notes()


def split_data(data: list[Any], size: int, chunk_size: int = 0) -> list[list[Any]]:
    size = size or chunk_size
    return [data[i : i + size] for i in range(0, len(data), size)]


async def test_a1_the_quick_start() -> None:
    names = await run(printed("# Define states\nasync def process_data(context: Context)"))
    agent = names["agent"]
    assert agent.status == "completed"
    checkpoint = agent.create_checkpoint()
    assert checkpoint.shared_state == {"data": "processed", "result": "PROCESSED"}
    assert [execution["step"] for execution in checkpoint.executions] == ["process_data", "format_data"]


async def test_a3_section_1_the_context(notes: Notes) -> None:
    block = printed("class UserProfile(TypedContextData)")
    with pytest.raises(NameError, match="TypedContextData"):
        await run(block)
    names = await run(block, TypedContextData=TypedContextData)
    agent = Agent("context")
    agent.add_state("store_data", names["store_data"], entry=True)
    agent.add_state("handle_user", names["handle_user"], entry=True)
    with pytest.raises(stepwell.RunFailed, match="'next_state', which no step is named") as failed:
        await agent.run()
    assert failed.value.name == "UNKNOWN_STEP"
    notes.add(agent, "next_state")
    result = await agent.run()
    assert result.get_state("scores") == [95, 87, 92]
    profile = names["UserProfile"]
    assert result.get_typed("user", profile) == profile(name="Alice", age=29, scores=[95.0, 87.5])
    assert notes.ran == ["next_state"]


async def test_section_2_flow_control(notes: Notes) -> None:
    names = await run(printed("async def start_parallel"), **vars(fluffy_agent))
    agent = Agent("sequence")
    agent.add_state("step1", names["step1"])
    agent.add_state("step2", names["step2"])
    notes.add(agent, "step3")
    assert (await agent.run()).completed_states == {"step1", "step2", "step3"}
    agent = Agent("parallel")
    merges = Notes()

    async def merge_results(context: Context) -> Any:
        merges.ran.append("merge_results")
        assert set(notes.ran) == {"step3", "process_images", "process_text"}
        return await names["merge_results"](context)

    agent.add_state("start_parallel", names["start_parallel"])
    notes.add(agent, "process_images", "process_text", to="merge_results")
    agent.add_state("merge_results", merge_results)
    await agent.run()
    assert merges.ran == ["merge_results"]


async def test_section_3_resources_on_any_machine(notes: Notes) -> None:
    agent = Agent("resources")
    await run(printed('"train_model",\n    train_model,'), agent=agent, train_model=notes.step("train_model"))
    result = await agent.run()
    assert result.completed_states == {"train_model"}
    assert [warning["code"] for warning in result.warnings] == ["advisory_resource"]
    assert "gpu_units" in result.warnings[0]["message"]


async def test_a17_section_4_dependencies(notes: Notes) -> None:
    finished, background = asyncio.Event(), asyncio.Event()

    async def validate_data(context: Context) -> None:
        await asyncio.sleep(0)
        notes.ran.append("validate_data")

    async def background_task(context: Context) -> None:
        background.set()
        await finished.wait()
        notes.ran.append("background_task")

    async def final_step(context: Context) -> None:
        notes.ran.append("final_step")
        finished.set()

    agent = Agent("dependencies")
    await run(
        printed('"background_task": DependencyType.PARALLEL'),
        agent=agent,
        final_step=final_step,
    )
    with pytest.raises(stepwell.DefinitionError) as wrong:
        await agent.run()
    for name in ("prepare_data", "validate_data", "background_task"):
        assert name in str(wrong.value)
    notes.add(agent, "prepare_data")
    agent.add_state("validate_data", validate_data)
    agent.add_state("background_task", background_task)
    await agent.run()
    assert background.is_set()
    assert sorted(notes.ran[:2]) == ["prepare_data", "validate_data"]
    assert notes.ran[2:] == ["final_step", "background_task"]


async def test_a21_section_5_retries() -> None:
    calls = []

    async def make_api_call(context: Context) -> None:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            raise ConnectionError("no network")

    agent = Agent("retries")
    await run(printed("# Configure retries"), agent=agent, make_api_call=make_api_call)
    await agent.run()
    assert len(calls) == 2
    assert calls[1] - calls[0] >= 0.5
    assert agent.state_metadata["api_call"].max_retries == 3


@pytest.mark.parametrize(
    ("answer", "then"), [("I approve of this", "publish"), ("please do it again", "revise")]
)
async def test_a38_section_6_a_human_in_the_loop(notes: Notes, answer: str, then: str) -> None:
    names = await run(printed("async def review_content"), **vars(fluffy_agent))
    agent = Agent("review")
    agent.add_state("review_content", names["review_content"])
    assert {warning["code"] for warning in agent.warnings()} == {"unknown_target"}
    notes.add(agent, "publish", "revise")
    started = await agent.start()
    await started.rest()
    [question] = await started.questions()
    assert question["prompt"] == "Review this content:"
    await started.answer(question["wait_id"], "approve")
    await started.rest()
    [question] = await started.questions()
    assert question["rejected"]["answer"] == "approve"
    await started.answer(question["wait_id"], answer)
    await started.wait()
    assert notes.ran == [then]


async def test_section_7_execution_control(notes: Notes) -> None:
    agent = Agent("basic")
    notes.add(agent, "only")
    names = await run(printed("# Basic execution"), agent=agent, Agent=Agent)
    assert notes.ran == ["only"] * 3
    # It was printed after the agent was made anew: there is no run, and nothing changes.
    assert names["checkpoint"].agent_status == "idle"
    assert names["agent"].status == "idle"


async def test_section_7_after_the_end_pause_gives_the_checkpoint_of_the_run(notes: Notes) -> None:
    agent = Agent("basic")
    notes.add(agent, "only")
    lines = printed("# Basic execution").split("# Configure maximum")[0]
    names = await run(lines + "checkpoint = await agent.pause()\nawait agent.cancel_all()", agent=agent)
    assert names["checkpoint"].agent_status == "completed"
    with pytest.raises(stepwell.ResumeError):
        await agent.resume()


async def test_section_7_in_a_second_task_it_pauses_and_resumes() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def first(context: Context) -> str:
        begun.set()
        await go.wait()
        return "second"

    async def second(context: Context) -> None:
        """End."""

    agent = Agent("basic")
    agent.add_state("first", first)
    agent.add_state("second", second)
    running = asyncio.create_task(agent.run())
    await begun.wait()
    lines = printed("# Basic execution").split("# Pause and resume")[1].split("# Cancel")[0]
    names = await run(lines, agent=agent)
    assert names["checkpoint"].agent_status == "paused"
    go.set()
    assert (await running).completed_states == {"first", "second"}


async def test_a31_section_8_checkpoints(notes: Notes, tmp_path: Path) -> None:
    def add(agent: Agent) -> None:
        agent.add_state(
            "first", notes.step("first", "wait", lambda context: context.set_state("a", 1)), next=["wait"]
        )
        agent.add_state("wait", waits)

    async def waits(context: Context) -> None:
        context.set_state("b", await context.wait_for_signal("go"))

    agent = Agent("my_workflow")
    add(agent)
    started = await agent.start()
    await started.rest()
    names = await run(printed("# Create new agent and restore"), agent=agent, Agent=Agent)
    assert (tmp_path / "workflow_state.json").stat().st_size > 0
    assert names["checkpoint_data"]["agent_name"] == "my_workflow"
    assert names["checkpoint_data"]["completed_states"] == ["first"]
    assert names["checkpoint_data"]["shared_state"] == {"a": 1}
    new_agent = names["new_agent"]
    add(new_agent)
    await new_agent.resume()
    restored = await new_agent.find(new_agent.run_id)
    await restored.signal("go", 2)
    assert (await restored.wait()).context == {"a": 1, "b": 2}
    assert notes.ran == ["first"]
    await agent.cancel_all()


@pytest.mark.parametrize("fails", [False, True])
async def test_a26_section_9_the_lifecycle_of_a_state(notes: Notes, fails: bool) -> None:
    seen = []

    async def process_data() -> None:
        seen.append(agent.state_metadata["my_state"].status)
        if fails:
            raise KeyError("no bread")

    async def my_state(context: Context) -> Any:
        return await names["monitored_state"](context)

    def handles(context: Context) -> None:
        seen.append(context.get_state("error"))

    agent = Agent("lifecycle")
    agent.add_state("my_state", my_state, next=["next_state", "handle_error"])
    notes.add(agent, "next_state")
    agent.add_state("handle_error", notes.step("handle_error", does=handles))
    names = await run(
        printed("# Track state execution"),
        agent=agent,
        process_data=process_data,
        Context=Context,
        StateResult=Any,
    )
    assert (names["status"], names["state_status"]) == ("idle", "pending")
    assert names["metrics"] == {"completed": 0, "running": 0, "pending": 0}
    result = await agent.run()
    assert seen == (["running", "'no bread'"] if fails else ["running"])
    assert notes.ran == (["handle_error"] if fails else ["next_state"])
    assert result.context == ({"error": "'no bread'"} if fails else {"success": True})
    assert agent.state_metadata["my_state"].status == "completed"
    events = [event["event"]["type"] async for event in (await agent.find(result.run_id)).events()]
    assert [type for type in events if "Step" in type or "Attempt" in type][:3] == [
        "StepActivated",
        "AttemptStarted",
        "StepCompleted",
    ]


@pytest.mark.parametrize(
    ("size", "then"),
    [
        (10, ["simple_process"]),
        (500, ["sequential_process"]),
        (5_000, ["process_chunk_1", "process_chunk_2"]),
    ],
)
async def test_a9_section_10_conditional_execution(notes: Notes, size: int, then: list[str]) -> None:
    names = await run(printed("async def route_processing"), **vars(fluffy_agent))
    agent = Agent("conditional")
    agent.add_state("route_processing", names["route_processing"])
    possible = ["process_chunk_1", "process_chunk_2", "sequential_process", "simple_process"]
    notes.add(agent, *possible)
    result = await agent.run({"data": [0] * size})
    assert sorted(notes.ran) == then
    assert result.not_reached == set(possible) - set(then)


async def test_a11_section_10_dynamic_states(notes: Notes) -> None:
    async def process(chunk: list[int]) -> int:
        return sum(chunk)

    def merges(context: Context) -> None:
        context.set_state("sum", sum(context.get_state(f"result_{i}") for i in range(20)))

    agent = Agent("dynamic", max_concurrent=5)
    await run(
        printed("# Dynamically add states based on data"),
        agent=agent,
        process=process,
        large_data=list(range(20_000)),
        split_data=lambda data, chunk_size: split_data(data, chunk_size),
        **vars(fluffy_agent),
    )
    agent.add_state("merge_results", notes.step("merge_results", does=merges), next=[])
    result = await agent.run()
    assert result.get_state("sum") == sum(range(20_000))
    assert notes.ran == ["merge_results"]
    assert result.metrics["max_running"] <= 5


async def test_a26_section_10_cleanup(notes: Notes) -> None:
    released = []

    async def release_resource(resource: str) -> None:
        released.append(resource)

    async def perform_operation(context: Context) -> None:
        raise KeyError("no bread")

    block = printed("async def critical_operation")
    agent = Agent("cleanup")
    await run(block, agent=agent, **vars(fluffy_agent))
    notes.add(agent, "next_state", "handle_error")
    await agent.run()
    assert notes.ran == ["next_state"]
    agent = Agent("cleanup")
    await run(
        mended(block, ("# Perform operation", "await perform_operation(context)")),
        agent=agent,
        perform_operation=perform_operation,
        release_resource=release_resource,
        **vars(fluffy_agent),
    )
    notes.add(agent, "next_state", "handle_error")
    result = await agent.run({"allocated_resources": ["a", "b"]})
    assert result.completed_states == {"critical_operation", "cleanup_resources", "handle_error"}
    assert released == ["a", "b"]


class Complete:
    """The setting of the complete example."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.saved: list[Any] = []
        self.processed: list[int] = []

    def setting(self) -> dict[str, Any]:
        async def process_data(chunk: list[dict[str, int]]) -> list[int]:
            self.processed.append(chunk[0]["id"])
            return [item["id"] for item in chunk]

        return {
            "TypedContextData": TypedContextData,
            "split_data": split_data,
            "process_data": process_data,
            "save_checkpoint": self.saved.append,
            "notes": self.notes,
        }

    async def run(self, block: str, answer: str) -> Any:
        """Run the block, and answer the question of its agent."""
        names: dict[str, Any] = self.setting()
        answering = asyncio.create_task(self.answer(names, answer))
        agent = (await run(block, **names, tell=names.update))["agent"]
        await answering
        return agent

    async def answer(self, names: dict[str, Any], answer: str) -> None:
        while "agent" not in names or not (questions := await names["agent"].inbox()):
            await asyncio.sleep(0.001)
        [question] = questions
        assert question["prompt"] == "Review results. Approve? (yes/no):"
        await names["agent"].answer(question["wait_id"], answer)


#: What the print leaves to be added, before it runs the agent.
ADDED = """
agent.add_state("human_review", human_review)
notes.add(agent, "finalize_job", "handle_rejection", "handle_error")
tell(agent=agent)

# Run with checkpointing"""

ROUTED = '    return ["process_chunk_0", "process_chunk_1", "process_chunk_2"]'


async def test_section_11_as_printed_names_a_step_that_is_not_there() -> None:
    complete = Complete()
    block = printed("# Create agent with configuration")
    with pytest.raises(NameError, match="TypedContextData"):
        await run(block)
    names = await run(block, **complete.setting())
    [checkpoint] = complete.saved
    assert checkpoint.agent_status == "failed"
    [failure] = checkpoint.failures
    assert failure["step"] == "initialize_job"
    assert "process_chunk_0" in failure["message"]
    assert failure["code"] == stepwell.StepwellError("", code="UNKNOWN_STEP").code
    assert "process_chunk" in str((await names["agent"].run(raise_on_error=False)).error.hint)
    assert complete.processed == []


@pytest.mark.parametrize(("answer", "then"), [("Yes", "finalize_job"), ("no", "handle_rejection")])
async def test_a40_section_11_mended_by_payloads(answer: str, then: str) -> None:
    complete = Complete()
    payloads = '    return [("process_chunk", {"chunk_id": i}) for i in range(10)]'
    block = mended(
        printed("# Create agent with configuration"),
        (ROUTED, payloads),
        ("\n# Run with checkpointing", ADDED),
    )
    agent = await complete.run(block, answer)
    assert agent.status == "completed"
    assert agent.create_checkpoint().shared_state["final_results"] == list(range(100))
    assert sorted(complete.processed) == list(range(0, 100, 10))
    assert complete.notes.ran == [then]
    assert complete.saved == []
    assert agent.metrics()["executions"] == 1 + 10 + 1 + 1 + 1


@pytest.mark.parametrize(("answer", "then"), [("yes", "finalize_job"), ("No", "handle_rejection")])
async def test_a40_section_11_mended_by_a_step_for_each_chunk(answer: str, then: str) -> None:
    complete = Complete()
    printed_block = printed("# Create agent with configuration")
    begin, end = (
        printed_block.index("async def process_chunk"),
        printed_block.index("async def merge_results"),
    )
    function = printed_block[begin:end]
    add = printed_block[printed_block.index('agent.add_state(\n    "process_chunk"') :]
    add = add[: add.index("\n)\n") + 3]
    each = mended(
        function,
        ("(context: Context)", "(context: Context, chunk_id=i)"),
        ('    chunk_id = context.get_state("chunk_id")\n', ""),
    )
    named = mended(add, ('"process_chunk"', 'f"process_chunk_{i}"'))
    indented = "".join(
        f"    {line}" if line.strip() else line for line in (each + named).splitlines(keepends=True)
    )
    needs = '        "process_chunk": DependencyType.REQUIRED\n'
    each_needed = "".join(
        needs.replace("process_chunk", f"process_chunk_{i}").replace("\n", ",\n") for i in range(3)
    )
    block = mended(
        printed_block,
        (function, ""),
        (add, f"for i in range(3):\n{indented}\n"),
        (needs, each_needed),
        ("\n# Run with checkpointing", ADDED),
    )
    agent = await complete.run(block, answer)
    assert agent.status == "completed"
    # Ten chunks are made, and three of them routed.
    assert agent.create_checkpoint().shared_state["final_results"] == list(range(30))
    assert complete.notes.ran == [then]


def supplied(**more: Any) -> dict[str, Any]:
    from dataclasses import dataclass

    return {**vars(fluffy_agent), "dataclass": dataclass, "List": List, "split_data": by_count, **more}  # noqa: UP006


def by_count(records: list[Any], count: int) -> list[list[Any]]:
    return [records[i::count] for i in range(count)]


async def test_a40_use_case_1_content(notes: Notes) -> None:
    names = await run(printed("async def generate_content"), **supplied())
    agent, article = names["agent"], names["Article"]
    with pytest.raises(stepwell.RunFailed, match="'generate_images', which no step is named"):
        await agent.run()

    async def regenerate_content(context: Context) -> str:
        notes.ran.append("regenerate_content")
        old: Any = context.get_typed("article", article)
        context.update_typed("article", content=old.content + 500 * "x")
        return "check_quality"

    agent.add_state("regenerate_content", regenerate_content)
    notes.add(agent, "generate_images", to="await_completion")
    notes.add(agent, "await_completion")
    result = await agent.run()
    assert sorted(notes.ran) == [
        "await_completion",
        "generate_images",
        "regenerate_content",
        "regenerate_content",
    ]
    assert notes.ran[-1] == "await_completion"
    assert len(result.context["article"]["$value"]["content"]) > 1_000


async def test_a40_use_case_2_data(notes: Notes) -> None:
    names = await run(printed("async def process_batch"), **supplied())
    batch = names["DataBatch"](records=[{"n": i} for i in range(9)], batch_id="b1")
    agent = Agent("data")
    agent.add_state(
        "load", notes.step("load", "process_batch", lambda context: context.set_typed("batch", batch))
    )
    agent.add_state("process_batch", names["process_batch"])
    for i in range(3):
        agent.add_state(f"process_chunk_{i}", names["process_chunk"])
    notes.add(agent, "merge_results")
    result = await agent.run()
    assert [result.get_state(f"chunk_{i}") for i in range(3)] == by_count(batch.records, 3)
    assert notes.ran == ["load", "merge_results"]


async def test_a40_use_case_3_training(notes: Notes) -> None:
    names = await run(printed("async def train_model"), **supplied())
    config = names["TrainingConfig"](model_type="tree", batch_size=8, epochs=3)
    agent = Agent("training")
    agent.add_state(
        "configure",
        notes.step("configure", "train_model", lambda context: context.set_typed("config", config)),
    )
    agent.add_state("train_model", names["train_model"])
    notes.add(agent, "evaluate")
    result = await agent.run()
    assert result.get_state("metrics_epoch_2") == {"loss": 0.1, "accuracy": 0.95}
    assert notes.ran == ["configure", "evaluate"]


@pytest.mark.parametrize(
    ("priority", "category", "then"),
    [
        ("high", "billing", ["human_review"]),
        ("low", "technical", ["technical_review"]),
        ("low", "billing", ["standard_response"]),
    ],
)
async def test_a40_use_case_4_tickets(notes: Notes, priority: str, category: str, then: list[str]) -> None:
    names = await run(printed("async def route_ticket"), **supplied())
    ticket = names["ServiceTicket"](id="1", content="help", priority=priority, category=category)
    agent = Agent("tickets")
    agent.add_state(
        "take", notes.step("take", "route_ticket", lambda context: context.set_typed("ticket", ticket))
    )
    agent.add_state("route_ticket", names["route_ticket"])
    agent.add_state("urgent_response", names["urgent_response"])
    notes.add(agent, "human_review", "technical_review", "standard_response")
    await agent.run()
    assert notes.ran == ["take", *then]


def test_every_block_of_the_document_was_run() -> None:
    assert len(DOCUMENT.blocks) == 18
    assert set(DOCUMENT.blocks) == _done


def test_the_names_of_fluffy_agent_are_those_of_stepwell() -> None:
    for name in fluffy_agent.__all__:
        assert getattr(fluffy_agent, name) is getattr(stepwell, name)
