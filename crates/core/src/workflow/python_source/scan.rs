//! Reading Python source as tokens, as far as it matters for references.
//!
//! The rules are those of the tokenizer of `CPython` since 3.12 (PEP 701: quotes, newlines and comments may stand in
//! the fields of f-strings). Older versions refuse what they would read differently. Nesting is kept on a stack
//! of our own, so that no source can exhaust the real one.

use super::super::template::{Dollars, Names, Reference, TemplateProblem};
use super::place::Place;
use super::{Piece, RESERVED_PREFIX};

/// Source with so many problems is not read to its end.
const MOST_PROBLEMS: usize = 100;

/// Reads source to its end; what is refused is reported and left as it is.
pub(super) fn scan(source: &str, names: &dyn Names) -> (Vec<Piece>, Vec<Reference>, Vec<TemplateProblem>) {
    let mut scanner = Scanner {
        source,
        names,
        at: 0,
        copied: 0,
        frames: Vec::new(),
        last_name_end: None,
        last_splice_end: None,
        pieces: Vec::new(),
        references: Vec::new(),
        problems: Vec::new(),
    };
    while scanner.at < source.len() && scanner.problems.len() < MOST_PROBLEMS {
        match scanner.frames.last() {
            None | Some(Frame::Field { .. }) => scanner.code(),
            Some(Frame::Literal(literal)) => {
                let literal = *literal;
                scanner.literal(literal);
            }
            Some(Frame::Spec) => scanner.spec(),
        }
    }
    while let Some(frame) = scanner.frames.pop() {
        scanner.unterminated(frame);
    }
    scanner.copy_until(source.len());
    (scanner.pieces, scanner.references, scanner.problems)
}

/// What the scanner is inside of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame {
    Literal(Literal),
    /// Code between braces of an f-string.
    Field {
        /// Open brackets inside the field.
        depth: u32,
    },
    /// The format after the `:` of a field; always above a field.
    Spec,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Literal {
    pub(super) kind: Kind,
    pub(super) raw: bool,
    pub(super) quote: u8,
    pub(super) triple: bool,
    pub(super) opened_at: usize,
    pub(super) has_reference: bool,
    /// Up to here an escape such as `\x` or `\N{` takes what follows it.
    pub(super) escape_until: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Bytes,
    Format,
    Template,
}

pub(super) struct Scanner<'a> {
    pub(super) source: &'a str,
    pub(super) names: &'a dyn Names,
    pub(super) at: usize,
    /// Source before this place is in `pieces`.
    pub(super) copied: usize,
    pub(super) frames: Vec<Frame>,
    /// Where the last reference in code ended.
    pub(super) last_name_end: Option<usize>,
    /// Where the last reference in a literal ended.
    pub(super) last_splice_end: Option<usize>,
    pub(super) pieces: Vec<Piece>,
    pub(super) references: Vec<Reference>,
    pub(super) problems: Vec<TemplateProblem>,
}

impl Scanner<'_> {
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.source.as_bytes().get(at).copied()
    }

    /// Reads one token of code, at the top or in a field.
    fn code(&mut self) {
        match self.source.as_bytes()[self.at] {
            b'#' => self.comment(),
            quote @ (b'"' | b'\'') => self.open_literal("", quote),
            b'$' => self.dollars(Place::Code),
            b'\\' if matches!(self.byte(self.at + 1), Some(b'\n' | b'\r')) => self.skip_escaped(),
            b'(' | b'[' | b'{' => self.bracket(1),
            b')' | b']' => self.bracket(-1),
            b'}' if self.is_at_field_level() => {
                self.frames.pop();
                self.at += 1;
            }
            b'}' => self.bracket(-1),
            b':' if self.is_at_field_level() => {
                self.frames.push(Frame::Spec);
                self.at += 1;
            }
            byte if is_word(byte) => self.word(),
            _ => self.at += 1,
        }
    }

    /// Returns whether the scanner is in a field, outside of any bracket of it.
    fn is_at_field_level(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Field { depth: 0 }))
    }

    fn bracket(&mut self, change: i32) {
        if let Some(Frame::Field { depth }) = self.frames.last_mut() {
            *depth = depth.saturating_add_signed(change);
        }
        self.at += 1;
    }

    /// Reads a name, keyword or number, or the prefix of a literal.
    fn word(&mut self) {
        let start = self.at;
        while self.byte(self.at).is_some_and(is_word) {
            self.at += 1;
        }
        let word = &self.source[start..self.at];
        if word.starts_with(RESERVED_PREFIX) {
            self.refuse(start, &format!("names that begin with '{RESERVED_PREFIX}' are ours"));
        }
        if let Some(quote @ (b'"' | b'\'')) = self.byte(self.at) {
            self.open_literal(word, quote);
        }
    }

    fn open_literal(&mut self, prefix: &str, quote: u8) {
        let (kind, raw) = match prefix.to_ascii_lowercase().as_str() {
            "r" => (Kind::Plain, true),
            "b" => (Kind::Bytes, false),
            "br" | "rb" => (Kind::Bytes, true),
            "f" => (Kind::Format, false),
            "fr" | "rf" => (Kind::Format, true),
            "t" => (Kind::Template, false),
            "tr" | "rt" => (Kind::Template, true),
            // `u`, nothing, or a word that is no prefix, such as a keyword.
            _ => (Kind::Plain, false),
        };
        let opened_at = self.at;
        let triple = self.source.as_bytes()[self.at..].starts_with(&[quote; 3]);
        self.at += if triple { 3 } else { 1 };
        let literal = Literal { kind, raw, quote, triple, opened_at, has_reference: false, escape_until: 0 };
        self.frames.push(Frame::Literal(literal));
    }

    /// Reads one piece of the text of a literal.
    fn literal(&mut self, literal: Literal) {
        let has_fields = matches!(literal.kind, Kind::Format | Kind::Template);
        match self.source.as_bytes()[self.at] {
            b'\n' | b'\r' if !literal.triple => self.end_line(),
            byte if byte == literal.quote => self.quote(literal),
            b'$' => self.dollars(Place::Text { after_backslash: false }),
            b'\\' => self.backslash(literal, has_fields),
            // An empty value would make this digit part of an octal escape before it.
            b'0'..=b'7' if self.last_splice_end == Some(self.at) => self.escape_byte(),
            b'{' if has_fields && self.at >= literal.escape_until => self.open_field(self.byte(self.at + 1)),
            _ => self.at += 1,
        }
    }

    /// Ends the literal that is open, or passes a quote that does not end it.
    fn quote(&mut self, literal: Literal) {
        let run = self.source.as_bytes()[self.at..].iter().take_while(|b| **b == literal.quote).count();
        if literal.triple && run < 3 {
            // An empty value would let these quotes meet those that end the literal.
            let before_reference = Dollars::read(self.source, self.at + run).is_some_and(|d| d.is_reference);
            if before_reference && !literal.raw {
                self.escape_byte();
            } else {
                self.at += 1;
            }
            return;
        }
        self.at += if literal.triple { 3 } else { 1 };
        self.frames.pop();
        if literal.has_reference && self.byte(self.at) == Some(literal.quote) {
            // An empty value would make three quotes of the literal and the next.
            self.copy_until(self.at);
            self.pieces.push(Piece::Text(" ".into()));
        }
    }

    /// Puts the ASCII character that stands here as an escape.
    fn escape_byte(&mut self) {
        self.copy_until(self.at);
        let escape = format!("\\x{:02x}", self.source.as_bytes()[self.at]);
        self.put(Piece::Text(escape), self.at + 1);
    }

    fn open_field(&mut self, next: Option<u8>) {
        if next == Some(b'{') {
            self.at += 2;
        } else {
            self.frames.push(Frame::Field { depth: 0 });
            self.at += 1;
        }
    }

    /// Reads a backslash in the text of a literal and what it escapes.
    fn backslash(&mut self, literal: Literal, has_fields: bool) {
        let next = self.byte(self.at + 1);
        match next {
            Some(b'$') => {
                self.at += 1;
                self.dollars(Place::Text { after_backslash: true });
                return;
            }
            // A backslash does not escape the brace of a field.
            Some(b'{' | b'}') if has_fields => {
                self.at += 1;
                return;
            }
            _ => {}
        }
        let start = self.at;
        self.skip_escaped();
        if literal.raw {
            return;
        }
        let taken = match next {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            Some(b'N') if self.byte(self.at) == Some(b'{') => {
                let rest = &self.source[self.at..];
                let end = rest.find(['}', '\n', '\r', char::from(literal.quote)]).unwrap_or(rest.len());
                // A reference in there has a brace of its own, which makes the name end too early, but not
                // before the reference begins; and that is refused.
                end + 1
            }
            Some(b'N') => 1,
            _ => return,
        };
        if let Some(Frame::Literal(open)) = self.frames.last_mut() {
            open.escape_until = start + 2 + taken;
        }
    }

    /// Goes past a backslash and the character or line end after it.
    fn skip_escaped(&mut self) {
        let rest = &self.source[self.at + 1..];
        let next = rest.chars().next().map_or(0, char::len_utf8);
        self.at += 1 + if rest.starts_with("\r\n") { 2 } else { next };
    }

    /// Reads one piece of the format of a field.
    fn spec(&mut self) {
        let literal = self.innermost_literal();
        match self.source.as_bytes()[self.at] {
            b'\n' | b'\r' if !literal.triple => self.end_line(),
            b'{' => self.open_field(None),
            b'}' => {
                self.frames.truncate(self.frames.len() - 2);
                self.at += 1;
            }
            byte if byte == literal.quote => {
                // Python refuses this, unless it is one of three quotes that do not end the literal.
                let depth = self.frames.len();
                self.quote(literal);
                if self.frames.len() < depth {
                    self.frames.truncate(depth - 3);
                }
            }
            b'$' => self.dollars(Place::Code),
            b'\\' if matches!(self.byte(self.at + 1), Some(b'$' | b'{' | b'}')) => self.at += 1,
            b'\\' => self.skip_escaped(),
            _ => self.at += 1,
        }
    }

    /// Ends everything up to the innermost literal: a line has ended that it may not outlive.
    fn end_line(&mut self) {
        while let Some(frame) = self.frames.pop() {
            self.unterminated(frame);
            if matches!(frame, Frame::Literal(_)) {
                break;
            }
        }
    }

    fn innermost_literal(&self) -> Literal {
        let literal = self.frames.iter().rev().find_map(|frame| match frame {
            Frame::Literal(literal) => Some(*literal),
            Frame::Field { .. } | Frame::Spec => None,
        });
        literal.expect("a format stands in a field, and a field in a literal")
    }

    fn unterminated(&mut self, frame: Frame) {
        if let Frame::Literal(Literal { has_reference: true, opened_at, .. }) = frame {
            self.refuse(opened_at, "a literal that holds a reference is not closed");
        }
    }
}

/// Returns whether a byte can be part of a name or number; every byte beyond ASCII counts.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}
