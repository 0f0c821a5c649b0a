//! `stepwell show`: one run, and why it is not going on.

use std::collections::{BTreeSet, HashMap};

use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Seq;
use stepwell_core::run::Run;
use stepwell_core::run::event::Event;
use stepwell_core::status::RunStatus;
use stepwell_store::{Page, RunRow, Store, WaitFilter, WaitRow, WaitState};

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::{shown, took};
use crate::why::{Around, why};
use crate::{output, project, shape, standing, steps};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, or its beginning
    run: String,
    /// Adds the context
    #[arg(long)]
    context: bool,
}

pub(crate) async fn show(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let known = engine.inspect(&run).await?;
    let row = engine.store().run(&run).await.map_err(super::stored)?;
    let filter = WaitFilter { state: Some(WaitState::Open), run: Some(run.clone()), ..WaitFilter::default() };
    let waits = engine.store().waits(&filter, &Page::first(1_000)).await.map_err(super::stored)?.items;
    let now = super::list::now();
    let lost = engine.store().lost_leases(now, 10_000).await.map_err(super::stored)?;
    let holders = holders(&**engine.store(), &known).await?;
    let around = Around {
        waits: &waits,
        lost: &lost,
        holders: &holders,
        is_carried: project::is_carried(&**engine.store(), &row.root).await?,
        has_handler: &|handler| engine.registry().get(handler).is_some(),
        now,
    };
    let why = why(&known, &around);
    if shared.json {
        output::json(&shape::whole(&known, &row, &waits, &holders, &why, args.context));
        return Ok(Exit::Ok);
    }
    head(&known, &row, &waits);
    for execution in known.executions() {
        for line in steps::told(&known, execution) {
            output::data_message(&format!("  {line}"));
        }
    }
    for reason in &why {
        output::data(&format!("why: {reason}"));
    }
    if let Some(reason) = cancelled_because(&**engine.store(), &row).await? {
        output::data_message(&format!("reason: {reason}"));
    }
    if let Some(error) = known.error() {
        let (name, number) = (error.code.name(), error.code.number());
        output::data_message(&format!("error[{name} {number}]: {}", error.message));
    }
    if args.context {
        context(&known);
    }
    Ok(Exit::Ok)
}

fn head(run: &Run, row: &RunRow, waits: &[WaitRow]) {
    output::data(&format!("run       {}", run.id()));
    output::data(&format!("workflow  {} ({})", run.workflow().name(), run.workflow().version()));
    let kinds = waits.iter().map(|wait| wait.kind.as_str());
    output::data(&format!("status    {}", standing::in_words(run.status(), run.pause_reason(), kinds)));
    output::data(&format!("created   {}", shown(row.created_at)));
    if let (Some(from), Some(to)) = (run.started_at(), run.finished_at()) {
        output::data(&format!("took      {}", took(from, to)));
    }
    if !run.metadata().is_empty() {
        output::data(&format!("metadata  {}", serde_json::Value::Object(run.metadata().clone())));
    }
}

/// Returns who carries out the attempts that are under way, by session.
async fn holders(store: &dyn Store, run: &Run) -> Result<HashMap<u64, String>, ErrorObject> {
    let under_way = run.executions().iter().filter(|execution| execution.attempt_since().is_some());
    let sessions: BTreeSet<u64> = under_way.map(|execution| execution.session).collect();
    let mut holders = HashMap::new();
    for session in sessions {
        if let Some(holder) = store.holder(session).await.map_err(super::stored)? {
            holders.insert(session, holder);
        }
    }
    Ok(holders)
}

/// Returns what was said when a run was cancelled. Its end is the last that is journaled.
async fn cancelled_because(store: &dyn Store, row: &RunRow) -> Result<Option<String>, ErrorObject> {
    if row.state.status != RunStatus::Cancelled {
        return Ok(None);
    }
    let last = store.events(&row.run, Seq(row.seq.0.saturating_sub(1)), 1).await.map_err(super::stored)?;
    Ok(last.into_iter().find_map(|recorded| match recorded.event {
        Event::RunCancelled { reason } => reason,
        _ => None,
    }))
}

fn context(run: &Run) {
    if run.context().values().is_empty() {
        output::data("context {}");
    }
    for (key, value) in run.context().values() {
        output::data(&format!("context {key}: {value}"));
    }
}
