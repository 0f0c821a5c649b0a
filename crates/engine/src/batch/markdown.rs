//! A batch as a page of Markdown: a heading for each file, and below it all that came of it.
//!
//! Names and contents are others' text: they stand in code spans and fences that nothing in them can end.

use std::io::{self, Write};

use serde_json::Value;

use super::{BatchResult, FileResult, main_value};

/// Writes the page.
pub(super) fn write(result: &BatchResult, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "# {}", span(&result.title))?;
    writeln!(out)?;
    writeln!(out, "- Batch: {}", span(result.batch_id.as_str()))?;
    writeln!(out, "- Date: {}", result.created_at.rfc3339())?;
    for (name, value) in result.parameters.iter().filter(|(_, value)| !value.is_null()) {
        writeln!(out, "- {}: {}", capitalised(name), span(&super::content(value)))?;
    }
    writeln!(
        out,
        "- Files: {}, {} successful, {} failed, in {:.1} s",
        result.total_files, result.successful, result.failed, result.processing_time
    )?;
    for (path, came) in &result.results {
        writeln!(out, "\n## {}\n", span(path))?;
        match came {
            FileResult::Success(output) => success(output, out)?,
            FileResult::Failed(error) => {
                writeln!(out, "Failed: {} {}\n", error.code.name(), error.code.number())?;
                fenced(&error.message, "", out)?;
                for key in ["traceback", "output", "stderr"] {
                    text(key, error.data.get(key), out)?;
                }
            }
        }
    }
    Ok(())
}

fn success(output: &Value, out: &mut dyn Write) -> io::Result<()> {
    match main_value(output) {
        Value::String(content) => fenced(content, "", out)?,
        value => fenced(&format!("{value:#}"), "json", out)?,
    }
    text("output", output.get("output"), out)
}

/// Writes a text that there may be, below a line that says what it is.
fn text(name: &str, value: Option<&Value>, out: &mut dyn Write) -> io::Result<()> {
    let Some(text) = value.and_then(Value::as_str).filter(|text| !text.is_empty()) else { return Ok(()) };
    writeln!(out, "\n{}:\n", capitalised(name))?;
    fenced(text, "", out)
}

/// Writes a text between fences that are longer than any run of backticks in it.
fn fenced(text: &str, language: &str, out: &mut dyn Write) -> io::Result<()> {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    writeln!(out, "{fence}{language}\n{text}{end}{fence}")
}

/// Returns a text as one line of code.
fn span(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    let tick = "`".repeat(longest_run(&line) + 1);
    // A blank at each end is no part of it, and keeps its own backticks and blanks from the ends.
    if line.starts_with(['`', ' ']) || line.ends_with(['`', ' ']) {
        format!("{tick} {line} {tick}")
    } else {
        format!("{tick}{line}{tick}")
    }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
