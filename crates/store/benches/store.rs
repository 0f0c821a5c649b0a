//! What the stores cost, beside raw SQLite in the same process. Prints numbers, judges nothing.
//!
//! ```text
//! cargo bench -p stepwell-store                    all of it
//! cargo bench -p stepwell-store -- sequential      one part: sequential, parallel, syncs, memory, list
//! ```
//! Durability is `fsync` unless a line says otherwise. A step is one batch: three events of about 350 bytes, the
//! answered lease of the step before, and the next step handed over.
#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Map, Value, json};
use stepwell_core::ids::{Epoch, ExecutionRef, Ordinal, RunId, Timestamp};
use stepwell_core::policy::resources::{Resources, Room};
use stepwell_core::run::event::{Activation, AttemptStarted, Event, Target};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Priority, Step};
use stepwell_store::{
    Base, Batch, LeaseRef, LeaseRequest, MemoryStore, NewRun, Page, Purpose, Revision, RowUpdate, RunFilter,
    SessionRef, SqliteOptions, SqliteStore, Store, WorkChange, WorkItem,
};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    if let Some(steps) = std::env::var("STEPWELL_BENCH_CHILD").ok().and_then(|steps| steps.parse().ok()) {
        runtime.block_on(only_steps(steps));
        return;
    }
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|w| w == part);
    runtime.block_on(async {
        if is_wanted("memory") {
            memory().await;
        }
        if is_wanted("sequential") {
            sequential().await;
        }
        if is_wanted("parallel") {
            parallel().await;
        }
        if is_wanted("list") {
            list().await;
        }
    });
    if is_wanted("syncs") {
        syncs();
    }
}

/// One run as its mailbox has it.
struct Run {
    id: RunId,
    revision: Revision,
    session: SessionRef,
    step: u32,
    row: RowUpdate,
    next_batch: u64,
}

fn workflow() -> Arc<Workflow> {
    Workflow::new(Definition::new("bench", vec![Step::function("work")])).expect("one step is a workflow")
}

fn item(step: u32) -> WorkItem {
    WorkItem {
        execution: ExecutionRef { step: "work".into(), ordinal: Ordinal(step) },
        attempt: 1,
        handler: "fn:bench/work".into(),
        priority: Priority::Normal,
        not_before: Timestamp(0),
        purpose: Purpose::Attempt,
        limits: Vec::new(),
        resources: Resources::default(),
    }
}

impl Run {
    fn batch(&self, base: Base, at: i64) -> Batch {
        Batch {
            run: self.id.clone(),
            base,
            id: self.next_batch,
            at: Timestamp(at),
            events: Vec::new(),
            commands: Vec::new(),
            row: self.row.clone(),
            answered: Vec::new(),
            lost: Vec::new(),
            work: Vec::new(),
            timers: Vec::new(),
            waits: Vec::new(),
            outbox: Vec::new(),
            delivered: Vec::new(),
            lazy: Vec::new(),
        }
    }

    async fn begin(store: &dyn Store, id: &str, session: SessionRef, workflow: &Arc<Workflow>) -> Self {
        let row = RowUpdate {
            status: RunStatus::Running,
            pause_reason: None,
            epoch: Epoch(1),
            started_at: Some(Timestamp(1)),
            finished_at: None,
            error: None,
        };
        let mut run =
            Self { id: id.into(), revision: Revision::default(), session, step: 1, row, next_batch: 1 };
        let new = NewRun { workflow: workflow.clone(), metadata: Map::new(), parent: None, root: id.into() };
        let mut batch = run.batch(Base::New(Box::new(new)), 1);
        batch.events = vec![Event::RunStarted { deadline: None }];
        batch.work = vec![WorkChange::HandOver(item(1), session)];
        run.revision = store.commit(batch).await.expect("a new run can be created").revision;
        run
    }

    async fn step(&mut self, store: &dyn Store) {
        self.next_batch = self.next_batch.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let (done, next) = (item(self.step), item(self.step + 1));
        let mut batch = self.batch(Base::On(self.revision), i64::from(self.step) + 1);
        let (step, execution) = (done.execution.step.clone(), done.execution.ordinal);
        batch.events = vec![
            Event::StepCompleted {
                step: step.clone(),
                execution,
                attempt: 1,
                output: Arc::new(json!({"n": self.step, "text": "a small result"})),
                writes: Vec::new(),
                to: vec![Target::to("work")],
            },
            Event::StepActivated {
                step: step.clone(),
                execution: next.execution.ordinal,
                by: Activation::Token(1),
                blocked: false,
            },
            Event::AttemptStarted(AttemptStarted {
                step,
                execution: next.execution.ordinal,
                attempt: 1,
                session: self.session.id,
            }),
        ];
        batch.answered = vec![LeaseRef { execution: done.execution, attempt: 1, session: self.session }];
        batch.work = vec![WorkChange::HandOver(next, self.session)];
        self.revision = store.commit(batch).await.expect("a step can be committed").revision;
        self.step += 1;
    }
}

async fn sqlite(path: &Path, fsync: bool) -> Arc<SqliteStore> {
    let options = SqliteOptions { fsync, ..SqliteOptions::default() };
    Arc::new(SqliteStore::open(path, options).await.expect("the store opens"))
}

async fn open_session(store: &dyn Store) -> SessionRef {
    store.open_session("bench", Timestamp(0)).await.expect("a session can be opened")
}

/// Steps of one run, one after the other. Returns steps a second.
async fn chain(store: &dyn Store, name: &str, steps: u32) -> f64 {
    let session = open_session(store).await;
    let mut run = Run::begin(store, name, session, &workflow()).await;
    let since = Instant::now();
    for _ in 0..steps {
        run.step(store).await;
    }
    per_second(steps, since.elapsed())
}

fn per_second(count: u32, took: Duration) -> f64 {
    f64::from(count) / took.as_secs_f64()
}

async fn memory() {
    let store = MemoryStore::default();
    chain(&store, "warm-up", 10_000).await;
    let rate = chain(&store, "run", 200_000).await;
    println!("memory: {:.2} µs a step ({rate:.0} steps/s)", 1e6 / rate);
}

const ROW: &str = "INSERT INTO journal (run, seq, events) VALUES (?1, ?2, ?3)";

fn raw(path: &Path, indexed: bool) -> Connection {
    let conn = Connection::open(path).expect("the database opens");
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, run INTEGER, seq INTEGER, events TEXT);",
    )
    .expect("a table can be made");
    if indexed {
        conn.execute_batch("CREATE UNIQUE INDEX place ON journal (run, seq)").expect("an index can be made");
    }
    conn
}

fn insert(conn: &Connection, run: u32, seq: u32, text: &str) {
    let mut insert = conn.prepare_cached(ROW).expect("the table is there");
    insert.execute(rusqlite::params![run, seq, text]).expect("a row can be inserted");
}

/// Single-row commits of raw SQLite a second, with its own checkpoints.
fn raw_chain(path: &Path, steps: u32) -> f64 {
    let conn = raw(path, false);
    let text = "x".repeat(350);
    let since = Instant::now();
    for seq in 0..steps {
        // A statement of its own is a transaction of its own.
        insert(&conn, 1, seq, &text);
    }
    per_second(steps, since.elapsed())
}

async fn sequential() {
    const STEPS: u32 = 5_000;
    let mut ratios = Vec::new();
    for round in 0..5 {
        let dir = tempfile::tempdir().expect("a directory can be made");
        // Alternating, so that a busy machine slows both.
        let first = raw_chain(&dir.path().join("raw1.db"), STEPS / 2);
        let store = sqlite(&dir.path().join("store.db"), true).await;
        let ours = chain(&*store, "run", STEPS).await;
        store.close().await.expect("the store closes");
        let second = raw_chain(&dir.path().join("raw2.db"), STEPS / 2);
        let raw = 2.0 / (1.0 / first + 1.0 / second);
        ratios.push(ours / raw);
        println!(
            "sequential, round {round}: {ours:.0} steps/s, raw {raw:.0} commits/s, ratio {:.2}",
            ours / raw
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("sequential: median ratio {:.2} of raw single-row commits", ratios[ratios.len() / 2]);
    let dir = tempfile::tempdir().expect("a directory can be made");
    let store = sqlite(&dir.path().join("store.db"), false).await;
    let rate = chain(&*store, "run", 20_000).await;
    println!("sequential, durability=crash: {rate:.0} steps/s");
}

/// Steps of many runs at once. Returns steps a second.
async fn crowd(store: Arc<dyn Store>, runs: u32, steps: u32) -> f64 {
    let session = open_session(&*store).await;
    let workflow = workflow();
    let mut ready = Vec::new();
    for i in 0..runs {
        ready.push(Run::begin(&*store, &format!("run {i}"), session, &workflow).await);
    }
    let since = Instant::now();
    let tasks: Vec<_> = ready
        .into_iter()
        .map(|mut run| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..steps {
                    run.step(&*store).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no step fails");
    }
    per_second(runs * steps, since.elapsed())
}

type Asked = (u32, u32, tokio::sync::oneshot::Sender<()>);

/// Rows a second of a bare writer that commits in groups what many producers send it.
async fn raw_crowd(path: &Path, indexed: bool, producers: u32, rows: u32) -> f64 {
    let (queue, requests) = mpsc::channel::<Asked>();
    let conn = raw(path, indexed);
    let writer = std::thread::spawn(move || {
        let text = "x".repeat(350);
        while let Ok(first) = requests.recv() {
            let group: Vec<Asked> = std::iter::once(first).chain(requests.try_iter().take(1_023)).collect();
            conn.execute_batch("BEGIN IMMEDIATE").expect("a transaction begins");
            for (run, seq, _) in &group {
                insert(&conn, *run, *seq, &text);
            }
            conn.execute_batch("COMMIT").expect("a transaction is committed");
            for (_, _, reply) in group {
                reply.send(()).expect("the producer waits");
            }
        }
    });
    let since = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|run| {
            let queue = queue.clone();
            tokio::spawn(async move {
                for seq in 0..rows {
                    let (reply, answer) = tokio::sync::oneshot::channel();
                    queue.send((run, seq, reply)).expect("the writer lives");
                    answer.await.expect("the row is written");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no row fails");
    }
    let rate = per_second(producers * rows, since.elapsed());
    drop(queue);
    writer.join().expect("the writer ends");
    rate
}

async fn parallel() {
    const RUNS: u32 = 256;
    const STEPS: u32 = 400;
    let mut rates = Vec::new();
    for round in 0..5 {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let heap = raw_crowd(&dir.path().join("heap.db"), false, RUNS, STEPS).await;
        let raw = raw_crowd(&dir.path().join("raw.db"), true, RUNS, STEPS).await;
        let path = dir.path().join("store.db");
        let store = sqlite(&path, true).await;
        let ours = crowd(store.clone(), RUNS, STEPS).await;
        rates.push((ours, ours / raw));
        println!(
            "256 runs, round {round}: {ours:.0} steps/s; bare writer {raw:.0} rows/s, ratio {:.2}; bare writer \
             without an index to read by {heap:.0} rows/s, ratio {:.2}",
            ours / raw,
            ours / heap
        );
        store.close().await.expect("the store closes");
        if round == 0 {
            rows_and_bytes(&path, RUNS * (STEPS + 1));
        }
    }
    rates.sort_by(|a, b| f64::total_cmp(&a.1, &b.1));
    let (ours, ratio) = rates[rates.len() / 2];
    println!("256 runs: median {ours:.0} steps/s, {ratio:.2} of a bare writer that commits in groups");
}

/// What is kept of a step.
fn rows_and_bytes(path: &Path, batches: u32) {
    let conn = Connection::open(path).expect("the database opens");
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, f64>(0)).expect("the table is there");
    let events = number("SELECT sum(length(events)) FROM journal");
    let rows: f64 = ["journal", "commands", "work", "timers", "outbox", "silent", "blobs"]
        .iter()
        .map(|table| number(&format!("SELECT count(*) FROM {table}")))
        .sum();
    let size = number("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()");
    let each = f64::from(batches);
    println!(
        "a step keeps {:.2} rows, {:.0} bytes of events, {:.0} bytes of file",
        rows / each,
        events / each,
        size / each
    );
}

async fn only_steps(steps: u32) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let store = sqlite(&dir.path().join("store.db"), true).await;
    chain(&*store, "run", steps).await;
}

/// Counts what the kernel was asked to sync, checkpoints included: once for opening alone, once with 10 000 steps.
fn syncs() {
    const STEPS: u32 = 10_000;
    let count = |steps: u32| -> Option<u64> {
        let me = std::env::current_exe().ok()?;
        let output = std::process::Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,msync"])
            .arg(me)
            .env("STEPWELL_BENCH_CHILD", steps.to_string())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let calls = |name: &str| text.matches(&format!("{name}(")).count() as u64;
        println!("{steps} steps: {} fdatasync, {} fsync", calls("fdatasync"), calls("fsync"));
        Some(calls("fdatasync") + calls("fsync") + calls("msync") + calls("sync_file_range"))
    };
    match (count(0), count(STEPS)) {
        (Some(without), Some(with)) => {
            println!("syncs a sequential step: {:.4}", (with - without) as f64 / f64::from(STEPS));
        }
        _ => println!("syncs a step: not counted, strace is not installed"),
    }
}

async fn list() {
    const RUNS: u32 = 100_000;
    let dir = tempfile::tempdir().expect("a directory can be made");
    let store = sqlite(&dir.path().join("store.db"), false).await;
    let session = open_session(&*store).await;
    let workflow = workflow();
    let since = Instant::now();
    let mut tasks = Vec::new();
    for part in 0..64_u32 {
        let (store, workflow) = (store.clone(), workflow.clone());
        tasks.push(tokio::spawn(async move {
            for i in (part..RUNS).step_by(64) {
                create(&*store, i, session, &workflow).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("no run fails");
    }
    println!("100 000 runs with three tags created at {:.0} runs/s", per_second(RUNS, since.elapsed()));
    let tags = |value: Value| RunFilter {
        metadata: value.as_object().cloned().unwrap_or_default(),
        ..RunFilter::default()
    };
    let paused = |filter: RunFilter| RunFilter { status: vec![RunStatus::Paused], ..filter };
    let queries = [
        ("1 of 4", tags(json!({"dept": "legal"}))),
        ("1 of 4, paused 1 of 10", paused(tags(json!({"dept": "legal"})))),
        ("two tags, 1 of 400", tags(json!({"dept": "legal", "customer": {"id": 7}}))),
        (
            "1 of 4, failed 1 of 20 000",
            RunFilter { status: vec![RunStatus::Failed], ..tags(json!({"dept": "legal"})) },
        ),
        ("an unknown workflow", RunFilter { workflow: Some("none".into()), ..RunFilter::default() }),
        ("no match", tags(json!({"dept": "none"}))),
        ("status alone", paused(RunFilter::default())),
        ("all", RunFilter::default()),
    ];
    for (name, filter) in queries {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..50 {
            let since = Instant::now();
            found = store.runs(&filter, &Page::first(50)).await.expect("runs can be listed").items.len();
            times.push(since.elapsed());
        }
        times.sort();
        println!("list, {name}: {found} found, median {:.2?}, worst {:.2?}", times[25], times[49]);
    }
    let request = LeaseRequest {
        session,
        now: Timestamp(1),
        max: 1,
        handlers: None,
        trees: None,
        room: Room::default(),
    };
    let since = Instant::now();
    assert!(store.lease(request).await.expect("work can be leased").is_empty());
    println!("lease beside 100 000 runs, nothing ready: {:.2?}", since.elapsed());
}

async fn create(store: &dyn Store, i: u32, session: SessionRef, workflow: &Arc<Workflow>) {
    let dept = ["legal", "ops", "dev", "sales"][i as usize % 4];
    let metadata = json!({"dept": dept, "customer": {"id": i / 4 % 100}, "title": format!("case {i}")});
    let id = format!("run {i}");
    let row = RowUpdate {
        status: match i {
            _ if i % 20_000 == 4 => RunStatus::Failed,
            _ if i % 10 == 8 => RunStatus::Paused,
            _ => RunStatus::Running,
        },
        pause_reason: None,
        epoch: Epoch(1),
        started_at: None,
        finished_at: None,
        error: None,
    };
    let run =
        Run { id: id.as_str().into(), revision: Revision::default(), session, step: 1, row, next_batch: 1 };
    let new = NewRun {
        workflow: workflow.clone(),
        metadata: metadata.as_object().cloned().unwrap_or_default(),
        parent: None,
        root: run.id.clone(),
    };
    let mut batch = run.batch(Base::New(Box::new(new)), i64::from(i));
    batch.events = vec![Event::RunStarted { deadline: None }];
    store.commit(batch).await.expect("a new run can be created");
}
