//! `stepwell show`: one run, and why it is not going on.

use std::collections::{BTreeSet, HashMap};

use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Seq;
use stepwell_core::run::Run;
use stepwell_core::run::event::Event;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_store::{Page, RunRow, Store, WaitFilter, WaitRow, WaitState};

use super::events::{each, line};
use crate::args::Shared;
use crate::exit::Exit;
use crate::values::{shown, took};
use crate::why::{Around, why};
use crate::{children, functions, output, project, shape, standing, steps};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, or its beginning
    run: String,
    /// Adds to each step what carries it out, what it needs, and when it began and ended
    #[arg(long)]
    steps: bool,
    /// Adds the context
    #[arg(long)]
    context: bool,
    /// Adds the journal
    #[arg(long)]
    events: bool,
}

pub(crate) async fn show(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let run = project::find_run(&**engine.store(), &args.run).await?;
    let known = engine.inspect(&run).await?;
    let row = engine.store().run(&run).await.map_err(super::stored)?;
    let filter = WaitFilter { state: Some(WaitState::Open), run: Some(run.clone()), ..WaitFilter::default() };
    let waits = engine.store().waits(&filter, &Page::first(1_000)).await.map_err(super::stored)?.items;
    let below = children::open_questions(&**engine.store(), &run).await.map_err(super::stored)?;
    let below: Vec<_> = below.into_iter().filter(|row| row.run != run).collect();
    let now = super::list::now();
    let lost = engine.store().lost_leases(now, 10_000).await.map_err(super::stored)?;
    let holders = holders(&**engine.store(), &known).await?;
    let around = Around {
        waits: &waits,
        below: &below,
        lost: &lost,
        holders: &holders,
        is_carried: functions::is_carried(&**engine.store(), &known, &row.root).await?,
        has_handler: &|handler| engine.registry().get(handler).is_some(),
        now,
    };
    let why = why(&known, &around);
    let said = said(&**engine.store(), &row).await?;
    if shared.json {
        let mut shown = shape::whole(&known, &row, &waits, &holders, &why, args.context);
        shown["reason"] = said.into();
        if args.events {
            let mut events = Vec::new();
            each(&**engine.store(), &run, Seq(0), |recorded| events.push(shape::event(recorded))).await?;
            shown["events"] = events.into();
        }
        output::json(&shown);
        return Ok(Exit::Ok);
    }
    head(&known, &row, &waits);
    for execution in known.executions() {
        for line in steps::told(&known, execution) {
            output::data_message(&format!("  {line}"));
        }
        if args.steps {
            for line in steps::more(&known, execution) {
                output::data(&format!("    {line}"));
            }
        }
    }
    for reason in &why {
        output::data(&format!("why: {reason}"));
    }
    // The error of a cancelled run says it too.
    if let Some(reason) = said.filter(|_| known.error().is_none()) {
        output::data_message(&format!("reason: {reason}"));
    }
    if let Some(error) = known.error() {
        let (name, number) = (error.code.name(), error.code.number());
        output::data_message(&format!("error[{name} {number}]: {}", error.message));
    }
    if args.context {
        context(&known);
    }
    if args.events {
        each(&**engine.store(), &run, Seq(0), |recorded| output::data(&line(recorded))).await?;
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

/// Returns what was said by whoever cancelled a run, or by the operator who paused it. That is looked for from the end of
/// the journal, where it mostly is.
async fn said(store: &dyn Store, row: &RunRow) -> Result<Option<String>, ErrorObject> {
    const PAGE: u64 = 200;
    let is_paused = row.state.pause_reason == Some(PauseReason::Operator);
    if row.state.status != RunStatus::Cancelled && !is_paused {
        return Ok(None);
    }
    let mut end = row.seq.0;
    while end > 0 {
        let begin = end.saturating_sub(PAGE);
        let page = store.events(&row.run, Seq(begin), (end - begin) as usize).await.map_err(super::stored)?;
        for recorded in page.into_iter().rev() {
            match recorded.event {
                Event::RunCancelled { reason } => return Ok(reason),
                Event::RunPaused { reason: PauseReason::Operator, note } => return Ok(note),
                _ => {}
            }
        }
        end = begin;
    }
    Ok(None)
}

fn context(run: &Run) {
    if run.context().values().is_empty() {
        output::data("context {}");
    }
    for (key, value) in run.context().values() {
        output::data(&format!("context {key}: {value}"));
    }
}
