//! Data to stdout, talk to stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the one place that prints")]

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;

use crate::exit::Exit;

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
    if as_json {
        eprintln!("{}", json!({ "error": error.to_json() }));
    } else {
        eprintln!("error[{} {}]: {}", error.code.name(), error.code.number(), error.message);
        for problem in error.data.get("validation_errors").and_then(Value::as_array).into_iter().flatten() {
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

/// Shows a problem of a definition as `file:line:column: path: message`.
pub(crate) fn problem_line(problem: &Value) -> String {
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
    line.push_str(problem["message"].as_str().unwrap_or_default());
    if let Some(hint) = problem["hint"].as_str() {
        line.extend([" (", hint, ")"]);
    }
    line
}
