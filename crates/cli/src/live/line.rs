//! A line of the live view: pieces of text with their paint, cut to a width of columns. What others wrote is harmless
//! and on one line from here on.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text;

/// How a piece of text looks where colour is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paint {
    #[default]
    Plain,
    Strong,
    Dim,
    Good,
    Bad,
    Busy,
    Waits,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Busy => "\x1b[36m",
            Self::Waits => "\x1b[33m",
        }
    }
}

/// One line of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pieces: Vec<(Paint, String)>,
}

impl Line {
    /// Returns a line of one piece.
    pub(crate) fn of(paint: Paint, text: &str) -> Self {
        Self::default().and(paint, text)
    }

    /// Adds a piece.
    pub(crate) fn and(mut self, paint: Paint, text: &str) -> Self {
        if !text.is_empty() {
            self.pieces.push((paint, one_line(text)));
        }
        self
    }

    /// Returns how many columns it takes.
    pub(crate) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.width()).sum()
    }

    /// Returns it cut to that many columns; what was cut ends with `…`.
    pub(crate) fn fit(mut self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns;
        for at in 0..self.pieces.len() {
            let width = self.pieces[at].1.width();
            if width < left {
                left -= width;
                continue;
            }
            let text = &mut self.pieces[at].1;
            *text = cut(text, left);
            self.pieces.truncate(at + 1);
            break;
        }
        self
    }

    /// Returns it as a terminal takes it.
    pub(crate) fn painted(&self, colour: bool) -> String {
        let mut shown = String::new();
        for (paint, text) in &self.pieces {
            let code = if colour { paint.code() } else { "" };
            shown.extend([code, text, if code.is_empty() { "" } else { "\x1b[0m" }]);
        }
        shown
    }
}

/// Returns a text padded with blanks, or cut, to exactly that many columns.
pub(crate) fn column(text: &str, columns: usize) -> String {
    let text = one_line(text);
    let text = if text.width() > columns { cut(&text, columns) } else { text };
    let blanks = columns - text.width().min(columns);
    text + &" ".repeat(blanks)
}

/// Returns how many columns a text takes once it is harmless.
pub(crate) fn width(text: &str) -> usize {
    one_line(text).width()
}

/// Returns a text as lines of at most that many columns, broken at blanks where there are some.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for part in text.lines() {
        let mut line = String::new();
        for word in one_line(part).split_inclusive(' ') {
            if !line.is_empty() && line.width() + word.trim_end().width() > columns {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
            }
            line.push_str(word);
            while line.trim_end().width() > columns {
                let rest = line.split_off(fitting(&line, columns.max(2)));
                lines.push(std::mem::replace(&mut line, rest));
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

fn one_line(text: &str) -> String {
    // A tab goes to a column that depends on where it stands.
    text::line(text).replace('\t', " ")
}

/// Cuts a text to at most that many columns, the last of which is `…`.
fn cut(text: &str, columns: usize) -> String {
    if columns == 0 {
        return String::new();
    }
    format!("{}…", &text[..fitting(text, columns - 1)])
}

/// Returns the length of the longest beginning that takes at most that many columns.
fn fitting(text: &str, columns: usize) -> usize {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_its_columns_whatever_its_letters_take() {
        let line = Line::of(Paint::Good, "✓ ").and(Paint::Plain, "日本語のステップ").and(Paint::Dim, "end");
        assert_eq!(line.width(), 21);
        for columns in 0..30 {
            let cut = line.clone().fit(columns);
            assert!(cut.width() <= columns, "{columns}: {cut:?}");
        }
        assert_eq!(line.clone().fit(8).painted(false), "✓ 日本…");
        assert_eq!(line.fit(40).painted(true), "\x1b[32m✓ \x1b[0m日本語のステップ\x1b[2mend\x1b[0m");
        assert_eq!(column("ab", 4) + "|", "ab  |");
        assert_eq!(column("abcdef", 4), "abc…");
    }

    #[test]
    fn what_would_steer_the_terminal_is_letters() {
        assert_eq!(Line::of(Paint::Plain, "a\u{1b}[2J\n\tb").painted(true), r"a\x1b[2J\n b");
    }

    #[test]
    fn a_long_text_is_broken_at_blanks() {
        assert_eq!(wrapped("one two three\n\nfour", 8), ["one two", "three", "", "four"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
    }
}
