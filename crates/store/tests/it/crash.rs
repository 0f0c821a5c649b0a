//! A process is killed at random moments while it commits; what it was told is on disk is there.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use stepwell_core::ids::Timestamp;
use stepwell_store::conformance::words::{
    Tale, answering, at, giving_back, held, item, journal, note, session, started,
};
use stepwell_store::{SqliteOptions, SqliteStore, Store, WorkChange};

use crate::processes::{Other, role, say};

const RUNS: usize = 8;

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).await.unwrap()
}

/// Steps of some runs, each answered and handed over by one commit; says every commit that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests"]
async fn committer() {
    let Some((path, role)) = role() else { return };
    let store = std::sync::Arc::new(open(&path).await);
    let worker = session(&*store, "committer").await;
    say("up");
    let tasks: Vec<_> = (0..RUNS)
        .map(|i| {
            let (store, role) = (store.clone(), role.clone());
            tokio::spawn(async move {
                let mut tale = Tale::begin_with(&*store, &format!("{role}-{i}"), |batch, _| {
                    batch.work = vec![WorkChange::HandOver(item("step 0"), worker)];
                })
                .await;
                say(&format!("{} {} {}", tale.run, 1, tale.revision.batch));
                for n in 0.. {
                    let next = item(&format!("step {}", n + 1));
                    let mut batch = answering(tale.batch("done"), held(&item(&format!("step {n}")), worker));
                    batch.at = Timestamp(n);
                    batch.events.push(started(&next, worker));
                    if n % 7 == 0 {
                        batch.events.push(note(&"x".repeat(100_000)));
                    }
                    batch.work = vec![WorkChange::HandOver(next, worker)];
                    let committed = tale.commit(&*store, batch).await.unwrap();
                    say(&format!("{} {} {}", tale.run, committed.seq, committed.revision.batch));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn crash_reopen_keeps_everything_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let rounds = 6;
    for round in 0..rounds {
        let mut other = Other::start("crash::committer", &path, &format!("round {round}"));
        other.expect("up");
        let mut acknowledged: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
        // From at once to some hundred commits later; checkpoints happen in the longer rounds.
        let until = Instant::now() + Duration::from_millis([0, 15, 60, 150, 400, 1_500][round % 6]);
        let mut hear = |line: String| {
            let (rest, batch) = line.rsplit_once(' ').unwrap();
            let (run, seq) = rest.rsplit_once(' ').unwrap();
            acknowledged.entry(run.into()).or_default().push((seq.parse().unwrap(), batch.parse().unwrap()));
        };
        while Instant::now() < until {
            hear(other.hear().expect("it commits until it is killed"));
        }
        other.kill();
        while let Some(line) = other.hear() {
            if line.split(' ').count() == 4 {
                hear(line);
            }
        }

        let store = open(&path).await;
        let lost = store.lost_leases(at(1), 1_000).await.unwrap();
        let runs = store.runs_with_prefix(&format!("round {round}-"), 100).await.unwrap();
        assert!(runs.len() <= RUNS);
        for run in &runs {
            let row = store.run(run).await.unwrap();
            let events = journal(&store, run).await;
            assert_eq!(row.seq.0, events.len() as u64);
            assert!(events.iter().zip(1..).all(|(recorded, seq)| recorded.seq.0 == seq));
            // Exactly one step was under way in each run, and it is known to be lost at once.
            let theirs: Vec<_> = lost.iter().filter(|lost| lost.run == *run).collect();
            assert_eq!(theirs.len(), 1, "{run}");
            assert_eq!(theirs[0].lease.execution.step.as_str(), format!("step {}", row.revision.number - 1));
        }
        for (run, commits) in &acknowledged {
            let run = run.as_str().into();
            for (seq, batch) in commits {
                let found = store.is_committed(&run, *batch).await.unwrap();
                assert_eq!(found.map(|committed| committed.seq.0), Some(*seq), "{run} {seq}");
            }
        }
        for lost in lost {
            // Given back, so that the next round has none.
            let row = store.run(&lost.run).await.unwrap();
            let mut tale = Tale { run: lost.run.clone(), revision: row.revision, clock: 100 };
            let batch = giving_back(tale.batch("given back"), lost.lease);
            tale.commit(&store, batch).await.unwrap();
        }
        store.close().await.unwrap();
        let check: String = rusqlite::Connection::open(&path)
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
    }
}
