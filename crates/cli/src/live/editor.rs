//! A line that somebody types, and where in it the next letter goes.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::keys::Key;
use crate::text;

/// A line of more letters takes no more.
const MOST: usize = 16 << 10;

#[derive(Clone, Debug, Default)]
pub(crate) struct Editor {
    text: String,
    /// In bytes.
    at: usize,
}

impl Editor {
    /// Returns what was typed and begins anew.
    pub(crate) fn take(&mut self) -> String {
        self.at = 0;
        std::mem::take(&mut self.text)
    }

    /// Does what a key does to the line.
    pub(crate) fn press(&mut self, key: Key) {
        let before = self.text[..self.at].chars().next_back().map_or(self.at, |c| self.at - c.len_utf8());
        let after = self.text[self.at..].chars().next().map_or(self.at, |c| self.at + c.len_utf8());
        match key {
            Key::Letter(c) if self.text.len() < MOST => {
                self.text.insert(self.at, c);
                self.at += c.len_utf8();
            }
            Key::Left => self.at = before,
            Key::Right => self.at = after,
            Key::Home => self.at = 0,
            Key::End => self.at = self.text.len(),
            Key::Backspace => self.drop_from(before),
            Key::Delete => drop(self.text.drain(self.at..after)),
            Key::DropLine => self.drop_from(0),
            Key::DropWord => {
                let word = self.text[..self.at].trim_end();
                let from = word.rfind(char::is_whitespace).map_or(0, |at| at + 1);
                // What separates two words may take several bytes.
                self.drop_from(self.text.ceil_char_boundary(from));
            }
            Key::Letter(_) | Key::Enter | Key::Leave => {}
        }
    }

    fn drop_from(&mut self, from: usize) {
        self.text.drain(from..self.at);
        self.at = from;
    }

    /// Returns as much of the line as fits into the columns, and in which of them the cursor is.
    pub(crate) fn shown(&self, columns: usize) -> (String, usize) {
        let columns = columns.max(2);
        let before = text::line(&self.text[..self.at]).into_owned();
        let after = text::line(&self.text[self.at..]).into_owned();
        // Of what is before the cursor the end is shown.
        let mut taken = 0;
        let from = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| {
                taken += c.width().unwrap_or(0);
                taken < columns
            })
            .last()
            .map_or(before.len(), |(at, _)| at);
        let mut shown = before[from..].to_owned();
        let cursor = shown.width();
        for c in after.chars() {
            if shown.width() + c.width().unwrap_or(0) > columns {
                break;
            }
            shown.push(c);
        }
        (shown, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[Key]) -> Editor {
        let mut editor = Editor::default();
        for key in keys {
            editor.press(*key);
        }
        editor
    }

    #[test]
    fn letters_go_where_the_cursor_is() {
        let letters: Vec<Key> = "zwölf eier".chars().map(Key::Letter).collect();
        let mut editor = typed(&letters);
        for key in [Key::Home, Key::Right, Key::Right, Key::Right, Key::Backspace, Key::Letter('o')] {
            editor.press(key);
        }
        assert_eq!(editor.text, "zwolf eier");
        for key in [Key::End, Key::DropWord, Key::Letter('x'), Key::Left, Key::Delete] {
            editor.press(key);
        }
        assert_eq!(editor.text, "zwolf ");
        for key in [Key::Left, Key::DropLine, Key::Delete, Key::Delete, Key::Left] {
            editor.press(key);
        }
        assert_eq!(editor.take(), "");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_cursor_is_shown() {
        let mut editor = typed(&"abcdefghij".chars().map(Key::Letter).collect::<Vec<_>>());
        assert_eq!(editor.shown(20), ("abcdefghij".into(), 10));
        assert_eq!(editor.shown(5), ("ghij".into(), 4));
        editor.press(Key::Home);
        assert_eq!(editor.shown(5), ("abcde".into(), 0));
        assert_eq!(typed(&[Key::Letter('\u{202e}')]).shown(20).0, r"\u{202e}");
    }
}
