//! Drawing on a terminal: a picture of some lines that is redrawn where it stands, and lines above it that stay.
//!
//! One write a picture, over the old one and without clearing it first, is calm on any terminal; the cursor is never hidden, so that
//! nothing has to bring it back after a kill. A line never reaches the last column and wraps nowhere, so that it is known
//! where the picture begins; after the terminal became narrower, the lines of the old one count as often as they wrap.

use std::fmt::Write;

use super::frame::{Frame, Size};
use super::line::Line;

/// What stands on a terminal of ours.
#[derive(Debug)]
pub(crate) struct Screen {
    colour: bool,
    /// The picture that stands there, and how wide the terminal was.
    drawn: Option<(Frame, usize)>,
}

impl Screen {
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour, drawn: None }
    }

    /// Returns what to write so that the picture stands in place of the last one, below lines that stay; nothing if it is
    /// there already.
    pub(crate) fn redraw(&mut self, above: &[Line], frame: &Frame, size: Size) -> String {
        let known =
            self.drawn.as_ref().is_some_and(|(drawn, columns)| drawn == frame && *columns == size.columns);
        if known && above.is_empty() {
            return String::new();
        }
        // A terminal that knows how shows all of it at once (2026), none wraps a line that it takes for wider (7).
        let mut text = String::from("\x1b[?2026h\x1b[?7l");
        text.push_str(&self.to_top(size));
        // What stays wraps: it is not to be lost.
        for line in above {
            write!(text, "\x1b[?7h{}\x1b[K\r\n\x1b[?7l", line.painted(self.colour))
                .expect("a String takes all");
        }
        let most = size.columns.saturating_sub(1);
        for (at, line) in frame.lines.iter().enumerate() {
            text.push_str(&line.clone().fit(most).painted(self.colour));
            text.push_str("\x1b[K");
            if at + 1 < frame.lines.len() || frame.cursor.is_none() {
                text.push_str("\r\n");
            }
        }
        text.push_str("\x1b[J");
        if let Some(column) = frame.cursor {
            write!(text, "\r\x1b[{}G", column.min(most) + 1).expect("a String takes all");
        }
        text.push_str("\x1b[?7h\x1b[?2026l");
        self.drawn = Some((frame.clone(), size.columns));
        text
    }

    /// Returns what to write so that whatever comes next stands below the picture, which stays.
    pub(crate) fn leave(&mut self) -> String {
        match self.drawn.take() {
            Some((frame, _)) if frame.cursor.is_some() => "\r\n".into(),
            _ => String::new(),
        }
    }

    /// Moves to the beginning of the picture.
    fn to_top(&self, size: Size) -> String {
        let Some((frame, _)) = &self.drawn else { return String::new() };
        let columns = size.columns.max(1);
        let rows = |line: &Line| line.width().max(1).div_ceil(columns);
        let height: usize = frame.lines.iter().map(rows).sum();
        let up = height.saturating_sub(usize::from(frame.cursor.is_some())).min(size.lines);
        if up == 0 { "\r".into() } else { format!("\r\x1b[{up}A") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::line::Paint;

    const SIZE: Size = Size { columns: 20, lines: 6 };

    fn terminal() -> vt100::Parser {
        let size = |cells: u16| cells.try_into().expect("it is more than none");
        vt100::Parser::new(size(6), size(20), 0)
    }

    fn frame(lines: &[&str], cursor: Option<usize>) -> Frame {
        Frame { lines: lines.iter().map(|line| Line::of(Paint::Good, line)).collect(), cursor }
    }

    fn shown(terminal: &vt100::Parser) -> Vec<String> {
        let rows = terminal.screen().rows(0, 20).map(|row| row.trim_end().to_owned());
        let mut rows: Vec<String> = rows.collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    #[test]
    fn a_picture_stands_in_place_of_the_last_one_and_below_what_stays() {
        let mut terminal = terminal();
        let mut screen = Screen::new(true);
        terminal.process(b"$ stepwell run\r\n");
        let mut draw = |above: &[Line], frame: &Frame| {
            let text = screen.redraw(above, frame, SIZE);
            terminal.process(text.as_bytes());
            shown(&terminal)
        };
        assert_eq!(
            draw(&[], &frame(&["one", "two", "three"], None)),
            ["$ stepwell run", "one", "two", "three"]
        );
        assert_eq!(draw(&[], &frame(&["1", "2"], None)), ["$ stepwell run", "1", "2"]);
        let kept = [Line::of(Paint::Plain, "stays")];
        assert_eq!(draw(&kept, &frame(&["1", "> a"], Some(3))), ["$ stepwell run", "stays", "1", "> a"]);
        assert_eq!(draw(&[], &frame(&["1", "> ab"], Some(4))), ["$ stepwell run", "stays", "1", "> ab"]);
        assert_eq!(terminal.screen().cursor_position(), (3, 4));
        assert!(!terminal.screen().hide_cursor());
        assert_eq!(
            screen.redraw(&[], &frame(&["1", "> ab"], Some(4)), SIZE),
            "",
            "what is there is not drawn"
        );
        terminal.process(screen.leave().as_bytes());
        assert_eq!(terminal.screen().cursor_position(), (4, 0));
    }

    #[test]
    fn a_line_wider_than_the_terminal_takes_one_row() {
        let mut terminal = terminal();
        let mut screen = Screen::new(false);
        for text in ["a line that is far too long", "another one that is too long"] {
            terminal.process(screen.redraw(&[], &frame(&[text, "end"], None), SIZE).as_bytes());
        }
        assert_eq!(shown(&terminal), ["another one that i…", "end"]);
    }

    #[test]
    fn lines_that_a_narrower_terminal_wrapped_are_drawn_over() {
        let mut screen = Screen::new(false);
        screen.redraw(&[], &frame(&["seventeen columns", "short"], None), SIZE);
        let narrow = Size { columns: 10, lines: 6 };
        assert!(screen.redraw(&[], &frame(&["a"], None), narrow).contains("\x1b[3A"));
    }
}
