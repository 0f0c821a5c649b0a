//! `stepwell settle`: a person decides about a step that is stuck, durable when the command returns.

use clap::ValueEnum;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{Ordinal, StepName};
use stepwell_core::run::Run;
use stepwell_core::run::command::SettleVerb;

use crate::args::Shared;
use crate::exit::Exit;
use crate::{hints, output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, or its beginning
    run: String,
    /// Name of the step
    step: String,
    /// What becomes of it
    verb: Verb,
    /// Its result for `complete`, as JSON or @FILE [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Why, for `fail`; becomes the error of the step
    #[arg(long, value_name = "S")]
    reason: Option<String>,
    /// Which execution, if several of the step are stuck
    #[arg(long, value_name = "N")]
    ordinal: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Verb {
    /// Another attempt is made at once
    Retry,
    /// It takes the result that is given
    Complete,
    /// It has failed
    Fail,
}

pub(crate) async fn settle(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let (verb, value) = decision(args)?;
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let step = step(&engine.inspect(&run).await?, &args.step)?;
    let settled = engine.settle(&run, step.clone(), args.ordinal.map(Ordinal), verb, value).await;
    let receipt = settled.map_err(hints::about(&run))?;
    output::is_done(format!("step '{step}' itself is settled"));
    if shared.json {
        output::json(&json!({
            "run_id": run, "step": step, "verb": verb, "status": receipt.status.as_str(),
        }));
    } else {
        output::talk(&match verb {
            SettleVerb::Retry => format!("step '{step}' is tried again"),
            SettleVerb::Complete => format!("step '{step}' is completed"),
            SettleVerb::Fail => format!("step '{step}' has failed"),
        });
    }
    super::say_standing(&engine, &run, receipt.status).await?;
    Ok(Exit::Ok)
}

/// Reads what is decided, with the result or the reason that goes with it.
fn decision(args: &Args) -> Result<(SettleVerb, Option<Value>), ErrorObject> {
    let misplaced = |argument: &str, verb: &str| {
        let message = format!("{argument} goes with `{verb}` alone");
        Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", argument))
    };
    match (args.verb, &args.input, &args.reason) {
        (Verb::Retry | Verb::Fail, Some(_), _) => misplaced("--input", "complete"),
        (Verb::Retry | Verb::Complete, _, Some(_)) => misplaced("--reason", "fail"),
        (Verb::Retry, None, None) => Ok((SettleVerb::Retry, None)),
        (Verb::Complete, None, None) => Ok((SettleVerb::Complete, None)),
        (Verb::Complete, Some(input), None) => {
            Ok((SettleVerb::Complete, Some(project::json_argument("--input", input)?)))
        }
        (Verb::Fail, None, reason) => Ok((SettleVerb::Fail, reason.clone().map(Value::from))),
    }
}

/// Finds the step that an argument means, by its name or its title.
fn step(run: &Run, given: &str) -> Result<StepName, ErrorObject> {
    let workflow = run.workflow();
    workflow.find_titled(given).map(|ix| workflow.step(ix).name.clone()).ok_or_else(|| {
        let near = workflow.nearest(given);
        let hint = match near.first() {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("`stepwell show {}` lists the steps", crate::text::word(run.id().as_str())),
        };
        ErrorObject::new(Code::TASK_NOT_FOUND, format!("run {} has no step '{given}'", run.id()))
            .with("run_id", run.id().as_str())
            .with_hint(hint)
    })
}
