//! `stepwell list`: runs, newest first.

use serde_json::json;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Timestamp;
use stepwell_store::{Page, RunFilter};

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::{at_least_one, moment, pairs, shown, statuses};
use crate::{output, project, shape, standing};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only runs of this status; may be repeated
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
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// Where the last page ended
    #[arg(long, value_name = "C")]
    cursor: Option<String>,
}

pub(crate) async fn list(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let limit = at_least_one("--limit", args.limit)?;
    let now = now();
    let at =
        |name: &str, given: &Option<String>| given.as_deref().map(|text| moment(name, text, now)).transpose();
    let filter = RunFilter {
        status: statuses(&args.status)?,
        workflow: args.workflow.clone(),
        metadata: pairs("--metadata", &args.metadata, true)?,
        since: at("--since", &args.since)?,
        until: at("--until", &args.until)?,
        parent: None,
    };
    let opened = project::open_existing(shared.store()).await?;
    let page = Page { limit, cursor: args.cursor.clone() };
    let found = opened.runs(&filter, &page).await.map_err(super::stored)?;
    if shared.json {
        let runs: Vec<_> = found.items.iter().map(shape::summary).collect();
        output::json(&json!({ "runs": runs, "next": found.next }));
        return Ok(Exit::Ok);
    }
    for row in &found.items {
        output::data(&format!(
            "{:<25} {:<10} {} {}",
            row.run,
            standing::in_a_word(row.state.status, row.state.pause_reason),
            shown(row.created_at),
            row.workflow
        ));
    }
    if found.items.is_empty() {
        output::talk("no runs match");
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
