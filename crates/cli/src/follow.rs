//! Following a run to its end: a line of talk for each thing that happens, the results when it is over.

use std::collections::HashMap;

use serde_json::Value;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, Seq};
use stepwell_core::run::Execution;
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::WaitKind;
use stepwell_engine::Engine;

use crate::exit::Exit;
use crate::stop::{Stop, consequence};
use crate::values::shown;
use crate::{output, shape, steps, text};

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
                output::talk(&format!(
                    "interrupted; {}. The run is not cancelled: `stepwell resume {run}` goes on, `stepwell \
                     cancel {run}` ends it",
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
pub(crate) fn say_done(run: &stepwell_core::run::Run) {
    let done: Vec<&str> = run
        .executions()
        .iter()
        .filter(|execution| execution.status == stepwell_core::status::ExecutionStatus::Completed)
        .map(|execution| execution.step.as_str())
        .collect();
    if !done.is_empty() {
        output::talk(&format!("already done: {}", done.join(", ")));
    }
}

/// Waits until the store has failed for so long that it is no hiccup.
async fn failing(fault: &mut tokio::sync::watch::Receiver<Option<ErrorObject>>) -> ErrorObject {
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
    if json {
        output::json(&shape::run(&known, row.seq));
        return Ok(Exit::of_run(known.status()));
    }
    let sink = known.workflow().graph().sink().map(|ix| known.workflow().step(ix).name.clone());
    // A step that ran several times is told as it ended last.
    let latest: HashMap<&str, &Execution> =
        known.executions().iter().map(|execution| (execution.step.as_str(), execution)).collect();
    for (step, view) in known.views() {
        let Some(execution) = latest.get(step.as_str()) else { continue };
        let is_last = sink.as_ref().is_some_and(|sink| sink.as_str() == step);
        let result = if is_last { String::new() } else { brief(&view["result"]) };
        output::data(&format!("{}{result}", steps::line(execution)));
        for line in steps::details(execution) {
            output::data(&format!("  {line}"));
        }
        if is_last {
            in_full(&view["result"]);
        }
    }
    match known.error() {
        Some(error) => {
            let _exit = output::error(error, false);
        }
        None => output::talk(&format!("run {run} is {}", known.status())),
    }
    Ok(Exit::of_run(known.status()))
}

/// Shows a result on the line of its step; `--json` has all of it.
fn brief(result: &Value) -> String {
    const WIDTH: usize = 100;
    let shown = match result {
        Value::Null => return String::new(),
        Value::String(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    };
    match shown.char_indices().nth(WIDTH) {
        None => format!("  {shown}"),
        Some((at, _)) => format!("  {}…", &shown[..at]),
    }
}

/// Shows the result of the last step.
fn in_full(result: &Value) {
    let whole = match result {
        Value::Null => return,
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    for line in whole.lines() {
        output::data(&format!("  {line}"));
    }
}

/// Says what there is to say about an event.
fn tell(run: &RunId, event: &Event) {
    if let Some(line) = line(run, event) {
        output::talk_message(&line);
    }
    if let Event::WaitOpened { wait, spec, .. } = event
        && let WaitKind::Human(question) = &spec.kind
    {
        let how = if question.schema.is_some() { "--json-value '…'" } else { "--text '…'" };
        output::talk(&format!("  answer with `stepwell answer {wait} {how}`"));
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
        Event::WaitOpened { step, spec, .. } => match &spec.kind {
            WaitKind::Human(question) => format!("  {step} asks: {}", question.prompt),
            WaitKind::Signal { name } => {
                let name = text::line(name);
                format!("  {step} waits for signal '{name}': `stepwell signal {run} {name}`")
            }
            WaitKind::Timer => {
                format!("  {step} sleeps until {}", spec.deadline.map(shown).unwrap_or_default())
            }
            WaitKind::Child(child) => format!("  {step} started child run {}", child.run),
        },
        Event::WaitResolved { step, .. } => format!("  {step} goes on"),
        Event::ChildPaused { step, .. } => format!("  {step}: its child run waits for input"),
        Event::ChildResumed { step, .. } => format!("  {step}: its child run goes on"),
        Event::RunPaused { reason } => format!("run {run} is paused: {reason}"),
        Event::RunRetried { epoch, .. } => format!("run {run} is tried again, epoch {epoch}"),
        Event::Emitted { step, data, .. } => format!("  {step}: {}", said(data)),
        _ => return None,
    })
}

fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
