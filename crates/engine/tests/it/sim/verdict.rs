//! What must be true of every journal, and of everything that anybody was told, whatever went wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use stepwell_core::error::Code;
use stepwell_core::ids::{RunId, Seq, Timestamp, WaitId};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{Resolution, WaitKind};
use stepwell_core::status::PauseReason;
use stepwell_core::workflow::definition::Effect;
use stepwell_engine::Engine;
use stepwell_engine::testing::has_no_gaps;
use stepwell_store::{Page, Recorded, RunRow, Store, WaitFilter, WaitState};

use super::ledger::{Ask, Asked, Attempt, Book, Told};
use super::process::Common;
use super::world::rows;

/// Checks everything. `engine` reads runs over a healthy store.
pub(super) async fn check(common: &Common, engine: &Engine) {
    let store = &common.memory;
    let mut journals = HashMap::new();
    for row in rows(store).await {
        let journal = store.events(&row.run, Seq(0), usize::MAX).await.expect("a journal can be read");
        let run = engine.inspect(&row.run).await.expect("a run can be folded");
        assert!(has_no_gaps(&journal), "{}: a gap", row.run);
        assert_eq!(journal.last().map(|recorded| recorded.seq), Some(row.seq), "{}", row.run);
        let folded = (run.status(), run.pause_reason(), run.epoch(), run.error().cloned());
        let stands = row.state.clone();
        let stored = (stands.status, stands.pause_reason, stands.epoch, stands.error);
        assert_eq!(folded, stored, "{}: the fold of the journal is what the store lists", row.run);
        Past::of(&row, &run, &common.ledger.book()).read(&journal);
        journals.insert(row.run.clone(), journal);
    }
    check_waits(common, &journals).await;
    check_asks(&common.ledger.book(), &journals);
    check_begun(&common.ledger.book(), &journals);
    assert_eq!(common.ledger.book().broken, Vec::<String>::new());
    let far = Timestamp(i64::MAX);
    assert_eq!(store.due_timers(far, 10).await.expect("timers can be read"), [], "a timer of an ended run");
    assert_eq!(store.lost_leases(far, 10).await.expect("leases can be read"), [], "a lease of an ended run");
}

/// Everything of one run, as far as its journal has been read.
struct Past<'c> {
    row: &'c RunRow,
    run: &'c stepwell_core::run::Run,
    book: &'c Book,
    executions: BTreeMap<(String, u32), Execution>,
    waits: HashMap<WaitId, bool>,
    signals: HashSet<(String, String)>,
    taken: HashSet<String>,
    is_over: bool,
    is_paused: bool,
}

#[derive(Default)]
struct Execution {
    /// Attempts of this epoch.
    attempts: BTreeSet<u32>,
    highest: u32,
    /// The attempt that is under way, and its session.
    under_way: Option<(u32, u64)>,
    last: Option<u32>,
    is_suspended: bool,
    ended: HashSet<u32>,
    failures: u32,
    losses: u32,
    settled: u32,
    is_completed: bool,
    is_terminal: bool,
}

impl<'c> Past<'c> {
    fn of(row: &'c RunRow, run: &'c stepwell_core::run::Run, book: &'c Book) -> Self {
        Self {
            row,
            run,
            book,
            executions: BTreeMap::new(),
            waits: HashMap::new(),
            signals: HashSet::new(),
            taken: HashSet::new(),
            is_over: false,
            is_paused: false,
        }
    }

    fn read(mut self, journal: &[Recorded]) {
        for recorded in journal {
            self.event(recorded);
        }
        assert!(self.is_over, "{} is over", self.row.run);
        assert!(self.waits.values().all(|open| !open), "{}: a wait of an ended run is open", self.row.run);
    }

    fn event(&mut self, recorded: &Recorded) {
        let id = &self.row.run;
        let context = format!("{id} {recorded:?}");
        let is_retry = matches!(recorded.event, Event::RunRetried { .. });
        assert!(!self.is_over || is_retry, "after the end: {context}");
        match &recorded.event {
            Event::AttemptStarted(start) => {
                assert!(!self.is_paused, "while paused: {context}");
                self.alive(start.session, recorded.seq, &context);
                let execution = self.execution(start.step.as_str(), start.execution.0);
                assert!(
                    !execution.is_completed && !execution.is_terminal,
                    "of an ended execution: {context}"
                );
                assert_eq!(execution.under_way, None, "while another is under way: {context}");
                let is_next = start.attempt == execution.highest + 1;
                let is_rerun = execution.is_suspended && start.attempt == execution.highest;
                assert!(is_next || is_rerun, "out of turn: {context}");
                execution.highest = start.attempt;
                execution.attempts.insert(start.attempt);
                execution.is_suspended = false;
                execution.under_way = Some((start.attempt, start.session));
                execution.last = Some(start.attempt);
                self.count(start.step.as_str(), start.execution.0, &context);
            }
            Event::StepCompleted { step, execution, attempt, output, .. } => {
                if *attempt > 0 {
                    self.outcome(step.as_str(), execution.0, *attempt, &context);
                    let number =
                        output["result"].as_u64().expect("what is completed by an attempt has its number");
                    let done = Attempt {
                        run: id.clone(),
                        step: step.to_string(),
                        ordinal: execution.0,
                        number: *attempt,
                    };
                    assert_eq!(self.book.done.get(&number), Some(&done), "nobody did that: {context}");
                }
                let execution = self.execution(step.as_str(), execution.0);
                assert!(!execution.is_terminal, "a second end: {context}");
                execution.is_terminal = true;
                execution.is_completed = true;
                execution.under_way = None;
            }
            Event::AttemptFailed { step, execution, attempt, .. } => {
                self.outcome(step.as_str(), execution.0, *attempt, &context);
                let retries = self.retries(step.as_str());
                let execution = self.execution(step.as_str(), execution.0);
                assert!(execution.ended.insert(*attempt), "a second end: {context}");
                execution.failures += 1;
                assert!(execution.failures <= 1 + retries, "too often: {context}");
                execution.under_way = None;
            }
            Event::AttemptLost { step, execution, attempt, given_back } => {
                let execution = self.execution(step.as_str(), execution.0);
                assert_eq!(execution.under_way.map(|(number, _)| number), Some(*attempt), "{context}");
                assert!(execution.ended.insert(*attempt), "a second end: {context}");
                execution.losses += u32::from(!given_back);
                execution.under_way = None;
            }
            Event::AttemptSuspended { step, execution, attempt } => {
                self.outcome(step.as_str(), execution.0, *attempt, &context);
                let execution = self.execution(step.as_str(), execution.0);
                execution.is_suspended = true;
                execution.under_way = None;
            }
            Event::StepFailed { step, execution, .. }
            | Event::StepSkipped { step, execution, .. }
            | Event::StepCancelled { step, execution } => {
                let execution = self.execution(step.as_str(), execution.0);
                assert!(!execution.is_terminal, "a second end: {context}");
                execution.is_terminal = true;
                execution.under_way = None;
            }
            Event::WaitOpened { wait, step, execution, spec } => {
                assert_eq!(self.waits.insert(wait.clone(), true), None, "opened twice: {context}");
                // An attempt that a person decides about is over, unless its late outcome comes first.
                if matches!(&spec.kind, WaitKind::Human(question) if question.settles) {
                    self.execution(step.as_str(), execution.0).under_way = None;
                }
            }
            Event::WaitResolved { wait, step, execution, resolution } => {
                assert_eq!(self.waits.insert(wait.clone(), false), Some(true), "not open: {context}");
                if let Resolution::Signalled { id, .. } = resolution {
                    assert!(self.taken.insert(id.clone()), "a signal is taken twice: {context}");
                }
                if matches!(resolution, Resolution::Answered { value, .. } if value.get("verb").is_some()) {
                    self.execution(step.as_str(), execution.0).settled += 1;
                }
            }
            Event::SignalReceived { name, id, .. } => {
                assert!(self.signals.insert((name.clone(), id.clone())), "received twice: {context}");
            }
            Event::RunPaused { reason: PauseReason::Operator, .. } => {
                assert!(!std::mem::replace(&mut self.is_paused, true), "paused twice: {context}");
            }
            Event::RunResumed { reason: PauseReason::Operator, .. } => {
                assert!(std::mem::replace(&mut self.is_paused, false), "not paused: {context}");
            }
            Event::RunRetried { .. } => {
                assert!(std::mem::replace(&mut self.is_over, false), "not over: {context}");
                for execution in self.executions.values_mut().filter(|execution| !execution.is_completed) {
                    let Execution { highest, is_suspended, .. } = *execution;
                    *execution = Execution { highest, is_suspended, ..Execution::default() };
                }
            }
            event if event.ends_run() => {
                self.is_over = true;
                self.is_paused = false;
            }
            _ => {}
        }
    }

    fn execution(&mut self, step: &str, ordinal: u32) -> &mut Execution {
        self.executions.entry((step.to_owned(), ordinal)).or_default()
    }

    fn retries(&self, step: &str) -> u32 {
        self.declared(step).retry.as_ref().map_or(0, |retry| retry.max_retries)
    }

    fn declared(&self, step: &str) -> &stepwell_core::workflow::definition::Step {
        let workflow = self.run.workflow();
        workflow.step(workflow.find(step).expect("a step of the journal is in the definition"))
    }

    /// Attempts ≤ 1 + retries + those lost + those that somebody decided on by hand.
    fn count(&mut self, step: &str, ordinal: u32, context: &str) {
        let retries = self.retries(step);
        let execution = self.execution(step, ordinal);
        let most = 1 + retries + execution.losses + execution.settled;
        assert!(execution.attempts.len() as u32 <= most, "more than {most} attempts: {context}");
    }

    /// An outcome comes from the attempt that is under way. Its session may have been judged dead: as long as nobody
    /// has taken note of the loss, the lease stands.
    fn outcome(&mut self, step: &str, ordinal: u32, attempt: u32, context: &str) {
        let may_be_late = self.declared(step).effect == Effect::AtMostOnce;
        let execution = self.execution(step, ordinal);
        if let Some((number, _)) = execution.under_way {
            assert_eq!(number, attempt, "of another attempt: {context}");
        } else {
            // The late outcome of an attempt that a person is asked about, from its last owner.
            let is_last = execution.last == Some(attempt);
            assert!(may_be_late && is_last, "nobody carries it out: {context}");
        }
    }

    /// Nothing is begun for a session that was judged dead.
    fn alive(&self, session: u64, seq: Seq, context: &str) {
        let dead = self.book.deaths.iter().find(|death| death.session == session);
        if let Some(death) = dead {
            let end = death.ends.get(&self.row.run).copied().unwrap_or(Seq(0));
            assert!(seq <= end, "session {session} was dead from {end:?} on: {context}");
        }
    }
}

/// What the store lists of waits is what the journals say.
async fn check_waits(common: &Common, journals: &HashMap<RunId, Vec<Recorded>>) {
    let rows = common.memory.waits(&WaitFilter::default(), &Page::first(100_000)).await;
    let rows = rows.expect("waits can be listed").items;
    let opened = journals.values().flatten().filter(|recorded| recorded.event.kind() == "WaitOpened").count();
    assert_eq!(rows.len(), opened, "each wait is listed once");
    for row in rows {
        assert_ne!(row.state, WaitState::Open, "{row:?} of a run that is over");
    }
}

/// What was acknowledged is in the journal exactly once; what was refused is not.
fn check_asks(book: &Book, journals: &HashMap<RunId, Vec<Recorded>>) {
    let none = Vec::new();
    let count = |run: &RunId, which: &dyn Fn(&Event) -> bool| {
        journals.get(run).unwrap_or(&none).iter().filter(|recorded| which(&recorded.event)).count()
    };
    for Asked { ask, told, began, .. } in &book.asks {
        let context = format!("{ask:?} was told {told:?}");
        if let Told::Refused(error) = told {
            let fits = [Code::WORKFLOW_INVALID_STATE, Code::WORKFLOW_NOT_FOUND];
            assert!(fits.contains(&error.code), "{context}");
        }
        let taken = match ask {
            Ask::Start(run) => {
                assert!(!matches!(told, Told::Refused(_)), "the same start is never refused: {context}");
                count(run, &|event| matches!(event, Event::RunCreated(_)))
            }
            Ask::Answer { run, wait, value } => count(run, &|event| {
                matches!(event, Event::WaitResolved { wait: resolved, resolution: Resolution::Answered { value: given, .. }, .. }
                    if resolved == wait && **given == *value)
            }),
            Ask::Signal { run, name, id } => count(
                run,
                &|event| matches!(event, Event::SignalReceived { name: of, id: known, .. } if of == name && known == id),
            ),
            Ask::Cancel(run) => count(run, &|event| matches!(event, Event::RunCancelled { .. })),
            // These have no ids: how often is counted below.
            Ask::Pause(run) => count(run, &|event| is_pause(event)).min(1),
            Ask::Resume(run) => count(run, &|event| is_resume(event)).min(1),
            Ask::Retry(run) => count(run, &|event| matches!(event, Event::RunRetried { .. })).min(1),
        };
        let was_taken_before = || {
            let same = book.asks.iter().filter(|other| other.ask == *ask && other.ended < *began);
            same.into_iter().any(|other| matches!(other.told, Told::Taken))
        };
        let could_be_taken = || {
            let same = book.asks.iter().filter(|other| other.ask == *ask);
            same.into_iter().any(|other| !matches!(other.told, Told::Refused(_)))
        };
        match (ask, told) {
            (_, Told::Taken) => assert_eq!(taken, 1, "{context}"),
            (Ask::Answer { .. } | Ask::Signal { .. }, Told::Refused(_)) => {
                assert!(!was_taken_before(), "a repetition of what was taken: {context}");
                // A signal to a failed run is refused, and may be taken when the run is retried.
                assert!(taken == 0 || could_be_taken(), "refused, yet in the journal: {context}");
            }
            _ => assert!(taken <= 1, "{context}"),
        }
    }
    for (run, journal) in journals {
        let happened =
            |which: fn(&Event) -> bool| journal.iter().filter(|recorded| which(&recorded.event)).count();
        let asked = |which: fn(RunId) -> Ask, taken_only: bool| {
            let of = book.asks.iter().filter(|asked| asked.ask == which(run.clone()));
            of.filter(|asked| match asked.told {
                Told::Taken => true,
                Told::Nothing | Told::Failed => !taken_only,
                Told::Refused(_) => false,
            })
            .count()
        };
        let resumed = happened(is_resume);
        assert!(
            resumed >= asked(Ask::Resume, true) && resumed <= asked(Ask::Resume, false),
            "{run}: resumed {resumed} times"
        );
        let retried = happened(|event| matches!(event, Event::RunRetried { .. }));
        assert!(
            retried >= asked(Ask::Retry, true) && retried <= asked(Ask::Retry, false),
            "{run}: retried {retried} times"
        );
        // To pause what is paused changes nothing.
        let paused = happened(is_pause);
        assert!(paused <= asked(Ask::Pause, false), "{run}: paused {paused} times");
    }
}

fn is_pause(event: &Event) -> bool {
    matches!(event, Event::RunPaused { reason: PauseReason::Operator, .. })
}

fn is_resume(event: &Event) -> bool {
    matches!(event, Event::RunResumed { reason: PauseReason::Operator, .. })
}

/// Nothing is carried out that was not journaled as begun, by that process, and no lease is carried out twice.
fn check_begun(book: &Book, journals: &HashMap<RunId, Vec<Recorded>>) {
    let mut leases: HashMap<(Attempt, usize), usize> = HashMap::new();
    for (run, journal) in journals {
        for recorded in journal {
            let Event::AttemptStarted(start) = &recorded.event else { continue };
            let attempt = Attempt {
                run: run.clone(),
                step: start.step.to_string(),
                ordinal: start.execution.0,
                number: start.attempt,
            };
            *leases.entry((attempt, book.sessions[&start.session])).or_default() += 1;
        }
    }
    for (attempt, process) in &book.begun {
        let left = leases.get_mut(&(attempt.clone(), *process));
        let left = left.unwrap_or_else(|| panic!("process {process} had no lease for {attempt:?}"));
        assert!(*left > 0, "process {process} carried out {attempt:?} more often than it began");
        *left -= 1;
    }
}
