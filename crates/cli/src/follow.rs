//! Following a run to its end: a line of talk for each thing that happens, or the live view of it on a terminal; the results
//! when it is over.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::slice;

use serde_json::Value;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Ordinal, RunId, Seq, StepName, WaitId};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{Question, Resolution, WaitKind, WaitSpec};
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_engine::Engine;
use stepwell_engine::batch::BatchResult;

use crate::children::Children;
use crate::exit::Exit;
use crate::live::model::Model;
use crate::live::{tty, view};
use crate::stop::{Stop, consequence};
use crate::values::{counted, shown};
use crate::{answering, batch, functions, hints, output, shape, steps, text, values};

/// How a run is followed.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Tells each thing that happens in a line of its own, also on a terminal, and asks nothing there
    #[arg(long)]
    plain: bool,
    /// Asks no questions on the terminal; `stepwell answer` answers them
    #[arg(long)]
    no_input: bool,
}

impl How {
    /// Returns whether the run is drawn, instead of told line by line.
    pub(crate) fn is_live(&self, json: bool) -> bool {
        !self.plain && !json && tty::can_draw()
    }
}

/// How the following of a run ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The run has ended; how it stands, if that was looked at.
    Rests(Option<Box<Run>>),
    /// Somebody asked this process to end.
    Interrupted,
    /// What is under way could not be kept.
    Failed(ErrorObject),
}

/// Where following begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin<'w> {
    /// With the first event of a run that was started just now, with that definition.
    Start(&'w Workflow),
    /// After that event of a run that has something behind it.
    After(Seq),
}

/// Follows a run, prints its results, shuts the engine down, and returns how the process ends.
pub(crate) async fn to_the_end(
    engine: &Engine,
    run: &RunId,
    begin: Begin<'_>,
    how: &How,
    json: bool,
) -> Result<Exit, ErrorObject> {
    let mut stop = Stop::listen()?;
    let exit = follow(engine, run, begin, how, json, &mut stop).await;
    stop.shut_down(slice::from_ref(engine)).await;
    exit
}

async fn follow(
    engine: &Engine,
    run: &RunId,
    begin: Begin<'_>,
    how: &How,
    json: bool,
    stop: &mut Stop,
) -> Result<Exit, ErrorObject> {
    let is_live = how.is_live(json);
    let end = match begin {
        Begin::Start(workflow) if is_live => {
            let model = Model::new(run.clone(), workflow);
            view::watch(engine, model, Seq(0), !how.no_input, stop).await?
        }
        Begin::After(_) if is_live => {
            // What is over already is in the picture that it begins with; events that are in it too change nothing.
            let row = engine.store().run(run).await;
            let seq = row.map_err(|error| stepwell_engine::error::from_store(&error))?.seq;
            let model = Model::of(&engine.inspect(run).await?);
            view::watch(engine, model, seq, !how.no_input, stop).await?
        }
        Begin::Start(_) => listen(engine, run, Seq(0), stop).await?,
        Begin::After(seq) => listen(engine, run, seq, stop).await?,
    };
    match end {
        End::Rests(known) => {
            let known = match known {
                Some(known) => *known,
                None => engine.inspect(run).await?,
            };
            result(engine, &known, is_live, json).await
        }
        End::Interrupted => {
            let id = text::word(run.as_str());
            let who = functions::who_has(engine.inspect(run).await?.workflow());
            let who = who.unwrap_or_else(|| format!("`stepwell resume {id}`"));
            output::talk(&format!(
                "interrupted{}. The run is not cancelled: {who} goes on, `stepwell cancel {id}` ends it",
                consequence(slice::from_ref(engine))
            ));
            Ok(Exit::Interrupted)
        }
        End::Failed(error) => {
            // The next process does again what is under way.
            engine.abort();
            Err(error)
        }
    }
}

/// Tells what happens, line by line.
async fn listen(engine: &Engine, run: &RunId, after: Seq, stop: &mut Stop) -> Result<End, ErrorObject> {
    let mut fault = engine.fault();
    let mut events = engine.follow(run, after);
    let mut children = Children::of(engine, run);
    let known = engine.inspect(run).await?;
    if after > Seq(0) {
        for wait in known.open_waits() {
            children.waits_for(wait.spec);
        }
    }
    let mut teller = Teller::of(&known);
    loop {
        let news = tokio::select! {
            news = events.next() => news?,
            news = children.next() => {
                for asked in news?.opened {
                    tell_wait(&asked.run, &asked.wait, &asked.name, &asked.spec);
                }
                continue;
            }
            _ = stop.asked() => return Ok(End::Interrupted),
            error = failing(&mut fault) => return Ok(End::Failed(error)),
        };
        if news.is_empty() {
            return Ok(End::Rests(None));
        }
        for recorded in &news {
            children.note(&recorded.event);
            teller.tell(&recorded.event);
        }
    }
}

/// Says what a run has behind it already: the steps, and of those that are under way how many elements.
pub(crate) fn say_done(run: &Run) {
    let is_done = |execution: &&Execution| execution.status == ExecutionStatus::Completed;
    let mut done: Vec<String> = Vec::new();
    for execution in run.executions() {
        if run.element_of(execution).is_some() {
            continue;
        }
        let name = steps::name(execution.step.as_str(), execution.ordinal);
        let elements = || run.executions().iter().filter(|element| is_element(run, element, execution));
        match (execution.status, run.elements(execution)) {
            (ExecutionStatus::Completed, _) => done.push(name),
            (_, Some(all)) if elements().any(|element| is_done(&element)) => {
                done.push(format!("{} of {all} of {name}", elements().filter(is_done).count()));
            }
            _ => {}
        }
    }
    if !done.is_empty() {
        output::talk(&format!("already done: {}", done.join(", ")));
    }
}

fn is_element(run: &Run, element: &Execution, of: &Execution) -> bool {
    run.element_of(element).is_some_and(|known| known.step == of.step && known.ordinal == of.ordinal)
}

/// Says what a run waits for, as was said when it began to wait.
pub(crate) fn say_waits(run: &Run) {
    for wait in run.open_waits() {
        let step = steps::name(wait.execution.step.as_str(), wait.execution.ordinal);
        tell_wait(run.id(), wait.id, &step, wait.spec);
    }
    for execution in run.executions() {
        if let (ExecutionStatus::Retrying, Some(at)) = (execution.status, execution.due_at) {
            let step = steps::name(execution.step.as_str(), execution.ordinal);
            output::talk(&format!("  {step}: next attempt at {}", shown(at)));
        }
    }
}

/// Waits until the store has failed for so long that it is no hiccup.
pub(crate) async fn failing(fault: &mut tokio::sync::watch::Receiver<Option<ErrorObject>>) -> ErrorObject {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
    loop {
        let failed = fault.borrow_and_update().clone();
        if failed.is_some() {
            tokio::time::sleep(PATIENCE).await;
            if let Some(still) = fault.borrow().clone() {
                return still;
            }
        }
        if fault.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Prints what came of a run.
pub(crate) async fn result(
    engine: &Engine,
    known: &Run,
    is_live: bool,
    json: bool,
) -> Result<Exit, ErrorObject> {
    let run = known.id();
    let row = engine.store().run(run).await.map_err(|error| stepwell_engine::error::from_store(&error))?;
    let id = text::word(run.as_str());
    output::is_done(format!("the run itself is {}: `stepwell show {id}`", known.status()));
    if json {
        output::json(&shape::run(known, row.seq));
        return Ok(Exit::of_run(known));
    }
    // A step that ran several times is told as it ended last.
    let latest: HashMap<&str, &Execution> =
        known.executions().iter().map(|execution| (execution.step.as_str(), execution)).collect();
    // Whoever has seen the table of a terminal is told there only what it does not hold.
    let is_told = is_live && std::io::stdout().is_terminal();
    for step in known.views().keys() {
        let Some(execution) = latest.get(step.as_str()) else { continue };
        let mut lines = steps::told(known, execution);
        if is_told && lines.len() > 1 {
            lines[0] = format!("{step}:");
        }
        for line in lines.iter().filter(|_| !is_told || lines.len() > 1) {
            output::data_message(line);
        }
    }
    match known.error() {
        Some(error) if known.status() == RunStatus::Failed => say_failed(known, error),
        _ => match BatchResult::of(known) {
            Some(files) => batch::say_summary(known, &files),
            None if is_live => {}
            None => output::talk(&format!("run {run} is {}", known.status())),
        },
    }
    Ok(Exit::of_run(known))
}

/// Says why a run failed and what to do next.
fn say_failed(run: &Run, error: &ErrorObject) {
    let _exit = output::error(error, false);
    let named = error.data.get("task_id").and_then(Value::as_str);
    let others = run
        .executions()
        .iter()
        .filter(|execution| execution.status.is_failure() && Some(execution.step.as_str()) != named);
    let (elements, others): (Vec<_>, Vec<_>) =
        others.partition(|execution| run.element_of(execution).is_some());
    say_others(if named.is_some() { "more step" } else { "step" }, &others);
    say_others("element", &elements);
    output::talk(&format!("hint: {}", hints::of_failure(run, error)));
}

fn say_others(noun: &str, failed: &[&Execution]) {
    let names: Vec<String> =
        failed.iter().map(|execution| steps::name(execution.step.as_str(), execution.ordinal)).collect();
    if !names.is_empty() {
        output::talk(&format!("{} failed: {}", counted(names.len(), noun), values::named(&names)));
    }
}

/// Tells what happens in a run.
struct Teller<'r> {
    workflow: &'r Workflow,
    run: &'r RunId,
    /// The run had ended before it was followed: nobody can do anything about what is told.
    is_past: bool,
    /// Open waits that may end although nobody does anything: they have a deadline, or a child run goes on.
    may_end: HashSet<WaitId>,
}

impl<'r> Teller<'r> {
    fn of(known: &'r Run) -> Self {
        let may_end = known.open_waits().into_iter().filter(|wait| may_end(wait.spec));
        Self {
            workflow: known.workflow(),
            run: known.id(),
            is_past: known.status().is_terminal(),
            may_end: may_end.map(|wait| wait.id.clone()).collect(),
        }
    }

    /// Says what there is to say about an event.
    fn tell(&mut self, event: &Event) {
        match event {
            Event::WaitOpened { wait, spec, .. } if may_end(spec) => {
                self.may_end.insert(wait.clone());
            }
            Event::WaitResolved { wait, .. } => {
                self.may_end.remove(wait);
            }
            _ => {}
        }
        match event {
            Event::WaitOpened { step, execution, spec, .. } if self.is_past => {
                output::talk_message(&what_is_awaited(&steps::name(step.as_str(), *execution), spec));
            }
            Event::WaitOpened { wait, step, execution, spec } => {
                tell_wait(self.run, wait, &steps::name(step.as_str(), *execution), spec);
            }
            Event::RunPaused { reason, .. } => output::talk(&self.paused(*reason)),
            _ => {
                if let Some(line) = line(self.workflow, self.run, event) {
                    output::talk_message(&line);
                }
            }
        }
    }

    fn paused(&self, reason: PauseReason) -> String {
        let run = self.run;
        match reason {
            PauseReason::Input if self.is_past => format!("run {run} waited for input"),
            PauseReason::Input if self.may_end.is_empty() => {
                format!("run {run} waits, and nothing else can move it; Ctrl-C leaves it waiting")
            }
            PauseReason::Input => format!("run {run} waits; Ctrl-C leaves it waiting"),
            PauseReason::Operator if self.is_past => format!("run {run} was paused"),
            PauseReason::Operator => {
                format!("run {run} is paused; `stepwell resume {}` lifts that", text::word(run.as_str()))
            }
        }
    }
}

fn may_end(spec: &WaitSpec) -> bool {
    spec.deadline.is_some() || matches!(spec.kind, WaitKind::Child(_))
}

/// Says what is waited for, and what to type to answer it.
fn tell_wait(run: &RunId, wait: &WaitId, step: &str, spec: &WaitSpec) {
    let (what, commands) = waits_for(run, wait, step, spec);
    output::talk_message(&what);
    for command in commands {
        output::talk(&command);
    }
}

/// Returns what is waited for, as a message, and lines that say what to type to answer it.
pub(crate) fn waits_for(run: &RunId, wait: &WaitId, step: &str, spec: &WaitSpec) -> (String, Vec<String>) {
    let what = what_is_awaited(step, spec);
    match &spec.kind {
        WaitKind::Human(question) => (what, answer_with(wait, question)),
        WaitKind::Signal { name } => {
            let (id, word) = (text::word(run.as_str()), text::word(name));
            (format!("{what}: `stepwell signal {id} {}`", text::line(&word)), Vec::new())
        }
        WaitKind::Timer | WaitKind::Child(_) => (what, Vec::new()),
    }
}

/// Returns what a step waits for, until when, and what stands in after that.
fn what_is_awaited(step: &str, spec: &WaitSpec) -> String {
    let until = spec.deadline.map_or_else(String::new, |at| format!(" until {}", shown(at)));
    let default = spec.default.as_ref().map_or_else(String::new, |default| format!(", then {default}"));
    match &spec.kind {
        WaitKind::Human(question) => {
            let again = again(question);
            format!("  {step} asks{again}{until}{default}: {}", question.prompt)
        }
        WaitKind::Signal { name } => {
            format!("  {step} waits for signal '{}'{until}{default}", text::line(name))
        }
        WaitKind::Timer => format!("  {step} sleeps{until}"),
        WaitKind::Child(child) => format!("  {step} waits for child run {}", child.run),
    }
}

/// Returns why a question is asked again, if it is: ` again (too short)`.
fn again(question: &Question) -> String {
    question.rejected.as_ref().map_or_else(String::new, |rejected| format!(" again ({})", rejected.message))
}

/// Returns lines that say what to type to answer a question.
pub(crate) fn answer_with(wait: &WaitId, question: &Question) -> Vec<String> {
    let commands = answering::commands(wait.as_str(), question);
    let with = std::iter::once("answer with").chain(std::iter::repeat("or with"));
    with.zip(commands).map(|(with, command)| format!("  {with} {command}")).collect()
}

/// Returns what a terminal should say about an event, if anything.
fn line(workflow: &Workflow, run: &RunId, event: &Event) -> Option<String> {
    let named = |step: &StepName, ordinal: &Ordinal| steps::name(step.as_str(), *ordinal);
    Some(match event {
        Event::RunCreated(created) => format!("run {run} of {}", created.workflow),
        Event::AttemptStarted(started) => {
            let again =
                if started.attempt > 1 { format!(", attempt {}", started.attempt) } else { String::new() };
            format!("  {} started{again}", named(&started.step, &started.execution))
        }
        Event::StepCompleted { step, execution, output, .. } => {
            let is_fan = workflow.find(step.as_str()).is_some_and(|ix| workflow.elements_of(ix).is_some());
            let failed = if is_fan { steps::failed_elements(output) } else { None };
            let failed = failed.map_or_else(String::new, |failed| format!(", {failed}"));
            format!("  {} completed{failed}", named(step, execution))
        }
        Event::AttemptFailed { step, execution, attempt, error, retry_at: Some(at), .. } => {
            let (step, why, at) = (named(step, execution), &error.message, shown(*at));
            format!("  {step} failed in attempt {attempt}: {why}; next attempt at {at}")
        }
        Event::AttemptLost { step, execution, attempt, .. } => {
            format!("  {} lost its worker in attempt {attempt}", named(step, execution))
        }
        Event::StepFailed { step, execution, error, .. } => {
            format!("  {} failed: {}", named(step, execution), error.message)
        }
        Event::StepSkipped { step, execution, reason, .. } => {
            let reason = serde_json::to_value(reason).unwrap_or_default();
            format!("  {} skipped: {}", named(step, execution), reason.as_str().unwrap_or_default())
        }
        Event::StepCancelled { step, execution } => format!("  {} cancelled", named(step, execution)),
        Event::WaitResolved { step, execution, resolution: Resolution::Defaulted { .. }, .. } => {
            format!("  {} goes on: nobody answered; the default stands in", named(step, execution))
        }
        Event::WaitResolved { step, execution, .. } => format!("  {} goes on", named(step, execution)),
        Event::ChildPaused { step, execution, .. } => {
            format!("  {}: its child run waits for input, see `stepwell inbox`", named(step, execution))
        }
        Event::ChildResumed { step, execution, .. } => {
            format!("  {}: its child run goes on", named(step, execution))
        }
        Event::RunRetried { .. } => format!(
            "run {run} is tried again with the definition it was started with; changes of the workflow file are not \
             seen, changes of script files are"
        ),
        Event::Emitted { step, execution, data, .. } => {
            format!("  {}: {}", named(step, execution), said(data))
        }
        _ => return None,
    })
}

fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
