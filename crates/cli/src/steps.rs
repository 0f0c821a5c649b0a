//! A step as people are told of it: how it stands, how long it took, what it printed, and where it failed.

use serde_json::Value;
use stepwell_core::run::Execution;

use crate::text;
use crate::values::took;

/// So many lines of what a step printed are shown.
const LINES: usize = 20;

/// Returns a step in one line: `load#2: completed, 3 attempts, 1.2 s`.
pub(crate) fn line(execution: &Execution) -> String {
    let ordinal = execution.ordinal;
    let number = if ordinal.0 > 1 { format!("#{ordinal}") } else { String::new() };
    let tried = match execution.attempts {
        0 | 1 => String::new(),
        several => format!(", {several} attempts"),
    };
    let took = match (execution.started_at, execution.finished_at) {
        (Some(from), Some(to)) => format!(", {}", took(from, to)),
        _ => String::new(),
    };
    format!("{}{number}: {}{tried}{took}", execution.step, execution.status)
}

/// Returns what stands below that line: what the step printed, and the traceback of a failed one.
pub(crate) fn details(execution: &Execution) -> Vec<String> {
    let output = execution.output.as_deref();
    let failed = execution.error.as_ref().map(|error| &error.data);
    let text = |key: &str| {
        let said =
            output.and_then(|output| output.get(key)).or_else(|| failed.and_then(|data| data.get(key)));
        said.and_then(Value::as_str).unwrap_or_default()
    };
    let mut lines = Vec::new();
    for stream in ["output", "stderr"] {
        last_lines(&mut lines, text(stream), "| ");
    }
    last_lines(&mut lines, text("traceback"), "");
    lines
}

/// Adds the last lines of a text.
fn last_lines(lines: &mut Vec<String>, said: &str, margin: &str) {
    let count = said.lines().count();
    if count > LINES {
        lines.push(format!("{margin}… {} lines before these; --json has them all", count - LINES));
    }
    for line in said.lines().skip(count.saturating_sub(LINES)) {
        lines.push(format!("{margin}{}", text::message(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_their_end() {
        let mut lines = Vec::new();
        let text = (1..=25).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
        last_lines(&mut lines, &text, "");
        assert_eq!(lines.len(), 21);
        assert_eq!((&*lines[0], &*lines[1]), ("… 5 lines before these; --json has them all", "6"));
    }
}
