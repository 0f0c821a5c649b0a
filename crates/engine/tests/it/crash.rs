//! Processes that are killed, stopped and doubled, over one SQLite file.
//!
//! Each test runs this program again as its workers ([`worker`]), which write down every attempt they really carry
//! out. So what the journal says can be held against what happened.

mod dice;
mod killing;
mod life;
mod log;
mod process;
mod stage;
mod story;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stepwell_core::ids::{Ordinal, Timestamp};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::Resolution;
use stepwell_core::workflow::Workflow;
use stepwell_engine::Start;

use dice::Dice;
use killing::Kill;
use log::Line;
use process::Process;
use stage::{Open, Past, Stage};

/// Not a test: the life of a worker process, for those that the tests below start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    life::lead().await;
}

/// How many cases a test may take: fewer in the inner loop.
fn cases() -> u32 {
    std::env::var("STEPWELL_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20_000)
}

fn is_quick() -> bool {
    cases() <= 200
}

/// A name, and where it puts the kill.
type Side = (&'static str, fn(u32) -> Kill);

/// Kills a story before and after every write that it makes, and holds each run against the undisturbed one: no completion
/// is lost or doubled, no number of the journal missing, nothing told that is not kept (spec/gleitzeit.md §8, G37).
/// `also` checks what is special about the story.
async fn matrix(story: &'static str, asks: usize, also: impl Fn(&Past, &[Line])) {
    let stage = Stage::new(story);
    assert_eq!(stage.live("calm", None).await, (false, asks));
    let mut runs = vec!["calm".to_owned()];
    let sides: [Side; 2] = [("before", Kill::Before), ("after", Kill::After)];
    for (side, kill) in sides {
        let mut n = 1;
        loop {
            let run = format!("{side}-{n}");
            let (killed, asked) = stage.live(&run, Some(kill(n))).await;
            assert_eq!(asked, asks, "{story}, {run}: what was acknowledged is kept, and asked once");
            runs.push(run);
            if !killed {
                assert!(n > 2, "{story}: there is something to kill");
                break;
            }
            n += if is_quick() { 4 } else { 1 };
        }
    }
    let open = stage.open().await;
    let calm = open.views("calm").await;
    for run in &runs {
        let lines = stage.log(run).read();
        let past = open.check(run, &lines, &calm).await;
        assert!(past.most_losses() <= 1, "{story}, {run}: one kill, one more attempt at most");
        also(&past, &lines);
        for child in past.children() {
            let calm = open.views(child.as_str()).await;
            let past = open.check(child.as_str(), &lines, &calm).await;
            assert!(past.most_losses() <= 1, "{story}, {run}: one kill, one more attempt at most");
        }
    }
    open.close().await;
}

#[tokio::test]
async fn a35_chain_of_six_survives_a_crash_at_every_write() {
    matrix(story::CHAIN, 0, |past, _| assert!(past.count("AttemptLost") <= 1)).await;
}

#[tokio::test]
async fn fork_of_twenty_with_a_merge_survives_a_crash_at_every_write() {
    matrix(story::FORK, 0, |past, _| assert_eq!(past.count("StepCompleted"), 22)).await;
}

#[tokio::test]
async fn loop_with_a_fork_in_it_survives_a_crash_at_every_write() {
    matrix(story::LOOP, 0, |past, _| assert_eq!(past.count("StepCompleted"), 13)).await;
}

#[tokio::test]
async fn retry_in_backoff_survives_a_crash_at_every_write() {
    matrix(story::RETRY, 0, |past, _| {
        for (failed, retry_at) in failures(past) {
            let next = starts(past).into_iter().find(|(attempt, _)| *attempt == failed + 1);
            let (_, at) = next.expect("a failed attempt is followed by the next");
            assert!(at >= retry_at, "the next attempt began {} us early", retry_at.0 - at.0);
        }
    })
    .await;
}

/// Returns the failed attempts of a run with the time from which each may be repeated.
fn failures(past: &Past) -> Vec<(u32, Timestamp)> {
    let failed = past.journal.iter().filter_map(|recorded| match &recorded.event {
        Event::AttemptFailed { attempt, retry_at, .. } => Some((*attempt, retry_at.expect("it is repeated"))),
        _ => None,
    });
    failed.collect()
}

/// Returns when each attempt of the middle step began.
fn starts(past: &Past) -> Vec<(u32, Timestamp)> {
    let started = past.journal.iter().filter_map(|recorded| match &recorded.event {
        Event::AttemptStarted(start) if start.step.as_str() == "middle" => Some((start.attempt, recorded.at)),
        _ => None,
    });
    started.collect()
}

#[tokio::test]
async fn open_question_survives_a_crash_at_every_write() {
    matrix(story::QUESTION, 1, |past, _| {
        assert_eq!(past.count("WaitOpened"), 1);
        assert_eq!(resolutions(past, |how| matches!(how, Resolution::Answered { .. })), 1);
    })
    .await;
}

#[tokio::test]
async fn acknowledged_signals_survive_a_crash_at_every_write() {
    matrix(story::SIGNAL, 1, |past, lines| {
        assert!(lines.contains(&Line::Acked));
        assert_eq!(past.count("WaitOpened"), 2);
        assert_eq!(resolutions(past, |how| matches!(how, Resolution::Signalled { .. })), 2);
        let first = |recorded: &&stepwell_store::Recorded| {
            matches!(&recorded.event, Event::SignalReceived { id, .. } if id == "first")
        };
        assert_eq!(past.journal.iter().filter(first).count(), 1, "a repeated signal is taken once");
    })
    .await;
}

fn resolutions(past: &Past, which: impl Fn(&Resolution) -> bool) -> usize {
    let resolved = past.journal.iter().filter(
        |recorded| matches!(&recorded.event, Event::WaitResolved { resolution, .. } if which(resolution)),
    );
    resolved.count()
}

#[tokio::test]
async fn durable_timer_survives_a_crash_at_every_write() {
    matrix(story::TIMER, 0, |past, _| {
        let opened = past.journal.iter().find_map(|recorded| match &recorded.event {
            Event::WaitOpened { spec, .. } => spec.deadline,
            _ => None,
        });
        let fired = past.journal.iter().find(|recorded| recorded.event.kind() == "WaitResolved");
        assert!(fired.expect("it fired").at >= opened.expect("it has a time"), "the timer fired early");
        assert_eq!(past.count("WaitOpened"), 1);
    })
    .await;
}

#[tokio::test]
async fn parent_with_a_child_survives_a_crash_at_every_write() {
    matrix(story::CHILD, 0, |past, _| assert_eq!(past.children().len(), 1)).await;
}

#[tokio::test]
async fn a36_once_is_called_once_over_a_crash_at_every_write() {
    matrix(story::ONCE, 0, |past, lines| {
        let recorded = past.journal.iter().find(|recorded| recorded.event.kind() == "MemoRecorded");
        let recorded = recorded.expect("the result was recorded").seq.0;
        let mut known = false;
        for line in lines {
            match line {
                Line::Life { ends, .. } => known |= ends.values().any(|end| *end >= recorded),
                Line::Once => assert!(!known, "the function ran again though its result was recorded"),
                _ => {}
            }
        }
        assert_eq!(past.count("MemoRecorded"), 1);
    })
    .await;
}

#[tokio::test]
async fn a35_each_step_of_six_is_attempted_again_after_a_crash_within_it() {
    let stage = Stage::new(story::CHAIN);
    stage.live("calm", None).await;
    for i in 1..=6 {
        let kill = Kill::In(format!("s{i}"));
        assert_eq!(stage.live(&format!("in-{i}"), Some(kill)).await, (true, 0));
    }
    let open = stage.open().await;
    let calm = open.views("calm").await;
    for i in 1..=6 {
        let run = format!("in-{i}");
        let past = open.check(&run, &stage.log(&run).read(), &calm).await;
        assert_eq!(past.lost().into_keys().collect::<Vec<_>>(), [(format!("s{i}"), 1, 1)]);
    }
    open.close().await;
}

#[tokio::test]
async fn g36_step_two_of_three_gets_attempt_two_after_a_crash_without_a_retry() {
    let stage = Stage::new(story::SHORT);
    stage.live("calm", None).await;
    stage.live("killed", Some(Kill::In("s2".into()))).await;
    let open = stage.open().await;
    let lines = stage.log("killed").read();
    let past = open.check("killed", &lines, &open.views("calm").await).await;
    let done: Vec<(String, u32)> = lines
        .into_iter()
        .filter_map(|line| match line {
            Line::Did { step, attempt, .. } => Some((step, attempt)),
            _ => None,
        })
        .collect();
    assert_eq!(done, [("s1", 1), ("s2", 1), ("s2", 2), ("s3", 1)].map(|(step, n)| (step.to_owned(), n)));
    assert_eq!(past.count("AttemptStarted"), 4, "the journal keeps both attempts");
    open.close().await;
}

#[tokio::test]
async fn g36_at_most_once_asks_after_a_crash_and_is_not_attempted_again() {
    let stage = Stage::new(story::AT_MOST_ONCE);
    let (killed, asked) = stage.live("killed", Some(Kill::In("middle".into()))).await;
    assert!(killed && asked == 1, "somebody is asked what became of it");
    let open = stage.open().await;
    let mut calm = json!({});
    for (step, result) in [("first", 1), ("middle", 2), ("last", 2)] {
        calm[step] = json!({ "result": result, "status": "completed", "success": true, "error": null });
    }
    calm["middle"]["settled"] = json!(true);
    let lines = stage.log("killed").read();
    let past = open.check("killed", &lines, &calm).await;
    assert_eq!(past.lost().into_keys().collect::<Vec<_>>(), [("middle".to_owned(), 1, 1)]);
    let again = lines.iter().filter(|line| matches!(line, Line::Did { step, .. } if step == "middle"));
    assert_eq!(again.count(), 1, "it was carried out once");
    open.close().await;
}

#[tokio::test]
async fn a23_restart_in_a_backoff_after_a_crash_keeps_attempt_and_due_time() {
    let stage = Stage::new(story::BACKOFF);
    let open = stage.open().await;
    let mut first = stage.spawn("run", None);
    let due = until(|| async { due_of_middle(&open).await }).await;
    first.kill();
    first.end();
    let mut second = stage.spawn("run", None);
    let log = stage.log("run");
    until(|| async {
        (lives(&log.read()) == 2 && !open.store.others().await.ok()?.is_empty()).then_some(())
    })
    .await;
    second.kill();
    second.end();
    assert_eq!(due_of_middle(&open).await, Some(due), "a restart does not move it");
    assert!(stage.spawn("run", None).end());
    let lines = log.read();
    let calm = open.views("run").await;
    let past = open.check("run", &lines, &calm).await;
    let begun = starts(&past);
    assert_eq!(begun.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2]);
    assert!(begun[1].1 >= due, "attempt 2 began {} us early", due.0 - begun[1].1.0);
    open.close().await;
}

/// Returns when the store will let the middle step be attempted again, once its first attempt has failed.
async fn due_of_middle(open: &Open) -> Option<Timestamp> {
    let run = open.engine.inspect(&"run".into()).await.ok()?;
    let middle = run.execution("middle", Ordinal(1))?;
    if middle.status != stepwell_core::status::ExecutionStatus::Retrying {
        return None;
    }
    open.store.next_due(Timestamp(0)).await.expect("the store can be asked")
}

fn lives(lines: &[Line]) -> usize {
    lines.iter().filter(|line| matches!(line, Line::Life { .. })).count()
}

/// Waits until there is an answer.
async fn until<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing comes of waiting");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn g37_thirty_steps_survive_a_hundred_crashes_at_random_moments() {
    let mut dice = Dice::from_env();
    let stage = Stage::new(story::LONG);
    let begun = Instant::now();
    stage.live("calm", None).await;
    let whole = begun.elapsed().as_micros() as u64;
    let mut kills = (cases() / 4).min(100);
    let mut runs = Vec::new();
    while kills > 0 {
        let run = format!("run-{}", runs.len());
        loop {
            let mut process = stage.spawn(&run, None);
            if kills > 0 {
                // Half of the whole time, so that most runs are killed more than once.
                std::thread::sleep(Duration::from_micros(dice.below(whole / 2)));
                process.kill();
            }
            if process.end() {
                break;
            }
            kills -= 1;
        }
        runs.push(run);
    }
    let open = stage.open().await;
    let calm = open.views("calm").await;
    for run in &runs {
        open.check(run, &stage.log(run).read(), &calm).await;
    }
    open.close().await;
}

#[tokio::test]
async fn a37_two_processes_that_resume_one_run_after_a_crash_double_no_step() {
    for (story, step) in
        [(story::CHAIN, "s3"), (story::FORK, "b7"), (story::LOOP, "tally"), (story::CHILD, "s1")]
    {
        several_at_once(story, 2, Some(step)).await;
    }
}

#[tokio::test]
async fn a37_three_processes_that_start_one_id_at_once_double_no_step_without_a_crash() {
    for story in [story::CHAIN, story::FORK, story::LOOP, story::CHILD] {
        several_at_once(story, 3, None).await;
    }
}

/// Lets several processes start or join the same run at once, some times over; if a step is named, after a first
/// process was killed in it. All must end with the result of the undisturbed run.
async fn several_at_once(story: &'static str, count: usize, killed_in: Option<&str>) {
    let stage = Stage::new(story);
    stage.live("calm", None).await;
    let runs: Vec<String> = (0..if is_quick() { 1 } else { 5 }).map(|i| format!("run-{i}")).collect();
    for run in &runs {
        if let Some(step) = killed_in {
            assert!(!stage.spawn(run, Some(Kill::In(step.to_owned()))).end());
        }
        let processes: Vec<Process> = (0..count).map(|_| stage.spawn(run, None)).collect();
        for mut process in processes {
            assert!(process.end());
        }
    }
    let open = stage.open().await;
    let calm = open.views("calm").await;
    for run in &runs {
        let lines = stage.log(run).read();
        let past = open.check(run, &lines, &calm).await;
        let mut losses = past.lost().len();
        for child in past.children() {
            let calm = open.views(child.as_str()).await;
            losses += open.check(child.as_str(), &lines, &calm).await.lost().len();
        }
        if killed_in.is_none() {
            assert_eq!(losses, 0, "{story}, {run}: nobody died");
        }
        let results: Vec<(&str, &Value)> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Rests { status, views, .. } => Some((status.as_str(), views)),
                _ => None,
            })
            .collect();
        assert_eq!(results.len(), count, "{story}, {run}: each process sees the end");
        assert!(results.iter().all(|result| result.0 == "completed" && result.1 == results[0].1));
    }
    open.close().await;
}

#[tokio::test]
async fn two_processes_share_a_file_while_one_suffers_crash_and_stop() {
    const RUNS_PER_ROUND: usize = 20;
    let rounds = if is_quick() { 2 } else { 10 };
    let mut dice = Dice::from_env();
    let stage = Stage::new(story::SHORT);
    stage.live("calm", None).await;
    let open = stage.open().await;
    let workflow = Workflow::new(story::definition(story::SHORT)).unwrap();
    let start = |run: &str| Start { run_id: Some(run.into()), ..Start::of(Arc::clone(&workflow)) };
    // As long as it is held, the workers stay.
    open.engine.start(Start { hold: true, ..start("last") }).await.unwrap();
    let log = stage.log("shared");
    let mut steady = stage.spawn_worker(&log);
    let mut victim = stage.spawn_worker(&log);
    let mut killed = HashMap::new();
    let mut runs = vec!["last".to_owned()];
    for round in 0..rounds {
        let more: Vec<String> = (0..RUNS_PER_ROUND).map(|i| format!("run-{round}-{i}")).collect();
        let feed = async {
            for run in &more {
                open.engine.start(start(run)).await.unwrap();
            }
        };
        let torment = async {
            tokio::time::sleep(Duration::from_micros(dice.below(40_000))).await;
            if round % 2 == 0 {
                victim.stop();
                tokio::time::sleep(Duration::from_millis(300 + dice.below(500))).await;
                victim.go_on();
            } else {
                killed.insert(victim.pid(), now());
                victim.kill();
                victim.end();
                victim = stage.spawn_worker(&log);
            }
        };
        // One that is stopped while it writes makes the others wait: so both go on at once.
        tokio::join!(feed, torment);
        runs.extend(more);
    }
    open.engine.release(&"last".into()).await.unwrap();
    assert!(steady.end() && victim.end(), "those that nobody kills finish");

    let lines = log.read();
    let calm = open.views("calm").await;
    for run in &runs {
        let past = open.check(run, &lines, &calm).await;
        let processes = past.processes(&lines);
        for (attempt, noticed) in past.lost() {
            // An attempt that was leased and never begun has nobody's name on it.
            let Some(pid) = processes.get(&attempt) else { continue };
            let died =
                killed.get(pid).unwrap_or_else(|| panic!("{run}: {attempt:?} of {pid}, which nobody killed"));
            assert!(noticed >= *died, "{run}: {attempt:?} of {pid} was given up before {pid} was killed");
        }
    }
    open.close().await;
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    Timestamp(now.as_micros() as i64)
}
