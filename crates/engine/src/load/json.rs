//! JSON text as nodes. `serde_json` judges the text; places are found by going over it once more.

use serde_json::Value;

use super::node::{Kind, Member, Node, Position};
use super::unreadable::{MAX_DEPTH, NoNumber, Unreadable};

/// Reads one document.
///
/// # Errors
/// What is against the grammar of JSON, or what a definition cannot hold.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let at = place(text, error.line(), error.column());
        let told = Unreadable::new(format!("not JSON: {}", words(&error.to_string())), at);
        return Err(match hint(text, at) {
            Some(hint) => told.hint(hint),
            None => told,
        });
    }
    Reader { text, at: 0, line: 1, column: 0, counted: 0 }.value(0)
}

/// Returns what `serde_json` says to programmers, for people who write files.
fn words(told: &str) -> &str {
    let told = told.split(" at line ").next().unwrap_or(told);
    match told {
        "EOF while parsing a list" => "'[' is not closed",
        "EOF while parsing an object" => "'{' is not closed",
        "EOF while parsing a string" => "a quote is not closed",
        "EOF while parsing a value" => "it ends where a value is expected",
        "expected `:`" => "':' is missing after a key",
        "expected `,` or `]`" => "',' or ']' is missing",
        "expected `,` or `}`" => "',' or '}' is missing",
        "expected ident" => "only true, false and null are words without quotes",
        "expected value" => "a value is expected here",
        "invalid escape" => "there is no such escape",
        "invalid number" => "there is no such number",
        "invalid unicode code point" => "an escape is no character",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a text goes over the end of its line, or has another character that has to be escaped"
        }
        "key must be a string" => "a key in double quotes is expected here",
        "trailing comma" => "nothing follows this comma",
        "trailing characters" => "something follows the document",
        told => told,
    }
}

/// Returns what to do about a text that cannot go on like this.
fn hint(text: &str, at: Position) -> Option<&'static str> {
    let (before, rest) = text.split_at(at.start as usize);
    match rest.chars().next()? {
        '\'' => Some("texts and keys stand in double quotes"),
        '}' | ']' if before.trim_end().ends_with(',') => Some("is there a comma too many before it?"),
        _ => None,
    }
}

/// Returns the place of a byte that `serde_json` names by its line and its number in the line, from 1.
fn place(text: &str, line: usize, byte: usize) -> Position {
    let begin = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let start = text.floor_char_boundary(begin + byte.saturating_sub(1));
    let column = text[begin.min(start)..start].chars().count() + 1;
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: narrow(line), column: narrow(column), start: narrow(start), end: narrow(start) }
}

/// Goes over text that is known to be JSON.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    /// Characters of the line before `counted`.
    column: u32,
    counted: usize,
}

impl<'a> Reader<'a> {
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

    /// Reads a value that stands within so many lists and objects.
    fn value(&mut self, within: usize) -> Result<Node, Unreadable> {
        self.skip_blanks();
        let mut at = self.position();
        let kind = match self.byte() {
            b'{' | b'[' if within == MAX_DEPTH => return Err(Unreadable::too_deep(at)),
            b'{' => self.object(within + 1)?,
            b'[' => self.list(within + 1)?,
            b'"' => Kind::Scalar(Value::String(self.string(&mut at)?)),
            _ => {
                let written = self.scalar(&mut at);
                Kind::Scalar(unquoted(written).map_err(|why| Unreadable::no_number(written, why, at))?)
            }
        };
        Ok(Node { at: Some(at), kind })
    }

    fn object(&mut self, within: usize) -> Result<Kind, Unreadable> {
        let mut members = Vec::new();
        while self.is_before_item(b'}') {
            let mut key_at = self.position();
            let key = self.string(&mut key_at)?;
            self.skip_blanks();
            // The colon.
            self.at += 1;
            members.push(Member { key, key_at: Some(key_at), value: self.value(within)? });
        }
        Ok(Kind::Object(members))
    }

    fn list(&mut self, within: usize) -> Result<Kind, Unreadable> {
        let mut nodes = Vec::new();
        while self.is_before_item(b']') {
            nodes.push(self.value(within)?);
        }
        Ok(Kind::List(nodes))
    }

    fn string(&mut self, at: &mut Position) -> Result<String, Unreadable> {
        let written = self.scalar(at);
        // The grammar allows for halves of characters.
        serde_json::from_str(written)
            .map_err(|_| Unreadable::new("not JSON: an escape in this text is no character", *at))
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

    /// Returns the text of a string, number or word, goes past it and notes where it ends.
    fn scalar(&mut self, at: &mut Position) -> &'a str {
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
        at.end = self.here();
        &self.text[start..self.at]
    }
}

/// Returns the value of a number or word.
fn unquoted(written: &str) -> Result<Value, NoNumber> {
    let value: Value = serde_json::from_str(written).map_err(|_| NoNumber::TooLarge)?;
    let is_integer = !written.contains(['.', 'e', 'E']);
    let has_changed =
        is_integer && value.is_f64() && written.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    if has_changed { Err(NoNumber::Over64Bits) } else { Ok(value) }
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
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        // Far deeper than any stack would bear.
        let error = read(&nested(200_000)).unwrap_err();
        assert_eq!(error.message, "it is nested deeper than 100 levels");
    }

    #[test]
    fn numbers_that_would_change_are_refused_where_they_stand() {
        for (number, message) in [
            ("1e999", "the number 1e999 is too large"),
            ("-18446744073709551615", "the number -18446744073709551615 does not fit into 64 bits"),
            ("18446744073709551616", "the number 18446744073709551616 does not fit into 64 bits"),
        ] {
            let error = read(&format!("{{\"a\": {number}}}")).unwrap_err();
            assert_eq!((&*error.message, error.at.column), (message, 7));
        }
        for number in ["18446744073709551615", "-9223372036854775808", "-0", "0", "1e30", "1.0"] {
            assert!(read(number).is_ok(), "{number}");
        }
        let error = read(r#"["\ud800"]"#).unwrap_err();
        assert_eq!(
            (&*error.message, error.at.start),
            ("not JSON: an escape in this text is no character", 1)
        );
    }

    #[test]
    fn what_is_no_json_is_told_in_words_of_people() {
        for text in [
            "",
            "[",
            "{",
            "{\"a",
            "{\"a\"",
            "{\"a\" 1}",
            "{\"a\": 1 2}",
            "[1 2]",
            "[tru]",
            "[x]",
            "[\"\\q\"]",
            "[01]",
            "[-]",
            "[\"\\u12g4\"]",
            "[\"\n\"]",
            "{a: 1}",
            "[1,]",
            "{\"a\": 1,}",
            "1 2",
            "[\"\\ud800\\u0041\"]",
        ] {
            let message = read(text).unwrap_err().message;
            let is_told = ["EOF", "expected `", "ident", "trailing", "parsing", "string", "unicode", "u001F"];
            assert!(!is_told.iter().any(|word| message.contains(word)), "{text:?}: {message}");
        }
    }

    #[test]
    fn quotes_and_commas_of_other_languages_are_told_how_to_write() {
        let hint = |text: &str| read(text).unwrap_err().hint;
        assert_eq!(hint("{'steps': []}"), Some("texts and keys stand in double quotes"));
        for text in ["{\"a\": 1,}", "[1,]", "{\"a\": 1,\n}"] {
            assert_eq!(hint(text), Some("is there a comma too many before it?"), "{text}");
        }
        assert_eq!(hint("{\"a\"}"), None);
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
        assert_eq!(error.at, Position { line: 2, column: 5, start: 15, end: 15 });
        assert!(
            error.message.starts_with("not JSON: ") && !error.message.contains("line"),
            "{}",
            error.message
        );
    }
}
