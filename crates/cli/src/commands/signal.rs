//! `stepwell signal`: tells a run that something happened, durable when the command returns.

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::run::Run;
use stepwell_core::run::wait::WaitKind;
use stepwell_core::spelling::nearest;
use stepwell_core::workflow::definition::Action;

use crate::args::Shared;
use crate::exit::Exit;
use crate::{hints, output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, or its beginning
    run: String,
    /// Name of the signal
    name: String,
    /// Its value is this text
    #[arg(long, value_name = "S", conflicts_with = "input")]
    text: Option<String>,
    /// Its value, as JSON or @FILE [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Its id; the same id is taken once
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

pub(crate) async fn signal(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let value = match (&args.text, &args.input) {
        (Some(text), _) => Value::String(text.clone()),
        (None, Some(input)) => project::json_argument("--input", input)?,
        (None, None) => Value::Null,
    };
    let known = engine.inspect(&run).await?;
    let sent = engine.signal(&run, &args.name, value, args.id.clone()).await;
    let receipt = sent.map_err(hints::about(&run))?;
    output::is_done(format!("run {run} itself has the signal"));
    if shared.json {
        output::json(&json!({ "run_id": run, "name": args.name, "status": receipt.status.as_str() }));
    } else {
        output::talk(&match kept(&known, &args.name) {
            Some(kept) => kept,
            None => format!("run {run} has signal '{}'", args.name),
        });
    }
    Ok(Exit::Ok)
}

/// Says that a signal is kept, if nothing waits for it yet.
fn kept(run: &Run, name: &str) -> Option<String> {
    let is_waited_for =
        |kind: &WaitKind| matches!(kind, WaitKind::Signal { name: waited_for } if waited_for == name);
    if run.open_waits().iter().any(|wait| is_waited_for(&wait.spec.kind)) {
        return None;
    }
    let id = run.id();
    let Some(named) = signals_named(run) else {
        return Some(format!("no step of {id} waits for '{name}' now; it is kept"));
    };
    if named.contains(&name) {
        return Some(format!("no step of {id} waits for '{name}' yet; it is kept for the one that will"));
    }
    let near = nearest(name, named);
    let near = near.map_or_else(String::new, |near| format!(" (did you mean '{near}'?)"));
    Some(format!("no step of {id} waits for '{name}'{near}; it is kept"))
}

/// Returns the signals that the steps of a run name; none if one is known only when its step begins.
fn signals_named(run: &Run) -> Option<Vec<&str>> {
    let mut named = Vec::new();
    for step in &run.workflow().definition().steps {
        match &step.action {
            Action::Function | Action::VersionedFunction => return None,
            Action::Provider { protocol, params, .. } if protocol == "signal/v1" => {
                named.push(params["name"].as_str().filter(|name| !name.contains("${"))?);
            }
            Action::Provider { .. } => {}
        }
    }
    Some(named)
}
