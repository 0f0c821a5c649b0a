//! `stepwell show`: one run, and why it is not going on.

use stepwell_core::error::ErrorObject;
use stepwell_store::{Page, WaitFilter, WaitState};

use crate::args::Show;
use crate::exit::Exit;
use crate::values::{shown, took};
use crate::{output, project, shape, steps};

pub(crate) async fn show(store: Option<&str>, args: &Show) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(store).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let known = engine.inspect(&run).await?;
    let row = engine.store().run(&run).await.map_err(super::stored)?;
    let filter = WaitFilter { state: Some(WaitState::Open), run: Some(run.clone()), ..WaitFilter::default() };
    let waits = engine.store().waits(&filter, &Page::first(1_000)).await.map_err(super::stored)?.items;
    let lost = engine.store().lost_leases(super::list::now(), 10_000).await.map_err(super::stored)?;
    let why = shape::why(&known, &waits, &lost, &|handler| engine.registry().get(handler).is_some());
    if args.json {
        output::json(&shape::whole(&known, &row, &waits, &why, args.context));
        return Ok(Exit::Ok);
    }
    output::data(&format!("run       {run}"));
    output::data(&format!("workflow  {} ({})", known.workflow().name(), known.workflow().version()));
    let reason = known.pause_reason().map_or_else(String::new, |reason| format!(" ({reason})"));
    output::data(&format!("status    {}{reason}", known.status()));
    output::data(&format!("created   {}", shown(row.created_at)));
    if let (Some(from), Some(to)) = (known.started_at(), known.finished_at()) {
        output::data(&format!("took      {}", took(from, to)));
    }
    if !known.metadata().is_empty() {
        output::data(&format!("metadata  {}", serde_json::Value::Object(known.metadata().clone())));
    }
    for execution in known.executions() {
        output::data(&format!("  {}", steps::line(execution)));
        if let Some(error) = &execution.error {
            output::data_message(&format!("    {}", error.message));
        }
        for line in steps::details(execution) {
            output::data(&format!("    {line}"));
        }
    }
    for reason in &why {
        output::data(&format!("why: {reason}"));
    }
    if let Some(error) = known.error() {
        let (name, number) = (error.code.name(), error.code.number());
        output::data_message(&format!("error[{name} {number}]: {}", error.message));
    }
    if args.context {
        for (key, value) in known.context().values() {
            output::data(&format!("context {key}: {value}"));
        }
    }
    Ok(Exit::Ok)
}
