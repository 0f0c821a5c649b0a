//! Data to stdout, talk to stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the one place that prints")]

use std::path::Path;

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;

use crate::exit::Exit;
use crate::hints;

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &Value) {
    println!("{value}");
}

/// Prints a line of data.
pub(crate) fn data(line: &str) {
    println!("{line}");
}

/// Prints a line of talk.
pub(crate) fn talk(line: &str) {
    eprintln!("{line}");
}

/// Prints why a command failed and returns how the process ends.
pub(crate) fn error(error: &ErrorObject, as_json: bool) -> Exit {
    let error = &hints::hinted(error);
    if as_json {
        eprintln!("{}", json!({ "error": error.to_json() }));
    } else {
        let problems = error.data.get("validation_errors").and_then(Value::as_array);
        let problems = problems.map_or(&[][..], Vec::as_slice);
        // The message says all problems in a row; here each has a line, and its place.
        let message = match problems {
            [] => error.message.clone(),
            [only] => place(only) + &error.message,
            several => format!("{} problems", several.len()),
        };
        eprintln!("error[{} {}]: {message}", error.code.name(), error.code.number());
        for problem in problems.iter().filter(|_| problems.len() > 1) {
            eprintln!("  {}", problem_line(problem));
        }
        for wrong in error.data.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let path = wrong["path"].as_str().filter(|path| !path.is_empty()).unwrap_or("(answer)");
            eprintln!("  {path}: {}", wrong["message"].as_str().unwrap_or_default());
        }
        if let Some(hint) = &error.hint {
            eprintln!("hint: {hint}");
        }
        eprintln!("see docs/errors/{}.md", error.code.name());
    }
    Exit::of(error)
}

/// Adds the file to every problem that has a place in it.
pub(crate) fn in_file(mut error: ErrorObject, file: &Path) -> ErrorObject {
    if let Some(Value::Array(problems)) = error.data.get_mut("validation_errors") {
        for problem in problems.iter_mut().filter(|problem| problem["line"].is_u64()) {
            problem["file"] = file.display().to_string().into();
        }
    }
    error
}

/// Shows a problem of a definition as `file:line:column: path: message`.
pub(crate) fn problem_line(problem: &Value) -> String {
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
