//! JSON text as nodes. `serde_json` judges the text; places are found by going over it once more.

use super::node::{Kind, Member, Node, Position};
use super::yaml::Unreadable;

/// Reads one document.
///
/// # Errors
/// What is against the grammar of JSON.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let at = place(text, error.line(), error.column());
        let told = error.to_string();
        let message = told.split(" at line ").next().unwrap_or(&told);
        return Err(Unreadable { message: format!("not JSON: {message}"), at: Some(at), hint: None });
    }
    let mut reader = Reader { text, at: 0, line: 1, column: 0, counted: 0, is_too_deep: false };
    let read = reader.value(MAX_DEPTH);
    read.ok_or_else(|| {
        let what = if reader.is_too_deep { TOO_DEEP } else { "a number or text that cannot be held" };
        Unreadable { message: format!("not JSON: {what}"), at: Some(reader.position()), hint: None }
    })
}

/// Returns the place of a byte that `serde_json` names by its line and its number in the line, from 1.
fn place(text: &str, line: usize, byte: usize) -> Position {
    let begin = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let start = text.floor_char_boundary(begin + byte.saturating_sub(1));
    let column = text[begin.min(start)..start].chars().count() + 1;
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: narrow(line), column: narrow(column), start: narrow(start), end: narrow(start) }
}

/// Lists and objects are nested no deeper, as in YAML.
const MAX_DEPTH: usize = 100;

const TOO_DEEP: &str = "it is nested deeper than 100 levels";

/// Goes over text that is known to be JSON.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    /// Characters of the line before `counted`.
    column: u32,
    counted: usize,
    is_too_deep: bool,
}

impl Reader<'_> {
    fn byte(&self) -> u8 {
        self.text.as_bytes()[self.at]
    }

    fn skip_blanks(&mut self) {
        while self.at < self.text.len() && self.byte().is_ascii_whitespace() {
            self.at += 1;
            if self.text.as_bytes()[self.at - 1] == b'\n' {
                self.line += 1;
                self.column = 0;
                self.counted = self.at;
            }
        }
    }

    /// Returns the place that is reached, of no bytes yet.
    fn position(&mut self) -> Position {
        self.column += self.text[self.counted..self.at].chars().count() as u32;
        self.counted = self.at;
        let start = self.here();
        Position { line: self.line, column: self.column + 1, start, end: start }
    }

    fn here(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    /// Reads a value; `None` if it holds a scalar that cannot be held.
    fn value(&mut self, levels: usize) -> Option<Node> {
        self.skip_blanks();
        let mut at = self.position();
        let kind = match self.byte() {
            b'{' | b'[' if levels == 0 => {
                self.is_too_deep = true;
                return None;
            }
            b'{' => self.object(levels - 1)?,
            b'[' => self.list(levels - 1)?,
            _ => {
                let scalar = serde_json::from_str(self.scalar()).ok()?;
                at.end = self.here();
                Kind::Scalar(scalar)
            }
        };
        Some(Node { at: Some(at), kind })
    }

    fn object(&mut self, levels: usize) -> Option<Kind> {
        let mut members = Vec::new();
        while self.is_before_item(b'}') {
            let mut key_at = self.position();
            let key = serde_json::from_str(self.scalar()).ok()?;
            key_at.end = self.here();
            self.skip_blanks();
            // The colon.
            self.at += 1;
            members.push(Member { key, key_at: Some(key_at), value: self.value(levels)? });
        }
        Some(Kind::Object(members))
    }

    fn list(&mut self, levels: usize) -> Option<Kind> {
        let mut nodes = Vec::new();
        while self.is_before_item(b']') {
            nodes.push(self.value(levels)?);
        }
        Some(Kind::List(nodes))
    }

    /// Goes past the opening bracket or the comma to the next item, or past the closing bracket if none comes.
    fn is_before_item(&mut self, close: u8) -> bool {
        self.skip_blanks();
        if self.byte() != close {
            self.at += 1;
            self.skip_blanks();
        }
        let is_item = self.byte() != close;
        self.at += usize::from(!is_item);
        is_item
    }

    /// Returns the text of a string, number or word and goes past it.
    fn scalar(&mut self) -> &str {
        let start = self.at;
        if self.byte() == b'"' {
            self.at += 1;
            while self.byte() != b'"' {
                self.at += if self.byte() == b'\\' { 2 } else { 1 };
            }
            self.at += 1;
        } else {
            let rest = &self.text[self.at..];
            self.at += rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        }
        &self.text[start..self.at]
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn nodes_are_what_serde_json_reads() {
        for text in [
            r#"{"a": [1, -2.5e3, "x\"]\u00e9", true, null, {}, [], [[1],[2]]], "b": {"c": {}}}"#,
            "  [ ]  ",
            "[{\"a\":1},{\"b\":[]}]",
            " 1 ",
            "\"x\"",
            "{ \"a\" : [ { } , [ ] , { \"b\" : \"}\" } ] }",
        ] {
            assert_eq!(
                read(text).unwrap().to_value(),
                serde_json::from_str::<serde_json::Value>(text).unwrap()
            );
        }
        assert!(read("{\"a\": 1e999}").is_err());
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        // Far deeper than any stack would bear.
        let error = read(&nested(200_000)).unwrap_err();
        assert!(error.message.ends_with(TOO_DEEP), "{}", error.message);
    }

    #[test]
    fn places_are_lines_and_characters() {
        let node = read("{\"é\": 1,\n  \"list\": [true,\n {\"x\": 2}]}").unwrap();
        let at = |path: &[stepwell_core::workflow::path::Part]| {
            node.position_of(path).map(|at| (at.line, at.column)).unwrap()
        };
        assert_eq!(at(&["é".into()]), (1, 7));
        assert_eq!(at(&["list".into(), 0.into()]), (2, 12));
        assert_eq!(at(&["list".into(), 1.into(), "x".into()]), (3, 8));
        let text = r#"["é\"", -1.5 , {"ß": true}]"#;
        let node = read(text).unwrap();
        let bytes = |path: &[stepwell_core::workflow::path::Part]| {
            node.position_of(path).and_then(|at| at.of(text)).unwrap()
        };
        assert_eq!([bytes(&[0.into()]), bytes(&[1.into()])], [r#""é\"""#, "-1.5"]);
        assert_eq!(bytes(&[2.into(), "ß".into()]), "true");
    }

    #[test]
    fn keys_may_come_twice_and_bad_text_has_a_place() {
        assert_eq!(read("{\"a\": 1, \"a\": 2}").unwrap().duplicates()[0].0.to_string(), "a");
        let error = read("{\"é\": 1,\n \"é\", }").unwrap_err();
        assert_eq!(error.at, Some(Position { line: 2, column: 5, start: 15, end: 15 }));
        assert!(
            error.message.starts_with("not JSON: ") && !error.message.contains("line"),
            "{}",
            error.message
        );
    }
}
