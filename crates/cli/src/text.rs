//! Texts that others wrote (names, questions, results, messages of scripts), as they may stand on a terminal: what would
//! move its cursor, talk to it or turn its letters around is shown, not done, and nothing can pass for a line of ours.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

/// A message has at most so many characters; `--json` has all of it.
const MESSAGE: usize = 2_000;

/// Returns a text on one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hazard) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            _ if !is_hazard(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\0'..='\x7f' => write!(shown, "\\x{:02x}", u32::from(c)).expect("a String takes all"),
            _ => write!(shown, "\\u{{{:x}}}", u32::from(c)).expect("a String takes all"),
        }
    }
    shown.into()
}

/// Returns a text with its lines: those after the first stand behind a margin, deeper than the first.
pub(crate) fn lines(text: &str) -> String {
    let indent = &text[..text.len() - text.trim_start_matches(' ').len()];
    let mut shown = String::with_capacity(text.len());
    for (number, part) in text.lines().enumerate() {
        if number > 0 {
            shown.extend(["\n", indent, "  | "]);
        }
        shown.push_str(&line(part));
    }
    shown
}

/// Returns a message that may quote whatever somebody wrote: of a long one its beginning and its end.
pub(crate) fn message(text: &str) -> Cow<'_, str> {
    let count = text.chars().count();
    if count <= MESSAGE {
        return text.into();
    }
    let at = |number: usize| text.char_indices().nth(number).map_or(text.len(), |(at, _)| at);
    let (head, tail) = (&text[..at(MESSAGE / 2)], &text[at(count - MESSAGE / 2)..]);
    format!("{head} … {} characters, --json has them all … {tail}", count - MESSAGE).into()
}

/// Returns a text as one word of a shell, for commands that are to be copied.
pub(crate) fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.,:/@%+=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', r"'\''")).into()
}

/// Returns a value as one line of JSON.
pub(crate) fn json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(is_hazard) {
        return text;
    }
    // JSON itself is ASCII and its own escapes cover what is below a blank, so these stand in strings.
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hazard(c) {
            write!(shown, "\\u{:04x}", u32::from(c)).expect("a String takes all");
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, and those that end a line or turn the direction of a text around.
fn is_hazard(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_shown() {
        let hostile = "a\u{1b}]52;c;aGk=\u{7}b\u{9b}31mc\u{202e}d\u{2066}e\u{7f}f\r\ng\tä";
        let shown = r"a\x1b]52;c;aGk=\x07b\u{9b}31mc\u{202e}d\u{2066}e\x7ff\r\ng";
        assert_eq!(line(hostile), format!("{shown}\tä"));
        assert!(matches!(line("שלום, мир 👩‍🚀"), Cow::Borrowed(_)), "what people write stays as it is");
    }

    #[test]
    fn a_further_line_cannot_pass_for_one_of_ours() {
        let text = "  fetch failed: no rate\nrun r1 is completed\r\n\u{1b}[A";
        assert_eq!(lines(text), "  fetch failed: no rate\n    | run r1 is completed\n    | \\x1b[A");
        assert_eq!(lines("\nerror"), "\n  | error");
    }

    #[test]
    fn a_word_of_a_command_is_quoted_where_a_shell_would_not_take_it_as_it_is() {
        assert_eq!(word("run_12-é.b"), "run_12-é.b");
        assert_eq!([word("Report 7"), word("a|b"), word("")], ["'Report 7'", "'a|b'", "''"]);
        assert_eq!(word("it's"), r"'it'\''s'");
    }

    #[test]
    fn of_a_long_message_the_middle_is_left_out() {
        let text = format!("step 'a': {} is not known", "ä".repeat(50_000));
        let shown = message(&text);
        assert!(shown.starts_with("step 'a': ää") && shown.ends_with("ää is not known"), "{shown}");
        assert!(shown.contains("ä … 48023 characters, --json has them all … ä"), "{shown}");
        assert!(matches!(message(&"ä".repeat(MESSAGE)), Cow::Borrowed(_)));
    }

    #[test]
    fn json_says_the_same_without_a_character_that_a_terminal_obeys() {
        let value = json!({ "a\u{9b}": ["\u{1b}\u{7f}\u{202e}\u{2028}", "ä\n"] });
        let shown = json(&value);
        assert_eq!(shown, r#"{"a\u009b":["\u001b\u007f\u202e\u2028","ä\n"]}"#);
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
