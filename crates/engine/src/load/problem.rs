//! What is wrong with a definition: every problem with its code and place, and the one error made of them.

use std::fmt;

use serde_json::{Map, Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::workflow::path::Path;

use super::node::Position;

/// One thing that is wrong with a definition, or worth a warning.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which failure.
    pub code: Code,
    /// What is wrong, naming the step.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the definition.
    pub path: Path,
    /// Where in the file, if it came from one.
    pub at: Option<Position>,
    /// The column behind the last character of that place, if it is more than a point and lies in one line.
    pub end_column: Option<u32>,
    /// Id of the step.
    pub step: Option<String>,
    /// Details for programs; keys depend on the code.
    pub data: Map<String, Value>,
    /// What it is about within the text at that place.
    words: Option<Words>,
}

/// A part of a text, by what it says.
#[derive(Clone, Debug, PartialEq)]
struct Words {
    words: String,
    /// Which of all such parts, from 0.
    number: usize,
}

impl Problem {
    /// Returns a problem of the definition as such.
    pub fn new(path: Path, at: Option<Position>, message: impl Into<String>) -> Self {
        Self {
            code: Code::WORKFLOW_VALIDATION_FAILED,
            message: message.into(),
            hint: None,
            path,
            at,
            end_column: None,
            step: None,
            data: Map::new(),
            words: None,
        }
    }

    /// Returns an error as a problem of the definition as such.
    pub fn of(error: ErrorObject) -> Self {
        let ErrorObject { code, message, hint, data, retryable: _ } = error;
        Self { hint, data, ..Self::new(Path::root(), None, message).code(code) }
    }

    pub(super) fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint if there is one.
    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Names the step.
    pub fn step(mut self, step: &str) -> Self {
        self.step = Some(step.to_owned());
        self
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }

    /// Narrows the place, where a text begins, to the first of these words in it.
    pub(super) fn about(mut self, words: impl Into<String>) -> Self {
        self.words = Some(Words { words: words.into(), number: 0 });
        self
    }

    /// Narrows the place, where this text begins, to the reference at a byte of it.
    pub(super) fn about_reference(mut self, text: &str, at: usize) -> Self {
        let Some(rest) = text.get(at..).filter(|rest| rest.starts_with("${")) else { return self };
        let end = rest.find(['}', '\n', '\r']).unwrap_or(rest.len());
        let words = rest[..end].trim_end().to_owned() + if rest[end..].starts_with('}') { "}" } else { "" };
        let number = text[..at].matches(&words).count();
        self.words = Some(Words { words, number });
        self
    }

    /// Finds the words that the problem is about, and where its place ends, in the text that was read.
    pub(super) fn locate(&mut self, text: &str) {
        let Some(mut at) = self.at else { return };
        if let Some(words) = &self.words {
            at = words.place_in(at, text).unwrap_or(at);
        }
        let is_line = |words: &&str| !words.is_empty() && !words.contains(['\n', '\r']);
        self.end_column = at.of(text).filter(is_line).map(|words| at.column + words.chars().count() as u32);
        self.at = Some(at);
    }

    /// Returns the entry of `data.validation_errors`.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code.number(),
            "name": self.code.name(),
            "message": self.message,
            "hint": self.hint,
            "path": self.path.to_string(),
            "step": self.step,
            "line": self.at.map(|at| at.line),
            "column": self.at.map(|at| at.column),
            "end_column": self.end_column,
        })
    }
}

impl Words {
    /// Returns where the words are in the text at a place.
    fn place_in(&self, at: Position, text: &str) -> Option<Position> {
        let written = at.of(text)?;
        let (offset, found) = written.match_indices(&self.words).nth(self.number)?;
        let begin = at.behind(&written[..offset]);
        Some(Position { end: begin.start + found.len() as u32, ..begin })
    }
}

/// Shows `line:column: path: message`, as far as they are known.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{}:{}: ", at.line, at.column)?;
        }
        if !self.path.parts().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// So many problems are told, and of the rest how many there are: a file of some megabytes can have a million.
pub(super) const MAX_TOLD: usize = 100;

/// A definition that cannot be run, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} problems in the definition", problems.len() + more)]
pub struct Invalid {
    /// At least one, in the order of the document; of many those that were found first.
    pub problems: Vec<Problem>,
    /// How many more were found.
    pub more: usize,
}

impl Invalid {
    /// Returns problems in the order of where they stand.
    pub fn of(problems: Vec<Problem>) -> Self {
        Self::with_more(problems, 0)
    }

    pub(super) fn one(problem: Problem) -> Self {
        Self::of(vec![problem])
    }

    /// Returns problems, with the number of those that are not among them.
    pub(super) fn with_more(mut problems: Vec<Problem>, more: usize) -> Self {
        let more = more + problems.len().saturating_sub(MAX_TOLD);
        problems.truncate(MAX_TOLD);
        let mut invalid = Self { problems, more };
        invalid.sort();
        invalid
    }

    /// Returns how many problems there are in all.
    pub fn count(&self) -> usize {
        self.problems.len() + self.more
    }

    /// Finds what each problem is about in the text that was read.
    pub(super) fn locate(&mut self, text: &str) {
        for problem in &mut self.problems {
            problem.locate(text);
        }
        self.sort();
    }

    /// Sorts problems by where they stand; those without a line come as they were found.
    fn sort(&mut self) {
        self.problems.sort_by_key(|problem| problem.at);
    }

    /// Returns one error for all problems: their own code if they share one, else `WORKFLOW_VALIDATION_FAILED`.
    /// Its data are those of the first problem with that code, and `validation_errors`.
    pub fn to_error(&self) -> ErrorObject {
        let first = &self.problems[0];
        let shared = self.problems.iter().all(|problem| problem.code == first.code);
        let code = if shared { first.code } else { Code::WORKFLOW_VALIDATION_FAILED };
        let message = match &self.problems[..] {
            [only] => only.message.clone(),
            several => {
                let told = several.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>();
                let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
                format!("{} problems: {}{more}", self.count(), told.join("; "))
            }
        };
        let mut error = ErrorObject::new(code, message);
        if let [only] = &self.problems[..] {
            error.hint.clone_from(&only.hint);
        }
        for problem in self.problems.iter().filter(|problem| problem.code == code || !shared) {
            for (key, value) in &problem.data {
                error.data.entry(key.as_str()).or_insert_with(|| value.clone());
            }
        }
        error.data.insert("validation_errors".into(), self.problems.iter().map(Problem::to_json).collect());
        if self.more > 0 {
            error.data.insert("more_validation_errors".into(), self.more.into());
        }
        error
    }
}

impl From<Invalid> for ErrorObject {
    fn from(invalid: Invalid) -> Self {
        invalid.to_error()
    }
}
