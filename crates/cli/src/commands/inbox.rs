//! `stepwell inbox`: open questions, or one of them in full.

use serde_json::json;
use stepwell_core::error::ErrorObject;
use stepwell_store::{Page, WaitFilter, WaitRow, WaitState};

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::{at_least_one, moment, pairs, shown};
use crate::{answering, output, project, shape};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of a question or its beginning, or of a run with exactly one: shows it in full
    wait: Option<String>,
    /// Only questions for this person
    #[arg(long, value_name = "A")]
    assignee: Option<String>,
    /// Only questions of runs with this tag; may be repeated
    #[arg(short, long = "metadata", value_name = "K=V")]
    metadata: Vec<String>,
    /// Only questions of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only questions due before: a day, a time, or an age such as 2h
    #[arg(long, value_name = "T")]
    due_before: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = at_least_one)]
    limit: usize,
    /// Where the last page ended
    #[arg(long, value_name = "C")]
    cursor: Option<String>,
}

pub(crate) async fn inbox(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    if let Some(target) = &args.wait {
        let opened = project::open_existing(shared.store()).await?;
        let row = super::answer::find(&*opened, target).await?;
        if shared.json {
            output::json(&shape::wait(&row));
        } else {
            in_full(&row);
        }
        return Ok(Exit::Ok);
    }
    let now = super::list::now();
    let due = args.due_before.as_deref().map(|text| moment("--due-before", text, now)).transpose()?;
    let filter = WaitFilter {
        assignee: args.assignee.clone(),
        workflow: args.workflow.clone(),
        metadata: pairs("--metadata", &args.metadata, true)?,
        due_before: due,
        ..WaitFilter::open_questions()
    };
    let Some(opened) = project::open_to_list(shared.store()).await? else {
        if shared.json {
            output::json(&json!({ "waits": [], "next": null }));
        }
        let dir = project::root(&project::working_dir()?);
        output::talk(&format!("no open questions: nothing has run in {} yet", dir.display()));
        return Ok(Exit::Ok);
    };
    let page = Page { limit: args.limit, cursor: args.cursor.clone() };
    let found = opened.waits(&filter, &page).await.map_err(super::stored)?;
    if shared.json {
        let waits: Vec<_> = found.items.iter().map(shape::wait).collect();
        output::json(&json!({ "waits": waits, "next": found.next }));
        return Ok(Exit::Ok);
    }
    for row in &found.items {
        let prompt = shape::question(row).unwrap_or_default().prompt;
        let first = prompt.lines().next().unwrap_or_default();
        let (wait, run, workflow, step) = (&row.wait, &row.run, &row.workflow, &row.step);
        output::data(&format!("{wait} {run} {workflow} {step}{}: {first}", for_whom(row)));
    }
    if found.items.is_empty() {
        output::talk("no open questions");
    }
    if let Some(next) = &found.next {
        output::talk(&format!("more with --cursor '{next}'"));
    }
    Ok(Exit::Ok)
}

/// Returns who should answer, and until when: ` (for anna, until 2026-11-21 18:28:27)`.
fn for_whom(row: &WaitRow) -> String {
    let assignee = row.assignee.as_ref().map(|assignee| format!("for {assignee}"));
    let deadline = row.deadline.map(|at| format!("until {}", shown(at)));
    let parts: Vec<String> = assignee.into_iter().chain(deadline).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn in_full(row: &WaitRow) {
    let question = shape::question(row).unwrap_or_default();
    output::data(&format!("question  {}", row.wait));
    output::data(&format!("run       {} ({}, step '{}')", row.run, row.workflow, row.step));
    output::data(&format!("opened    {}", shown(row.opened_at)));
    if row.state != WaitState::Open {
        let state = serde_json::to_value(row.state).unwrap_or_default();
        let by = row.closed_by.as_deref().map_or_else(String::new, |by| format!(" by {by}"));
        output::data(&format!("state     {}{by}", state.as_str().unwrap_or_default()));
    }
    if let Some(deadline) = row.deadline {
        output::data(&format!("deadline  {}", shown(deadline)));
    }
    if let Some(default) = row.spec.get("default") {
        output::data(&format!("default   {default}"));
    }
    if let Some(assignee) = &row.assignee {
        output::data(&format!("assignee  {assignee}"));
    }
    if let Some(rejected) = &question.rejected {
        output::data(&format!("try       {}", question.tries()));
        output::data_message(&format!("rejected  {}: {}", rejected.answer, rejected.message));
    }
    output::data("");
    for line in question.prompt.lines() {
        output::data(&format!("  {line}"));
    }
    output::data("");
    if let Some(options) = &question.options {
        output::data(&format!("options: {options}"));
    }
    if let Some(schema) = &question.schema {
        output::data("schema:");
        for line in serde_json::to_string_pretty(schema).unwrap_or_default().lines() {
            output::data(&format!("  {line}"));
        }
    }
    if row.state == WaitState::Open {
        for command in answering::commands(row.wait.as_str(), &question) {
            output::data(&format!("answer with {command}"));
        }
    }
}
