//! Following a run to its end: a line of talk for each thing that happens, the results when it is over.

use std::collections::HashMap;

use serde_json::Value;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, Seq, WaitId};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{WaitKind, WaitSpec};
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, PauseReason};
use stepwell_engine::Engine;

use crate::exit::Exit;
use crate::stop::{Stop, consequence};
use crate::values::shown;
use crate::{answering, output, shape, steps, text};

/// Follows a run, prints its results, shuts the engine down, and returns how the process ends.
pub(crate) async fn to_the_end(
    engine: &Engine,
    run: &RunId,
    after: Seq,
    json: bool,
) -> Result<Exit, ErrorObject> {
    let mut stop = Stop::listen()?;
    let exit = follow(engine, run, after, json, &mut stop).await;
    stop.shut_down(engine).await;
    exit
}

async fn follow(
    engine: &Engine,
    run: &RunId,
    after: Seq,
    json: bool,
    stop: &mut Stop,
) -> Result<Exit, ErrorObject> {
    let mut fault = engine.fault();
    let mut events = engine.follow(run, after);
    loop {
        let news = tokio::select! {
            news = events.next() => news?,
            _ = stop.asked() => {
                let id = text::word(run.as_str());
                output::talk(&format!(
                    "interrupted; {}. The run is not cancelled: `stepwell resume {id}` goes on, `stepwell \
                     cancel {id}` ends it",
                    consequence()
                ));
                return Ok(Exit::Interrupted);
            }
            error = failing(&mut fault) => {
                // What is under way could not be kept: the next process does it again.
                engine.abort();
                return Err(error);
            }
        };
        if news.is_empty() {
            break;
        }
        for recorded in &news {
            tell(run, &recorded.event);
        }
    }
    result(engine, run, json).await
}

/// Says what a run has behind it already.
pub(crate) fn say_done(run: &Run) {
    let done: Vec<&str> = run
        .executions()
        .iter()
        .filter(|execution| execution.status == ExecutionStatus::Completed)
        .map(|execution| execution.step.as_str())
        .collect();
    if !done.is_empty() {
        output::talk(&format!("already done: {}", done.join(", ")));
    }
}

/// Says what a run waits for, as was said when it began to wait.
pub(crate) fn say_waits(run: &Run) {
    for wait in run.open_waits() {
        tell_wait(run.id(), wait.id, wait.execution.step.as_str(), wait.spec);
    }
    for execution in run.executions() {
        if let (ExecutionStatus::Retrying, Some(at)) = (execution.status, execution.due_at) {
            output::talk(&format!("  {}: next attempt at {}", execution.step, shown(at)));
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
async fn result(engine: &Engine, run: &RunId, json: bool) -> Result<Exit, ErrorObject> {
    let known = engine.inspect(run).await?;
    let row = engine.store().run(run).await.map_err(|error| stepwell_engine::error::from_store(&error))?;
    let id = text::word(run.as_str());
    output::is_done(format!("the run itself is {}: `stepwell show {id}`", known.status()));
    if json {
        output::json(&shape::run(&known, row.seq));
        return Ok(Exit::of_run(&known));
    }
    // A step that ran several times is told as it ended last.
    let latest: HashMap<&str, &Execution> =
        known.executions().iter().map(|execution| (execution.step.as_str(), execution)).collect();
    for step in known.views().keys() {
        let Some(execution) = latest.get(step.as_str()) else { continue };
        for line in steps::told(&known, execution) {
            output::data_message(&line);
        }
    }
    match known.error() {
        Some(error) => say_failed(&known, error),
        None => output::talk(&format!("run {run} is {}", known.status())),
    }
    Ok(Exit::of_run(&known))
}

/// Says why a run failed and what to do next.
fn say_failed(run: &Run, error: &ErrorObject) {
    let _exit = output::error(error, false);
    let named = error.data.get("task_id").and_then(Value::as_str);
    let mut others: Vec<&str> = Vec::new();
    for execution in run.executions().iter().filter(|execution| execution.status.is_failure()) {
        let name = execution.step.as_str();
        if Some(name) != named && !others.contains(&name) {
            others.push(name);
        }
    }
    if !others.is_empty() {
        let more = if named.is_some() { " more" } else { "" };
        let steps = if others.len() == 1 { "step" } else { "steps" };
        output::talk(&format!("{}{more} {steps} failed: {}", others.len(), others.join(", ")));
    }
    let id = text::word(run.id().as_str());
    output::talk(&format!("hint: repair the cause, then `stepwell retry {id}`; what is completed stays"));
}

/// Says what there is to say about an event.
fn tell(run: &RunId, event: &Event) {
    if let Event::WaitOpened { wait, step, spec, .. } = event {
        tell_wait(run, wait, step.as_str(), spec);
    } else if let Some(line) = line(run, event) {
        output::talk_message(&line);
    }
}

/// Says what is waited for, and what to type to answer it.
fn tell_wait(run: &RunId, wait: &WaitId, step: &str, spec: &WaitSpec) {
    output::talk_message(&match &spec.kind {
        WaitKind::Human(question) => format!("  {step} asks: {}", question.prompt),
        WaitKind::Signal { name } => {
            let (id, word) = (text::word(run.as_str()), text::word(name));
            let (name, word) = (text::line(name), text::line(&word));
            format!("  {step} waits for signal '{name}': `stepwell signal {id} {word}`")
        }
        WaitKind::Timer => format!("  {step} sleeps until {}", spec.deadline.map(shown).unwrap_or_default()),
        WaitKind::Child(child) => format!("  {step} waits for child run {}", child.run),
    });
    if let WaitKind::Human(question) = &spec.kind {
        let mut with = "answer with";
        for command in answering::commands(wait.as_str(), question) {
            output::talk(&format!("  {with} {command}"));
            with = "or with";
        }
    }
}

/// Returns what a terminal should say about an event, if anything.
fn line(run: &RunId, event: &Event) -> Option<String> {
    Some(match event {
        Event::RunCreated { workflow, .. } => format!("run {run} of {workflow}"),
        Event::AttemptStarted(started) if started.attempt > 1 => {
            format!("  {} started, attempt {}", started.step, started.attempt)
        }
        Event::AttemptStarted(started) => format!("  {} started", started.step),
        Event::StepCompleted { step, .. } => format!("  {step} completed"),
        Event::AttemptFailed { step, attempt, error, retry_at: Some(at), .. } => {
            format!("  {step} failed in attempt {attempt}: {}; next attempt at {}", error.message, shown(*at))
        }
        Event::AttemptLost { step, attempt, .. } => format!("  {step} lost its worker in attempt {attempt}"),
        Event::StepFailed { step, error, .. } => format!("  {step} failed: {}", error.message),
        Event::StepSkipped { step, reason, .. } => {
            let reason = serde_json::to_value(reason).unwrap_or_default();
            format!("  {step} skipped: {}", reason.as_str().unwrap_or_default())
        }
        Event::StepCancelled { step, .. } => format!("  {step} cancelled"),
        Event::WaitResolved { step, .. } => format!("  {step} goes on"),
        Event::ChildPaused { step, .. } => format!("  {step}: its child run waits for input"),
        Event::ChildResumed { step, .. } => format!("  {step}: its child run goes on"),
        Event::RunPaused { reason: PauseReason::Input } => {
            format!("run {run} waits; nothing else can move it")
        }
        Event::RunPaused { reason: PauseReason::Operator } => {
            format!("run {run} is paused; `stepwell resume {}` lifts that", text::word(run.as_str()))
        }
        Event::RunRetried { .. } => format!(
            "run {run} is tried again with the definition it was started with; changes of the workflow file are not \
             seen, changes of script files are"
        ),
        Event::Emitted { step, data, .. } => format!("  {step}: {}", said(data)),
        _ => return None,
    })
}

fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
