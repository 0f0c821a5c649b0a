//! `stepwell list`: runs, newest first.

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::Timestamp;
use stepwell_store::{Page, RunFilter};

use crate::args::List;
use crate::exit::Exit;
use crate::values::{at_least_one, moment, pairs, shown};
use crate::{output, project, shape, standing};

pub(crate) async fn list(store: Option<&str>, args: &List) -> Result<Exit, ErrorObject> {
    let limit = at_least_one("--limit", args.limit)?;
    let now = now();
    let at =
        |name: &str, given: &Option<String>| given.as_deref().map(|text| moment(name, text, now)).transpose();
    let status = args.status.iter().map(|word| {
        word.parse().map_err(|error: stepwell_core::status::UnknownWord| {
            ErrorObject::new(Code::INVALID_PARAMS, format!("--status: {error}")).with("parameter", "--status")
        })
    });
    let filter = RunFilter {
        status: status.collect::<Result<_, _>>()?,
        workflow: args.workflow.clone(),
        metadata: pairs("--metadata", &args.metadata, true)?,
        since: at("--since", &args.since)?,
        until: at("--until", &args.until)?,
        parent: None,
    };
    let opened = project::open_existing(store).await?;
    let page = Page { limit, cursor: args.cursor.clone() };
    let found = opened.runs(&filter, &page).await.map_err(super::stored)?;
    if args.json {
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
pub(super) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}
