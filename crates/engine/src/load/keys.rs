//! The keys of a workflow file (spec/gleitzeit.md §1), each declared once: its names, what it must be, what holds without it,
//! and what it means. The loader reads by these declarations, `schema.rs` makes the JSON Schema of them, and
//! `docs/workflow-file.md` is held against them.
//!
//! `types.rs` has what a value can be; the keys of an object stand in the file named after it.

pub(super) mod batch;
pub(super) mod step;
pub(super) mod types;
pub(super) mod workflow;

use serde_json::{Value, json};

use types::Type;

/// What stands for the default of a key that must be given.
pub(super) const REQUIRED: &str = "required";

/// A key of an object.
#[derive(Debug)]
pub(super) struct Key<T> {
    /// The name that documentation uses, then its aliases.
    pub(super) names: &'static [&'static str],
    /// What its value must be.
    pub(super) value: T,
    /// What holds where it is not given, in Markdown.
    pub(super) default: &'static str,
    /// What it means, one line of Markdown.
    pub(super) meaning: &'static str,
}

/// Returns every name that a key of a table can have.
pub(super) fn names(table: &Table) -> impl Iterator<Item = &'static str> {
    table.iter().flat_map(|key| key.names()).copied()
}

/// All keys of an object, in the order in which people read about them.
pub(super) type Table = [&'static dyn Declared];

/// A key, whatever its type.
pub(super) trait Declared: Sync {
    fn names(&self) -> &'static [&'static str];
    fn is_required(&self) -> bool;
    /// Returns the schema of its value, with what it means.
    fn schema(&self) -> Value;
    /// Returns its row in the table of keys.
    fn row(&self) -> String;
}

impl<T: Type + Sync> Declared for Key<T> {
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn is_required(&self) -> bool {
        self.default == REQUIRED
    }

    fn schema(&self) -> Value {
        let mut schema = self.value.schema();
        if !self.is_required() {
            schema = or_null(schema);
        }
        schema["description"] = plain(self.meaning).into();
        schema
    }

    fn row(&self) -> String {
        let quoted: Vec<String> = self.names.iter().map(|name| format!("`{name}`")).collect();
        let names = match &quoted[..] {
            [name] => name.clone(),
            [name, alias] => format!("{name}, alias {alias}"),
            [name, aliases @ .., last] => format!("{name}, aliases {} and {last}", aliases.join(", ")),
            [] => unreachable!("a key has a name"),
        };
        let told = Some(self.value.told()).filter(|told| !told.is_empty());
        let told = told.map_or_else(|| " ".into(), |told| format!(" {told} "));
        format!("| {names} |{told}| {} | {} |", self.default, self.meaning)
    }
}

/// Returns the tables of keys that `docs/workflow-file.md` has, each with the heading it stands under.
pub fn tables() -> Vec<(&'static str, Vec<String>)> {
    let rows = |table: &Table| table.iter().map(|key| key.row()).collect();
    vec![
        ("## The workflow", rows(workflow::WORKFLOW)),
        ("## A step", rows(step::STEP)),
        ("### Attempts: `retry`", rows(step::RETRY)),
        ("### Which files: `batch`", rows(batch::SECTION)),
    ]
}

/// Lets a value be null, which is as if its key were not there.
fn or_null(schema: Value) -> Value {
    match schema {
        Value::Object(mut object) => {
            if let Some(words) = object.get_mut("enum").and_then(Value::as_array_mut) {
                words.push(Value::Null);
            } else if let Some(Value::String(kind)) = object.get("type").cloned() {
                object.insert("type".into(), json!([kind, "null"]));
            } else if let Some(ways) = object.get_mut("anyOf").and_then(Value::as_array_mut) {
                ways.push(json!({ "type": "null" }));
            } else if !object.is_empty() {
                return json!({ "anyOf": [object, { "type": "null" }] });
            }
            Value::Object(object)
        }
        other => other,
    }
}

/// Returns a line of Markdown without what leads to other parts of its page.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, (label, after))) = rest.split_once('[').and_then(|(before, inside)| {
        let (label, after) = inside.split_once("](")?;
        Some((before, (label, after.split_once(')')?.1)))
    }) {
        text.extend([before, label]);
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_editors_has_no_links() {
        assert_eq!(plain("as [`a`](#a) and [b](#b-c), not [c]"), "as `a` and b, not [c]");
    }
}
