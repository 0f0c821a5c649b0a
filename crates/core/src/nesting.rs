//! How deep values may be nested. Who reads JSON has a limit (`serde_json` of 127 levels), so that no text makes it
//! overflow its stack; what is written must stay below it, with the levels around a value counted in.

use serde_json::Value;

use crate::error::{Code, ErrorObject};

/// A value is nested no deeper than so many lists and objects.
pub const MAX_NESTING: usize = 100;

/// Returns whether a value is nested deeper than it may be.
///
/// ```
/// use serde_json::json;
/// use stepwell_core::nesting::is_too_deep;
/// assert!(!is_too_deep(&json!([{"a": []}])));
/// assert!(is_too_deep(&(0..101).fold(json!(1), |inner, _| json!([inner]))));
/// ```
pub fn is_too_deep(value: &Value) -> bool {
    is_deeper(value, MAX_NESTING)
}

pub(crate) fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| is_deeper(item, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns the error of what is nested too deep: `what` such as `the answer`.
pub fn too_deep(code: Code, what: &str) -> ErrorObject {
    ErrorObject::new(code, format!("{what} is nested deeper than {MAX_NESTING} levels"))
        .with("reason", "too_deep")
        .with("max_nesting", MAX_NESTING)
        .never_again()
}
