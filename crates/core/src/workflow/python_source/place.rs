//! What becomes of a reference, by the place in which it stands.

use super::super::path::Path;
use super::super::template::{Dollars, Fault, ProblemKind, Reference, TemplateProblem};
use super::Piece;
use super::scan::{Frame, Kind, Scanner, is_word};

/// What stands for a reference in a comment.
const NEUTRAL: &str = "(reference)";

/// Where a run of dollars stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In code, in a field or in its format.
    Code,
    /// In the text of a literal.
    Text {
        /// A backslash that is not itself escaped stands before it.
        after_backslash: bool,
    },
}

impl Scanner<'_> {
    /// Reads a comment to the end of its line.
    pub(super) fn comment(&mut self) {
        let rest = &self.source[self.at..];
        let end = self.at + rest.find(['\n', '\r']).unwrap_or(rest.len());
        while self.at < end {
            let Some(dollars) = Dollars::read(self.source, self.at) else {
                self.at += 1;
                continue;
            };
            self.replace_dollars(dollars);
            if dollars.is_reference {
                let inside = &self.source[dollars.brace..end];
                let close = inside.find('}').map_or(dollars.brace + 1, |close| dollars.brace + close + 1);
                self.put(Piece::Text(NEUTRAL.into()), close);
            } else {
                self.at = dollars.brace;
            }
        }
    }

    /// Reads a run of dollars, and the reference that begins with it if one does.
    pub(super) fn dollars(&mut self, place: Place) {
        let Some(dollars) = Dollars::read(self.source, self.at) else {
            self.at += 1;
            return;
        };
        let start = self.at;
        self.replace_dollars(dollars);
        if !dollars.is_reference {
            self.at = dollars.brace;
            return;
        }
        match Reference::parse(&self.source[dollars.brace + 1..], self.names) {
            Ok((reference, len)) => self.reference(start, dollars, dollars.brace + 1 + len, reference, place),
            Err(fault) => {
                self.fault(dollars.brace - 1, fault);
                let rest = &self.source[dollars.brace..];
                let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
                self.at = dollars.brace + line.find('}').map_or(1, |close| close + 1);
            }
        }
    }

    fn reference(&mut self, start: usize, dollars: Dollars, end: usize, reference: Reference, place: Place) {
        if let Some(why) = self.why_not_here(start, dollars, end, place) {
            self.refuse(dollars.brace - 1, &format!("'{reference}' cannot stand {why}"));
            self.at = end;
            return;
        }
        let piece = match place {
            Place::Code => {
                self.last_name_end = Some(end);
                Piece::Name(self.references.len())
            }
            Place::Text { .. } => {
                if let Some(Frame::Literal(literal)) = self.frames.last_mut() {
                    literal.has_reference = true;
                }
                self.last_splice_end = Some(end);
                Piece::Spliced(self.references.len())
            }
        };
        self.references.push(reference);
        self.put(piece, end);
    }

    /// Returns what forbids a reference from `start` to `end`.
    fn why_not_here(&self, start: usize, dollars: Dollars, end: usize, place: Place) -> Option<&'static str> {
        let (literal, after_backslash) = match (&self.frames[..], place) {
            ([], _) => {
                let before = start > 0 && self.byte(start - 1).is_some_and(is_word);
                let after = self.byte(end).is_some_and(is_word);
                let beside_reference = self.last_name_end == Some(start);
                return (before || after || beside_reference)
                    .then_some("directly beside a name, number or reference; put a blank between");
            }
            ([Frame::Literal(literal)], Place::Text { after_backslash }) => (literal, after_backslash),
            // Only a field can stand on a literal.
            _ => return Some("inside '{…}' of an f-string; assign it to a name on a line before"),
        };
        match literal.kind {
            Kind::Bytes => Some("in a bytes literal; use it in code and encode it there"),
            Kind::Template => Some("in a t-string; assign it to a name on a line before"),
            _ if literal.raw => Some("in a raw literal; leave out the 'r', or use it in code"),
            _ if after_backslash && dollars.literal == 0 => {
                Some("after a backslash, which would swallow its first character; double the backslash")
            }
            _ if start < literal.escape_until => Some("inside an escape of a literal"),
            Kind::Plain | Kind::Format => None,
        }
    }

    /// Puts the dollars of a run that are text in place of the run and stands before its brace.
    fn replace_dollars(&mut self, dollars: Dollars) {
        self.copy_until(self.at + dollars.literal);
        self.at = dollars.brace;
        self.copied = dollars.brace;
    }

    /// Puts a piece in place of the source from `copied` to `end`.
    pub(super) fn put(&mut self, piece: Piece, end: usize) {
        self.pieces.push(piece);
        self.at = end;
        self.copied = end;
    }

    pub(super) fn copy_until(&mut self, end: usize) {
        if self.copied < end {
            self.pieces.push(Piece::Text(self.source[self.copied..end].to_owned()));
            self.copied = end;
        }
    }

    fn fault(&mut self, at: usize, fault: Fault) {
        let mut problem = TemplateProblem::new(&Path::root(), at, fault);
        problem.message = format!("line {}: {}", self.line(at), problem.message);
        self.problems.push(problem);
    }

    pub(super) fn refuse(&mut self, at: usize, message: &str) {
        let message = format!("line {}: {message}", self.line(at));
        self.problems.push(TemplateProblem { path: Path::root(), at, kind: ProblemKind::Place, message });
    }

    /// Returns the number of the line at a place, as Python counts lines.
    fn line(&self, at: usize) -> usize {
        let before = &self.source[..at];
        let bare_returns = before.match_indices('\r').filter(|(i, _)| self.byte(i + 1) != Some(b'\n'));
        1 + before.matches('\n').count() + bare_returns.count()
    }
}
