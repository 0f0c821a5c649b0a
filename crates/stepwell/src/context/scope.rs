//! What a step of a pipeline sees of the context, by where it stands.
//!
//! Branches that run side by side keep their writes apart until they meet: under reserved keys, which begin with the path
//! of the branch. Outside of branches a write is one to the context as it is. A pipeline is nested as it is written, so
//! nothing else changes what is around branches while they run, and what they see there is what they saw when they began.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Map, Value};
use stepwell_core::context::{Context as Shared, RESERVED};
use stepwell_core::run::event::Payload;

use super::Context;
use crate::error::StepError;

/// The branches around a step, outermost first; none: it stands in none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    branches: Vec<Branch>,
    /// Which item of a map it is in.
    item: Option<u64>,
}

#[derive(Clone, Debug)]
struct Branch {
    path: String,
    /// The keys from around it that it sees; none: all.
    sees: Option<Arc<BTreeSet<String>>>,
}

impl Scope {
    /// Returns the scope of a branch in this one.
    pub(crate) fn branch(&self, path: String, sees: Option<Arc<BTreeSet<String>>>) -> Self {
        let mut branches = self.branches.clone();
        branches.push(Branch { path, sees });
        Self { branches, item: None }
    }

    /// Returns the scope of an item of a map, whose branch it is in.
    pub(crate) fn item(&self, item: u64) -> Self {
        let mut branches = self.branches.clone();
        if let Some(map) = branches.last_mut() {
            map.path = format!("{}/{item}", map.path);
        }
        Self { branches, item: Some(item) }
    }

    /// Returns which item of a map it is in.
    pub(crate) fn item_number(&self) -> Option<u64> {
        self.item
    }

    /// Returns the path of the innermost branch; empty: there is none.
    pub(crate) fn path(&self) -> &str {
        self.branches.last().map_or("", |branch| &branch.path)
    }

    /// Returns the path of something in it.
    pub(crate) fn below(&self, name: &str) -> String {
        if self.path().is_empty() { name.to_owned() } else { format!("{}/{name}", self.path()) }
    }

    /// Returns the value that a read of a key finds.
    pub(super) fn find(&self, shared: &Shared, key: &str) -> Option<Payload> {
        for branch in self.branches.iter().rev() {
            if let Some(written) = shared.get(&written_key(&branch.path, key)) {
                return read_write(written);
            }
            if !branch.sees(key) {
                return None;
            }
        }
        shared.get(key).filter(|_| !key.starts_with(RESERVED)).cloned()
    }

    /// Returns the keys that [`Scope::find`] finds something for.
    pub(super) fn keys(&self, shared: &Shared) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = shared.values().into_keys().map(str::to_owned).collect();
        for branch in &self.branches {
            keys.retain(|key| branch.sees(key));
            let prefix = written_key(&branch.path, "");
            for (key, value) in shared.reserved(&prefix) {
                let key = &key[prefix.len()..];
                if read_write(value).is_some() {
                    keys.insert(key.to_owned());
                } else {
                    keys.remove(key);
                }
            }
        }
        keys
    }

    /// Returns what is written where, for a write that a step in this scope makes.
    pub(super) fn write(&self, key: String, value: Option<Payload>) -> (String, Option<Payload>) {
        let Some(branch) = self.branches.last() else { return (key, value) };
        let value = value.map_or_else(Vec::new, |value| vec![Arc::unwrap_or_clone(value)]);
        (written_key(&branch.path, &key), Some(Payload::new(Value::Array(value))))
    }
}

impl Branch {
    fn sees(&self, key: &str) -> bool {
        self.sees.as_ref().is_none_or(|sees| sees.contains(key))
    }
}

impl Context {
    /// Returns the scope of a step of a pipeline.
    pub(crate) fn scope(&self) -> &Scope {
        self.attempt.scope.as_ref().expect("a pipeline gives each of its steps a scope")
    }

    /// Returns everything that the step sees.
    pub(crate) fn visible(&self) -> Result<Map<String, Value>, StepError> {
        let mut visible = Map::new();
        for key in self.keys()? {
            if let Some(value) = self.find(&key)? {
                visible.insert(key, Arc::unwrap_or_clone(value));
            }
        }
        Ok(visible)
    }

    /// Writes a key whose value is JSON already.
    pub(crate) fn put(&self, key: &str, value: Option<Value>) -> Result<(), StepError> {
        self.write(key, value)
    }

    /// Keeps something for the pipeline under a path, or forgets it.
    pub(crate) fn keep(&self, path: &str, value: Option<Payload>) -> Result<(), StepError> {
        self.with(|left| left.kept.insert(format!("{RESERVED}{path}"), value))?;
        Ok(())
    }

    /// Returns what was kept under a path.
    pub(crate) fn kept(&self, path: &str) -> Option<&Payload> {
        self.task().context.get(&format!("{RESERVED}{path}"))
    }

    /// Returns what is kept under a path and below it.
    pub(crate) fn kept_below(&self, path: &str) -> Kept<'_> {
        let own = format!("{RESERVED}{path}");
        let below = format!("{own}/");
        let mut all = self.task().context.reserved(&own);
        all.retain(|key, _| *key == own || key.starts_with(&below));
        Kept { all }
    }

    /// Forgets what was kept under a path and below it.
    pub(crate) fn forget(&self, kept: &Kept<'_>) -> Result<(), StepError> {
        let keys = kept.all.keys().map(|key| ((*key).to_owned(), None));
        self.with(|left| left.kept.extend(keys))
    }
}

/// What a pipeline keeps under a path and below it.
pub(crate) struct Kept<'a> {
    all: BTreeMap<&'a str, &'a Payload>,
}

impl Kept<'_> {
    /// Returns what is kept under exactly that path.
    pub(crate) fn get(&self, path: &str) -> Option<&Payload> {
        self.all.get(format!("{RESERVED}{path}").as_str()).copied()
    }

    /// Returns what the branch of that path wrote, by key; none: it removed the key.
    pub(crate) fn writes_of(&self, path: &str) -> BTreeMap<String, Option<Payload>> {
        let prefix = written_key(path, "");
        let from = self.all.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        let own = from.take_while(|(key, _)| key.starts_with(&prefix));
        own.map(|(key, value)| (key[prefix.len()..].to_owned(), read_write(value))).collect()
    }
}

/// No name of a step or branch is empty, so nothing else has two slashes behind a path.
fn written_key(path: &str, key: &str) -> String {
    format!("{RESERVED}{path}//{key}")
}

/// A write is kept as a list: of its value, or empty if it removes the key.
fn read_write(written: &Payload) -> Option<Payload> {
    written.get(0).cloned().map(Payload::new)
}
