//! A problem of a workflow file as people read it: its place first, so that terminals and editors can follow it, what is
//! wrong, the line with what it is about underlined, and what to do.
//!
//! The file is hostile: what is shown of it went through `text`, and of a long line only what is near the place is
//! looked at, so that a thousand problems of one line cost no more than those of a thousand lines.

use std::borrow::Cow;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use stepwell_engine::load::{Position, Problem};

use crate::text;

/// A line is shown in so many columns, whatever it is shown on: what is piped is to look the same.
const COLUMNS: usize = 100;

/// So many bytes of a line are looked at on either side of a place; beyond them is nothing that could be shown.
const NEAR: usize = 4 * COLUMNS;

/// A path in the definition that has more characters is not shown; `--json` has it.
const PATH: usize = 60;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// Returns the lines that tell a problem of a file with this text.
pub(crate) fn render(problem: &Problem, severity: Severity, file: &Path, source: &str) -> String {
    let place = problem.at.map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
    let kind = match severity {
        Severity::Error => format!("error[{} {}]", problem.code.name(), problem.code.number()),
        Severity::Warning => "warning".to_owned(),
    };
    let mut title = format!("{}{place}: {kind}: ", file.display());
    let path = Some(problem.path.to_string()).filter(|path| path.chars().count() <= PATH);
    let path = text::line(path.as_deref().unwrap_or_default()).into_owned();
    let excerpt = problem.at.and_then(|at| Excerpt::of(at, source));
    if excerpt.is_none() && !path.is_empty() {
        title.extend([&path, ": "]);
    }
    title.push_str(&problem.message);
    let mut told = text::line(&text::message(&title)).into_owned();
    match excerpt {
        Some(excerpt) => {
            told.push('\n');
            told.push_str(&excerpt.render(path, problem.hint.as_deref()));
        }
        None => {
            if let Some(hint) = &problem.hint {
                told.push_str("\n  = hint: ");
                told.push_str(&text::line(&text::message(hint)));
            }
        }
    }
    told
}

/// The line of a place as it can be shown, or the part of it that is near the place.
#[derive(Debug)]
struct Excerpt {
    line: usize,
    before: String,
    /// What is underlined; nothing is a point.
    about: String,
    after: String,
}

impl Excerpt {
    /// Returns the line at a place; `None` if the text has no such place.
    fn of(at: Position, source: &str) -> Option<Self> {
        let (before, rest) = source.split_at_checked(at.start as usize)?;
        let about =
            &rest[..(at.end as usize).checked_sub(before.len()).filter(|n| rest.is_char_boundary(*n))?];
        let breaks = ['\n', '\r'];
        let near = &before[before.ceil_char_boundary(before.len().saturating_sub(NEAR))..];
        let before = near.rsplit(breaks).next().unwrap_or_default();
        // Of a place of several lines the first is underlined.
        let line =
            rest[..rest.floor_char_boundary(about.len() + NEAR)].split(breaks).next().unwrap_or_default();
        let (about, after) = line.split_at(about.len().min(line.len()));
        let about = &about[..about.floor_char_boundary(NEAR)];
        let shown = |part: &str| text::line(part).into_owned();
        Some(Self { line: at.line as usize, before: shown(before), about: shown(about), after: shown(after) })
    }

    fn render(self, path: String, hint: Option<&str>) -> String {
        let span = self.before.len()..self.before.len() + self.about.len();
        let label = Some(path).filter(|path| !path.is_empty());
        let snippet = Snippet::source(self.before + &self.about + &self.after)
            .line_start(self.line)
            .annotation(AnnotationKind::Primary.span(span).label(label));
        let mut group = Group::with_level(Level::ERROR).element(snippet);
        let hint = hint.map(|hint| text::line(&text::message(hint)).into_owned());
        if let Some(hint) = hint {
            group = group.element(Level::HELP.with_name("hint").message(Cow::from(hint)));
        }
        Renderer::plain().term_width(COLUMNS).render(&[group])
    }
}
