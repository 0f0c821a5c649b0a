//! Documents as another reader reads them, which stands on the same parser: both agree on values and places.

use std::fmt;
use std::path::Path;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use crate::load::node::{Kind, Member, Node, Position};
use crate::load::yaml::read;

/// Recursion takes more stack than a test has.
const STACK: usize = 64 << 20;

fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK);
        let thread = reader.spawn_scoped(scope, || parse_here(text)).expect("a thread starts");
        thread.join().expect("the other reader does not panic")
    })
}

fn parse_here(text: &str) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 100 },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Kind>>(text, options).map(node)
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

/// Both read the same, or both refuse.
fn agree(text: &str) {
    match (read(text), parse(text)) {
        (Ok(ours), Ok(theirs)) => assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{text}"),
        (Err(_), Err(_)) => {}
        // Here they differ on purpose.
        (Err(ours), Ok(_)) if ours.message.starts_with("the tag ") => {}
        (ours, theirs) => panic!("{ours:?} but {theirs:?}: {text}"),
    }
}

#[test]
fn every_file_of_the_repository_is_read_as_another_reader_reads_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files: Vec<_> = ["examples/**/*.yaml", "fuzz/corpus/**/*.yaml"]
        .iter()
        .flat_map(|pattern| glob::glob(root.join(pattern).to_str().expect("a path")).expect("a pattern"))
        .map(|path| path.expect("a path"))
        // The other one takes `010` and `1_000` for what they were in YAML 1.1.
        .filter(|path| !path.ends_with("core_schema.yaml"))
        .map(|path| std::fs::read_to_string(path).expect("a text"))
        .collect();
    assert!(files.len() > 25, "{}", files.len());
    for text in files {
        agree(&text);
        agree(&text.replace('\n', "\r\n"));
    }
}

/// A document as it is written.
#[derive(Clone, Debug)]
enum Written {
    Scalar(&'static str),
    /// A text after `|`, of lines.
    Literal(Vec<&'static str>),
    List(Vec<Written>),
    Object(Vec<(&'static str, Written)>),
    Flow(Box<Written>),
    Anchor(&'static str, Box<Written>),
    Alias(&'static str),
}

const SCALARS: &[&str] = &[
    "",
    "~",
    "null",
    "true",
    "False",
    "no",
    "0",
    "12",
    "-7",
    "1.5",
    "-2e3",
    "0x1F",
    "0o17",
    "text",
    "two words",
    "é ü",
    "日本",
    "a\n                b",
    "'it''s'",
    "'a\n\n                b'",
    "\"\\u00e9\\n\"",
    "\"a: b\"",
    "!!str 12",
    "!!int '3'",
    "! 1",
    "2024-01-01",
    "'# no'",
    "a#b",
    "-x",
];

const KEYS: &[&str] = &["a", "'b'", "\"c\\n\"", "d e", "é", "1", "2.5", "true", "0x10", "!!str 7", "<<"];

/// What documents begin with, so that every alias has an anchor.
const BEGIN: &str = "---\n- &text t\n- &list [1, 2]\n- &base {a: 1, b: 2}\n- &bases [*base, {a: 3, c: 4}]\n-";

const NAMES: [&str; 2] = ["text", "list"];

const BASES: [&str; 2] = ["base", "bases"];

impl Written {
    /// Writes it behind a dash, a colon or the beginning of the document.
    fn block(&self, indent: usize, out: &mut String) {
        let begin = "  ".repeat(indent);
        match self {
            Self::Literal(lines) => {
                out.push_str(" |\n");
                for line in lines {
                    out.extend([&begin, " ", line, "\n"]);
                }
            }
            Self::List(items) if !items.is_empty() => {
                out.push_str(" # é\n");
                for item in items {
                    out.extend([&begin, "-"]);
                    item.block(indent + 1, out);
                }
            }
            Self::Object(members) if !members.is_empty() => {
                out.push('\n');
                for (key, value) in members {
                    out.extend([&begin, *key, ":"]);
                    value.block(indent + 1, out);
                }
            }
            Self::Anchor(name, inner) => {
                out.extend([" &", name]);
                inner.block(indent, out);
            }
            other => out.extend([" ", &other.flow(), "\n"]),
        }
    }

    fn flow(&self) -> String {
        match self {
            Self::Scalar(text) => (*text).to_owned(),
            Self::Literal(lines) => format!("'{}'", lines.join(" ")),
            Self::List(items) => format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", ")),
            Self::Object(members) => {
                let member = |(key, value): &(&str, Self)| format!("{key} : {}", value.flow());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(" , "))
            }
            Self::Flow(inner) => inner.flow(),
            Self::Anchor(name, inner) => format!("&{name} {}", inner.flow()),
            Self::Alias(name) => format!("*{name}"),
        }
    }
}

fn written() -> impl Strategy<Value = Written> {
    let leaf = prop_oneof![
        6 => prop::sample::select(SCALARS).prop_map(Written::Scalar),
        1 => prop::collection::vec(prop::sample::select(vec!["x = 1", "", "  é", "# x"]), 1..4).prop_map(Written::Literal),
        1 => prop::sample::select(&NAMES).prop_map(Written::Alias),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let members = (prop::sample::subsequence(KEYS, 0..5), prop::collection::vec(inner.clone(), 5));
        let object = (members, prop::sample::select(&BASES)).prop_map(|((keys, values), base)| {
            // What is merged in place has its own place here, and that of its object there.
            let value = |(key, value)| (key, if key == "<<" { Written::Alias(base) } else { value });
            Written::Object(keys.into_iter().zip(values).map(value).collect())
        });
        let list = prop::collection::vec(inner.clone(), 0..5).prop_map(Written::List);
        let named = (prop::sample::select(&NAMES), inner.clone()).prop_filter("one anchor", |(_, inner)| {
            !matches!(inner, Written::Anchor(..) | Written::Alias(_))
        });
        prop_oneof![
            3 => object,
            2 => list,
            1 => inner.prop_map(|inner| Written::Flow(inner.into())),
            2 => named.prop_map(|(name, inner)| Written::Anchor(name, inner.into())),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_read_as_another_reader_reads_it(parts in prop::collection::vec(written(), 1..6), windows in any::<bool>()) {
        let mut text = BEGIN.to_owned();
        Written::List(parts).block(1, &mut text);
        agree(&if windows { text.replace('\n', "\r\n") } else { text });
    }
}
