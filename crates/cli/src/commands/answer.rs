//! `stepwell answer`: answers a question, durable when the command returns.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::status::RunStatus;
use stepwell_engine::Engine;
use stepwell_store::{Page, Store, WaitFilter, WaitRow, WaitState};

use crate::args::Shared;
use crate::exit::Exit;
use crate::live::asking::Asking;
use crate::live::view::Closed;
use crate::stop::Stop;
use crate::{children, follow, hints, live, output, project, shape, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the question or its beginning, or of a run; with several questions, a terminal asks which one is meant
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
    /// Who answers [default: on a terminal, the user of the system]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Asks nothing on the terminal, also if no answer is given
    #[arg(long)]
    no_input: bool,
}

pub(crate) async fn answer(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let engine = project::open_idle(shared.store()).await?;
    let Some(row) = meant(shared, args, questions(&**engine.store(), &args.target).await?).await? else {
        return Ok(Exit::Interrupted);
    };
    let (wait, run) = (row.wait.clone(), row.run.clone());
    let status = if is_asked(shared, args) {
        match asked(&engine, &row, args.by.clone()).await? {
            Some(status) => status,
            None => return Ok(Exit::Interrupted),
        }
    } else {
        let value = value(args)?;
        engine.answer(&wait, value, args.by.clone()).await.map_err(hints::about(&run))?.status
    };
    output::is_done(format!("{wait} itself is answered"));
    if shared.json {
        output::json(&json!({ "wait_id": wait, "state": "answered", "status": status.as_str() }));
    } else {
        output::talk(&format!("{wait} is answered"));
    }
    super::say_standing(&engine, &run, status).await?;
    Ok(Exit::Ok)
}

/// Returns whether the answer is asked for on the terminal.
fn is_asked(shared: &Shared, args: &Args) -> bool {
    let is_given = args.text.is_some() || args.json_value.is_some() || args.file.is_some();
    !is_given && can_ask(shared, args)
}

/// Returns whether there is somebody at a terminal who may be asked.
fn can_ask(shared: &Shared, args: &Args) -> bool {
    !args.no_input && !shared.json && std::io::stdin().is_terminal() && live::tty::can_draw()
}

/// Returns the question that is meant; none, if somebody was asked and left it open.
async fn meant(shared: &Shared, args: &Args, questions: Questions) -> Result<Option<WaitRow>, ErrorObject> {
    let (run, open) = match questions {
        Questions::One(row) => return Ok(Some(*row)),
        Questions::Several { run, open } => (run, open),
    };
    if !can_ask(shared, args) {
        return Err(ambiguous(&run, &open));
    }
    let told: Vec<_> = open.iter().map(|row| (row.wait.clone(), in_brief(row))).collect();
    let Some(asking) = Asking::which(&run, &told) else { return Err(ambiguous(&run, &open)) };
    let chosen = live::view::choose(asking, &mut Stop::listen()?).await?;
    Ok(open.into_iter().find(|row| chosen.as_ref().is_some_and(|wait| wait == row.wait.as_str())))
}

fn in_brief(row: &WaitRow) -> String {
    let prompt = shape::question(row).unwrap_or_default().prompt;
    format!("{}: {}", row.step, prompt.lines().next().unwrap_or_default())
}

/// Asks for the answer on the terminal, and returns how the run stands after it; none, if the question was left open.
async fn asked(engine: &Engine, row: &WaitRow, by: Option<String>) -> Result<Option<RunStatus>, ErrorObject> {
    let spec = serde_json::from_value(row.spec.clone()).ok().filter(|_| row.state == WaitState::Open);
    let Some(asking) = spec.and_then(|spec| Asking::of(&row.wait, row.step.as_str(), &spec)) else {
        return Err(closed(&**engine.store(), row).await?);
    };
    let by = by.unwrap_or_else(live::view::user);
    let mut stop = Stop::listen()?;
    match live::view::ask(engine, asking, &by, &mut stop).await.map_err(hints::about(&row.run))? {
        Closed::Answered(status) => Ok(Some(status)),
        Closed::Left => {
            output::talk(&format!("{} is left open", row.wait));
            let question = shape::question(row).unwrap_or_default();
            for line in follow::answer_with(&row.wait, &question) {
                output::talk(&line);
            }
            Ok(None)
        }
        Closed::Elsewhere => {
            let row = engine.store().wait(&row.wait).await.map_err(super::stored)?;
            Err(closed(&**engine.store(), &row).await?)
        }
    }
}

/// What a target on the command line may name.
enum Questions {
    /// One question, open or not.
    One(Box<WaitRow>),
    /// The open ones of a run and of its child runs, oldest first.
    Several { run: RunId, open: Vec<WaitRow> },
}

/// Finds the question: by its id, or as the only open one of a run and its child runs.
pub(super) async fn find(store: &dyn Store, target: &str) -> Result<WaitRow, ErrorObject> {
    match questions(store, target).await? {
        Questions::One(row) => Ok(*row),
        Questions::Several { run, open } => Err(ambiguous(&run, &open)),
    }
}

/// Finds what is named: a question by its id, or the open ones of a run and its child runs.
async fn questions(store: &dyn Store, target: &str) -> Result<Questions, ErrorObject> {
    // The beginning of a question's id never is one of a run's: `wait_` is not empty.
    if target.starts_with("wait_")
        && let Some(row) = project::find_wait(store, target).await?
    {
        return Ok(Questions::One(Box::new(row)));
    }
    let run: RunId = project::find_run(store, target).await.map_err(|error| {
        if error.code == Code::WORKFLOW_NOT_FOUND {
            ErrorObject::new(Code::WORKFLOW_NOT_FOUND, format!("no question or run {target} is in the store"))
                .with_hint("`stepwell inbox` shows the open questions")
        } else {
            error
        }
    })?;
    let mut open = children::open_questions(store, &run).await.map_err(super::stored)?;
    match open.len() {
        0 => Err(none_open(store, &run).await?),
        1 => Ok(Questions::One(Box::new(open.remove(0)))),
        _ => Ok(Questions::Several { run, open }),
    }
}

async fn none_open(store: &dyn Store, run: &RunId) -> Result<ErrorObject, ErrorObject> {
    let filter = WaitFilter { kind: Some("human".into()), run: Some(run.clone()), ..WaitFilter::default() };
    let asked = store.waits(&filter, &Page::first(1_000)).await.map_err(super::stored)?.items;
    match asked.iter().max_by_key(|row| row.closed_at) {
        None => Ok(refusal("no_open_wait", format!("run {run} asks nothing"))
            .with_hint(format!("`stepwell show {}` tells what it waits for", text::word(run.as_str())))),
        Some(last) => closed(store, last).await,
    }
}

fn ambiguous(run: &RunId, open: &[WaitRow]) -> ErrorObject {
    let ids: Vec<&str> = open.iter().map(|row| row.wait.as_str()).collect();
    let told: Vec<String> = open.iter().map(|row| format!("{} ({})", row.wait, in_brief(row))).collect();
    refusal("wait_ambiguous", format!("run {run} asks {} questions: {}", ids.len(), told.join(", ")))
        .with("wait_ids", ids)
        .with_hint("name the question by its id")
}

fn refusal(reason: &str, message: String) -> ErrorObject {
    ErrorObject::new(Code::WORKFLOW_INVALID_STATE, message).with("reason", reason)
}

/// Refuses to answer a question that is closed, and says how it was.
async fn closed(store: &dyn Store, row: &WaitRow) -> Result<ErrorObject, ErrorObject> {
    let status = store.run(&row.run).await.map_err(super::stored)?.state.status;
    let by = row.closed_by.as_deref().map_or_else(String::new, |by| format!(" by {by}"));
    let how = match row.state {
        WaitState::Answered => format!("already answered{by}"),
        WaitState::Expired => "expired: nobody answered in time".to_owned(),
        WaitState::Withdrawn if status.is_terminal() => format!("withdrawn: run {} is {status}", row.run),
        WaitState::Open | WaitState::Withdrawn => "withdrawn".to_owned(),
    };
    let error = refusal("wait_closed", format!("question {} of step '{}' is {how}", row.wait, row.step))
        .with("wait_id", row.wait.as_str())
        .with("state", serde_json::to_value(row.state).unwrap_or_default())
        .with("status", status.as_str());
    Ok(hints::about(&row.run)(error))
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
        let text = if name == "-" {
            std::io::read_to_string(std::io::stdin()).map_err(|error| bad(format!("{name}: {error}")))?
        } else {
            project::read_given(&file, bad)?
        };
        (name, text)
    } else {
        return Err(bad("no answer is given".into()).with_hint(
            "give it with --text, --json-value, --file or -; `stepwell inbox WAIT` shows what is asked",
        ));
    };
    serde_json::from_str(&text).map_err(|error| {
        let hint = if name != "--json-value" || text.trim_start().starts_with(['{', '[', '"']) {
            project::json_hint(&error)
        } else {
            Some(format!("a text is given with `--text {}`; JSON puts it in quotes", text::word(text.trim())))
        };
        ErrorObject { hint, ..bad(format!("{name}: not JSON: {error}")) }
    })
}
