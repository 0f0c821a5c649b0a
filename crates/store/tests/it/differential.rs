//! SQLite against memory: random histories, each command given to both, every answer and every read compared.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, json};
use stepwell_core::ids::{ExecutionRef, Ordinal, RunId, Seq, Timestamp, WaitId};
use stepwell_core::policy::resources::{Resources, Room};
use stepwell_core::run::command::TimerKey;
use stepwell_core::run::event::Event;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::definition::Priority;
use stepwell_store::conformance::words::{at, finished, log_line, message, note, question, running};
use stepwell_store::{
    Among, Base, Batch, CommitError, LazyEvent, LeaseRef, LeaseRequest, LimitUse, MemoryStore, NewRun, Page,
    Prune, Purpose, Revision, RowUpdate, RunFilter, SessionRef, SqliteOptions, SqliteStore, Store,
    TimerChange, Trees, WaitChange, WaitFilter, WaitState, WorkChange, WorkItem,
};

const RUNS: u8 = 4;
const STEPS: u8 = 4;

fn cases() -> u32 {
    let cases = std::env::var("STEPWELL_TEST_CASES").ok().and_then(|cases| cases.parse().ok());
    // Each case makes a database: a twentieth of what a pure property gets.
    cases.map_or(48, |cases: u32| (cases / 20).clamp(8, 1_000))
}

/// What is done to both stores. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    Create { run: u8, parent: u8, tags: u8 },
    Commit(Change),
    Lazy { run: u8, step: u8, session: u8, attempt: u8 },
    Lease { session: u8, max: u8, now: u8, root: Option<u8>, handler: Option<u8>, room: Option<u8> },
    OpenSession,
    CloseSession(u8),
    KillSession(u8),
    Renew { session: u8, keep: u8 },
    Snapshot { run: u8, seq: u8 },
    State { key: u8, expected: Option<u8>, delete: bool },
    Prune(u8),
}

#[derive(Clone, Debug)]
struct Change {
    run: u8,
    stale: bool,
    status: u8,
    events: u8,
    command: Option<u8>,
    answered: Vec<(u8, u8, u8)>,
    lost: Vec<(u8, u8, u8)>,
    work: Vec<(u8, u8, u8, u8)>,
    timers: Vec<(u8, u8)>,
    waits: Vec<(u8, u8)>,
    outbox: u8,
    deliver: bool,
    lazy: Option<(u8, u8)>,
}

fn change() -> impl Strategy<Value = Change> {
    let small = 0..8_u8;
    (
        (0..RUNS, prop::bool::weighted(0.1), 0..16_u8, 0..4_u8, prop::option::weighted(0.3, 0..12_u8)),
        (
            prop::collection::vec((0..STEPS, small.clone(), 0..3_u8), 0..3),
            prop::collection::vec((0..STEPS, small.clone(), 0..3_u8), 0..2),
        ),
        prop::collection::vec((0..STEPS, 0..5_u8, small.clone(), any::<u8>()), 0..4),
        prop::collection::vec((0..4_u8, 0..12_u8), 0..3),
        prop::collection::vec((0..6_u8, 0..6_u8), 0..3),
        (0..3_u8, any::<bool>(), prop::option::of((0..STEPS, small))),
    )
        .prop_map(
            |(
                (run, stale, status, events, command),
                (answered, lost),
                work,
                timers,
                waits,
                (outbox, deliver, lazy),
            )| {
                Change {
                    run,
                    stale,
                    status,
                    events,
                    command,
                    answered,
                    lost,
                    work,
                    timers,
                    waits,
                    outbox,
                    deliver,
                    lazy,
                }
            },
        )
}

fn act() -> impl Strategy<Value = Act> {
    let small = 0..8_u8;
    prop_oneof![
        3 => (0..RUNS, 0..RUNS, 0..6_u8).prop_map(|(run, parent, tags)| Act::Create { run, parent, tags }),
        12 => change().prop_map(Act::Commit),
        2 => (0..RUNS, 0..STEPS, small.clone(), 0..3_u8)
            .prop_map(|(run, step, session, attempt)| Act::Lazy { run, step, session, attempt }),
        6 => (small.clone(), 0..4_u8, any::<u8>(), prop::option::weighted(0.2, 0..RUNS), prop::option::weighted(0.3, 0..STEPS), prop::option::of(0..4_u8))
            .prop_map(|(session, max, now, root, handler, room)| Act::Lease { session, max, now, root, handler, room }),
        2 => Just(Act::OpenSession),
        1 => small.clone().prop_map(Act::CloseSession),
        1 => small.clone().prop_map(Act::KillSession),
        2 => (small.clone(), any::<u8>()).prop_map(|(session, keep)| Act::Renew { session, keep }),
        1 => (0..RUNS, 0..20_u8).prop_map(|(run, seq)| Act::Snapshot { run, seq }),
        2 => (0..3_u8, prop::option::of(0..4_u8), any::<bool>())
            .prop_map(|(key, expected, delete)| Act::State { key, expected, delete }),
        1 => any::<u8>().prop_map(Act::Prune),
    ]
}

fn id(run: u8) -> RunId {
    format!("run {run}").as_str().into()
}

fn step(step: u8) -> ExecutionRef {
    ExecutionRef {
        step: format!("step {}", step / 2).as_str().into(),
        ordinal: Ordinal(u32::from(step % 2) + 1),
    }
}

fn row(status: u8, clock: i64) -> RowUpdate {
    match status {
        0 => RowUpdate { status: RunStatus::Paused, pause_reason: Some(PauseReason::Operator), ..running() },
        1 => finished(clock),
        2 => RowUpdate { status: RunStatus::Failed, ..finished(clock) },
        3 => RowUpdate { status: RunStatus::Pending, started_at: None, ..running() },
        _ => running(),
    }
}

fn item(execution: u8, how: u8, attempt: u8) -> WorkItem {
    let priority =
        [Priority::Low, Priority::Normal, Priority::High, Priority::Critical][usize::from(how % 4)];
    let limits = match how / 4 % 4 {
        0 => vec![LimitUse { name: "gpu".into(), units: u32::from(how % 3), capacity: 2 }],
        _ => Vec::new(),
    };
    WorkItem {
        execution: step(execution),
        attempt: u32::from(attempt % 3) + 1,
        handler: format!("fn:flow/{}", execution / 2),
        priority,
        not_before: if how > 200 { at(i64::from(how)) } else { at(0) },
        purpose: [Purpose::Attempt, Purpose::Rerun, Purpose::Judge][usize::from(how % 3)],
        limits,
        resources: match how / 16 % 3 {
            0 => Resources::cpu(how % 4),
            1 => Resources::cpu(how % 3).memory_mb(how % 5),
            _ => Resources::default(),
        },
    }
}

/// Both stores, and what a client would know.
struct Pair {
    memory: Arc<MemoryStore>,
    sqlite: SqliteStore,
    sessions: Vec<SessionRef>,
    clock: i64,
    _dir: tempfile::TempDir,
}

/// Returns an answer as text. Which error it is matters, not its words for what is missing.
fn plain<T: std::fmt::Debug, E: std::fmt::Debug>(result: &Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => match format!("{error:?}") {
            text if text.starts_with("NotFound") => "NotFound".into(),
            text => text,
        },
    }
}

macro_rules! both {
    ($pair:expr, |$store:ident| $call:expr) => {{
        let $store: &dyn Store = &*$pair.memory;
        let expected = $call.await;
        let $store: &dyn Store = &$pair.sqlite;
        let actual = $call.await;
        assert_eq!(plain(&actual), plain(&expected), "{}", stringify!($call));
        expected
    }};
}

impl Pair {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions { fsync: false, ..SqliteOptions::default() };
        let sqlite = SqliteStore::open(&dir.path().join("store.db"), options).await.unwrap();
        let mut pair = Self { memory: Arc::default(), sqlite, sessions: Vec::new(), clock: 10, _dir: dir };
        pair.act(Act::OpenSession).await;
        pair
    }

    fn session(&self, n: u8) -> SessionRef {
        self.sessions[usize::from(n) % self.sessions.len()]
    }

    fn batch(&self, run: u8, base: Base) -> Batch {
        Batch {
            run: id(run),
            base,
            id: self.clock as u64,
            at: at(self.clock),
            events: Vec::new(),
            commands: Vec::new(),
            row: running(),
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

    fn lazy(&self, run: u8, execution: u8, session: u8, attempt: u8) -> LazyEvent {
        let lease = LeaseRef {
            execution: step(execution),
            attempt: u32::from(attempt % 3) + 1,
            session: self.session(session),
        };
        log_line(&id(run), &lease, &format!("line {}", self.clock))
    }

    async fn changed(&self, change: &Change) -> Batch {
        let revision = match self.memory.run(&id(change.run)).await {
            Ok(row) if !change.stale => row.revision,
            Ok(row) => Revision { number: row.revision.number, batch: 1 },
            Err(_) => Revision::default(),
        };
        let mut batch = self.batch(change.run, Base::On(revision));
        batch.row = row(change.status, self.clock);
        batch.events = (0..change.events).map(|i| note(&format!("{} {i}", self.clock))).collect();
        if change.events == 3 {
            let large = json!("x".repeat(70_000 + usize::from(change.status)));
            batch.events.push(Event::RunCompleted { output: Arc::new(large) });
        }
        batch.commands = change.command.iter().map(|c| format!("c{c}").as_str().into()).collect();
        let standing = self.memory.outbox(100).await.unwrap();
        if change.deliver {
            batch.delivered = standing.iter().take(1).map(|message| message.id).collect();
        }
        batch.outbox =
            (0..change.outbox).map(|i| message(id(i).as_str(), &format!("m{}", self.clock))).collect();
        let lease = |(execution, session, attempt): &(u8, u8, u8)| LeaseRef {
            execution: step(*execution),
            attempt: u32::from(*attempt) + 1,
            session: self.session(*session),
        };
        batch.answered = change.answered.iter().map(lease).collect();
        batch.lost = change.lost.iter().map(lease).collect();
        for (execution, kind, session, how) in &change.work {
            batch.work.push(match kind {
                0 => WorkChange::Remove(step(*execution)),
                1 => WorkChange::HandOver(item(*execution, *how, *session), self.session(*session)),
                _ => WorkChange::Put(item(*execution, *how, *session)),
            });
        }
        for (key, when) in &change.timers {
            let timer = match key {
                0 => TimerKey::Run,
                1 => TimerKey::Need("a".into(), "b".into()),
                n => TimerKey::Wait(WaitId::from(format!("w{n}"))),
            };
            batch.timers.push(match when {
                0..3 => TimerChange::Remove(timer),
                // No two at one moment: their order would be anybody's.
                when => {
                    let offset = i64::from(*key) + i64::from(change.run) * 10 + self.clock * 100;
                    TimerChange::Put(timer, Timestamp(at(i64::from(*when) * 100).0 + offset))
                }
            });
        }
        for (n, kind) in &change.waits {
            let wait = format!("w{}-{n}", change.run);
            batch.waits.push(match kind {
                0..3 => {
                    let mut row = question(&batch.run, &wait, self.clock);
                    row.metadata =
                        self.memory.run(&batch.run).await.map(|row| row.metadata).unwrap_or_default();
                    row.assignee = (*kind == 1).then(|| "ann".to_owned());
                    row.deadline = (*kind == 2).then_some(at(i64::from(*n)));
                    WaitChange::Open(Box::new(row))
                }
                3 => WaitChange::Close {
                    wait: wait.into(),
                    state: WaitState::Answered,
                    by: Some("ann".into()),
                },
                4 => WaitChange::Close { wait: wait.into(), state: WaitState::Expired, by: None },
                _ => WaitChange::Close { wait: wait.into(), state: WaitState::Withdrawn, by: None },
            });
        }
        batch.lazy = change
            .lazy
            .iter()
            .map(|(execution, session)| self.lazy(change.run, *execution, *session, 0))
            .collect();
        batch
    }

    /// Lets a batch answer a lease that the journal knows, so that answers are accepted too.
    async fn with_real_leases(&self, mut batch: Batch, take: usize) -> Batch {
        let mut real = Vec::new();
        for recorded in self.memory.events(&batch.run, Seq(0), usize::MAX).await.unwrap_or_default() {
            if let Event::AttemptStarted(started) = recorded.event
                && let Some(session) = self.sessions.iter().find(|s| s.id == started.session)
            {
                let execution = ExecutionRef { step: started.step, ordinal: started.execution };
                real.push(LeaseRef { execution, attempt: started.attempt, session: *session });
            }
        }
        if let Some(lease) = real.into_iter().rev().nth(take) {
            batch.answered = vec![lease];
        }
        batch
    }

    async fn act(&mut self, act: Act) {
        self.clock += 1;
        match act {
            Act::Create { run, parent, tags } => {
                let mut batch = self.batch(run, Base::On(Revision::default()));
                let mut metadata = Map::new();
                metadata.insert("n".into(), json!(tags % 2));
                metadata.insert("deep".into(), json!({"tag": tags}));
                let parent = (parent < run).then(|| id(parent));
                let root = parent.clone().unwrap_or_else(|| id(run));
                batch.events = vec![note("created")];
                batch.commands = vec!["c0".into()];
                let workflow = stepwell_store::conformance::words::workflow("flow");
                batch.base = Base::New(Box::new(NewRun { workflow, metadata, parent, root }));
                let _outcome = both!(self, |store| store.commit(batch.clone()));
            }
            Act::Commit(change) => {
                let mut batch = self.changed(&change).await;
                if change.status % 2 == 0 {
                    batch = self.with_real_leases(batch, usize::from(change.events)).await;
                }
                let outcome = both!(self, |store| store.commit(batch.clone()));
                if matches!(outcome, Err(CommitError::Store(_) | CommitError::Unknown(_))) {
                    panic!("{outcome:?}");
                }
                both!(self, |store| store.is_committed(&batch.run, batch.id)).unwrap();
            }
            Act::Lazy { run, step, session, attempt } => {
                let lazy = self.lazy(run, step, session, attempt);
                both!(self, |store| store.append_lazy(vec![lazy.clone()])).unwrap();
            }
            Act::Lease { session, max, now, root, handler, room } => {
                let request = LeaseRequest {
                    session: self.session(session),
                    now: at(i64::from(now)),
                    max: usize::from(max),
                    handlers: handler.map(|h| {
                        Arc::new([format!("fn:flow/{}", h / 2), "fn:none*".into()].into_iter().collect())
                    }),
                    trees: root.map(|root| Trees::from_iter([id(root)])),
                    room: room
                        .map_or_else(Room::default, |cpus| Room::of(&Resources::cpu(cpus).memory_mb(3))),
                };
                let _outcome = both!(self, |store| store.lease(request.clone()));
            }
            Act::OpenSession => {
                let session = both!(self, |store| store.open_session("worker", at(1))).unwrap();
                self.sessions.push(session);
            }
            Act::CloseSession(session) => {
                let session = self.session(session);
                both!(self, |store| store.close_session(session)).unwrap();
            }
            Act::KillSession(session) => {
                // Memory knows a killed session as closed; SQLite lets it renew until somebody noticed.
                let session = self.session(session);
                self.memory.kill_session(session);
                self.sqlite.kill_session(session);
                self.sqlite.close_session(session).await.unwrap();
            }
            Act::Renew { session, keep } => {
                let session = self.session(session);
                let lost = self.memory.lost_leases(at(1), 100).await.unwrap();
                let held: Vec<_> =
                    lost.into_iter().take(usize::from(keep % 3)).map(|l| (l.run, l.lease)).collect();
                let sorted = |renewal: Result<stepwell_store::Renewal, stepwell_store::Error>| {
                    renewal.map(|renewal| {
                        let set = |list: Vec<(RunId, LeaseRef)>| {
                            list.iter().map(|l| format!("{l:?}")).collect::<BTreeSet<_>>()
                        };
                        (set(renewal.lost), set(renewal.strays))
                    })
                };
                let expected = sorted(self.memory.renew_session(session, held.clone(), at(1)).await);
                let actual = sorted(self.sqlite.renew_session(session, held, at(1)).await);
                assert_eq!(plain(&actual), plain(&expected));
            }
            Act::Snapshot { run, seq } => {
                let standing = self.memory.run(&id(run)).await.map_or(0, |row| row.seq.0);
                let seq = Seq(u64::from(seq).min(standing));
                let _outcome = both!(self, |store| store.put_snapshot(&id(run), seq, vec![seq.0 as u8]));
            }
            Act::State { key, expected, delete } => {
                let (key, expected, now) = (format!("k{key}"), expected.map(u64::from), at(self.clock));
                if delete {
                    let _outcome = both!(self, |store| store.delete_state(&key, expected));
                } else {
                    let value = json!({"n": self.clock});
                    let _outcome = both!(self, |store| store.put_state(&key, value.clone(), expected, now));
                }
            }
            Act::Prune(before) => {
                let prune = Prune::before(at(i64::from(before) % 40));
                // How large things are is each store's own affair.
                both!(self, |store| async { store.prune(&prune).await.map(|pruned| pruned.runs) }).unwrap();
            }
        }
    }

    /// Compares everything that can be read.
    async fn compare(&self) {
        for run in 0..RUNS {
            let run = id(run);
            let _row = both!(self, |store| store.run(&run));
            let _loaded = both!(self, |store| store.load(&run));
            let _events = both!(self, |store| store.events(&run, Seq(2), 5));
            for command in 0..12 {
                both!(self, |store| store.command_outcome(&run, &format!("c{command}").as_str().into()))
                    .unwrap();
            }
        }
        let filters = [
            RunFilter::default(),
            RunFilter { metadata: json!({"n": 1}).as_object().cloned().unwrap(), ..RunFilter::default() },
            RunFilter {
                metadata: json!({"deep": {"tag": 2}}).as_object().cloned().unwrap(),
                ..RunFilter::default()
            },
            RunFilter { status: vec![RunStatus::Running, RunStatus::Failed], ..RunFilter::default() },
            RunFilter { among: Among::ChildrenOf(id(0)), ..RunFilter::default() },
            RunFilter { among: Among::Roots, ..RunFilter::default() },
            RunFilter { pause_reason: Some(PauseReason::Input), ..RunFilter::default() },
        ];
        for filter in filters {
            for limit in [1, 2, 100] {
                both!(self, |store| store.runs(&filter, &Page::first(limit))).unwrap();
            }
        }
        let waits = [
            WaitFilter::default(),
            WaitFilter { state: Some(WaitState::Open), ..WaitFilter::default() },
            WaitFilter { assignee: Some("ann".into()), ..WaitFilter::default() },
            WaitFilter { root: Some(id(0)), ..WaitFilter::default() },
            WaitFilter { run: Some(id(1)), due_before: Some(at(4)), ..WaitFilter::default() },
        ];
        for filter in waits {
            both!(self, |store| store.waits(&filter, &Page::first(3))).unwrap();
        }
        both!(self, |store| store.due_timers(at(600), 100)).unwrap();
        for now in [0, 210, 10_000] {
            both!(self, |store| store.next_due(at(now))).unwrap();
        }
        both!(self, |store| store.outbox(100)).unwrap();
        both!(self, |store| store.states("", &Page::first(10))).unwrap();
        both!(self, |store| store.runs_with_prefix("run ", 3)).unwrap();
        let set = |lost: Vec<stepwell_store::LostLease>| {
            lost.iter().map(|l| format!("{l:?}")).collect::<BTreeSet<_>>()
        };
        let expected = set(self.memory.lost_leases(at(1), 1_000).await.unwrap());
        let actual = set(self.sqlite.lost_leases(at(1), 1_000).await.unwrap());
        assert_eq!(actual, expected, "lost leases");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn differential_sqlite_answers_as_memory_does(acts in prop::collection::vec(act(), 1..60)) {
        stepwell_store::conformance::run(async {
            let mut pair = Pair::new().await;
            for (i, act) in acts.into_iter().enumerate() {
                pair.act(act).await;
                if i % 8 == 7 {
                    pair.compare().await;
                }
            }
            pair.compare().await;
            pair.sqlite.close().await.unwrap();
        });
    }
}
