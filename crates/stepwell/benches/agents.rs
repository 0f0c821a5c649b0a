//! What agents cost: per state of a chain and of a loop, for many agents at once, for a fan with its merge, to be built, and
//! while they wait for people.
//!
//! `cargo bench -p stepwell --bench agents`, or `… -- chain` for one of `chain loop three fan build answer wait`. Goals: 5 µs a state in
//! a chain of 1 000 in memory; a state of a long loop costs at most 1.2 times that of a short one; 1 000 agents of three states in
//! 0.3 s in memory and 1 s durable; a fan of 1 000 and its merge in 50 ms in memory; 10 000 states built in 0.3 s; 100 000 runs
//! that wait for a person in less than 50 MiB (spec/fluffy.md §12, A39, A40).
#![allow(clippy::print_stdout, missing_docs, reason = "a bench prints its numbers")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use stepwell::core::status::RunStatus;
use stepwell::{Agent, AgentBuilder, Ask, Context, Engine, Next, Options, Registry, State, Store};

/// Every number is the best of so many; the shortest of so many more.
const TIMES: usize = 5;
const SHORT_TIMES: usize = 100;

#[tokio::main]
async fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |part: &str| wanted.as_ref().is_none_or(|wanted| *wanted == part);
    let dir = tempfile::tempdir().expect("a directory");
    let file = format!("sqlite://{}/agents.db", dir.path().display());
    let memory = engine("memory:").await;
    let durable = engine(&file).await;
    if is_wanted("chain") {
        one_chain(&memory).await;
    }
    if is_wanted("loop") {
        loops(&memory).await;
    }
    if is_wanted("three") {
        for (class, engine) in [("memory", &memory), ("fsync", &durable)] {
            thousand_agents(class, engine).await;
        }
    }
    if is_wanted("fan") {
        one_fan(&memory).await;
    }
    if is_wanted("build") {
        build(&memory).await;
    }
    memory.shutdown().await;
    if is_wanted("answer") {
        answer(&durable).await;
    }
    if is_wanted("wait") {
        wait_for_people(&durable).await;
    }
    durable.shutdown().await;
}

async fn one_chain(engine: &Engine) {
    let states = 1_000;
    let chain = chain("chain", states, engine);
    let took = best(SHORT_TIMES, async || {
        chain.run(()).await.expect("it ends well");
    })
    .await;
    println!("memory: a chain of {states} states: {:.2} µs a state", micros(took) / states as f64);
}

async fn loops(engine: &Engine) {
    for rounds in [1_000, 10_000, 40_000] {
        let turns = turns(rounds, engine);
        let took = best(TIMES, async || {
            turns.run(()).await.expect("it ends well");
        })
        .await;
        println!("memory: a loop of {rounds} rounds: {:.2} µs a round", micros(took) / f64::from(rounds));
    }
}

async fn thousand_agents(class: &str, engine: &Engine) {
    let agent = chain("three", 3, engine);
    let took = best(TIMES, async || {
        let runs = join_all((0..1_000).map(|_| async { agent.run(()).await })).await;
        assert!(runs.iter().all(Result::is_ok));
    })
    .await;
    println!("{class}: 1 000 agents of three states at once: {:.3} s", took.as_secs_f64());
}

async fn one_fan(engine: &Engine) {
    let fan = fan(1_000, engine);
    let took = best(TIMES, async || {
        fan.run(()).await.expect("it ends well");
    })
    .await;
    println!("memory: a fan of 1 000 payloads and its merge: {:.1} ms", took.as_secs_f64() * 1e3);
}

async fn build(engine: &Engine) {
    let took = best(TIMES, async || {
        chain("large", 10_000, engine);
    })
    .await;
    println!("10 000 states built: {:.3} s", took.as_secs_f64());
}

/// Answers 1 000 runs that wait for a person, as somebody does who has their ids only: one after the other, and some at once.
async fn answer(engine: &Engine) {
    const RUNS: usize = 1_000;
    let agent = &asking(engine);
    for at_once in [1, 16] {
        let starts = (0..RUNS).map(|_| async {
            let run = agent.start(()).await.expect("it begins");
            assert_eq!(run.rest().await, Ok(RunStatus::Paused));
            run.id().clone()
        });
        let ids: Vec<_> = stream::iter(starts).buffer_unordered(16).collect().await;
        let answered = ids.into_iter().map(|id| async move {
            let run = agent.find(id).await.expect("it waits");
            let asked = run.questions().await.expect("what it asks");
            run.answer(&asked[0].wait, "yes").await.expect("it is taken");
            run.wait().await.expect("it ends well");
        });
        let began = Instant::now();
        stream::iter(answered).buffer_unordered(at_once).collect::<Vec<()>>().await;
        let each = began.elapsed().as_secs_f64() / RUNS as f64;
        println!("fsync: runs that wait are answered and end, {at_once} at once: {:.0}/s", 1.0 / each);
    }
}

/// Starts 100 000 runs that ask a person, and tells by how much this process has grown.
async fn wait_for_people(engine: &Engine) {
    const RUNS: usize = 100_000;
    const AT_ONCE: usize = 500;
    let agent = asking(engine);
    let (before, began) = (resident(), Instant::now());
    for _ in 0..RUNS / AT_ONCE {
        let waiting = (0..AT_ONCE).map(|_| async {
            let run = agent.start(()).await.expect("it begins");
            assert_eq!(run.rest().await, Ok(RunStatus::Paused));
        });
        join_all(waiting).await;
    }
    let grown = resident().saturating_sub(before) as f64 / f64::from(1 << 20);
    let took = began.elapsed().as_secs_f64();
    println!("fsync: {RUNS} runs wait for a person after {took:.1} s, in {grown:.1} MiB more than before");
}

/// Returns the memory of this process that is in RAM, in bytes.
fn resident() -> u64 {
    const PAGE: u64 = 4_096;
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux says how much memory is used");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("its second number is the resident size") * PAGE
}

async fn engine(url: &str) -> Engine {
    let store: Arc<dyn Store> = stepwell::open_store(url).await.expect("a store");
    let options = Options { slots: 256, ..Options::default() };
    Engine::open(store, Registry::default(), options).await.expect("an engine")
}

/// States that each name the next one.
fn chain(name: &str, states: usize, engine: &Engine) -> Agent {
    let state = |i: usize| {
        let next = (i + 1 < states).then(|| format!("s{}", i + 1));
        let to = next.as_ref().map_or_else(Next::done, Next::to);
        State::new(&format!("s{i}"), move |_: Context| std::future::ready(Ok(to.clone()))).next(next)
    };
    let builder = Agent::new(name).max_steps(u32::MAX);
    (0..states).map(state).fold(builder, AgentBuilder::add_state).build(engine).expect("an agent")
}

fn asking(engine: &Engine) -> Agent {
    let ask = |cx: Context| async move {
        cx.ask_human::<String>(Ask::new("Shall we?")).await?;
        Ok(Next::done())
    };
    Agent::new("asking").state("ask", ask).build(engine).expect("an agent")
}

/// One state that names itself so many times.
fn turns(rounds: u32, engine: &Engine) -> Agent {
    let turn = move |cx: Context| {
        let next = if cx.ordinal() < rounds { Next::to("turn") } else { Next::done() };
        std::future::ready(Ok(next))
    };
    let builder = Agent::new(&format!("turns {rounds}")).max_steps(u32::MAX);
    builder.add_state(State::new("turn", turn).next(["turn"])).build(engine).expect("an agent")
}

/// One state that forks to so many payloads, each of which goes to the same merge.
fn fan(width: usize, engine: &Engine) -> Agent {
    Agent::new("fan")
        .max_concurrent(u32::try_from(width).expect("a small number"))
        .add_state(
            State::new(
                "split",
                move |_: Context| async move { Next::each("part", (0..width).map(|i| json!(i))) },
            )
            .next(["part"]),
        )
        .add_state(State::new("part", |_: Context| async { Ok(Next::to("merge")) }).next(["merge"]))
        .add_state(State::new("merge", |_: Context| async { Ok(Next::done()) }).next(Vec::<String>::new()))
        .build(engine)
        .expect("an agent")
}

async fn best(times: usize, once: impl AsyncFn()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..times {
        let begin = Instant::now();
        once().await;
        best = best.min(begin.elapsed());
    }
    best
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
