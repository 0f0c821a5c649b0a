//! How far a batch is: a bar on a terminal, else a line from time to time.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stepwell_core::ids::StepName;
use stepwell_core::run::Run;
use stepwell_core::run::event::Event;
use stepwell_core::status::ExecutionStatus;

use crate::output;

/// Who reads a log wants to see that it goes on, not each file.
const LINES: Duration = Duration::from_secs(5);

/// How far a batch is.
#[derive(Debug)]
pub(crate) struct Progress {
    total: usize,
    /// Steps that have ended.
    ended: HashSet<StepName>,
    failed: usize,
    /// So many had ended before it was looked at.
    before: usize,
    since: Instant,
    /// None: nobody watches.
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    /// Begins with so many files, none of which is done.
    pub(crate) fn new(total: usize) -> Self {
        Self::with(total, HashSet::new(), 0)
    }

    /// Begins with how a run stands.
    pub(crate) fn of(run: &Run) -> Self {
        let ended = run.executions().iter().filter(|execution| execution.status.is_terminal());
        let failed = ended.clone().filter(|execution| execution.status != ExecutionStatus::Completed).count();
        Self::with(run.workflow().len(), ended.map(|execution| execution.step.clone()).collect(), failed)
    }

    fn with(total: usize, ended: HashSet<StepName>, failed: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("[{wide_bar}] {msg}").expect("it is a template");
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            bar.with_style(style.progress_chars("=> "))
        });
        Self { total, before: ended.len(), ended, failed, since: Instant::now(), bar, said: Instant::now() }
    }

    /// Takes note of an event.
    pub(crate) fn note(&mut self, event: &Event) {
        let (step, well) = match event {
            Event::StepCompleted { step, .. } => (step, true),
            Event::StepFailed { step, .. }
            | Event::StepSkipped { step, .. }
            | Event::StepCancelled { step, .. } => (step, false),
            _ => return,
        };
        if self.ended.insert(step.clone()) && !well {
            self.failed += 1;
        }
    }

    /// Shows how far it is.
    pub(crate) fn show(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.told());
            bar.set_position(self.ended.len() as u64);
        } else if self.said.elapsed() >= LINES {
            self.said = Instant::now();
            output::talk(&self.told());
        }
    }

    /// Says something beside it.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::talk(line)),
            None => output::talk(line),
        }
    }

    /// Takes it off the screen.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Returns it in words: `120 of 5000 files, 3 failed, 251 a second, 19 s left`.
    pub(crate) fn told(&self) -> String {
        let done = self.ended.len();
        told(self.total, done, self.failed, done - self.before, self.since.elapsed())
    }
}

fn told(total: usize, done: usize, failed: usize, fresh: usize, took: Duration) -> String {
    let files = if total == 1 { "file" } else { "files" };
    let mut told = if done == 0 { format!("{total} {files}") } else { format!("{done} of {total} {files}") };
    if failed > 0 {
        told.extend([", ", &failed.to_string(), " failed"]);
    }
    // The first few say nothing about the rest.
    if fresh >= 3 && !took.is_zero() {
        let rate = fresh as f64 / took.as_secs_f64();
        let digits = usize::from(rate < 10.0);
        told.extend([format!(", {rate:.digits$} a second")]);
        let left = total.saturating_sub(done) as f64 / rate;
        told.extend([", ", &span(left.ceil() as u64), " left"]);
    }
    told
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_those_of_what_was_done_here() {
        let after =
            |done, failed, fresh, seconds| told(5_000, done, failed, fresh, Duration::from_secs(seconds));
        assert_eq!(after(0, 0, 0, 1), "5000 files");
        assert_eq!(after(2, 1, 2, 1), "2 of 5000 files, 1 failed");
        assert_eq!(after(2_500, 0, 2_500, 10), "2500 of 5000 files, 250 a second, 10 s left");
        // Half was done before.
        assert_eq!(after(2_600, 3, 100, 20), "2600 of 5000 files, 3 failed, 5.0 a second, 8 min 0 s left");
        assert_eq!(told(1, 0, 0, 0, Duration::ZERO), "1 file");
    }
}
