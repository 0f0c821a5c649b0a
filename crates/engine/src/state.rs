//! System state: values of the store that belong to no run, with what may be kept in one (spec/flujo.md §3.8).

use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_store::{Page, Paged, StateError, StateRow};

use crate::engine::Engine;
use crate::error::from_store;

/// The longest key, in characters.
const KEY: usize = 512;

/// The largest value, as JSON.
const VALUE_BYTES: usize = 1 << 20;

impl Engine {
    /// Returns a value of system state; none if nothing is kept under that key.
    ///
    /// # Errors
    /// `STATE_VALUE_INVALID` for a key that none can have, or the store.
    pub async fn state(&self, key: &str) -> Result<Option<StateRow>, ErrorObject> {
        check_key(key)?;
        self.store().state(key).await.map_err(|error| from_store(&error))
    }

    /// Writes a value; durable when this returns. `expected`: only over that version, 0 only if there is none.
    ///
    /// # Errors
    /// `STATE_VALUE_INVALID`, `STATE_CONFLICT`, or the store.
    pub async fn put_state(
        &self,
        key: &str,
        value: Value,
        expected: Option<u64>,
    ) -> Result<StateRow, ErrorObject> {
        check_key(key)?;
        check_value(key, &value)?;
        let now = self.clock().now();
        self.store().put_state(key, value, expected, now).await.map_err(|error| refused(key, expected, error))
    }

    /// Deletes a value and returns whether there was one.
    ///
    /// # Errors
    /// As [`Engine::put_state`].
    pub async fn delete_state(&self, key: &str, expected: Option<u64>) -> Result<bool, ErrorObject> {
        check_key(key)?;
        self.store().delete_state(key, expected).await.map_err(|error| refused(key, expected, error))
    }

    /// Lists values by key, those whose key begins with the prefix.
    ///
    /// # Errors
    /// The store.
    pub async fn states(&self, prefix: &str, page: &Page) -> Result<Paged<StateRow>, ErrorObject> {
        self.store().states(prefix, page).await.map_err(|error| from_store(&error))
    }
}

fn check_key(key: &str) -> Result<(), ErrorObject> {
    let why = match key.chars().count() {
        0 => "is empty",
        count if count > KEY => "is longer than 512 characters",
        _ if key.chars().any(char::is_control) => "holds a control character",
        _ => return Ok(()),
    };
    Err(ErrorObject::new(Code::STATE_VALUE_INVALID, format!("the key {key:?} of system state {why}")))
}

fn check_value(key: &str, value: &Value) -> Result<(), ErrorObject> {
    let invalid = |why: String, hint: &str| {
        Err(ErrorObject::new(Code::STATE_VALUE_INVALID, format!("the value of '{key}' {why}"))
            .with("key", key)
            .with_hint(hint))
    };
    if !value.is_object() {
        return invalid("is no JSON object".into(), r#"put it into one: {"value": …}"#);
    }
    match value.to_string().len() {
        0..=VALUE_BYTES => Ok(()),
        bytes => invalid(
            format!("has {bytes} bytes as JSON, more than 1 MiB"),
            "keep it in a file, and here where that is",
        ),
    }
}

fn refused(key: &str, expected: Option<u64>, error: StateError) -> ErrorObject {
    let current = match error {
        StateError::Conflict { current } => current,
        StateError::Store(error) => return from_store(&error),
    };
    let stands = if current == 0 { "has no value".to_owned() } else { format!("has version {current}") };
    let expected = expected.unwrap_or_default();
    ErrorObject::new(Code::STATE_CONFLICT, format!("'{key}' {stands}, not the expected version {expected}"))
        .with("key", key)
        .with("current_version", current)
        .with_hint("read it again, decide on what stands, then write over that version")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use stepwell_store::MemoryStore;

    use super::*;
    use crate::{Leases, Options, Registry};

    /// Acceptance F20.
    #[tokio::test]
    async fn only_objects_of_bounded_size_are_kept_and_a_stale_write_is_refused() {
        let options = Options { leases: Leases::None, ..Options::default() };
        let engine =
            Engine::open(Arc::new(MemoryStore::default()), Registry::default(), options).await.unwrap();
        let long = "k".repeat(513);
        for key in ["", "a\nb", &long] {
            assert_eq!(engine.state(key).await.unwrap_err().code, Code::STATE_VALUE_INVALID, "{key:?}");
        }
        let large = json!({ "x": "y".repeat(VALUE_BYTES) });
        for value in [json!(5), json!(null), json!([1]), large] {
            let refused = engine.put_state("k", value, None).await.unwrap_err();
            assert_eq!(refused.code, Code::STATE_VALUE_INVALID);
        }
        assert_eq!(engine.state("k").await.unwrap(), None);
        assert_eq!(engine.put_state("k", json!({}), Some(0)).await.unwrap().version, 1);
        let stale = engine.put_state("k", json!({}), Some(0)).await.unwrap_err();
        assert_eq!((stale.code, &stale.data["current_version"]), (Code::STATE_CONFLICT, &json!(1)));
        assert_eq!(engine.delete_state("k", Some(3)).await.unwrap_err().code, Code::STATE_CONFLICT);
        assert!(engine.delete_state("k", Some(1)).await.unwrap());
        assert!(!engine.delete_state("k", None).await.unwrap());
    }
}
