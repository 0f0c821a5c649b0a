//! `stepwell run`: starts a workflow file and follows it to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq};
use stepwell_core::status::RunStatus;
use stepwell_engine::batch::is_batch;
use stepwell_engine::{Leases, Registry, Start};
use stepwell_store::Store;

use crate::args::{Shared, Work};
use crate::exit::Exit;
use crate::follow::Begin;
use crate::{follow, output, project, shape, text, values, whole_file, workflow_file};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workflow file (.yaml, .yml or .json)
    file: PathBuf,
    /// Input of the run, as JSON or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Sets one key of the input object; read as JSON if it parses
    #[arg(long = "param", value_name = "K=V")]
    params: Vec<String>,
    /// Tags the run; `a.b=1` nests
    #[arg(short, long = "metadata", value_name = "K=V")]
    metadata: Vec<String>,
    /// Id of the run; one that exists with the same request is followed
    #[arg(long, value_name = "ID")]
    run_id: Option<String>,
    /// Returns as soon as the start is durable; a worker carries the run
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    work: Work,
    /// Writes what `--json` prints also to this file, whole or not at all
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    output: Option<PathBuf>,
    #[command(flatten)]
    how: follow::How,
}

pub(crate) async fn run(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    if let Some(file) = &args.output {
        refuse_markdown(file)?;
        whole_file::can_be_written("--output", file)?;
    }
    let files = [args.file.clone()];
    let registry = project::registry_at_work(&files, &args.work)?;
    let dir = project::working_dir()?;
    let loaded = match workflow_file::load(&args.file, &registry, &dir, shared.json).await {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let start = Start {
        input: input(args)?,
        metadata: values::pairs("--metadata", &args.metadata, true)?,
        base_dir: Some(dir.display().to_string()),
        run_id: args.run_id.as_deref().map(RunId::from),
        ..Start::of(loaded.workflow.clone())
    };
    let opened = project::open_store(shared.store()).await?;
    let start = match &start.run_id {
        Some(run) if is_batch(start.workflow.definition()) => {
            let workflow = super::batch::as_started(&*opened, run, start.workflow.clone()).await?;
            Start { workflow, ..start }
        }
        _ => start,
    };
    if args.detach {
        return detach(shared, opened, registry, start).await;
    }
    // The id is chosen here so that this process takes the work of this run, and of no other.
    let run = start.run_id.clone().unwrap_or_else(stepwell_engine::new_run_id);
    let engine = project::engine_over(opened, Leases::Own, registry, &format!("run {run}")).await?;
    let started = engine.start(Start { run_id: Some(run.clone()), ..start }).await?;
    if started.existed {
        let row = engine.store().run(&run).await.map_err(super::stored)?;
        output::talk(&match row.state.status {
            RunStatus::Cancelled => format!("run {run} was cancelled already; this is its journal"),
            status if status.is_terminal() => format!("run {run} has {status} already; this is its journal"),
            _ => format!("run {run} exists; following it"),
        });
    }
    let begin = if started.existed { Begin::After(Seq(0)) } else { Begin::Start(&loaded.workflow) };
    let exit = follow::to_the_end(&engine, &run, begin, &args.how, shared.json).await?;
    if let Some(file) = args.output.as_ref().filter(|_| exit != Exit::Interrupted) {
        let known = engine.inspect(&run).await?;
        let row = engine.store().run(&run).await.map_err(super::stored)?;
        whole_file::write("--output", file, &text::json(&shape::run(&known, row.seq)))?;
    }
    Ok(exit)
}

/// Returns the input: `--input`, with the keys of `--param` set in it.
fn input(args: &Args) -> Result<Value, ErrorObject> {
    let given = args.input.as_deref().map(|text| project::json_argument("--input", text)).transpose()?;
    let params = values::pairs("--param", &args.params, false)?;
    if params.is_empty() {
        return Ok(given.unwrap_or_else(|| Value::Object(Map::new())));
    }
    match given.unwrap_or_else(|| Value::Object(Map::new())) {
        Value::Object(mut object) => {
            object.extend(params);
            Ok(Value::Object(object))
        }
        other => {
            let message = format!("--param sets a key of the input, which is no object but {other}");
            Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "--param"))
        }
    }
}

/// Refuses to write JSON into a file that is named as one of Markdown.
fn refuse_markdown(file: &Path) -> Result<(), ErrorObject> {
    let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    if !["md", "markdown"].iter().any(|known| suffix.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let message = format!("--output writes JSON, and '{}' is named as Markdown", file.display());
    Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "--output").with_hint(
        "name a file that ends in .json; `stepwell batch --output FILE.md` writes reports of batches",
    ))
}

/// Starts a run for a worker to carry.
pub(super) async fn detach(
    shared: &Shared,
    opened: Arc<dyn Store>,
    registry: Registry,
    start: Start,
) -> Result<Exit, ErrorObject> {
    if project::store_url(shared.store())? == "memory:" {
        let message = "a store in memory ends with this command, so nobody could carry the run on";
        return Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "--detach"));
    }
    let engine = project::engine_over(opened, Leases::None, registry, "run --detach").await?;
    let run = engine.start(start).await?.run;
    output::is_done(format!("run {run} itself is started"));
    if shared.json {
        output::json(&serde_json::json!({ "run_id": run }));
    } else {
        output::data(run.as_str());
    }
    if !project::is_carried(&**engine.store(), &run).await? {
        output::talk(&format!(
            "no worker is alive; `stepwell worker` or `stepwell resume {}` carries the run",
            text::word(run.as_str())
        ));
    }
    Ok(Exit::Ok)
}
