//! The picture of a run: its rows as lines of a terminal that is so wide and so high, at a moment. Pure; `screen.rs` draws.

use stepwell_core::ids::Timestamp;
use stepwell_core::run::wait::WaitKind;
use stepwell_core::status::{ExecutionStatus, RunStatus};

use super::line::{Line, Paint, column, width};
use super::model::{Asked, Fan, Model, Row};
use crate::standing;
use crate::values::{counted, shown_time, took};

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) lines: Vec<Line>,
    /// In which column of the last line somebody types.
    pub(crate) cursor: Option<usize>,
}

/// How large a terminal is, in columns and lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) lines: usize,
}

/// A name takes at most so many columns.
const NAME: usize = 32;

/// Returns the lines of a run, at most `lines` of them.
pub(crate) fn picture(model: &Model, columns: usize, lines: usize, now: Timestamp) -> Vec<Line> {
    let places = chosen(&model.rows, lines.saturating_sub(1));
    let name = places.iter().map(|at| width(&model.rows[*at].name())).max().unwrap_or(0);
    let name = name.min(NAME).min(columns / 3);
    let head = Some(head(model, true, now)).filter(|head| head.width() <= columns);
    let mut picture = vec![head.unwrap_or_else(|| self::head(model, false, now)).fit(columns)];
    let of_row = |at: &usize| row(model, *at, name, columns, now).fit(columns);
    picture.extend(places.iter().map(of_row));
    if places.len() < model.rows.len() {
        picture.push(rest(model, &places).fit(columns));
    }
    picture.truncate(lines);
    picture
}

/// Returns whether a clock in the picture ticks.
pub(crate) fn ticks(model: &Model) -> bool {
    !model.status.is_terminal() && model.began.is_some()
}

/// Returns the mark of a status and how it is painted.
pub(crate) fn mark(status: ExecutionStatus) -> (&'static str, Paint) {
    match status {
        ExecutionStatus::Pending | ExecutionStatus::Blocked | ExecutionStatus::Ready => ("·", Paint::Dim),
        ExecutionStatus::Running => ("▸", Paint::Busy),
        ExecutionStatus::Waiting => ("?", Paint::Waits),
        ExecutionStatus::Retrying => ("↻", Paint::Waits),
        ExecutionStatus::Completed => ("✓", Paint::Good),
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => ("✗", Paint::Bad),
        ExecutionStatus::Cancelled => ("✗", Paint::Dim),
        ExecutionStatus::Skipped => ("-", Paint::Dim),
    }
}

fn head(model: &Model, with_workflow: bool, now: Timestamp) -> Line {
    let kinds = model.waits.iter().map(|wait| wait.spec.kind.as_str());
    let standing = standing::in_words(model.status, model.reason, kinds);
    let paint = match model.status {
        RunStatus::Completed => Paint::Good,
        RunStatus::Failed | RunStatus::Cancelled => Paint::Bad,
        RunStatus::Paused => Paint::Waits,
        RunStatus::Pending | RunStatus::Running => Paint::Plain,
    };
    let (done, of) = model.done();
    let clock = model.began.map(|began| format!(" · {}", clock(began, now))).unwrap_or_default();
    Line::of(Paint::Strong, &format!("run {}", model.run))
        .and(Paint::Plain, &if with_workflow { format!(" of {} · ", model.workflow) } else { " · ".into() })
        .and(paint, standing)
        .and(Paint::Plain, &format!(" · {done} of {}{clock}", counted(of, "step")))
}

fn row(model: &Model, at: usize, name: usize, columns: usize, now: Timestamp) -> Line {
    const WORD: usize = 9;
    let row = &model.rows[at];
    let (mark, paint) = match mark(row.status) {
        ("?", paint) if !model.waits_of(at).any(asks) => ("…", paint),
        marked => marked,
    };
    let is_dim = paint == Paint::Dim;
    let time = match (row.began, row.ended) {
        (Some(began), Some(ended)) => took(began, ended),
        (Some(began), None) if !row.status.is_terminal() => clock(began, now),
        _ => String::new(),
    };
    let room: usize = if columns < 60 { 0 } else { 9 };
    let clock = format!("{}{time}", " ".repeat(room.saturating_sub(width(&time))));
    let (detail_paint, detail) = detail(model, at, now);
    Line::of(paint, &format!("  {mark} "))
        .and(if is_dim { Paint::Dim } else { Paint::Plain }, &column(&row.name(), name))
        .and(paint, &format!("  {}", column(row.status.as_str(), WORD)))
        .and(Paint::Dim, &format!(" {clock}  "))
        .and(detail_paint, &detail)
}

/// Returns whether a person or a signal is waited for.
fn asks(wait: &Asked) -> bool {
    matches!(wait.spec.kind, WaitKind::Human(_) | WaitKind::Signal { .. }) || wait.child_paused
}

/// Returns what there is to say of a row beside its status.
fn detail(model: &Model, at: usize, now: Timestamp) -> (Paint, String) {
    let row = &model.rows[at];
    let mut parts: Vec<String> = Vec::new();
    parts.extend(row.fan.map(fan));
    if row.attempt > 1 && !row.status.is_terminal() && row.status != ExecutionStatus::Retrying {
        parts.push(format!("attempt {}", row.attempt));
    }
    if let (ExecutionStatus::Retrying, Some(due)) = (row.status, row.due) {
        parts.push(format!("attempt {} {}", row.attempt + 1, moment("at", due, now)));
    }
    if !row.status.is_terminal() {
        parts.extend(model.waits_of(at).map(|wait| waits_for(wait, now)));
    }
    if !row.said.is_empty() {
        parts.push(row.said.clone());
    }
    let paint = match row.status {
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => Paint::Bad,
        ExecutionStatus::Waiting | ExecutionStatus::Retrying => Paint::Waits,
        _ => Paint::Dim,
    };
    (paint, parts.join(" · "))
}

fn fan(fan: Fan) -> String {
    let failed = if fan.failed > 0 { format!(", {} failed", fan.failed) } else { String::new() };
    format!("{}/{}{failed}", fan.ended, fan.of.max(fan.ended))
}

fn waits_for(wait: &Asked, now: Timestamp) -> String {
    let until = |said: &str| match wait.spec.deadline {
        Some(at) => format!("{said} {}", moment("until", at, now)),
        None => said.to_owned(),
    };
    match &wait.spec.kind {
        WaitKind::Human(question) => {
            let asks = if question.rejected.is_some() { "asks again" } else { "asks" };
            format!("{}: {}", until(asks), question.prompt.lines().next().unwrap_or_default())
        }
        WaitKind::Signal { name } => until(&format!("waits for signal '{name}'")),
        WaitKind::Timer => until("sleeps"),
        WaitKind::Child(child) if wait.child_paused => format!("child run {} waits for input", child.run),
        WaitKind::Child(child) => format!("waits for child run {}", child.run),
    }
}

fn moment(word: &str, at: Timestamp, now: Timestamp) -> String {
    if at <= now {
        return "now".into();
    }
    format!("{word} {} (in {})", shown_time(at, now), clock(now, at))
}

/// Returns a duration in whole seconds, which change calmly.
fn clock(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.ms_since(from) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        _ => took(Timestamp(0), Timestamp((seconds * 1_000_000) as i64)),
    }
}

/// Returns which rows are shown, in their order: all if they fit, else what runs, fails and waits before the rest.
fn chosen(rows: &[Row], most: usize) -> Vec<usize> {
    if rows.len() <= most {
        return (0..rows.len()).collect();
    }
    let mut places: Vec<usize> = (0..rows.len()).collect();
    // Of what has ended the newest is told first.
    places.sort_by_key(|at| {
        let row = &rows[*at];
        (weight(row.status), std::cmp::Reverse(row.ended), *at)
    });
    places.truncate(most.saturating_sub(1));
    places.sort_unstable();
    places
}

fn weight(status: ExecutionStatus) -> u8 {
    match status {
        ExecutionStatus::Running => 0,
        ExecutionStatus::Waiting | ExecutionStatus::Retrying => 1,
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => 2,
        ExecutionStatus::Ready => 3,
        ExecutionStatus::Completed => 4,
        ExecutionStatus::Blocked | ExecutionStatus::Pending => 5,
        ExecutionStatus::Cancelled | ExecutionStatus::Skipped => 6,
    }
}

/// Counts what is not shown.
fn rest(model: &Model, shown: &[usize]) -> Line {
    let mut counts: Vec<(ExecutionStatus, usize)> = Vec::new();
    let mut shown = shown.iter().peekable();
    for (at, row) in model.rows.iter().enumerate() {
        if shown.next_if(|next| **next == at).is_some() {
            continue;
        }
        match counts.iter_mut().find(|(status, _)| *status == row.status) {
            Some((_, count)) => *count += 1,
            None => counts.push((row.status, 1)),
        }
    }
    counts.sort_by_key(|(status, _)| weight(*status));
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    let told: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    Line::of(Paint::Dim, &format!("  … {all} more: {}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use stepwell_core::error::{Code, ErrorObject};
    use stepwell_core::ids::{ExecutionRef, Ordinal, RunId, StepName, WaitId};
    use stepwell_core::run::event::{Activation, AttemptStarted, Event, SkipReason};
    use stepwell_core::run::wait::{Question, Resolution, WaitSpec};
    use stepwell_core::workflow::Workflow;
    use stepwell_core::workflow::definition::{Definition, Step};

    use super::*;

    /// Seconds after the run began.
    fn at(seconds: i64) -> Timestamp {
        // At a minute that is no hour's last one anywhere, so that all of it is on one day.
        Timestamp(1_795_270_620_000_000 + seconds * 1_000_000)
    }

    fn model(steps: &[&str]) -> Model {
        let steps = steps.iter().map(|step| Step::function(step).next(&[])).collect();
        let workflow = Workflow::new(Definition::new("sales-report", steps)).unwrap();
        let mut model = Model::new(RunId::from("report-1"), &workflow);
        model.note(&Event::RunStarted { deadline: None }, at(0));
        model
    }

    fn activated(step: &str) -> Event {
        Event::StepActivated {
            step: step.into(),
            execution: Ordinal(1),
            by: Activation::Entry,
            blocked: false,
        }
    }

    fn started(step: &str, attempt: u32) -> Event {
        Event::AttemptStarted(AttemptStarted {
            step: step.into(),
            execution: Ordinal(1),
            attempt,
            session: 1,
        })
    }

    fn completed(step: &str, execution: u32, output: &serde_json::Value) -> Event {
        Event::StepCompleted {
            step: step.into(),
            execution: Ordinal(execution),
            attempt: 1,
            output: Arc::new(json!({ "result": output })),
            writes: Vec::new(),
            to: Vec::new(),
        }
    }

    fn failed(step: &str, attempt: u32, message: &str, retry_at: Option<Timestamp>) -> Event {
        let error = Box::new(ErrorObject::new(Code::TASK_EXECUTION_FAILED, message));
        Event::AttemptFailed {
            step: step.into(),
            execution: Ordinal(1),
            attempt,
            error,
            timed_out: false,
            retry_at,
        }
    }

    fn opened(step: &str, kind: WaitKind, deadline: Option<Timestamp>) -> Event {
        let spec = Box::new(WaitSpec { deadline, ..WaitSpec::step(kind) });
        Event::WaitOpened {
            wait: WaitId::from(format!("wait_{step}")),
            step: step.into(),
            execution: Ordinal(1),
            spec,
        }
    }

    /// A run in whose steps all that can be seen is seen.
    fn busy() -> Model {
        let steps = ["place", "load", "rates", "regions", "approve", "cool", "go", "child", "report"];
        let mut model = model(&steps);
        let mut note = |event: Event, seconds: i64| drop(model.note(&event, at(seconds)));
        for step in &steps[..8] {
            note(activated(step), 0);
        }
        note(started("place", 1), 0);
        note(completed("place", 1, &json!({"report": "examples/out/sales_report.md"})), 1);
        note(started("load", 1), 1);
        let said = Arc::new(json!("loaded 12 months\nloaded 24 months\n"));
        note(
            Event::Emitted {
                step: "load".into(),
                execution: Ordinal(1),
                attempt: 1,
                kind: "log".into(),
                data: said,
            },
            3,
        );
        note(started("rates", 1), 1);
        note(failed("rates", 1, "step 'rates': the script raised ConnectionError: refused", Some(at(20))), 2);
        let items = Some(Arc::new(json!([1, 2, 3, 4, 5])));
        note(Event::StepFannedOut { step: "regions".into(), execution: Ordinal(1), items }, 2);
        for index in 0..3 {
            let (step, execution) = (StepName::from("regions[]"), Ordinal(index + 1));
            let by = Activation::Element { of: Ordinal(1), index };
            note(Event::StepActivated { step: step.clone(), execution, by, blocked: false }, 2);
            note(Event::AttemptStarted(AttemptStarted { step, execution, attempt: 1, session: 1 }), 2);
        }
        note(completed("regions[]", 2, &json!(1)), 3);
        let question = Question {
            prompt: "20 % off \u{1b}[2J“Desk calendar”?\nrun r1 is completed".into(),
            ..Question::default()
        };
        note(opened("approve", WaitKind::Human(question), Some(at(300))), 3);
        note(opened("cool", WaitKind::Timer, Some(at(90))), 3);
        note(opened("go", WaitKind::Signal { name: "go on".into() }, None), 3);
        let child =
            serde_json::from_value(json!({ "run": "report-1.child", "definition": {}, "input": null }));
        note(opened("child", WaitKind::Child(child.unwrap()), None), 3);
        let (wait, step, execution) = ("wait_child".into(), "child".into(), Ordinal(1));
        note(Event::ChildPaused { wait, step, execution, turn: 1 }, 3);
        model
    }

    /// Returns the picture at three widths, with zeroes for what depends on the time zone.
    fn shown(model: &Model, lines: usize, now: Timestamp) -> String {
        let mut shown = String::new();
        for columns in [40, 80, 200] {
            for line in picture(model, columns, lines, now) {
                assert!(line.width() <= columns, "{line:?}");
                let text = line.painted(false);
                let clock = [" until ", " at "].iter().find_map(|word| Some(text.find(word)? + word.len()));
                let (before, clock) = text.split_at(clock.unwrap_or(text.len()));
                let end = clock.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(clock.len());
                let zeroes = clock[..end].replace(|c: char| c.is_ascii_digit(), "0");
                shown.push_str(format!("{before}{zeroes}{}", &clock[end..]).trim_end());
                shown.push('\n');
            }
        }
        shown
    }

    #[test]
    fn every_step_has_a_mark_a_word_its_time_and_what_it_waits_for() {
        insta::assert_snapshot!(shown(&busy(), 24, at(5)));
    }

    #[test]
    fn of_hundreds_of_steps_what_runs_fails_and_waits_is_shown_and_the_rest_counted() {
        let steps: Vec<String> = (0..500).map(|number| format!("step_{number:03}")).collect();
        let mut model = model(&steps.iter().map(String::as_str).collect::<Vec<_>>());
        for (number, step) in steps.iter().enumerate().take(300) {
            model.note(&activated(step), at(0));
            model.note(&started(step, 1), at(0));
            match number {
                17 => {
                    let error = Box::new(ErrorObject::new(Code::TASK_EXECUTION_FAILED, "no rate for CHF"));
                    let step = StepName::from(step.as_str());
                    model.note(
                        &Event::StepFailed {
                            step,
                            execution: Ordinal(1),
                            timed_out: false,
                            error,
                            compensating: false,
                            to: None,
                        },
                        at(1),
                    );
                }
                120 => drop(model.note(&failed(step, 1, "refused", Some(at(60))), at(1))),
                200 => drop(model.note(&opened(step, WaitKind::Timer, Some(at(70))), at(1))),
                250 | 299 => {}
                _ => drop(model.note(&completed(step, 1, &json!(number)), at(1 + number as i64 / 100))),
            }
        }
        insta::assert_snapshot!(shown(&model, 9, at(30)));
    }

    #[test]
    fn an_event_that_is_known_changes_nothing_and_a_retry_brings_back_what_failed() {
        let mut model = model(&["a", "b", "c"]);
        let error = Box::new(ErrorObject::new(Code::TASK_EXECUTION_FAILED, "no"));
        let c = ExecutionRef { step: "c".into(), ordinal: Ordinal(1) };
        let events = [
            activated("a"),
            started("a", 1),
            Event::StepFailed {
                step: "a".into(),
                execution: Ordinal(1),
                timed_out: false,
                error: error.clone(),
                compensating: false,
                to: None,
            },
            Event::StepSkipped {
                step: "b".into(),
                execution: Ordinal(1),
                reason: SkipReason::UpstreamFailed,
                error: Some(error),
            },
            Event::StepSkipped {
                step: c.step,
                execution: c.ordinal,
                reason: SkipReason::Condition,
                error: None,
            },
        ];
        for event in &events {
            model.note(event, at(1));
        }
        let once = shown(&model, 9, at(2));
        for event in &events {
            model.note(event, at(1));
        }
        assert_eq!(shown(&model, 9, at(2)), once);
        assert_eq!(model.done(), (3, 3));
        model.note(
            &Event::RunRetried {
                epoch: stepwell_core::ids::Epoch(2),
                input: None,
                deadline: None,
                note: None,
            },
            at(3),
        );
        assert_eq!(model.done(), (1, 3), "what its condition left out stays out");
    }

    #[test]
    fn a_wait_is_shown_until_it_is_closed() {
        let mut model = model(&["ask"]);
        model.note(&activated("ask"), at(0));
        let open =
            opened("ask", WaitKind::Human(Question { prompt: "Lunch?".into(), ..Question::default() }), None);
        assert!(model.note(&open, at(0)).is_some() && model.note(&open, at(0)).is_none());
        assert!(shown(&model, 9, at(1)).contains("asks: Lunch?"));
        let resolution = Resolution::Answered { value: Arc::new(json!("pizza")), by: None };
        let (wait, step, execution) = ("wait_ask".into(), "ask".into(), Ordinal(1));
        model.note(&Event::WaitResolved { wait, step, execution, resolution }, at(1));
        model.note(&completed("ask", 1, &json!("pizza")), at(1));
        assert!(model.waits.is_empty() && shown(&model, 9, at(1)).contains("pizza"));
    }
}
