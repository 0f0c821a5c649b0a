//! `${…}` in values, in conditions and in Python source: resolved in a single pass, and nothing of a value becomes code.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::workflow::condition::Condition;
use stepwell_core::workflow::python_source::{PythonSource, RESERVED_PREFIX, ResolvedSource};
use stepwell_core::workflow::template::{Names, Root, Scope, Template, View};

/// Stands for a value, and is in no text that is checked.
const MARK: &str = "\u{1}";

/// A value that tries to be read again, to end every literal, and to become code.
pub const HOSTILE: &str = "${input} $${a} '''\"\"\"\\\r\n{}\u{0}__import__('os')#\u{2028}é☃😀";

/// Every root has this value; a step has it as its result.
struct All(Value);

impl Scope for All {
    fn root(&self, root: &Root) -> Option<View<'_>> {
        Some(match root {
            Root::Step(_) => View::from(json!({ "result": self.0, "x": self.0 })),
            Root::Input | Root::Item | Root::Index => View::from(&self.0),
        })
    }
}

fn names(name: &str) -> Option<Arc<str>> {
    ["a", "a b", "a.b"].contains(&name).then(|| name.into())
}

/// Reads the bytes as a text with references, as a condition, and as Python source.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains(MARK) {
        return;
    }
    let _parsed = Condition::parse(text, &names as &dyn Names);
    template(text);
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        // No value that is JSON makes it panic, whatever its shape.
        let _parsed = Template::parse(&value, &names as &dyn Names);
    }
    if let Some([plain, hostile]) = python(text) {
        same_code(&plain, &hostile);
    }
}

/// A text is its own words and the values, each where its reference was, and nothing is read twice.
fn template(text: &str) {
    let Ok(template) = Template::parse(&text.into(), &names as &dyn Names) else { return };
    let resolve = |value: &str| {
        // What is missing in a value is told, and nothing else is.
        let resolved = template.resolve(&All(value.into())).ok()?;
        Some(resolved.as_str().expect("text stays text, and each value is one").to_owned())
    };
    let (Some(marked), Some(hostile)) = (resolve(MARK), resolve(HOSTILE)) else { return };
    assert_eq!(marked.matches(MARK).count(), template.references().len(), "{text:?}");
    assert_eq!(marked.replace(MARK, HOSTILE), hostile, "{text:?}");
    assert_eq!(marked, expected(text, &template), "{text:?}");
}

/// Says the rule of dollars once more: half of those before a brace are text, and of an odd number the last begins a
/// reference, which is as long as it says.
fn expected(text: &str, template: &Template) -> String {
    let mut references = template.references();
    let mut told = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let dollars = rest.len() - rest.trim_start_matches('$').len();
        if dollars == 0 || !rest[dollars..].starts_with('{') {
            let taken = dollars.max(c.len_utf8());
            told.push_str(&rest[..taken]);
            rest = &rest[taken..];
            continue;
        }
        told.push_str(&rest[..dollars / 2]);
        rest = &rest[dollars..];
        if dollars % 2 == 1 {
            let blanks = [' ', '\t'];
            let source = references.next().expect("a reference that was read").source();
            let inside = rest[1..].trim_start_matches(blanks).strip_prefix(source).expect("its own words");
            rest = inside.trim_start_matches(blanks).strip_prefix('}').expect("its end");
            told.push_str(MARK);
        } else {
            told.push('{');
            rest = &rest[1..];
        }
    }
    told
}

/// Returns what becomes of Python source with a harmless value and with a hostile one, if it may stand in a workflow.
pub fn python(source: &str) -> Option<[ResolvedSource; 2]> {
    let parsed = PythonSource::parse(source, &names as &dyn Names).ok()?;
    let resolve = |value: &str| parsed.resolve(&All(value.into())).ok();
    Some([resolve("a")?, resolve(HOSTILE)?])
}

/// The code is the same whatever the value is, but for letters, digits, blanks and backslashes in literals.
fn same_code(plain: &ResolvedSource, hostile: &ResolvedSource) {
    let bones = |code: &str| -> String {
        code.chars().filter(|c| !c.is_ascii_alphanumeric() && !matches!(c, ' ' | '\\')).collect()
    };
    assert_eq!(bones(&plain.code), bones(&hostile.code));
    assert_eq!(plain.code.lines().count(), hostile.code.lines().count(), "line numbers do not move");
    let bound = |resolved: &ResolvedSource| {
        resolved.bindings.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bound(plain), bound(hostile));
    for (number, (name, value)) in hostile.bindings.iter().enumerate() {
        assert_eq!(
            (name.as_str(), value),
            (format!("{RESERVED_PREFIX}{number}__").as_str(), &Value::from(HOSTILE))
        );
    }
}
