//! The grammar of one reference: `${` root segment* `}` (spec/gleitzeit.md §3, "Path").

use std::fmt;
use std::sync::Arc;

/// Longest possible step name in bytes: 200 characters of four bytes.
const LONGEST_NAME: usize = 800;

/// Resolves what people call a step to its id.
pub trait Names {
    /// Returns the id of the step that has this id or name.
    fn step(&self, name: &str) -> Option<Arc<str>>;
}

/// No steps: only `input`, `item` and `index` can be referenced.
impl Names for () {
    fn step(&self, _name: &str) -> Option<Arc<str>> {
        None
    }
}

impl<F: Fn(&str) -> Option<Arc<str>>> Names for F {
    fn step(&self, name: &str) -> Option<Arc<str>> {
        self(name)
    }
}

/// What a reference begins with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// The view of a step, by its id.
    Step(Arc<str>),
    /// The input of the run.
    Input,
    /// The element of `for_each`.
    Item,
    /// The position of that element, from 0.
    Index,
}

/// One step from a value into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// `.key`: a key of an object; if it is digits, also an index of a list.
    Field(Box<str>),
    /// `[n]`: an index of a list.
    Index(usize),
    /// `["key"]`: a key of an object.
    Key(Box<str>),
}

/// A reference as written and what it means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    pub(super) root: Root,
    pub(super) segments: Box<[Segment]>,
    pub(super) source: Box<str>,
}

impl Reference {
    /// Returns what the reference begins with.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Returns the way from the root to the value, as written: empty for a bare `${step}`.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the text between the braces, without blanks at its ends.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Reads what follows `${`; returns the reference and how many bytes it took, `}` included.
    pub(crate) fn parse(text: &str, names: &dyn Names) -> Result<(Self, usize), Fault> {
        let start = text.len() - text.trim_start_matches(BLANKS).len();
        let close = start + text[start..].find('}').ok_or(Fault::Unclosed)?;
        let head = text[start..close].trim_end_matches(BLANKS);
        if head.is_empty() {
            return Err(Fault::Empty);
        }
        let (root, root_len) = parse_root(head, names)?;
        let (segments, end) = parse_segments(text, start + root_len)?;
        let source = text[start..end].trim_end_matches(BLANKS).into();
        Ok((Self { root, segments, source }, end + 1))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}}}", self.source)
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Why a text after `${` is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("'${{' has no closing '}}'; write '$${{' for the text '${{'")]
    Unclosed,
    #[error("'${{}}' names nothing; write '$${{' for the text '${{'")]
    Empty,
    #[error("'${{{0}}}' is not a reference: {1}")]
    Syntax(String, &'static str),
    #[error("'${{{0}…}}': nothing is called '{0}'; write '$${{' for the text '${{'")]
    UnknownRoot(String),
    #[error("'${{{0}…}}': '{0}' is reserved and cannot be referenced yet")]
    Reserved(String),
}

/// Returns the beginning of a text that may be of any length.
fn shown(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Finds the longest step name at the start of `head`, else one of the fixed roots.
fn parse_root(head: &str, names: &dyn Names) -> Result<(Root, usize), Fault> {
    let syntax = |why| Err(Fault::Syntax(shown(head), why));
    if head.chars().any(char::is_control) {
        return syntax("it must stand on one line");
    }
    let is_end = |at: usize| at == head.len() || matches!(head.as_bytes()[at], b'.' | b'[');
    for end in (1..=head.len().min(LONGEST_NAME)).rev().filter(|at| is_end(*at)) {
        if let Some(id) = names.step(&head[..end]) {
            return Ok((Root::Step(id), end));
        }
    }
    let end = head.find(['.', '[']).unwrap_or(head.len());
    let word = &head[..end];
    match word {
        "" => syntax("a step, 'input', 'item' or 'index' comes first"),
        "input" => Ok((Root::Input, end)),
        "item" => Ok((Root::Item, end)),
        "index" => Ok((Root::Index, end)),
        "context" | "run" | "env" => Err(Fault::Reserved(shown(word))),
        _ => Err(Fault::UnknownRoot(shown(word))),
    }
}

/// Reads segments from `at` up to the closing brace; returns them and where the brace is.
fn parse_segments(text: &str, mut at: usize) -> Result<(Box<[Segment]>, usize), Fault> {
    let bytes = text.as_bytes();
    let mut segments = Vec::new();
    let syntax = |why| {
        let inside = text.find('}').map_or(text, |close| &text[..close]);
        Err(Fault::Syntax(shown(inside.trim()), why))
    };
    loop {
        match bytes.get(at) {
            None => return Err(Fault::Unclosed),
            Some(b'}') => return Ok((segments.into(), at)),
            Some(b' ' | b'\t') => {
                at += text[at..].len() - text[at..].trim_start_matches(BLANKS).len();
                if bytes.get(at).is_some_and(|b| *b != b'}') {
                    return syntax("after ']' comes '.', '[' or '}'");
                }
            }
            Some(b'.') => {
                let rest = &text[at + 1..];
                let len = rest.find(['.', '[', '}']).ok_or(Fault::Unclosed)?;
                let mut key = &rest[..len];
                if rest.as_bytes()[len] == b'}' {
                    key = key.trim_end_matches(BLANKS);
                }
                if key.is_empty() {
                    return syntax("a key is missing after '.'");
                }
                segments.push(Segment::Field(key.into()));
                at += 1 + len;
            }
            Some(b'[') => {
                let rest = &text[at + 1..];
                let Some((segment, len)) = parse_bracket(rest) else {
                    return syntax("in '[…]' stands an index from 0 or a quoted key");
                };
                segments.push(segment);
                at += 1 + len;
            }
            Some(_) => return syntax("after ']' comes '.', '[' or '}'"),
        }
    }
}

/// Reads `n]`, `"key"]` or `'key']`; returns the segment and its length.
fn parse_bracket(text: &str) -> Option<(Segment, usize)> {
    match *text.as_bytes().first()? {
        quote @ (b'"' | b'\'') => {
            let close = 1 + closing_quote(&text[1..], quote)?;
            if text.as_bytes().get(close + 1) != Some(&b']') {
                return None;
            }
            let key = unquote(&text[1..close], quote)?;
            Some((Segment::Key(key.into()), close + 2))
        }
        b'0'..=b'9' => {
            let close = text.find(']')?;
            if !text[..close].bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            // Too many digits cannot be an index of anything.
            let index = text[..close].parse().unwrap_or(usize::MAX);
            Some((Segment::Index(index), close + 1))
        }
        _ => None,
    }
}

fn closing_quote(text: &str, quote: u8) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// Reads the inside of a quoted key: JSON escapes, and `\'` between single quotes.
fn unquote(inside: &str, quote: u8) -> Option<String> {
    let json = if quote == b'"' {
        format!("\"{inside}\"")
    } else {
        let mut json = String::from("\"");
        let mut chars = inside.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => json.push_str("\\\""),
                '\\' => match chars.next()? {
                    '\'' => json.push('\''),
                    other => json.extend(['\\', other]),
                },
                other => json.push(other),
            }
        }
        json.push('"');
        json
    };
    serde_json::from_str(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Option<Arc<str>> {
        ["A", "A.result", "Fetch data", "v1.2", "x[0]", "input2"].contains(&name).then(|| name.into())
    }

    fn parse(text: &str) -> Result<(Reference, &str), Fault> {
        Reference::parse(text, &names).map(|(reference, len)| (reference, &text[len..]))
    }

    fn field(key: &str) -> Segment {
        Segment::Field(key.into())
    }

    #[test]
    fn the_longest_known_name_is_the_root() {
        for (text, root, segments) in [
            ("A}", "A", vec![]),
            ("A.results}", "A", vec![field("results")]),
            ("A.result.x}", "A.result", vec![field("x")]),
            ("Fetch data.result}", "Fetch data", vec![field("result")]),
            ("v1.2.result[3]}", "v1.2", vec![field("result"), Segment::Index(3)]),
            ("x[0][0]}", "x[0]", vec![Segment::Index(0)]),
            (" \t A.result.0 \t }", "A.result", vec![field("0")]),
        ] {
            let (reference, rest) = parse(text).unwrap();
            assert_eq!(reference.root(), &Root::Step(root.into()), "{text}");
            assert_eq!(reference.segments(), segments, "{text}");
            assert_eq!(rest, "");
        }
    }

    #[test]
    fn fixed_roots_come_after_steps() {
        assert_eq!(parse("input.file}").unwrap().0.root(), &Root::Input);
        assert_eq!(parse("item}").unwrap().0.root(), &Root::Item);
        assert_eq!(parse("index}").unwrap().0.root(), &Root::Index);
        let shadowing = |_: &str| Some("input".into());
        assert_eq!(Reference::parse("input}", &shadowing).unwrap().0.root(), &Root::Step("input".into()));
    }

    #[test]
    fn quoted_keys_take_json_escapes_and_braces() {
        for (text, key) in [
            (r#"A["a key"]}"#, "a key"),
            (r#"A["}"]}"#, "}"),
            (r#"A["a\"}b\u00e9\n"]}"#, "a\"}bé\n"),
            (r#"A['it\'s "x"']}"#, "it's \"x\""),
            (r"A['\\']}", "\\"),
            (r#"A[""]}"#, ""),
        ] {
            let (reference, rest) = parse(text).unwrap();
            assert_eq!(reference.segments(), [Segment::Key(key.into())], "{text}");
            assert_eq!(rest, "");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        assert_eq!(parse("A").unwrap_err(), Fault::Unclosed);
        assert_eq!(parse("A[\"}\"]").unwrap_err(), Fault::Unclosed);
        assert_eq!(parse(" }").unwrap_err(), Fault::Empty);
        assert_eq!(parse("price:.2f}").unwrap_err(), Fault::UnknownRoot("price:".into()));
        assert_eq!(parse("env.HOME}").unwrap_err(), Fault::Reserved("env".into()));
        for text in [
            "A.}",
            "A..x}",
            "A[}",
            "A[-1]}",
            "A[x]}",
            "A[0]x}",
            "A['x'}",
            "A[0] .x}",
            ".x}",
            "A\n.x}",
            r#"A["\q"]}"#,
        ] {
            assert!(matches!(parse(text), Err(Fault::Syntax(..))), "{text}: {:?}", parse(text));
        }
    }
}
