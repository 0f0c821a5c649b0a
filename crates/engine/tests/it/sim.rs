//! Worlds of random workflows in which everything goes wrong that can: stores that fail, lose answers and
//! wake-ups, workers that are killed, stand still, come back from the dead, clients that go away. Then everything is
//! healed, and DESIGN §4 must have been kept: a step is attempted at least once, its outcome is committed exactly once,
//! an acknowledged answer, signal or command is never lost.
//!
//! A world is made from one seed: its workflows, faults, deaths, clients and clocks. One thread carries it out in
//! simulated time. Not from the seed are the order in which `HashMap`s are walked and the branch that `select!` looks at
//! first, so a seed that failed is tried several times when it is repeated.

mod actor;
mod dice;
mod ledger;
mod process;
mod verdict;
mod workflows;
mod world;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use world::World;

/// How often a seed that was given is tried.
const REPETITIONS: usize = 20;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Returns the seeds to try: that of `STEPWELL_SEED`, else one for 200 of `STEPWELL_TEST_CASES`.
fn seeds() -> Vec<u64> {
    match number("STEPWELL_SEED") {
        Some(seed) => vec![seed; REPETITIONS],
        None => (1..=(number("STEPWELL_TEST_CASES").unwrap_or(0) / 200).max(20)).collect(),
    }
}

#[test]
fn sim_promise_is_kept_whatever_goes_wrong() {
    for seed in seeds() {
        live(seed);
    }
}

/// Lets a world live; what was going on is told if it breaks.
#[expect(clippy::print_stderr, reason = "whoever reads the failure wants to repeat it")]
fn live(seed: u64) {
    // Told also if the world hangs and is killed from outside; shown for failed tests only.
    eprintln!("STEPWELL_SEED={seed} cargo test --package stepwell-engine sim");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be built").block_on(async {
        let mut world = World::new(seed).await;
        let (ledger, memory) = (world.common.ledger.clone(), world.common.memory.clone());
        let lived = AssertUnwindSafe(async {
            world.suffer().await;
            world.heal().await;
            verdict::check(&world.common, world.healthy()).await;
        });
        if let Err(broken) = lived.catch_unwind().await {
            let story = std::mem::take(&mut ledger.book().story);
            for line in story.into_iter().chain(world::journals(&memory).await) {
                eprintln!("{line}");
            }
            eprintln!("\nSTEPWELL_SEED={seed} cargo test --package stepwell-engine sim repeats this");
            std::panic::resume_unwind(broken);
        }
    });
}
