//! `stepwell batch`: does one thing with many files, as one run, and tells what came of each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::workflow::Workflow;
use stepwell_engine::batch::{changed_files, is_batch};
use stepwell_engine::load::{self, BatchRequest, Files};
use stepwell_engine::{Leases, Registry, Start};
use stepwell_store::Store;

use crate::args::{Shared, Work};
use crate::batch::carry_out;
use crate::exit::Exit;
use crate::report::Report;
use crate::stop::Stop;
use crate::values::{counted, named};
use crate::{output, project, text, values, workflow_file};

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
    let engine = project::engine_over(opened, Leases::Own, registry, &format!("batch {run}")).await?;
    let exit = carry_out(&engine, start, &run, report.as_ref(), shared.json, &mut stop).await;
    stop.shut_down(slice::from_ref(&engine)).await;
    exit
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
    let Some(changed) = changed_files(started.definition(), now.definition()) else { return Ok(now) };
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
    if !is_batch(loaded.workflow.definition()) {
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
