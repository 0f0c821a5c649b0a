//! `stepwell list`: runs, newest first.

use serde_json::json;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Timestamp;
use stepwell_store::{Among, Page, RunFilter};

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::{at_least_one, moment, pairs, shown};
use crate::{output, project, shape, standing};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only runs of this status; may be repeated. `waiting`: those that wait for an answer or a signal; `paused`: these and
    /// those that an operator paused
    #[arg(long, value_name = "S")]
    status: Vec<String>,
    /// Only runs of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only runs with this tag; may be repeated
    #[arg(short, long = "metadata", value_name = "K=V")]
    metadata: Vec<String>,
    /// Only runs created then or later: a day, a time, or an age such as 2h
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Only runs created before: a day, a time, or an age such as 2h
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Also runs that other runs started
    #[arg(long)]
    children: bool,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = at_least_one)]
    limit: usize,
    /// Where the last page ended
    #[arg(long, value_name = "C")]
    cursor: Option<String>,
}

pub(crate) async fn list(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let now = now();
    let at =
        |name: &str, given: &Option<String>| given.as_deref().map(|text| moment(name, text, now)).transpose();
    let (status, pause_reason) = standing::read(&args.status)?;
    let filter = RunFilter {
        status,
        pause_reason,
        workflow: args.workflow.clone(),
        metadata: pairs("--metadata", &args.metadata, true)?,
        since: at("--since", &args.since)?,
        until: at("--until", &args.until)?,
        among: if args.children { Among::All } else { Among::Roots },
    };
    let Some(opened) = project::open_to_list(shared.store()).await? else {
        if shared.json {
            output::json(&json!({ "runs": [], "next": null }));
        }
        let dir = project::root(&project::working_dir()?);
        output::talk(&format!(
            "nothing has run in {} yet: `stepwell run FILE` starts a workflow",
            dir.display()
        ));
        return Ok(Exit::Ok);
    };
    let page = Page { limit: args.limit, cursor: args.cursor.clone() };
    let found = opened.runs(&filter, &page).await.map_err(super::stored)?;
    if shared.json {
        let runs: Vec<_> = found.items.iter().map(shape::summary).collect();
        output::json(&json!({ "runs": runs, "next": found.next }));
        return Ok(Exit::Ok);
    }
    for row in &found.items {
        let child = row.parent.as_ref().map_or_else(String::new, |parent| format!(", child of {parent}"));
        output::data(&format!(
            "{:<25} {:<10} {} {}{child}",
            row.run,
            standing::in_a_word(row.state.status, row.state.pause_reason),
            shown(row.created_at),
            row.workflow
        ));
    }
    if found.items.is_empty() {
        let all = RunFilter { among: Among::All, ..filter };
        let others = opened.runs(&all, &Page::first(1)).await.map_err(super::stored)?.items;
        let but = if others.is_empty() { "" } else { ", but child runs do: `--children` lists them" };
        output::talk(&format!("no runs match{but}"));
    }
    if let Some(next) = &found.next {
        output::talk(&format!("more with --cursor '{next}'"));
    }
    Ok(Exit::Ok)
}

/// Returns the moment, for ages such as `2h`.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}
