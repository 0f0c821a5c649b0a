//! Data to stdout, talk to stderr. Whatever others wrote passes through `text` on its way.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};

use crate::exit::Exit;
use crate::text;

/// What has been done already and stands, whatever becomes of the output.
static DONE: OnceLock<String> = OnceLock::new();

/// Whoever read the data is gone.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Says what stands even if its output cannot be written.
pub(crate) fn is_done(what: String) {
    // The first is what the command was asked for.
    DONE.get_or_init(|| what);
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &Value) {
    put(&text::json(value), true);
}

/// Prints a document of ours.
pub(crate) fn document(value: &Value) {
    put(&format!("{value:#}"), true);
}

/// Prints a line of data.
pub(crate) fn data(line: &str) {
    put(&text::line(line), false);
}

/// Prints a line of data that ends with a message, which may have several lines.
pub(crate) fn data_message(message: &str) {
    put(&text::lines(&text::message(message)), false);
}

/// Prints a line of talk.
pub(crate) fn talk(line: &str) {
    say(&text::line(&text::message(line)));
}

/// Prints a line of talk that ends with a message, which may have several lines.
pub(crate) fn talk_message(message: &str) {
    say(&text::lines(&text::message(message)));
}

/// Prints lines of talk in which whatever others wrote is harmless already.
pub(crate) fn talk_rendered(lines: &str) {
    say(lines);
}

/// Returns whether nobody reads data any more, as after `| head`. A command that only prints may end then.
pub(crate) fn is_unread() -> bool {
    UNREAD.load(Ordering::Relaxed)
}

fn put(line: &str, as_json: bool) {
    let Err(why) = writeln!(std::io::stdout(), "{line}") else { return };
    if why.kind() == ErrorKind::BrokenPipe {
        // Who reads no further has enough. The exit code still says how it went.
        UNREAD.store(true, Ordering::Relaxed);
        return;
    }
    // All that is left to do is to print; whoever reads must not take the half for the whole.
    let done = DONE.get().map_or_else(String::new, |done| format!("; {done}"));
    let message = format!("cannot write the output: {why}{done}");
    error(&ErrorObject::new(Code::CONFIGURATION_ERROR, message).with("reason", "output"), as_json);
    std::process::exit(Exit::Failed as i32);
}

fn say(line: &str) {
    // Where terminal or reader are gone there is nobody to tell, and what is under way is to end well all the same.
    let _unheard = writeln!(std::io::stderr(), "{line}");
}

/// Prints why a command failed and returns how the process ends.
pub(crate) fn error(error: &ErrorObject, as_json: bool) -> Exit {
    if as_json {
        say(&text::json(&json!({ "error": error.to_json() })));
    } else {
        let problems = error.data.get("validation_errors").and_then(Value::as_array);
        let problems = problems.map_or(&[][..], Vec::as_slice);
        let more =
            error.data.get("more_validation_errors").and_then(Value::as_u64).unwrap_or_default() as usize;
        // The message says all problems in a row; here each has a line, and its place.
        let message = match problems {
            [] => error.message.clone(),
            [only] => place(only) + &error.message,
            several => format!("{} problems", several.len() + more),
        };
        talk_message(&format!("error[{} {}]: {message}", error.code.name(), error.code.number()));
        for problem in problems.iter().filter(|_| problems.len() > 1) {
            talk(&format!("  {}", problem_line(problem)));
        }
        if more > 0 {
            talk(&format!("  and {more} more"));
        }
        let wrong = error.data.get("errors").and_then(Value::as_array);
        // The message says the only one, or the first.
        for wrong in wrong.filter(|wrong| wrong.len() > 1).into_iter().flatten() {
            let path = wrong["path"].as_str().filter(|path| !path.is_empty()).unwrap_or("(answer)");
            talk(&format!("  {path}: {}", wrong["message"].as_str().unwrap_or_default()));
        }
        if let Some(hint) = &error.hint {
            talk(&format!("hint: {hint}"));
        }
        talk(&format!("`stepwell explain {}` tells more", error.code.name()));
    }
    Exit::of(error)
}

/// Adds the file to every problem that has a place in it; of one that is not there, where it was looked for.
pub(crate) fn in_file(mut error: ErrorObject, file: &Path) -> ErrorObject {
    let is_missing = error.code == Code::CONFIGURATION_ERROR
        && error.data.get("reason").is_some_and(|reason| reason == "not_found");
    if let (true, true, Ok(dir)) = (is_missing, file.is_relative(), std::env::current_dir()) {
        error.message = format!("{} in {}", error.message, dir.display());
    }
    if let Some(Value::Array(problems)) = error.data.get_mut("validation_errors") {
        for problem in problems.iter_mut().filter(|problem| problem["line"].is_u64()) {
            problem["file"] = file.display().to_string().into();
        }
    }
    error
}

/// Shows a problem of a definition as `file:line:column: path: message`.
fn problem_line(problem: &Value) -> String {
    let mut line = place(problem);
    line.push_str(problem["message"].as_str().unwrap_or_default());
    if let Some(hint) = problem["hint"].as_str() {
        line.extend([" (", hint, ")"]);
    }
    line
}

/// Shows where a problem is, as far as that is known: `file:line:column: path: `.
fn place(problem: &Value) -> String {
    let mut line = String::new();
    if let Some(file) = problem["file"].as_str() {
        line.push_str(file);
        line.push(':');
    }
    if let Some(at) = problem["line"].as_u64() {
        line.extend([at.to_string(), format!(":{}: ", problem["column"].as_u64().unwrap_or(1))]);
    } else if !line.is_empty() {
        line.push(' ');
    }
    if let Some(path) = problem["path"].as_str().filter(|path| !path.is_empty()) {
        line.push_str(path);
        line.push_str(": ");
    }
    line
}
