//! A step as people are told of it: how it stands, how long it took, why it failed, what it printed, and what came of it.

use serde_json::Value;
use stepwell_core::ids::Ordinal;
use stepwell_core::run::view::view;
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::ExecutionStatus;
use stepwell_core::workflow::definition::Action;

use crate::text;
use crate::values::{counted, shown, size, took};

/// Of what a step printed, the end is shown.
const PRINTED: Limit = Limit { lines: 20, bytes: 4 << 10 };

/// What a step prints, in the order in which it is shown.
const STREAMS: [&str; 2] = ["output", "stderr"];

/// Of the result of a run, the beginning is shown.
const RESULT: Limit = Limit { lines: 200, bytes: 16 << 10 };

/// How much of a text is shown.
#[derive(Clone, Copy)]
struct Limit {
    lines: usize,
    bytes: usize,
}

/// Returns what there is to say of an execution; what follows its first line stands deeper. The step that a run ends with
/// shows its result in full.
pub(crate) fn told(run: &Run, execution: &Execution) -> Vec<String> {
    let result = &view(execution)["result"];
    let is_last = run.workflow().graph().sink() == Some(execution.step_ix());
    let repeats = Repeats::of(execution, result);
    let brief = if is_last || repeats == Repeats::Lines { String::new() } else { brief(result) };
    let mut lines = vec![format!("{}{brief}", line(run, execution))];
    if execution.status.is_failure()
        && let Some(error) = &execution.error
    {
        lines.push(format!("  {}", error.message));
    }
    let all = format!("`stepwell show {} --json`", text::word(run.id().as_str()));
    // What is told as the result already is not told as output too.
    let is_told = repeats == Repeats::Line || (repeats == Repeats::Lines && is_last);
    let streams = if is_told { &STREAMS[1..] } else { &STREAMS };
    lines.extend(details(execution, streams, &all).into_iter().map(|line| format!("  {line}")));
    if is_last && execution.status == ExecutionStatus::Completed {
        lines.extend(in_full(result, &all).into_iter().map(|line| format!("  {line}")));
    }
    lines
}

/// Whether the result of a step is the text that it printed, as that of a program is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Nothing,
    /// It printed one line.
    Line,
    Lines,
}

impl Repeats {
    fn of(execution: &Execution, result: &Value) -> Self {
        let printed = execution.output.as_deref().and_then(|output| output["output"].as_str());
        match (result.as_str(), printed) {
            (Some(result), Some(printed)) if result.trim_end() == printed.trim_end() => {
                if result.trim_end().contains('\n') { Self::Lines } else { Self::Line }
            }
            _ => Self::Nothing,
        }
    }
}

/// Returns what else is known of an execution: what carries its step out, what that needs, and its times.
pub(crate) fn more(run: &Run, execution: &Execution) -> Vec<String> {
    let step = run.workflow().step(execution.step_ix());
    let mut lines = vec![match &step.action {
        Action::Function | Action::VersionedFunction => "by a function".to_owned(),
        Action::Provider { method, .. } => format!("by {method}"),
    }];
    if !step.needs.is_empty() {
        let needs: Vec<&str> = step.needs.iter().map(|need| need.step.as_str()).collect();
        lines.push(format!("needs {}", needs.join(", ")));
    }
    let times = [("began", execution.started_at), ("ended", execution.finished_at)];
    lines.extend(times.into_iter().filter_map(|(word, at)| Some(format!("{word} {}", shown(at?)))));
    lines
}

/// Returns a step in one line: `load#2: completed, 3 attempts, 1.2 s`.
fn line(run: &Run, execution: &Execution) -> String {
    let tried = match execution.attempts {
        0 | 1 => String::new(),
        several => format!(", {several} attempts"),
    };
    let took = match (execution.started_at, execution.finished_at) {
        (Some(from), Some(to)) => format!(", {}", took(from, to)),
        _ => String::new(),
    };
    // What was skipped before a retry has not been looked at since.
    let is_past = execution.status == ExecutionStatus::Skipped && execution.epoch() < run.epoch();
    let again =
        if is_past && !run.status().is_terminal() { " before the retry, and waits again" } else { "" };
    let name = name(execution.step.as_str(), execution.ordinal);
    let failed = failed_of(run, execution).map_or_else(String::new, |failed| format!(", {failed}"));
    format!("{name}: {}{failed}{again}{tried}{took}", execution.status)
}

/// Returns how many elements of an execution failed that is completed all the same: `1 of 4 elements failed`.
pub(crate) fn failed_of(run: &Run, execution: &Execution) -> Option<String> {
    run.elements(execution)?;
    failed_elements(execution.output.as_deref()?)
}

/// Returns the same from the output of a step with `for_each`.
pub(crate) fn failed_elements(output: &Value) -> Option<String> {
    let elements = output["results"].as_array()?;
    let failed = elements.iter().filter(|element| element["success"] == false).count();
    (failed > 0).then(|| format!("{failed} of {} failed", counted(elements.len(), "element")))
}

/// Returns how people read an execution: by its step, with its number if the step has others. An element of `for_each`
/// has one from the first on.
pub(crate) fn name(step: &str, ordinal: Ordinal) -> String {
    if ordinal.0 > 1 || step.ends_with("[]") { format!("{step}#{ordinal}") } else { step.to_owned() }
}

/// Returns what the step printed, and the traceback of a failed one.
fn details(execution: &Execution, streams: &[&str], all: &str) -> Vec<String> {
    let output = execution.output.as_deref();
    let failed = execution.error.as_ref().map(|error| &error.data);
    let text = |key: &str| {
        let said =
            output.and_then(|output| output.get(key)).or_else(|| failed.and_then(|data| data.get(key)));
        said.and_then(Value::as_str).unwrap_or_default()
    };
    let mut lines = Vec::new();
    for stream in streams {
        lines.extend(last_lines(text(stream), "| ", all));
    }
    lines.extend(last_lines(text("traceback"), "", all));
    lines
}

/// Returns the last lines of a text.
fn last_lines(said: &str, margin: &str, all: &str) -> Vec<String> {
    let (mut shown, left) = cut(said.lines().rev(), PRINTED);
    if left > 0 {
        shown.push(format!("… {} before these: {all}", size(left)));
    }
    shown.iter().rev().map(|line| format!("{margin}{line}")).collect()
}

/// Returns as many of the lines as are shown, and how many bytes are not.
fn cut<'t>(lines: impl Iterator<Item = &'t str>, limit: Limit) -> (Vec<String>, usize) {
    let mut shown = Vec::new();
    let (mut bytes, mut left) = (0, 0);
    for line in lines {
        let short = text::message(line);
        if left == 0 && shown.len() < limit.lines && bytes + short.len() <= limit.bytes {
            bytes += short.len();
            shown.push(short.into_owned());
        } else {
            left += line.len() + 1;
        }
    }
    (shown, left)
}

/// Shows a result on the line of its step.
pub(crate) fn brief(result: &Value) -> String {
    let shown = in_brief(result);
    if shown.is_empty() && !result.is_string() { shown } else { format!("  {shown}") }
}

/// Returns a result as a few words; `--json` has all of it.
pub(crate) fn in_brief(result: &Value) -> String {
    const WIDTH: usize = 100;
    let shown = match result {
        Value::Null => return String::new(),
        Value::String(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => {
            let mut begin = Begin(Vec::new());
            // It ends with an error where there is more than is shown.
            let _cut = serde_json::to_writer(&mut begin, other);
            String::from_utf8_lossy(&begin.0).into_owned()
        }
    };
    match shown.char_indices().nth(WIDTH) {
        None => shown,
        Some((at, _)) => format!("{}…", &shown[..at]),
    }
}

/// Takes the beginning of a text, and refuses the rest: a large result is not written out to show a line of it.
struct Begin(Vec<u8>);

impl std::io::Write for Begin {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        const ENOUGH: usize = 1_024;
        if self.0.len() > ENOUGH {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the lines of a result.
fn in_full(result: &Value, all: &str) -> Vec<String> {
    let whole = match result {
        Value::Null => return Vec::new(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    let (mut shown, left) = cut(whole.lines(), RESULT);
    if left > 0 {
        shown.push(format!("… {} more: {all}", size(left)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_their_end() {
        let text = (1..=25).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
        let lines = last_lines(&text, "| ", "show");
        assert_eq!(lines.len(), 21);
        assert_eq!((&*lines[0], &*lines[1]), ("| … 10 bytes before these: show", "| 6"));

        let text = "x".repeat(999) + "\n";
        let lines = last_lines(&text.repeat(5_000), "", "show");
        assert_eq!((lines.len(), &*lines[0]), (5, "… 4.9 MB before these: show"));
    }

    #[test]
    fn of_a_large_result_the_beginning_is_shown() {
        let result: Value = (0..100_000).collect();
        let lines = in_full(&result, "show");
        assert_eq!((lines.len(), &*lines[1], &*lines[200]), (201, "  0,", "… 887.6 kB more: show"));
        assert_eq!(in_full(&Value::from("a\nb"), "show"), ["a", "b"]);
    }
}
