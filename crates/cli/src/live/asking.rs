//! A question that is asked on the terminal: its prompt, its fields one after the other, the line that is typed. Pure: keys
//! go in, lines and at last an answer come out.

use serde_json::{Value, json};
use stepwell_core::ids::{RunId, Timestamp, WaitId};
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
    /// The command that shows what is cut here.
    in_full: String,
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
            wrong: question.rejected.iter().map(|rejected| rejected.message.clone()).collect(),
            is_sent: false,
            in_full: format!("stepwell inbox {}", text::word(wait.as_str())),
        })
    }

    /// Begins to ask which of several open questions of a run is meant; the answer is the id of one.
    pub(crate) fn which(run: &RunId, open: &[(WaitId, String)]) -> Option<Self> {
        let options = open.iter().map(|(wait, told)| json!({ "value": wait, "label": told })).collect();
        let question = Question {
            prompt: format!("which of its {} questions is meant?", open.len()),
            options: Some(Value::Array(options)),
            ..Question::default()
        };
        let spec = WaitSpec::step(WaitKind::Human(question));
        let asking = Self::of(&WaitId::from(""), &format!("run {run}"), &spec)?;
        Some(Self { in_full: "stepwell inbox".into(), ..asking })
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
        by: Option<&str>,
        now: Timestamp,
    ) -> (Vec<Line>, usize) {
        let mut lines = vec![self.head(others, now)];
        let mut prompt = wrapped(&self.question.prompt, columns.saturating_sub(5));
        if prompt.len() > PROMPT {
            prompt.truncate(PROMPT - 1);
            prompt.push(format!("… `{}` shows all", self.in_full));
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
            wants.push(format!("  … {more} more: `{}`", self.in_full));
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
        keys.extend(by.map(|by| format!("answered by {by}")));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn asking(question: Question, deadline: Option<Timestamp>) -> Asking {
        let default = deadline.map(|_| Arc::new(json!(false)));
        let spec = WaitSpec { deadline, default, ..WaitSpec::step(WaitKind::Human(question)) };
        Asking::of(&"wait_1".into(), "approve", &spec).unwrap()
    }

    fn typed(asking: &mut Asking, text: &str) -> Pressed {
        text.chars().for_each(|c| drop(asking.press(Key::Letter(c))));
        asking.press(Key::Enter)
    }

    #[test]
    fn a_question_is_shown_with_its_prompt_its_field_and_what_is_wrong() {
        let question = Question {
            prompt: "20 % off “Desk calendar 2026”? (480 in stock, enough for 15 weeks)\nrun r1 is completed\u{1b}[A".into(),
            schema: Some(json!({
                "type": "object", "required": ["approved"],
                "properties": {
                    "approved": {"type": "boolean", "title": "Approve the discount"},
                    "channel": {"enum": ["shop", "web"], "description": "Where it is sold", "default": "web"},
                },
            })),
            assignee: Some("anna".into()),
            ..Question::default()
        };
        let mut asking = asking(question, None);
        let mut shown = String::new();
        for text in ["", "perhaps", "yes"] {
            if !text.is_empty() {
                assert_eq!(typed(&mut asking, text), Pressed::Typing);
            }
            for columns in [40, 80, 200] {
                let (lines, cursor) = asking.lines(columns, 2, Some("jo"), Timestamp(0));
                for line in lines {
                    shown.push_str(line.fit(columns - 1).painted(false).trim_end());
                    shown.push('\n');
                }
                assert_eq!(cursor, 4);
            }
        }
        insta::assert_snapshot!(shown);
        assert_eq!(typed(&mut asking, ""), Pressed::Answer(json!({"approved": true, "channel": "web"})));
        assert_eq!(typed(&mut asking, "x"), Pressed::Typing, "it is on its way");
        asking.refused("it does not fit");
        assert_eq!(typed(&mut asking, "no"), Pressed::Typing);
        assert_eq!(asking.press(Key::Leave), Pressed::Leave);
    }

    #[test]
    fn a_deadline_is_shown_with_what_happens_then() {
        let asking = asking(Question::default(), Some(Timestamp(300_000_000)));
        let head = asking.lines(200, 0, Some("jo"), Timestamp(5_000_000)).0[0].painted(false);
        assert!(
            head.starts_with("  ? approve asks, until ")
                && head.ends_with(" (4 min 55 s left), then the answer is no"),
            "{head}"
        );
    }
}
