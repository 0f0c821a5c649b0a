//! What came of each step of a run that has ended, as a table. Pure.

use stepwell_core::run::view::view;
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, RunStatus};

use super::frame::mark;
use super::line::{Line, Paint, column, width};
use crate::values::{counted, took};
use crate::{steps, text};

/// A table has at most so many rows; `stepwell show` has all.
const ROWS: usize = 200;

struct Cells {
    mark: (&'static str, Paint),
    name: String,
    status: &'static str,
    attempts: String,
    took: String,
    result: String,
}

/// Returns the table of a run for a terminal of that many columns.
pub(crate) fn of(run: &Run, columns: usize) -> Vec<Line> {
    let workflow = run.workflow();
    let places = (0..workflow.definition().steps.len() as u32).map(stepwell_core::workflow::StepIx);
    let mut executions: Vec<&Execution> = places.filter_map(|step| run.latest(step)).collect();
    let all = executions.len();
    if all > ROWS {
        // What did not end well is what people look for.
        let (bad, good): (Vec<_>, Vec<_>) =
            executions.into_iter().partition(|execution| execution.status != ExecutionStatus::Completed);
        executions = bad.into_iter().chain(good).take(ROWS).collect();
    }
    let rows: Vec<Cells> = executions.iter().map(|execution| cells(run, execution)).collect();
    let mut lines = vec![head(run)];
    lines.extend(laid_out(&rows, columns));
    if all > ROWS {
        let id = text::word(run.id().as_str());
        let more = format!("  … {} more: `stepwell show {id}`", counted(all - ROWS, "step"));
        lines.push(Line::of(Paint::Dim, &more));
    }
    lines.into_iter().map(|line| line.fit(columns)).collect()
}

/// Returns the rows below their headings, for a terminal of that many columns.
fn laid_out(rows: &[Cells], columns: usize) -> Vec<Line> {
    let widest = |least: &str, cell: &dyn Fn(&Cells) -> &str| {
        rows.iter().map(|row| width(cell(row))).max().unwrap_or(0).max(least.len())
    };
    let name = widest("step", &|row| &row.name).min(32).min(columns / 3).max(4);
    let status = widest("status", &|row| row.status);
    let tried = widest("attempts", &|row| &row.attempts);
    let time = widest("took", &|row| &row.took);
    let right =
        |text: &str, columns: usize| format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))));
    // On a narrow terminal the results are worth more than the times.
    let numbers = |tries: &str, took: &str| match columns {
        ..60 => String::new(),
        _ => format!("  {}  {}", right(tries, tried), right(took, time)),
    };
    let head = format!("    {}  {}", column("step", name), column("status", status));
    let head = format!("{head}{}  result", numbers("attempts", "took"));
    let mut lines = vec![Line::of(Paint::Dim, &head)];
    for row in rows {
        let (mark, paint) = row.mark;
        let is_bad = matches!(paint, Paint::Bad);
        let line = Line::of(paint, &format!("  {mark} "))
            .and(Paint::Plain, &column(&row.name, name))
            .and(paint, &format!("  {}", column(row.status, status)))
            .and(Paint::Dim, &numbers(&row.attempts, &row.took))
            .and(if is_bad { Paint::Bad } else { Paint::Plain }, &format!("  {}", row.result));
        lines.push(line);
    }
    lines
}

fn head(run: &Run) -> Line {
    let paint = match run.status() {
        RunStatus::Completed => Paint::Good,
        RunStatus::Failed | RunStatus::Cancelled => Paint::Bad,
        RunStatus::Pending | RunStatus::Running | RunStatus::Paused => Paint::Plain,
    };
    let time = match (run.started_at(), run.finished_at()) {
        (Some(from), Some(to)) => format!(" · {}", took(from, to)),
        _ => String::new(),
    };
    Line::of(Paint::Strong, &format!("run {}", run.id()))
        .and(Paint::Plain, &format!(" of {} is ", run.workflow().name()))
        .and(paint, run.status().as_str())
        .and(Paint::Plain, &time)
}

fn cells(run: &Run, execution: &Execution) -> Cells {
    let time = match (execution.started_at, execution.finished_at) {
        (Some(from), Some(to)) => took(from, to),
        _ => String::new(),
    };
    let result = match &execution.error {
        Some(error) => error.message.lines().next().unwrap_or_default().to_owned(),
        None => steps::in_brief(&view(execution)["result"]),
    };
    let elements = steps::failed_of(run, execution)
        .or_else(|| run.elements(execution).map(|count| counted(count as usize, "element")));
    let parts = elements.into_iter().chain((!result.is_empty()).then_some(result));
    Cells {
        mark: mark(execution.status),
        name: steps::name(execution.step.as_str(), execution.ordinal),
        status: execution.status.as_str(),
        attempts: if execution.attempts == 0 { String::new() } else { execution.attempts.to_string() },
        took: time,
        result: parts.collect::<Vec<_>>().join(" · "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_a_step_and_fits() {
        let row = |name: &str, status, attempts: &str, took: &str, result: &str| Cells {
            mark: mark(status),
            name: name.into(),
            status: status.as_str(),
            attempts: attempts.into(),
            took: took.into(),
            result: result.into(),
        };
        let rows = [
            row("load", ExecutionStatus::Completed, "1", "139 ms", r#"{"months":24,"rows":1820}"#),
            row(
                "exchange_rates#2",
                ExecutionStatus::TimedOut,
                "3",
                "1 min 2 s",
                "step 'rates': no answer within 20 s",
            ),
            row("日本語", ExecutionStatus::Completed, "", "2 h 5 min", "12 elements"),
            row(
                "report",
                ExecutionStatus::Skipped,
                "",
                "",
                "a step it needs failed\nrun r1 is completed\u{1b}[A",
            ),
        ];
        let mut shown = String::new();
        for columns in [40, 80, 200] {
            for line in laid_out(&rows, columns) {
                let line = line.fit(columns);
                assert!(line.width() <= columns);
                shown.push_str(line.painted(false).trim_end());
                shown.push('\n');
            }
        }
        insta::assert_snapshot!(shown);
    }
}
