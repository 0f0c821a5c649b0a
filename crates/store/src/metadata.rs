//! Metadata containment, the same on every store (spec/flujo.md §3.3).

use serde_json::{Map, Value};

/// Returns whether `whole` contains `part`: each key is there, objects are compared by containment, lists and
/// scalars by JSON equality (`1` = `1.0`).
///
/// ```
/// use serde_json::json;
/// use stepwell_store::metadata::contains;
/// let whole = json!({"team": {"name": "ops", "size": 3}, "n": 1});
/// assert!(contains(whole.as_object().unwrap(), json!({"team": {"size": 3.0}}).as_object().unwrap()));
/// assert!(!contains(whole.as_object().unwrap(), json!({"n": "1"}).as_object().unwrap()));
/// ```
pub fn contains(whole: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    part.iter().all(|(key, wanted)| whole.get(key).is_some_and(|value| fits(value, wanted)))
}

fn fits(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(whole), Value::Object(part)) => contains(whole, part),
        _ => equal(value, wanted),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}
