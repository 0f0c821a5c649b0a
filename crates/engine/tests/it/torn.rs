//! Commits without an answer that were not carried out: once is a broken connection, again and again a failed store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use serde_json::json;
use stepwell_core::error::Code;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::Outcome;
use stepwell_engine::testing::{ScriptedProvider, TestEngine, completes_once, has_no_gaps};
use stepwell_store::{Fault, Faults, FaultyStore, MemoryStore};

use crate::hooked::{HookedStore, Hooks};

fn chain() -> Definition {
    let step =
        |name: &str, needs: &[&str]| Step::provided(name, "test/v1", "test/do", json!({})).needs(needs);
    Definition::new("chain", vec![step("a", &[]), step("b", &["a"])])
}

/// Counts the commits that are tried.
#[derive(Debug, Default)]
struct Tries(AtomicU32);

#[async_trait]
impl Hooks for Tries {
    async fn before_commit(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Returns an engine whose store loses so many commits from the completion of `a` on.
async fn losing(commits: u32) -> (Arc<HookedStore<Tries>>, TestEngine) {
    let faulty = FaultyStore::new(Arc::new(MemoryStore::default()), Faults::default());
    let store = Arc::new(HookedStore { inner: Arc::new(faulty.clone()), hooks: Tries::default() });
    let script = ScriptedProvider::default().on("a", move |_| {
        (0..commits).for_each(|_| faulty.order(Fault::TornBefore));
        Outcome::output(json!({ "result": 1 }))
    });
    (store.clone(), TestEngine::over(store, script).await)
}

#[tokio::test(start_paused = true)]
async fn one_lost_commit_is_made_again_and_nobody_hears_of_it() {
    let (store, test) = losing(1).await;
    let fault = test.engine.fault();
    let row = test.run(chain()).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert!(!fault.has_changed().unwrap() && fault.borrow().is_none());
    // The start, both completions, and the one that was lost.
    assert_eq!((store.hooks.0.load(Ordering::SeqCst), test.script.calls("a")), (4, 1));
    assert!(has_no_gaps(&test.journal(&row.run).await));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_loses_every_commit_has_failed_and_the_outcome_is_kept_until_it_is_taken() {
    let (store, test) = losing(20).await;
    let mut fault = test.engine.fault();
    let run = test.start(chain()).await;
    let told = fault.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert_eq!(
        told.code,
        Code::PERSISTENCE_CONNECTION_FAILED,
        "the store's own words, not a conflict: {told}"
    );
    let tries = store.hooks.0.load(Ordering::SeqCst);
    assert!(tries <= 3, "the start and two tries without a pause, not {tries}");
    let row = test.end(&run).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert!(test.engine.fault().borrow().is_none(), "it is well again");
    assert_eq!((test.script.calls("a"), test.script.calls("b")), (1, 1));
    let journal = test.journal(&run).await;
    assert!(has_no_gaps(&journal) && completes_once(&journal));
}
