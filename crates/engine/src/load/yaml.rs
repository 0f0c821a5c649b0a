//! YAML 1.2 text as nodes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::node::{Kind, Member, Node, Position};

/// Why a text is no document.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) message: String,
    pub(super) at: Option<Position>,
    pub(super) hint: Option<&'static str>,
}

/// The parser recurses. For [`MAX_DEPTH`] levels it takes more stack than the threads of a runtime have.
const STACK: usize = 32 << 20;

/// Lists and objects are nested no deeper.
const MAX_DEPTH: usize = 100;

/// Reads one document.
///
/// # Errors
/// What the parser found first; a key that comes twice is left to [`Node::duplicates`] unless it would be lost.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("yaml".into()).stack_size(STACK);
        match reader.spawn_scoped(scope, || read_here(text)) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(Unreadable {
                message: format!("no thread can be started to read it: {error}"),
                at: None,
                hint: None,
            }),
        }
    })
}

fn read_here(text: &str) -> Result<Node, Unreadable> {
    match parse(text, DuplicateKeyPolicy::Error) {
        Err(serde_saphyr::Error::DuplicateMappingKey { key, location }) => {
            let node = parse(text, DuplicateKeyPolicy::LastWins).map_err(|error| unreadable(&error, text))?;
            if node.duplicates().is_empty() {
                let key = key.unwrap_or_default();
                return Err(Unreadable {
                    message: format!("the key '{key}' comes twice"),
                    at: place(location),
                    hint: None,
                });
            }
            Ok(node)
        }
        other => other.map_err(|error| unreadable(&error, text)),
    }
}

fn parse(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        // A definition of 100 000 steps is large but honest; what aliases repeat has limits of its own.
        budget: serde_saphyr::budget! { max_nodes: 4_000_000, max_events: 16_000_000, max_depth: MAX_DEPTH },
        duplicate_keys: duplicate_keys,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Kind>>(text, options).map(node)
}

fn unreadable(error: &serde_saphyr::Error, text: &str) -> Unreadable {
    let told = error.without_snippet().to_string();
    // The place is told apart from the message.
    let message = [" at line ", " (defined"]
        .iter()
        .fold(told.as_str(), |text, place| text.split_once(place).map_or(text, |(message, _)| message));
    // What the parser says to programmers is not for whoever writes files.
    let message = match message {
        told if told.contains("from_str_multiple") => "there are several documents; a file is one",
        told if told.contains("recursive references") => "an alias stands within what it stands for",
        told if told.contains("budget breached") => "its aliases repeat too much, or it is too large",
        told if told.contains("rejected by the configured policy") => "a number must be finite",
        told => told,
    };
    let is_tab = message.starts_with("tabs disallowed") || message.ends_with("found a tab");
    let at = error.location().and_then(place).map(|at| match at.of(text) {
        Some(_) => at,
        None => at.found_in(text),
    });
    if !is_tab {
        let hint = message
            .starts_with("mapping values are not allowed")
            .then_some("a text with ': ' in it stands in quotes, or on lines of its own after '|'");
        return Unreadable { message: format!("not YAML: {message}"), at, hint };
    }
    // The parser stops somewhere before it.
    let at = at.map(|at| {
        let rest = text.get(at.start as usize..).unwrap_or_default();
        let indents = |i: &usize| *i == 0 || rest[..*i].trim_end_matches(' ').ends_with(['\n', '\r']);
        let tab = rest.match_indices('\t').map(|(i, _)| i).find(indents);
        tab.map_or(at, |i| at.behind(&rest[..i]))
    });
    Unreadable { message: "not YAML: indent with spaces, not with tabs".into(), at, hint: None }
}

fn place(location: Location) -> Option<Position> {
    if location == Location::UNKNOWN {
        return None;
    }
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let start = location.span().byte_offset().unwrap_or(u64::MAX);
    let end = start.saturating_add(location.span().byte_len().unwrap_or_default());
    let (line, column) = (narrow(location.line()), narrow(location.column()));
    Some(Position { line, column, start: narrow(start), end: narrow(end) })
}

fn node(spanned: Spanned<Kind>) -> Node {
    Node { at: place(spanned.referenced), kind: spanned.value }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Kind, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Kind::Scalar(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut nodes = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Kind>>()? {
            nodes.push(node(item));
        }
        Ok(Kind::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<Spanned<Kind>>()? {
            let name = match key.value {
                Kind::Scalar(Value::String(text)) => text,
                Kind::Scalar(Value::Null) => return Err(A::Error::custom("a key is empty")),
                // As Python's `json` does it.
                Kind::Scalar(other) => other.to_string(),
                Kind::List(_) | Kind::Object(_) => return Err(A::Error::custom("a key is not a text")),
            };
            let value = node(map.next_value::<Spanned<Kind>>()?);
            members.push(Member { key: name, key_at: place(key.referenced), value });
        }
        Ok(Kind::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_core::workflow::path::Part;

    use super::*;

    #[test]
    fn scalars_follow_yaml_1_2() {
        let text = "a: no\nb: yes\nc: on\nd: true\ne: 12\nf: 1.0\ng: ~\nh: 0x10\ni: '1'\nj: 2024-01-01\nl:\n1: x\ntrue: y\n";
        let expected = json!({
            "a": "no", "b": "yes", "c": "on", "d": true, "e": 12, "f": 1.0, "g": null, "h": 16, "i": "1",
            "j": "2024-01-01", "l": null, "1": "x", "true": "y",
        });
        assert_eq!(read(text).unwrap().to_value(), expected);
    }

    #[test]
    fn every_value_and_key_knows_its_place() {
        let node = read("a: 1\nlist:\n  - x: &x [1, 2]\n  - *x\n").unwrap();
        let Kind::Object(members) = &node.kind else { panic!("{node:?}") };
        assert_eq!(members[1].key_at, Some(Position { line: 2, column: 1, start: 5, end: 9 }));
        let at = |path: &[Part]| node.position_of(path).map(|at| (at.line, at.column));
        assert_eq!(at(&["a".into()]), Some((1, 4)));
        assert_eq!(at(&["list".into(), 0.into(), "x".into()]).map(|at| at.0), Some(3));
        assert_eq!(at(&["list".into(), 1.into()]), Some((4, 5)), "an alias stands where it is used");
    }

    #[test]
    fn a_scalar_has_its_bytes_as_they_are_written() {
        let text = "a: 'it''s'\r\nb: \"é\\\"x\" # c\nc: |\n  first\n  second\n\nd: >-\n   x\n   y\ne: plain\n  text\nf: {g: 1.0}\n";
        let node = read(text).unwrap();
        let bytes = |key: &str| node.position_of(&[key.into()]).and_then(|at| at.of(text)).unwrap();
        let all: Vec<&str> = ["a", "b", "c", "d", "e", "f"].map(bytes).into();
        assert_eq!(all, ["'it''s'", "\"é\\\"x\"", "first\n  second\n\n", "x\n   y\n", "plain\n  text", "{"]);
    }

    #[test]
    fn all_duplicates_are_found() {
        let node = read("a: 1\nb: {c: 1, c: 2}\na: 2\n").unwrap();
        let found: Vec<_> =
            node.duplicates().into_iter().map(|(path, at)| (path.to_string(), at.unwrap().line)).collect();
        assert_eq!(found, [("b.c".to_owned(), 2), ("a".to_owned(), 3)]);
        assert!(read("1: a\n1: b\n").is_err() || !read("1: a\n1: b\n").unwrap().duplicates().is_empty());
    }

    #[test]
    fn what_is_no_document_is_told_with_its_place() {
        let error = read("a: [1\nb: 2\n").unwrap_err();
        assert!(error.message.starts_with("not YAML: "), "{}", error.message);
        assert!(!error.message.contains("line"), "{}", error.message);
        assert!(error.at.is_some());
        for text in ["a: 1\n---\nb: 2\n", "a: .nan", "? [1]\n: x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_placed_at_its_byte() {
        for (text, at) in
            [("a:\r\n  b: 'é' x\r\nc: 1\r\n", "x"), ("a: 1\n\n\tb: 2\n", "\tb"), ("a: [1\nb: 2\n", ": 2")]
        {
            let found = read(text).unwrap_err().at.unwrap();
            let rest = &text[found.start as usize..];
            assert!(rest.starts_with(at), "{text:?}: {found:?} {rest:?}");
        }
    }

    #[test]
    fn a_document_as_deep_as_may_be_fits_into_any_thread() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let read = small.spawn(move || [MAX_DEPTH - 1, 10_000].map(|levels| read(&nested(levels)).is_ok()));
        assert_eq!(read.unwrap().join().unwrap(), [true, false]);
    }

    #[test]
    fn anchors_cannot_blow_up() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let before = i - 1;
            let aliases = vec![format!("*a{before}"); 9].join(", ");
            text = format!("{text}a{i}: &a{i} [{aliases}]\n");
        }
        assert!(read(&text).is_err());
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 90].join(", "));
        assert!(read(&long).unwrap_err().message.contains("aliases repeat too much"));
    }

    #[test]
    fn a_tab_that_indents_is_called_one() {
        for text in ["steps:\n\t- a\n", "steps:\n  - name: a\n\t  method: x\n"] {
            assert_eq!(
                read(text).unwrap_err().message,
                "not YAML: indent with spaces, not with tabs",
                "{text:?}"
            );
        }
    }
}
