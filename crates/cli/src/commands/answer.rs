//! `stepwell answer`: answers a question, durable when the command returns.

use std::io::Read;
use std::path::PathBuf;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_store::{Page, Store, WaitFilter, WaitRow, WaitState};

use crate::args::Shared;
use crate::exit::Exit;
use crate::{hints, output, project, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the question or its beginning, or of a run with exactly one
    target: String,
    /// The answer is the JSON on standard input
    #[arg(value_name = "-", value_parser = ["-"], hide_possible_values = true, group = "answer")]
    stdin: Option<String>,
    /// The answer is this text
    #[arg(long, value_name = "S", group = "answer")]
    text: Option<String>,
    /// The answer is this JSON value
    #[arg(long, value_name = "J", group = "answer")]
    json_value: Option<String>,
    /// The answer is the JSON in this file; `-` is standard input
    #[arg(long, value_name = "F", group = "answer")]
    file: Option<PathBuf>,
    /// Who answers
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

pub(crate) async fn answer(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let WaitRow { wait, run, .. } = find(&**engine.store(), &args.target).await?;
    let value = value(args)?;
    let receipt = engine.answer(&wait, value, args.by.clone()).await.map_err(hints::about(&run))?;
    output::is_done(format!("{wait} itself is answered"));
    if shared.json {
        output::json(&json!({ "wait_id": wait, "state": "answered", "status": receipt.status.as_str() }));
    } else {
        output::talk(&format!("{wait} is answered"));
    }
    super::say_standing(&engine, &run, receipt.status).await?;
    Ok(Exit::Ok)
}

/// Finds the question: by its id, or as the only open one of a run.
pub(super) async fn find(store: &dyn Store, target: &str) -> Result<WaitRow, ErrorObject> {
    // The beginning of a question's id never is one of a run's: `wait_` is not empty.
    if target.starts_with("wait_")
        && let Some(row) = project::find_wait(store, target).await?
    {
        return Ok(row);
    }
    let run: RunId = project::find_run(store, target).await.map_err(|error| {
        if error.code == Code::WORKFLOW_NOT_FOUND {
            ErrorObject::new(Code::WORKFLOW_NOT_FOUND, format!("no question or run {target} is in the store"))
                .with_hint("`stepwell inbox` shows the open questions")
        } else {
            error
        }
    })?;
    let filter = WaitFilter { kind: Some("human".into()), run: Some(run.clone()), ..WaitFilter::default() };
    let asked = store.waits(&filter, &Page::first(1_000)).await.map_err(super::stored)?.items;
    let (mut open, closed): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|row| row.state == WaitState::Open);
    let refuse = |reason: &str, message: String| {
        ErrorObject::new(Code::WORKFLOW_INVALID_STATE, message).with("reason", reason)
    };
    match open.len() {
        0 => Err(match closed.iter().max_by_key(|row| row.closed_at) {
            None => refuse("no_open_wait", format!("run {run} asks nothing"))
                .with_hint(format!("`stepwell show {}` tells what it waits for", text::word(run.as_str()))),
            Some(last) => refuse("wait_closed", already(last))
                .with("wait_id", last.wait.as_str())
                .with_hint(format!("`stepwell show {}` tells how the run goes on", text::word(run.as_str()))),
        }),
        1 => Ok(open.remove(0)),
        _ => {
            let ids: Vec<&str> = open.iter().map(|row| row.wait.as_str()).collect();
            Err(refuse(
                "wait_ambiguous",
                format!("run {run} asks {} questions: {}", ids.len(), ids.join(", ")),
            )
            .with("wait_ids", ids)
            .with_hint("name the question by its id"))
        }
    }
}

/// Says that a question is closed, and how.
fn already(row: &WaitRow) -> String {
    let by = row.closed_by.as_deref().map_or_else(String::new, |by| format!(" by {by}"));
    let state = match row.state {
        WaitState::Answered => format!("already answered{by}"),
        WaitState::Expired => "expired: nobody answered in time".to_owned(),
        WaitState::Open | WaitState::Withdrawn => "withdrawn".to_owned(),
    };
    format!("question {} of step '{}' is {state}", row.wait, row.step)
}

fn value(args: &Args) -> Result<Value, ErrorObject> {
    let bad = |message: String| ErrorObject::new(Code::ANSWER_INVALID, message);
    if let Some(text) = &args.text {
        return Ok(Value::String(text.clone()));
    }
    let (name, text) = if let Some(text) = &args.json_value {
        ("--json-value".to_owned(), text.clone())
    } else if let Some(file) = args.file.clone().or_else(|| args.stdin.clone().map(PathBuf::from)) {
        let name = file.display().to_string();
        let mut text = String::new();
        let read = if name == "-" {
            std::io::stdin().read_to_string(&mut text).map(|_| ())
        } else {
            std::fs::read_to_string(&file).map(|content| text = content)
        };
        read.map_err(|error| bad(format!("{name}: {error}")))?;
        (name, text)
    } else {
        return Err(bad("no answer is given".into()).with_hint(
            "give it with --text, --json-value, --file or -; `stepwell inbox WAIT` shows what is asked",
        ));
    };
    serde_json::from_str(&text).map_err(|error| {
        if name != "--json-value" || text.trim_start().starts_with(['{', '[', '"']) {
            return bad(format!("{name}: not JSON: {error}"));
        }
        bad(format!("{name}: not JSON: {error}")).with_hint(format!(
            "a text is given with `--text {}`; JSON puts it in quotes",
            text::word(text.trim())
        ))
    })
}
