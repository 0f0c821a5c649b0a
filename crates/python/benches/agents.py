"""What agents and pipelines of Python functions cost.

    python crates/python/benches/agents.py [memory chain runs fan paused waiting killed pipeline long list import]
        [--store DIRECTORY] [--listed RUNS]

Without a name all of it is measured (spec/fluffy.md A39 and A40, spec/flujo.md F26). The package must be the release
build (`maturin develop --release`), and the directory on a disk, since a commit that no disk keeps says nothing. What
is printed beside a time is what it is held against: raw commits of SQLite in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stepwell import END, Agent, Context, Flujo, Pipeline, SQLiteBackend, Step, TaskClient

STEPS = 1_000

#: So many runs are in the store whose runs are listed; `--listed` says another number.
listed = 100_000


def chain(store: str, steps: int = STEPS) -> Agent:
    """Return an agent of so many states, each of which names the next."""
    agent = Agent("chain", store=store, max_steps=steps + 1)
    for i in range(steps):
        last = i + 1 == steps
        agent.add_state(f"s{i}", state(i, None if last else f"s{i + 1}"), next=[END if last else f"s{i + 1}"])
    return agent


def state(i: int, following: str | None) -> Callable[[Context], object]:
    async def work(context: Context) -> str | None:
        context.set_state("n", i)
        return following

    return work


async def best(times: int, agent: Agent) -> tuple[float, float]:
    """Return the least wall time of a run and the CPU time of that run."""
    taken = []
    for _ in range(times):
        began, cpu = time.perf_counter(), time.process_time()
        result = await agent.run()
        taken.append((time.perf_counter() - began, time.process_time() - cpu))
        assert result.status == "completed"
    return min(taken)


async def memory(_: Path) -> None:
    took, _cpu = await best(20, chain("memory:"))
    told("memory", f"a chain of {STEPS} states: {took / STEPS * 1e6:.1f} µs a state")


async def durable_chain(where: Path) -> None:
    before = raw_commits(where)
    took, cpu = await best(5, chain(f"sqlite://{where}/chain.db"))
    raw = max(before, raw_commits(where))
    rate = STEPS / took
    told(
        "chain",
        f"{rate:.0f} durable states/s, {rate / raw:.2f} of {raw:.0f} raw commits/s, "
        f"{cpu / STEPS * 1e6:.0f} µs of CPU a state",
    )


async def many_runs(where: Path) -> None:
    runs, at_once = 500, 16
    agent = chain(f"sqlite://{where}/runs.db", 3)
    await agent.run()
    places = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with places:
            await (await agent.start()).wait()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(runs)))
    took = time.perf_counter() - began
    told("runs", f"{runs} runs of three states, {at_once} at once: {runs / took:.0f} runs/s")


async def fan(where: Path) -> None:
    width = 1_000

    async def split(_: Context) -> list[tuple[str, int]]:
        return [("leaf", k) for k in range(width)]

    async def leaf(context: Context) -> str:
        context.set_state("sum", context.get_state("sum", 0) + context.payload)
        return "merge"

    async def merge(context: Context) -> None:
        assert context.get_state("sum") == width * (width - 1) // 2

    for name, store in (("memory", "memory:"), ("durable", f"sqlite://{where}/fan.db")):
        agent = Agent("fan", store=store, max_concurrent=width, reducers={"sum": "sum"})
        agent.add_state("split", split, next=["leaf"])
        agent.add_state("leaf", leaf, next=["merge"])
        agent.add_state("merge", merge, next=[END])
        took, _cpu = await best(5, agent)
        told("fan", f"{name}: {width} states at once and their merge: {took * 1e3:.1f} ms")


async def paused(where: Path) -> None:
    runs = 1_000

    async def ask(context: Context) -> None:
        context.set_state("answer", await context.human_in_the_loop("Shall we?"))

    agent = Agent("asks", store=f"sqlite://{where}/asks.db")
    agent.add_state("ask", ask, next=[END])
    await begin_and_answer(agent, 50, 16)
    for at_once in (1, 16):
        begun, grown, resumed = await begin_and_answer(agent, runs, at_once)
        told(
            "paused",
            f"{at_once} at once: {runs / begun:.0f} runs/s come to wait, {runs / resumed:.0f}/s are answered and end; "
            f"{grown / runs / 1024:.2f} KiB each while they wait",
        )


async def begin_and_answer(agent: Agent, runs: int, at_once: int) -> tuple[float, int, float]:
    resident, began = resident_bytes(), time.perf_counter()
    places = asyncio.Semaphore(at_once)

    async def begin() -> str:
        async with places:
            run = await agent.start()
            await run.rest()
            return run.id

    async def answer(run_id: str) -> None:
        async with places:
            run = await agent.find(run_id)
            [question] = await run.questions()
            await run.answer(question["wait_id"], "yes")
            assert (await run.wait()).get_state("answer") == "yes"

    waiting = await asyncio.gather(*(begin() for _ in range(runs)))
    begun, grown = time.perf_counter() - began, resident_bytes() - resident
    began = time.perf_counter()
    await asyncio.gather(*(answer(run_id) for run_id in waiting))
    return begun, grown, time.perf_counter() - began


async def waiting(where: Path) -> None:
    """Let runs wait for people in one process, and list them in the next."""
    program, store = where / "waiting.py", f"sqlite://{where}/waiting.db"
    program.write_text(WAITING)
    with subprocess.Popen([sys.executable, program, store], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        bytes_each = float(await asyncio.to_thread(first.stdout.readline))
        first.kill()
    began = time.perf_counter()
    listing = [sys.executable, str(program), store, "list"]
    count = int(await asyncio.to_thread(lambda: subprocess.check_output(listing)))
    took = time.perf_counter() - began
    told(
        "waiting",
        f"{count} runs wait for people, {bytes_each / 1024:.2f} KiB each; "
        f"the next process has listed them {took:.2f} s after its start",
    )


WAITING = """
import asyncio, os, sys
from pathlib import Path
from stepwell import Agent, SQLiteBackend, TaskClient

async def ask(context):
    await context.human_in_the_loop("Shall we?")

agent = Agent("asks", store=sys.argv[1])
agent.add_state("ask", ask, next=[])

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def wait(runs):
    places = asyncio.Semaphore(16)
    async def begin():
        async with places:
            await (await agent.start()).rest()
    await asyncio.gather(*(begin() for _ in range(runs)))

async def begin():
    # What every process needs that was busy once.
    await wait(1_000)
    before = resident_bytes()
    await wait(1_000)
    print((resident_bytes() - before) / 1_000, flush=True)
    await asyncio.Event().wait()

async def show():
    async with TaskClient(sys.argv[1]) as client:
        print(len(await client.list_tasks(status="paused")))

asyncio.run(show() if sys.argv[2:] else begin())
"""


async def killed(where: Path) -> None:
    program = where / "killed.py"
    program.write_text(KILLED)
    command = [sys.executable, str(program), f"sqlite://{where}/killed.db", str(where / "log")]
    first = subprocess.Popen(command)
    while sum(1 for _ in lines(where)) < 300:
        await asyncio.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = list(lines(where))
    began = time.time()
    await asyncio.to_thread(subprocess.run, command, check=True)
    after = [line.split() for line in list(lines(where))[len(before) :]]
    again = {step for step, _ in after} & {line.split()[0] for line in before[:-1]}
    told(
        "killed", f"first state {float(after[0][1]) - began:.2f} s after the restart, {len(again)} done twice"
    )


KILLED = """
import sys, time
from stepwell import Agent, END
log = open(sys.argv[2], "a", buffering=1)
agent = Agent("killed", store=sys.argv[1])
for i in range(1000):
    def state(i):
        async def work(context):
            log.write(f"{i} {time.time()}\\n")
            return None if i == 999 else f"s{i + 1}"
        return work
    agent.add_state(f"s{i}", state(i), next=[END if i == 999 else f"s{i + 1}"])
agent.run_sync(run_id="r")
"""


def steps_in_a_row(count: int) -> Pipeline:
    """Return a pipeline of so many steps that do nothing."""

    async def work(data: int) -> int:
        return data + 1

    return Pipeline([Step(f"s{n}", work) for n in range(count)], name=f"row-{count}")


async def seconds_a_step(runner: Flujo, steps: int, runs: int = 1) -> float:
    """Return what a step costs in so many runs of so many steps, one after the other."""
    began = time.perf_counter()
    for _ in range(runs):
        result = await runner.run_async(0)
        assert result.output == steps
    return (time.perf_counter() - began) / runs / steps


async def pipeline(where: Path) -> None:
    before = raw_commits(where)
    async with Flujo(steps_in_a_row(STEPS), state_backend=SQLiteBackend(where / "row.db")) as runner:
        await runner.run_async(0)
        rate = 1 / min([await seconds_a_step(runner, STEPS) for _ in range(5)])
    raw = max(before, raw_commits(where))
    told("pipeline", f"{rate:.0f} durable steps/s, {rate / raw:.2f} of {raw:.0f} raw commits/s")


async def long(where: Path) -> None:
    """Hold one run of many steps against many runs of few, as many steps in all, in turns."""
    few, many = 100, 10_000
    pairs = []
    async with (
        Flujo(steps_in_a_row(few), state_backend=SQLiteBackend(where / "few.db")) as short,
        Flujo(steps_in_a_row(many), state_backend=SQLiteBackend(where / "many.db")) as very_long,
    ):
        await short.run_async(0)
        for _ in range(5):
            pairs.append(
                (await seconds_a_step(short, few, many // few), await seconds_a_step(very_long, many))
            )
    one, other = sorted(pairs, key=lambda pair: pair[1] / pair[0])[len(pairs) // 2]
    ratios = [other / one for one, other in pairs]
    told(
        "long",
        f"{one * 1e6:.0f} µs a step of runs of {few} steps, {other * 1e6:.0f} µs of one of {many}: "
        f"{other / one:.2f} times as much ({min(ratios):.2f} to {max(ratios):.2f} in {len(pairs)} pairs)",
    )


async def lists(where: Path) -> None:
    departments = ("legal", "sales", "support", "research")
    places = asyncio.Semaphore(64)
    async with TaskClient(SQLiteBackend(where / "listed.db")) as client:
        one = steps_in_a_row(1)

        async def begin(n: int) -> None:
            async with places:
                tags = {"assigned_to": departments[n % 4], "number": n}
                await client.start_task(one, n, run_id=f"run-{n}", metadata=tags)
                await client.wait_task(f"run-{n}")

        # Not all at once, since each that waits for its turn is a task of the loop.
        for first in range(0, listed, 1_000):
            await asyncio.gather(*(begin(n) for n in range(first, min(first + 1_000, listed))))

        async def took(tags: dict[str, object]) -> float:
            began = time.perf_counter()
            found = await client.list_tasks(metadata_filter=tags, limit=50)
            assert found
            return time.perf_counter() - began

        by_tags: list[dict[str, object]] = [{"assigned_to": "legal"}, {"number": listed // 2}]
        for tags in by_tags:
            least = min([await took(tags) for _ in range(20)])
            told("list", f"of {listed} runs by {tags}, at most 50: {least * 1e3:.1f} ms")


def lines(where: Path) -> list[str]:
    log = where / "log"
    return log.read_text().splitlines() if log.exists() else []


async def import_time(_: Path) -> None:
    def fastest(code: str) -> float:
        taken = []
        for _ in range(10):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken.append(time.perf_counter() - began)
        return min(taken)

    bare = fastest("")
    for code in ("import stepwell", "from stepwell import Agent"):
        told("import", f"{code}: {(fastest(code) - bare) * 1e3:.0f} ms over bare Python")


def raw_commits(where: Path) -> float:
    """Return how many commits of a small row SQLite makes a second when each is synced."""
    path = where / "raw.db"
    path.unlink(missing_ok=True)
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)")
    began = time.perf_counter()
    for _ in range(STEPS):
        conn.execute("INSERT INTO rows (body) VALUES (?)", (b"x" * 512,))
    took = time.perf_counter() - began
    conn.close()
    return STEPS / took


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def told(name: str, what: str) -> None:
    print(f"{name:10}{what}", flush=True)


MEASURED = {
    "memory": memory,
    "chain": durable_chain,
    "runs": many_runs,
    "fan": fan,
    "paused": paused,
    "waiting": waiting,
    "killed": killed,
    "pipeline": pipeline,
    "long": long,
    "list": lists,
    "import": import_time,
}


def main() -> None:
    global listed
    parser = argparse.ArgumentParser(description="What agents and pipelines of Python functions cost.")
    parser.add_argument("what", nargs="*", metavar="NAME", help=", ".join(MEASURED))
    parser.add_argument("--store", type=Path, help="a directory on a disk")
    parser.add_argument(
        "--listed", type=int, default=listed, metavar="RUNS", help="so many are in the store that lists"
    )
    args = parser.parse_args()
    listed = args.listed
    for name in args.what or MEASURED:
        if name not in MEASURED:
            parser.error(f"no part {name!r}; there are: {', '.join(MEASURED)}")
        with tempfile.TemporaryDirectory(dir=args.store) as where:
            asyncio.run(MEASURED[name](Path(where)))


if __name__ == "__main__":
    main()
