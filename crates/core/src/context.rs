//! Values by key: what a run's steps share, and how changes to them are united and journaled.
//!
//! Only the change is journaled, so that the cost of a write grows with the change and not with the state.

use std::collections::BTreeMap;

use foldhash::HashMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Number, Value};

use crate::ids::ExecutionRef;
use crate::run::event::{Payload, present};
use crate::workflow::definition::Reducer;

/// Keys that begin with this hold what a pipeline keeps for itself, such as the writes of branches that are under way. People
/// neither see nor write them, and nothing is left of one that was removed.
pub const RESERVED: &str = "$pipeline/";

/// Returns why nobody may give a key of that name, if it is [reserved](RESERVED).
///
/// ```
/// use stepwell_core::context::why_reserved;
/// assert_eq!(why_reserved("n"), None);
/// assert_eq!(why_reserved("$pipeline/0").unwrap(), "is reserved: no key begins with '$pipeline/'");
/// ```
pub fn why_reserved(key: &str) -> Option<String> {
    key.starts_with(RESERVED).then(|| format!("is reserved: no key begins with '{RESERVED}'"))
}

/// A change an attempt wants, against the snapshot it saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The new value; none: the key is removed.
    pub value: Option<Payload>,
    /// What the snapshot held.
    pub base: Option<Payload>,
}

/// A journaled change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// The key.
    pub key: String,
    /// What happens to it.
    pub op: Op,
}

/// What a journaled change does to the value that stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Takes this value.
    Set(Payload),
    /// Is removed.
    Remove,
    /// Grows by this number; missing counts as 0.
    Add(Number),
    /// Grows by these elements; missing counts as an empty list.
    Append(Vec<Value>),
    /// Takes these keys and loses those.
    Merge {
        /// Keys that take a value.
        set: Map<String, Value>,
        /// Keys that go.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<String>,
    },
}

/// The context of a run: each key with its value and the version that wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    #[serde(serialize_with = "in_order")]
    entries: HashMap<String, Entry>,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// None: removed; remembered for conflicts.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    value: Option<Payload>,
    version: u64,
    writer: Option<ExecutionRef>,
}

/// Writes the entries in the order of their keys, so that the same context gives the same bytes.
fn in_order<S: Serializer>(entries: &HashMap<String, Entry>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(entries.iter().collect::<BTreeMap<_, _>>())
}

/// A change does not fit the reducer of its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the write to '{key}' does not fit its reducer '{reducer}': {reason}")]
pub struct Misfit {
    /// The key.
    pub key: String,
    /// The reducer's word.
    pub reducer: &'static str,
    /// What does not fit.
    pub reason: &'static str,
}

impl Write {
    /// Returns about how many bytes its values take.
    pub(crate) fn value_bytes(&self) -> usize {
        match &self.op {
            Op::Set(value) => value_bytes(value),
            Op::Remove | Op::Add(_) => 0,
            Op::Append(items) => items.iter().map(value_bytes).sum(),
            Op::Merge { set, .. } => set.iter().map(|(key, value)| key.len() + value_bytes(value)).sum(),
        }
    }
}

impl Context {
    /// Returns a context with those values, at version 0.
    pub fn new(values: Map<String, Value>) -> Self {
        let entries = values
            .into_iter()
            .map(|(key, value)| (key, Entry { value: Some(Payload::new(value)), version: 0, writer: None }))
            .collect();
        Self { entries, version: 0 }
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&Payload> {
        self.entries.get(key).and_then(|entry| entry.value.as_ref())
    }

    /// Returns all keys and values but the [reserved](RESERVED) ones, in the order of keys.
    pub fn values(&self) -> BTreeMap<&str, &Payload> {
        self.present().filter(|(key, _)| !key.starts_with(RESERVED)).collect()
    }

    /// Returns the keys that were written since it was made, but the [reserved](RESERVED) ones, with what they hold; none: they
    /// were removed.
    pub fn written(&self) -> BTreeMap<&str, Option<&Payload>> {
        let written =
            self.entries.iter().filter(|(key, entry)| entry.writer.is_some() && !key.starts_with(RESERVED));
        written.map(|(key, entry)| (key.as_str(), entry.value.as_ref())).collect()
    }

    /// Returns the [reserved](RESERVED) keys that begin with a text, and their values, in the order of keys.
    pub fn reserved(&self, prefix: &str) -> BTreeMap<&str, &Payload> {
        self.present().filter(|(key, _)| key.starts_with(RESERVED) && key.starts_with(prefix)).collect()
    }

    /// Returns all keys and values, the [reserved](RESERVED) ones too, in no order: what a checkpoint keeps.
    pub(crate) fn present(&self) -> impl Iterator<Item = (&str, &Payload)> {
        self.entries.iter().filter_map(|(k, e)| e.value.as_ref().map(|v| (k.as_str(), v)))
    }

    /// Counts the appends that changed the context. An attempt remembers it as its snapshot.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns who wrote `key` after the snapshot, if anybody but `writer` did.
    pub fn written_since(&self, key: &str, snapshot: u64, writer: &ExecutionRef) -> Option<&ExecutionRef> {
        let entry = self.entries.get(key)?;
        let other = entry.writer.as_ref()?;
        (entry.version > snapshot && other != writer).then_some(other)
    }

    /// Applies the writes of one append.
    pub fn apply(&mut self, writes: &[Write], writer: &ExecutionRef) {
        if writes.is_empty() {
            return;
        }
        self.version += 1;
        for write in writes {
            if write.op == Op::Remove && write.key.starts_with(RESERVED) {
                self.entries.remove(&write.key);
                continue;
            }
            let entry = self.entries.entry(write.key.clone()).or_insert_with(|| Entry {
                value: None,
                version: 0,
                writer: None,
            });
            entry.value = apply_op(entry.value.take(), &write.op);
            entry.version = self.version;
            entry.writer = Some(writer.clone());
        }
    }

    /// Returns about how many bytes the keys and values take.
    pub fn size_bytes(&self) -> usize {
        self.entries.iter().map(|(k, e)| k.len() + 64 + e.value.as_deref().map_or(0, value_bytes)).sum()
    }
}

/// Returns the type and the fields of a value that knows its type: `{"$type": NAME, "$value": …}`.
///
/// ```
/// use serde_json::json;
/// use stepwell_core::context::typed_parts;
/// let ada = json!({ "$type": "User", "$value": { "name": "Ada" } });
/// assert_eq!(typed_parts(&ada), Some(("User", &json!({ "name": "Ada" }))));
/// assert_eq!(typed_parts(&json!({ "name": "Ada" })), None);
/// ```
pub fn typed_parts(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 2)?;
    Some((object.get("$type")?.as_str()?, object.get("$value")?))
}

/// Returns about how many bytes a value takes in memory.
pub fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(value_bytes).sum::<usize>(),
        Value::Object(map) => 64 + map.iter().map(|(k, v)| k.len() + 32 + value_bytes(v)).sum::<usize>(),
    }
}

/// Turns a wanted change into what is journaled, by the key's reducer if it has one.
///
/// Fails if the values do not fit the reducer.
pub fn reduce(change: &Change, reducer: Option<Reducer>) -> Result<Write, Misfit> {
    let op = match (&change.value, reducer) {
        (None, _) => Op::Remove,
        (Some(value), None) => Op::Set(value.clone()),
        (Some(value), Some(reducer)) => reduced(value, change.base.as_deref(), reducer)
            .map_err(|(word, reason)| Misfit { key: change.key.clone(), reducer: word, reason })?,
    };
    Ok(Write { key: change.key.clone(), op })
}

fn reduced(
    value: &Payload,
    base: Option<&Value>,
    reducer: Reducer,
) -> Result<Op, (&'static str, &'static str)> {
    match reducer {
        Reducer::Sum => {
            let now = value.as_number().ok_or(("sum", "the value is not a number"))?;
            let before = match base {
                None => Number::from(0),
                Some(base) => base.as_number().ok_or(("sum", "the value before is not a number"))?.clone(),
            };
            difference(now, &before).map(Op::Add).ok_or(("sum", "the difference is not a number"))
        }
        Reducer::Extend => {
            let now = value.as_array().ok_or(("extend", "the value is not a list"))?;
            let before = match base {
                None => &[][..],
                Some(base) => base.as_array().ok_or(("extend", "the value before is not a list"))?,
            };
            let added =
                now.strip_prefix(before).ok_or(("extend", "the list does not begin with what it was"))?;
            Ok(Op::Append(added.to_vec()))
        }
        Reducer::Merge => {
            let now = value.as_object().ok_or(("merge", "the value is not an object"))?;
            let empty = Map::new();
            let before = match base {
                None => &empty,
                Some(base) => base.as_object().ok_or(("merge", "the value before is not an object"))?,
            };
            let set = now.iter().filter(|(k, v)| before.get(*k) != Some(v));
            let remove = before.keys().filter(|k| !now.contains_key(*k));
            Ok(Op::Merge {
                set: set.map(|(k, v)| (k.clone(), v.clone())).collect(),
                remove: remove.cloned().collect(),
            })
        }
        // A maximum needs no base: the comparison is made against what stands when it is applied.
        Reducer::Max | Reducer::Min => {
            let word = if reducer == Reducer::Max { "max" } else { "min" };
            value.as_number().ok_or((word, "the value is not a number"))?;
            Ok(Op::Set(value.clone()))
        }
    }
}

/// Unites a reduced write with the value that stands: of a `max` or `min` the better one is journaled, and a sum must be a
/// number too.
pub(crate) fn unite(write: Write, standing: Option<&Payload>, reducer: Reducer) -> Result<Write, Misfit> {
    if let (Op::Add(number), Some(before)) = (&write.op, standing.and_then(|value| value.as_number()))
        && sum(before, number).is_none()
    {
        return Err(Misfit {
            key: write.key,
            reducer: "sum",
            reason: "the sum is beyond what a number can hold",
        });
    }
    Ok(keep_best(write, standing, reducer))
}

fn keep_best(write: Write, standing: Option<&Payload>, reducer: Reducer) -> Write {
    let (Op::Set(new), Some(old)) = (&write.op, standing) else { return write };
    let (Some(new_number), Some(old_number)) = (new.as_f64(), old.as_f64()) else { return write };
    let old_wins = match reducer {
        Reducer::Max => old_number > new_number,
        Reducer::Min => old_number < new_number,
        Reducer::Sum | Reducer::Extend | Reducer::Merge => false,
    };
    if old_wins { Write { key: write.key, op: Op::Set(old.clone()) } } else { write }
}

fn difference(now: &Number, before: &Number) -> Option<Number> {
    if let (Some(a), Some(b)) = (now.as_i128(), before.as_i128()) {
        return integer(a.checked_sub(b)?);
    }
    Number::from_f64(now.as_f64()? - before.as_f64()?)
}

fn sum(a: &Number, b: &Number) -> Option<Number> {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return integer(a.checked_add(b)?);
    }
    Number::from_f64(a.as_f64()? + b.as_f64()?)
}

fn integer(value: i128) -> Option<Number> {
    i64::try_from(value).map(Number::from).or_else(|_| u64::try_from(value).map(Number::from)).ok()
}

fn apply_op(standing: Option<Payload>, op: &Op) -> Option<Payload> {
    let owned = |standing: Option<Payload>| standing.map_or(Value::Null, Payload::unwrap_or_clone);
    match op {
        Op::Set(value) => Some(value.clone()),
        Op::Remove => None,
        Op::Add(number) => {
            let before = standing.as_deref().and_then(Value::as_number).cloned().unwrap_or(Number::from(0));
            // Journals of old may hold a sum that is no number; since then its step fails.
            Some(Payload::new(Value::Number(sum(&before, number).unwrap_or(before))))
        }
        Op::Append(items) => {
            let mut list = match owned(standing) {
                Value::Array(list) => list,
                _ => Vec::new(),
            };
            list.extend(items.iter().cloned());
            Some(Payload::new(Value::Array(list)))
        }
        Op::Merge { set, remove } => {
            let mut map = match owned(standing) {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            for key in remove {
                map.shift_remove(key);
            }
            map.extend(set.iter().map(|(k, v)| (k.clone(), v.clone())));
            Some(Payload::new(Value::Object(map)))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::{Ordinal, StepName};

    fn write(context: &mut Context, key: &str, value: Option<Value>) {
        let writer = ExecutionRef { step: StepName::from("a"), ordinal: Ordinal(1) };
        let op = value.map_or(Op::Remove, |value| Op::Set(Payload::new(value)));
        context.apply(&[Write { key: key.to_owned(), op }], &writer);
    }

    #[test]
    fn reserved_keys_are_shown_to_nobody_and_leave_nothing_behind() {
        let mut context = Context::new(Map::from_iter([("a".to_owned(), json!(1))]));
        let empty = context.size_bytes();
        write(&mut context, "$pipeline/x", Some(json!(2)));
        assert_eq!(context.values().into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(context.reserved("$pipeline/").into_keys().collect::<Vec<_>>(), ["$pipeline/x"]);
        assert!(context.written().is_empty());
        write(&mut context, "$pipeline/x", None);
        assert!(context.reserved("").is_empty());
        assert_eq!(context.size_bytes(), empty);
    }

    #[test]
    fn what_was_written_is_told_also_where_nothing_changed() {
        let given = [("a", 1), ("b", 2), ("c", 3)].map(|(key, value)| (key.to_owned(), json!(value)));
        let mut context = Context::new(Map::from_iter(given));
        write(&mut context, "a", Some(json!(1)));
        write(&mut context, "b", None);
        let one = Payload::new(json!(1));
        assert_eq!(context.written(), BTreeMap::from([("a", Some(&one)), ("b", None)]));
    }
}
