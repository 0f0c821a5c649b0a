//! A question that is asked on the terminal: its prompt, its fields one after the other, the line that is typed. Pure: keys
//! go in, lines and at last an answer come out.

use serde_json::Value;
use stepwell_core::ids::{Timestamp, WaitId};
use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};

use super::editor::Editor;
use super::form::{Entered, Form, text_of};
use super::keys::Key;
use super::line::{Line, Paint, wrapped};
use crate::text;
use crate::values::{shown_time, took};

/// A prompt takes at most so many lines, and so do the choices of a field; `stepwell inbox` shows all.
const PROMPT: usize = 8;
const CHOICES: usize = 12;

/// A question while somebody answers it.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) wait: WaitId,
    pub(crate) step: String,
    question: Question,
    deadline: Option<Timestamp>,
    default: Option<Value>,
    form: Form,
    editor: Editor,
    /// Why the last line was not taken.
    wrong: Vec<String>,
    is_sent: bool,
}

/// What came of a key.
#[derive(Debug, PartialEq)]
pub(crate) enum Pressed {
    /// The question is still asked.
    Typing,
    /// This is the answer.
    Answer(Value),
    /// It stays open.
    Leave,
}

impl Asking {
    /// Begins to ask what that wait waits for; none, if that is no question that can be asked.
    pub(crate) fn of(wait: &WaitId, step: &str, spec: &WaitSpec) -> Option<Self> {
        let WaitKind::Human(question) = &spec.kind else { return None };
        Some(Self {
            wait: wait.clone(),
            step: step.to_owned(),
            form: Form::of(question)?,
            question: question.clone(),
            deadline: spec.deadline,
            default: spec.default.as_deref().cloned(),
            editor: Editor::default(),
            wrong: Vec::new(),
            is_sent: false,
        })
    }

    pub(crate) fn question(&self) -> &Question {
        &self.question
    }

    /// Takes a key.
    pub(crate) fn press(&mut self, key: Key) -> Pressed {
        match key {
            // The answer is on its way.
            _ if self.is_sent => Pressed::Typing,
            Key::Leave => Pressed::Leave,
            Key::Enter => {
                let typed = self.editor.take();
                match self.form.enter(&typed) {
                    Entered::Next => {
                        self.wrong.clear();
                        Pressed::Typing
                    }
                    Entered::Wrong(wrong) => {
                        self.wrong = wrong;
                        Pressed::Typing
                    }
                    Entered::Whole(answer) => {
                        self.is_sent = true;
                        Pressed::Answer(answer)
                    }
                }
            }
            key => {
                self.editor.press(key);
                Pressed::Typing
            }
        }
    }

    /// Asks again from the beginning: the answer was not taken.
    pub(crate) fn refused(&mut self, why: &str) {
        if let Some(form) = Form::of(&self.question) {
            self.form = form;
        }
        self.wrong = vec![why.to_owned()];
        self.is_sent = false;
    }

    /// Returns the lines of the question for a terminal of that many columns, and in which column of the last one is typed.
    pub(crate) fn lines(
        &self,
        columns: usize,
        others: usize,
        by: &str,
        now: Timestamp,
    ) -> (Vec<Line>, usize) {
        let mut lines = vec![self.head(others, now)];
        let mut prompt = wrapped(&self.question.prompt, columns.saturating_sub(5));
        if prompt.len() > PROMPT {
            prompt.truncate(PROMPT - 1);
            prompt.push(format!("… `stepwell inbox {}` shows all", text::word(self.wait.as_str())));
        }
        lines.extend(prompt.iter().map(|line| Line::of(Paint::Dim, "  | ").and(Paint::Strong, line)));
        if let Some(assignee) = &self.question.assignee {
            lines.push(Line::of(Paint::Dim, &format!("  for {assignee}")));
        }
        let (place, of) = self.form.place();
        let number = if of > 1 { format!("{place}/{of} ") } else { String::new() };
        let mut wants = self.form.wants();
        if wants.len() > CHOICES {
            let more = wants.len() - CHOICES;
            wants.truncate(CHOICES);
            wants.push(format!("  … {more} more: `stepwell inbox {}`", text::word(self.wait.as_str())));
        }
        for (at, line) in wants.iter().enumerate() {
            let number = if at == 0 { number.as_str() } else { "" };
            lines.push(Line::of(Paint::Dim, &format!("  {number}")).and(Paint::Plain, line));
        }
        let room = columns.saturating_sub(7);
        let wrong = self.wrong.iter().flat_map(|why| wrapped(why, room)).take(PROMPT);
        lines.extend(wrong.map(|why| Line::of(Paint::Bad, &format!("  ✗ {why}"))));
        let mut keys: Vec<String> = self.form.on_empty().into_iter().collect();
        keys.push("Esc leaves it open".into());
        keys.push(format!("answered by {by}"));
        lines.push(Line::of(Paint::Dim, &format!("  {}", keys.join(" · "))));
        let (typed, cursor) = self.editor.shown(room);
        lines.push(Line::of(Paint::Waits, "  > ").and(Paint::Plain, &typed));
        (lines, cursor + 4)
    }

    fn head(&self, others: usize, now: Timestamp) -> Line {
        let mut line =
            Line::of(Paint::Waits, "  ? ").and(Paint::Strong, &self.step).and(Paint::Waits, " asks");
        if let Some(at) = self.deadline {
            let left = if at > now { took(now, at) } else { "no time".into() };
            line = line.and(Paint::Waits, &format!(", until {} ({left} left)", shown_time(at, now)));
            let then = self
                .default
                .as_ref()
                .map_or("it fails".into(), |value| format!("the answer is {}", text_of(value)));
            line = line.and(Paint::Dim, &format!(", then {then}"));
        }
        if others > 0 {
            line = line.and(Paint::Dim, &format!(" · {others} more after this"));
        }
        line
    }
}
