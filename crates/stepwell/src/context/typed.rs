//! Values in the context that know their type.
//!
//! Such a value is kept as `{"$type": NAME, "$value": …}`, so that no other type is ever read from it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stepwell_core::context::typed_parts;

use crate::error::StepError;
use crate::json::from_json;

/// A type that values in the context can be of.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stepwell::Typed;
///
/// #[derive(Serialize, Deserialize)]
/// struct UserProfile {
///     name: String,
///     age: u32,
/// }
///
/// impl Typed for UserProfile {
///     const NAME: &str = "UserProfile";
/// }
/// ```
pub trait Typed: Serialize + DeserializeOwned {
    /// What the type is called in the store. It stays the same as long as the fields can be read.
    const NAME: &'static str;
}

/// Returns the fields of a value with the name of its type.
pub(crate) fn with_name(name: &str, fields: Value) -> Value {
    Value::Object(Map::from_iter([("$type".to_owned(), name.into()), ("$value".to_owned(), fields)]))
}

/// Returns the name of the type that a value knows, if it knows one.
pub(crate) fn name_of(value: &Value) -> Option<&str> {
    typed_parts(value).map(|(name, _)| name)
}

/// Reads a value as that type; none: it knows another, or none.
pub(crate) fn read<T: Typed>(value: &Value, what: impl Fn() -> String) -> Result<Option<T>, StepError> {
    let Some((_, value)) = typed_parts(value).filter(|(name, _)| *name == T::NAME) else { return Ok(None) };
    from_json(value, what).map(Some)
}
