//! `stepwell batch`: does one thing with many files, as one run, and tells what came of each.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, StepName};
use stepwell_core::run::event::Event;
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, PauseReason};
use stepwell_core::workflow::Workflow;
use stepwell_engine::batch::{self, BatchResult, FileResult};
use stepwell_engine::load::{self, BatchRequest, Files};
use stepwell_engine::{Engine, Leases, Registry, Start};
use stepwell_store::Store;

use crate::args::{Shared, Work};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::stop::{Stop, consequence};
use crate::values::{counted, named};
use crate::{follow, output, project, steps, text, values, whole_file, workflow_file};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A directory, files, or one batch file (.yaml, .yml or .json)
    #[arg(required = true, value_name = "DIR|FILE")]
    inputs: Vec<PathBuf>,
    /// Which files of the directory: `*`, `?`, `**`, `[…]`, `{a,b}` [default: *]
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// What is done with each file [default: llm/chat]
    #[arg(long, value_name = "METHOD", conflicts_with = "script")]
    method: Option<String>,
    /// Runs this Python script for each file; it finds the path as `file_path` in its `args`
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Sets a parameter of the method; of a script one of its `args`, of a batch file one key of `input`. Read as JSON if it
    /// parses
    #[arg(long = "param", value_name = "K=V")]
    params: Vec<String>,
    /// So many files at once [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_concurrent: Option<u32>,
    /// Id of the run; one that exists goes on where it stopped, with the files it was started with
    #[arg(long, value_name = "ID")]
    run_id: Option<String>,
    /// Tags the run; `a.b=1` nests
    #[arg(short, long = "metadata", value_name = "K=V")]
    metadata: Vec<String>,
    /// Writes a report with everything: .json or .md
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    output: Option<PathBuf>,
    #[command(flatten)]
    work: Work,
    /// Returns as soon as the start is durable; a worker carries the run
    #[arg(long)]
    detach: bool,
}

pub(crate) async fn batch(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let report = args.output.as_deref().map(Report::to).transpose()?;
    let dir = project::working_dir()?;
    let (registry, workflow, input) = match read(args, &dir, shared.json).await? {
        Ok(read) => read,
        Err(exit) => return Ok(exit),
    };
    let metadata = values::pairs("--metadata", &args.metadata, true)?;
    let opened = project::open_store(shared.store()).await?;
    let run = args.run_id.as_deref().map_or_else(stepwell_engine::new_run_id, RunId::from);
    let start = Start {
        input,
        metadata,
        base_dir: Some(dir.display().to_string()),
        run_id: Some(run.clone()),
        ..Start::of(as_started(&*opened, &run, workflow).await?)
    };
    if args.detach {
        return super::run::detach(shared, opened, registry, start).await;
    }
    let mut stop = Stop::listen()?;
    let engine =
        project::engine_over(opened, Leases::Tree(run.clone()), registry, &format!("batch {run}")).await?;
    let exit = carry_out(&engine, start, &run, report.as_ref(), shared.json, &mut stop).await;
    stop.shut_down(&engine).await;
    exit
}

async fn carry_out(
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
        let seq = engine.store().run(run).await.map_err(super::stored)?.seq;
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
    stop.shut_down(engine).await;
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
        consequence(engine),
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

/// Returns the workflow with which a run of a batch was started, if it was and differs in its files only, and says in
/// which. A run keeps its files.
pub(crate) async fn as_started(
    store: &dyn Store,
    run: &RunId,
    now: Arc<Workflow>,
) -> Result<Arc<Workflow>, ErrorObject> {
    let row = match store.run(run).await {
        Ok(row) => row,
        Err(stepwell_store::Error::NotFound(_)) => return Ok(now),
        Err(error) => return Err(super::stored(error)),
    };
    let started = Workflow::from_json_text(&store.definition(&row.digest).await.map_err(super::stored)?)?;
    // Whatever else differs is refused when it is started.
    let Some(changed) = batch::changed_files(started.definition(), now.definition()) else { return Ok(now) };
    if !changed.new.is_empty() {
        let (new, are) =
            (counted(changed.new.len(), "file"), if changed.new.len() == 1 { "is" } else { "are" });
        output::talk(&format!("{new} {are} new since and not part of run {run}: {}", named(&changed.new)));
    }
    if !changed.gone.is_empty() {
        let gone = counted(changed.gone.len(), "file");
        output::talk(&format!("{gone} of run {run} would not be found any more: {}", named(&changed.gone)));
    }
    Ok(started)
}

/// Reads what is to be done: the workflow, who carries it out, and its input; or how the command ends if that is told
/// already.
async fn read(
    args: &Args,
    dir: &Path,
    as_json: bool,
) -> Result<Result<(Registry, Arc<Workflow>, Value), Exit>, ErrorObject> {
    let params = values::pairs("--param", &args.params, false)?;
    match &args.inputs[..] {
        [file] if args.script.is_none() && args.method.is_none() && is_definition(file) => {
            let read = read_file(args, file, dir, as_json).await?;
            Ok(read.map(|(registry, workflow)| (registry, workflow, Value::Object(params))))
        }
        _ => {
            let (registry, workflow) = read_arguments(args, params, dir)?;
            Ok(Ok((registry, workflow, Value::Object(Map::new()))))
        }
    }
}

fn is_definition(file: &Path) -> bool {
    let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| suffix.eq_ignore_ascii_case(known)) && !file.is_dir()
}

/// Reads a batch file; what is wrong with it is told already.
async fn read_file(
    args: &Args,
    file: &Path,
    dir: &Path,
    as_json: bool,
) -> Result<Result<(Registry, Arc<Workflow>), Exit>, ErrorObject> {
    for (given, name) in
        [(args.pattern.is_some(), "--pattern"), (args.max_concurrent.is_some(), "--max-concurrent")]
    {
        if given {
            return Err(wrong(name, format!("{name} is said in the batch file itself")));
        }
    }
    let registry = project::registry_at_work(&[file.to_owned()], &args.work)?;
    let loaded = match workflow_file::load(file, &registry, dir, as_json).await {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(Err(exit)),
    };
    if !batch::is_batch(loaded.workflow.definition()) {
        let message = format!("'{}' is a workflow file and no batch file: it has no 'batch'", file.display());
        let hint = format!("`stepwell run {}` runs it", text::word(&file.to_string_lossy()));
        return Err(ErrorObject::new(Code::WORKFLOW_VALIDATION_FAILED, message).with_hint(hint));
    }
    Ok(Ok((registry, loaded.workflow)))
}

fn read_arguments(
    args: &Args,
    given: Map<String, Value>,
    dir: &Path,
) -> Result<(Registry, Arc<Workflow>), ErrorObject> {
    // What is named on the command line may be read, wherever it lies.
    let mut roots = vec![dir.to_owned()];
    let files = files(args, &mut roots)?;
    let mut params = given;
    if let Some(script) = &args.script {
        let Some(file) = script.to_str().filter(|_| script.is_file()) else {
            let message = format!("there is no script {} in {}", script.display(), dir.display());
            return Err(wrong("--script", message).with("reason", "not_found"));
        };
        roots.extend(parent(script));
        params =
            Map::from_iter([("file".to_owned(), json!(file)), ("args".to_owned(), Value::Object(params))]);
    }
    let registry = project::registry_within(roots, &args.work)?;
    let method =
        if args.script.is_some() { "python/execute" } else { args.method.as_deref().unwrap_or("llm/chat") };
    let request = BatchRequest {
        id: "batch".into(),
        files,
        max_concurrent: args.max_concurrent,
        method: method.to_owned(),
        params,
    };
    let loaded = load::batch(&request, &registry).map_err(|invalid| {
        let mut error = invalid.to_error();
        if error.code == Code::PROTOCOL_NOT_FOUND && args.method.is_none() {
            error.hint =
                Some("`--script FILE` runs a Python script for each file; `--method` names a method".into());
        }
        error
    })?;
    for warning in &loaded.warnings {
        output::talk(&format!("warning: {}", warning.message));
    }
    Ok((registry, loaded.workflow))
}

/// Returns which files are meant, and adds the directories that they lie in.
fn files(args: &Args, roots: &mut Vec<PathBuf>) -> Result<Files, ErrorObject> {
    if let [directory] = &args.inputs[..] {
        if directory.is_dir() {
            roots.push(directory.clone());
            let pattern = args.pattern.clone().unwrap_or_else(|| "*".into());
            return Ok(Files::Below { directory: directory.clone(), pattern });
        }
        if matches!(directory.try_exists(), Ok(false)) {
            let message = format!("there is no directory or file '{}'", directory.display());
            let error = ErrorObject::new(Code::CONFIGURATION_ERROR, message);
            return Err(error.with("reason", "not_found").with("path", directory.display().to_string()));
        }
    }
    if args.pattern.is_some() {
        return Err(wrong("--pattern", "--pattern chooses among the files of one directory".into()));
    }
    if let Some(directory) = args.inputs.iter().find(|input| input.is_dir()) {
        let message = format!("'{}' is a directory: give one directory alone, or files", directory.display());
        return Err(wrong("DIR|FILE", message));
    }
    let known = roots[0].canonicalize().unwrap_or_else(|_| roots[0].clone());
    let parents: HashSet<PathBuf> =
        args.inputs.iter().filter_map(|file| parent(file)).filter(|dir| !dir.starts_with(&known)).collect();
    roots.extend(parents);
    Ok(Files::Listed(args.inputs.clone()))
}

/// Returns the directory that a file really lies in, links followed.
fn parent(file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok()?.parent().map(Path::to_owned)
}

fn wrong(parameter: &str, message: String) -> ErrorObject {
    ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", parameter)
}

/// Where a report goes.
struct Report {
    path: PathBuf,
    is_json: bool,
}

impl Report {
    /// Judges the file before anything runs.
    fn to(path: &Path) -> Result<Self, ErrorObject> {
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).map(str::to_ascii_lowercase);
        let is_json = match suffix.as_deref() {
            Some("json") => true,
            Some("md") => false,
            _ => {
                let message =
                    format!("--output wants a file that ends in .json or .md, not '{}'", path.display());
                return Err(wrong("--output", message));
            }
        };
        whole_file::can_be_written("--output", path)?;
        Ok(Self { path: path.to_owned(), is_json })
    }

    fn write(&self, result: &BatchResult) -> Result<(), ErrorObject> {
        let save = if self.is_json { BatchResult::save_to_json } else { BatchResult::save_to_markdown };
        save(result, &self.path).map_err(|why: io::Error| {
            let message = format!("the report {} cannot be written: {why}", self.path.display());
            ErrorObject::new(Code::CONFIGURATION_ERROR, message)
                .with("reason", "output")
                .with("path", self.path.display().to_string())
        })
    }
}
