//! A batch on its way: it is followed with a bar or a line from time to time, and what came of its files is told.

use std::collections::HashSet;
use std::slice;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, StepName};
use stepwell_core::run::event::Event;
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, PauseReason};
use stepwell_engine::batch::{BatchResult, FileResult};
use stepwell_engine::error::from_store;
use stepwell_engine::{Engine, Start};

use crate::exit::Exit;
use crate::progress::Progress;
use crate::report::Report;
use crate::stop::{Stop, consequence};
use crate::values::{counted, named};
use crate::{follow, output, steps, text, values};

/// Starts the run of a batch, or goes on with it, and tells what came of all of its files.
pub(crate) async fn carry_out(
    engine: &Engine,
    start: Start,
    run: &RunId,
    report: Option<&Report>,
    json: bool,
    stop: &mut Stop,
) -> Result<Exit, ErrorObject> {
    let files = start.workflow.len();
    let (progress, seq) = if engine.start(start).await?.existed {
        // Asked first, so that nothing is missed: what is journaled between the two is read again.
        let seq = engine.store().run(run).await.map_err(|error| from_store(&error))?.seq;
        let known = engine.inspect(run).await?;
        if known.status().is_terminal() {
            output::talk(&format!("run {run} is {} already; this is what came of it", known.status()));
            return finish(&known, &HashSet::new(), report, json);
        }
        (goes_on(&known), seq)
    } else {
        let progress = Progress::new(files);
        output::talk(&format!("run {run}: {}", progress.told()));
        (progress, Seq(0))
    };
    if follow(engine, run, seq, progress, stop).await?.is_none() {
        let id = text::word(run.as_str());
        say_interrupted(engine, run, &format!("the same command with `--run-id {id}`"));
        return Ok(Exit::Interrupted);
    }
    finish(&engine.inspect(run).await?, &HashSet::new(), report, json)
}

/// Follows a run of a batch that goes on after an event, tells what came of the files that were not done before, shuts the
/// engine down, and returns how the process ends.
pub(crate) async fn go_on(engine: &Engine, run: &RunId, after: Seq, json: bool) -> Result<Exit, ErrorObject> {
    let mut stop = Stop::listen()?;
    let exit = carry_on(engine, run, after, json, &mut stop).await;
    stop.shut_down(slice::from_ref(engine)).await;
    exit
}

async fn carry_on(
    engine: &Engine,
    run: &RunId,
    after: Seq,
    json: bool,
    stop: &mut Stop,
) -> Result<Exit, ErrorObject> {
    let progress = goes_on(&engine.inspect(run).await?);
    let Some(completed) = follow(engine, run, after, progress, stop).await? else {
        say_interrupted(engine, run, &format!("`stepwell resume {}`", text::word(run.as_str())));
        return Ok(Exit::Interrupted);
    };
    let known = engine.inspect(run).await?;
    if json {
        // Commands for any run print a run, whatever it is made of.
        return follow::result(engine, &known, false, json).await;
    }
    finish(&known, &done_but_for(&known, &completed), None, json)
}

/// Returns the files that are done, but for those of these steps.
fn done_but_for<'r>(known: &'r Run, steps: &HashSet<StepName>) -> HashSet<&'r str> {
    let is_done = |execution: &&Execution| {
        execution.status == ExecutionStatus::Completed && !steps.contains(&execution.step)
    };
    let done = known.executions().iter().filter(is_done);
    let file = |execution: &'r Execution| known.workflow().step(execution.step_ix()).file.as_ref();
    done.filter_map(|execution| Some(file(execution)?.path.as_str())).collect()
}

/// Says that a run goes on, and from where.
fn goes_on(known: &Run) -> Progress {
    let progress = Progress::of(known);
    output::talk(&format!("run {} goes on: {}", known.id(), progress.told()));
    progress
}

fn say_interrupted(engine: &Engine, run: &RunId, going_on: &str) {
    output::talk(&format!(
        "interrupted{}. The run is not cancelled: {going_on} goes on, `stepwell cancel {}` ends it",
        consequence(slice::from_ref(engine)),
        text::word(run.as_str())
    ));
}

/// Follows the run to its end and shows how far it is. Returns the steps that were completed; none if it was interrupted.
async fn follow(
    engine: &Engine,
    run: &RunId,
    after: Seq,
    mut progress: Progress,
    stop: &mut Stop,
) -> Result<Option<HashSet<StepName>>, ErrorObject> {
    let mut completed = HashSet::new();
    let mut fault = engine.fault();
    let mut events = engine.follow(run, after);
    let id = text::word(run.as_str());
    loop {
        let news = tokio::select! {
            news = events.next() => news?,
            _ = stop.asked() => {
                progress.end();
                return Ok(None);
            }
            error = follow::failing(&mut fault) => {
                progress.end();
                // What is under way could not be kept: the next process does it again.
                engine.abort();
                return Err(error);
            }
        };
        if news.is_empty() {
            progress.end();
            return Ok(Some(completed));
        }
        for recorded in &news {
            match &recorded.event {
                Event::RunPaused { reason: PauseReason::Operator, .. } => {
                    progress.say(&format!("run {run} is paused; `stepwell resume {id}` lifts that"));
                }
                Event::RunPaused { reason: PauseReason::Input, .. } => {
                    progress.say(&format!("run {run} waits for input; `stepwell show {id}` tells for what"));
                }
                Event::StepCompleted { step, .. } => {
                    completed.insert(step.clone());
                }
                _ => {}
            }
            progress.note(&recorded.event);
        }
        progress.show();
    }
}

/// Prints what came of the files, but for those that were done before.
fn finish(
    known: &Run,
    done: &HashSet<&str>,
    report: Option<&Report>,
    json: bool,
) -> Result<Exit, ErrorObject> {
    let run = known.id();
    let Some(result) = BatchResult::of(known) else {
        return Err(ErrorObject::new(Code::INTERNAL_ERROR, format!("run {run} is none of a batch")));
    };
    let id = text::word(run.as_str());
    output::is_done(format!("the run itself is {}: `stepwell show {id}`", known.status()));
    if let Some(report) = report {
        report.write(&result).map_err(|error| {
            error.with_hint(format!(
                "the run is {}: the same command with `--run-id {id}` writes the report again",
                known.status()
            ))
        })?;
    }
    if json {
        output::json(&result.to_json());
    } else {
        for (path, came) in result.results.iter().filter(|(path, _)| !done.contains(path.as_str())) {
            say_file(path, came);
        }
    }
    if let Some(error) = known.error() {
        output::error(error, json);
    }
    say_summary(known, &result);
    Ok(Exit::of_run(known))
}

/// Says which files failed, what came of the batch, and what to type about it.
pub(crate) fn say_summary(known: &Run, result: &BatchResult) {
    let is_failed = |came: &FileResult| matches!(came, FileResult::Failed(_));
    let failed = result.results.iter().filter(|(_, came)| is_failed(came)).map(|(path, _)| &**path);
    let failed: Vec<&str> = failed.collect();
    if !failed.is_empty() {
        output::talk(&format!("failed: {}", named(&failed)));
    }
    output::talk(&summary(known, result));
}

/// Returns what came of a batch in one line, and what to type if files failed.
fn summary(known: &Run, result: &BatchResult) -> String {
    let (run, status) = (known.id(), known.status());
    let files = counted(result.total_files, "file");
    let (successful, failed) = (result.successful, result.failed);
    let took = values::took(known.started_at().unwrap_or_default(), known.finished_at().unwrap_or_default());
    let next = if known.can_be_retried() {
        let (id, it) = (text::word(run.as_str()), if failed == 1 { "it" } else { "them" });
        format!("; `stepwell retry {id}` tries {it} again")
    } else {
        String::new()
    };
    format!("run {run} is {status}: {files}, {successful} successful, {failed} failed, {took}{next}")
}

fn say_file(path: &str, came: &FileResult) {
    let path = text::line(path);
    match came {
        FileResult::Success(output) => {
            let result = output.get("result").unwrap_or(output);
            output::data(&format!("{path}: success{}", steps::brief(result)));
        }
        FileResult::Failed(error) => output::data_message(&format!("{path}: failed  {}", error.message)),
    }
}
